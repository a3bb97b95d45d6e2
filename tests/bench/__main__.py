"""Run all measurements, print their tables and write them down in docs/benchmarks.md.

``python -m tests.bench [NAME...]``: with names, only those, and nothing is written.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import version

from tests.conftest import ROOT

PARTS = {
    "detection": "From the end of a task to the look that sees it",
    "startup": "Loading the extension, and the first sign of a cell",
    "home": "From the look that says completed to the picture on the screen",
    "inflight": "Many tasks under way in one kernel",
    "batch": "A batch of 1,000 prompts",
    "growth": "Sweeps of many pictures",
    "journal": "A journal of 100,000 requests",
}
_PACKAGES = "ipython", "ipykernel", "ipywidgets", "httpx", "aiohttp", "pillow"
_WRITTEN = ROOT / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Written by `make bench`, which anybody can run again. What counts are the ratios: both sides of each
were measured in the same run, on the same server, one after the other.

"""


def _measure(names: list[str]) -> str:
    """Print each table as it grows, and return them all as Markdown."""
    text = ""
    for name in names:
        part = import_module(f"tests.bench.{name}")
        print(f"\n{PARTS[name]}", flush=True)  # noqa: T201 (a report)
        lines = []
        for line in part.report():
            print(line, flush=True)  # noqa: T201
            lines.append(line)
        what = " ".join(part.__doc__.partition("\n\n")[2].split("``python -m")[0].split())
        table = "\n".join(lines)
        text += f"\n## {PARTS[name]}\n\n{what}\n\n```text\n{table}\n```\n"
    return text


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}),"
        f" {platform.system()}, Python {platform.python_version()}, {packages}.\n"
    )


if __name__ == "__main__":
    chosen = sys.argv[1:]
    found = _measure(chosen or list(PARTS))
    if not chosen:
        _WRITTEN.write_text(_HEAD + _machine() + found, "utf-8")
        print(f"\nWritten: {_WRITTEN.relative_to(ROOT)}")  # noqa: T201
