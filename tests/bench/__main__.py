"""Run all benchmarks, print their tables and write docs/benchmarks.md.

``python -m tests.bench [NAME...]``: with names, run only those benchmarks and write no page.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import version

from tests.conftest import ROOT

BENCHMARKS = {
    "detection": "From the end of a task to the poll that finds it",
    "startup": "Loading the extension, and the first output of a cell",
    "completion": "From the completed poll to the image in the notebook",
    "inflight": "Many running tasks in one kernel",
    "batch": "A batch of 1,000 prompts",
    "sweep": "Sweeps of many images",
    "journal": "A journal of 100,000 requests",
}
_PACKAGES = "ipython", "ipykernel", "ipywidgets", "httpx", "aiohttp", "pillow"
_PAGE = ROOT / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

`make bench` writes this page. You can run it on your own machine. Compare the ratios: both sides of
a ratio were measured in the same run, on the same server, one after the other.

"""


def _measure(names: list[str]) -> str:
    """Print each table as it grows. Return all tables as Markdown."""
    text = ""
    for name in names:
        module = import_module(f"tests.bench.{name}")
        print(f"\n{BENCHMARKS[name]}", flush=True)  # noqa: T201 (the result of the command)
        lines = []
        for line in module.report():
            print(line, flush=True)  # noqa: T201
            lines.append(line)
        description = " ".join(module.__doc__.partition("\n\n")[2].split("``python -m")[0].split())
        table = "\n".join(lines)
        text += f"\n## {BENCHMARKS[name]}\n\n{description}\n\n```text\n{table}\n```\n"
    return text


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}),"
        f" {platform.system()}, Python {platform.python_version()}, {packages}.\n"
    )


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tables = _measure(chosen or list(BENCHMARKS))
    if not chosen:
        _PAGE.write_text(_HEAD + _machine() + tables, "utf-8")
        print(f"\nWrote {_PAGE.relative_to(ROOT)}")  # noqa: T201
