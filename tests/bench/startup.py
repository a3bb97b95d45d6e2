"""``%load_ext`` compared with other packages for models, and the time to the first placeholder.

Each time is measured in a new kernel, with cached bytecode. Each other package is installed in its
own environment, in the current version.

``python -m tests.bench.startup [FOLDER]``: FOLDER keeps the environments of the other packages; by
default they are in a temporary folder.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_client.manager import KernelManager

from tests.conftest import KEY, ROOT, clean_environment, serve_simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_client.blocking import BlockingKernelClient

_REPEATS = 7
_SECONDS = 60  # maximum wait for a kernel or a cell
_LOAD = "get_ipython().run_line_magic('load_ext', {!r})"
# The first statement of a user: load an extension or import a library.
_OTHERS = {
    "openai": "import openai",
    "replicate": "import replicate",
    "fal-client": "import fal_client",
    "jupyter-ai-magics": _LOAD.format("jupyter_ai_magics"),
}
_TIMED = """
import time
started = time.perf_counter()
{}
print("duration", (time.perf_counter() - started) * 1000)
"""


def report(folder: Path | None = None) -> Iterator[str]:
    """Yield the lines of the table: medians in milliseconds.

    Args:
        folder: Folder for the other packages' environments; by default a temporary one.
    """
    with tempfile.TemporaryDirectory() as path:
        pythons = {name: _install(Path(folder or path), name) for name in _OTHERS}
        ours: list[float] = []
        theirs: dict[str, list[float]] = {name: [] for name in _OTHERS}
        for _ in range(_REPEATS):  # in turns, so that all see the same load of the machine
            ours.append(_duration(sys.executable, _LOAD.format("runapi_magic")))
            for name, python in pythons.items():
                if python is not None:
                    theirs[name].append(_duration(python, _OTHERS[name]))
        own = statistics.median(ours)
        yield f"{'in a running kernel':24}{'version':>12}{'median':>12}{'ratio':>8}"
        yield f"{'%load_ext runapi_magic':24}{'':>12}{own:9.1f} ms{1:8.0f}"
        for name, python in pythons.items():
            if python is None:
                yield f"{name:24}{'not installed: pip failed':>32}"
                continue
            median = statistics.median(theirs[name])
            yield f"{name:24}{_version(python, name):>12}{median:9.1f} ms{median / own:8.0f}"
    yield from _first_placeholder()


def _first_placeholder() -> Iterator[str]:
    with serve_simulator("--speed", "20") as server:
        durations = sorted(_placeholder(server.url) for _ in range(_REPEATS))
    yield (
        f"first placeholder after only %load_ext: {statistics.median(durations):.0f} ms"
        f" from the start of the cell ({durations[0]:.0f} to {durations[-1]:.0f})"
    )


def _placeholder(url: str) -> float:
    """Return the milliseconds from the start of a cell to its first display."""
    stamps = {}
    with _kernel(sys.executable, RUNAPI_BASE_URL=url, RUNAPI_API_KEY=KEY) as client:
        client.execute_interactive("%load_ext runapi_magic", timeout=_SECONDS)
        client.execute_interactive(
            "%%gpt_image\na hill by the sea",
            output_hook=lambda message: stamps.setdefault(
                message["msg_type"], message["header"]["date"]
            ),
            timeout=_SECONDS,
        )
    return (stamps["display_data"] - stamps["execute_input"]).total_seconds() * 1000


def _install(folder: Path, name: str) -> str | None:
    """Install a package and a kernel. Return the environment's Python, or None if pip fails."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "ipykernel", name], check=False)
    return None if done.returncode else str(python)


def _version(python: str, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def _duration(python: str, code: str) -> float:
    """Return the milliseconds that code takes in a new kernel."""
    printed: list[str] = []
    with _kernel(python) as client:
        client.execute_interactive(
            _TIMED.format(code),
            output_hook=lambda message: printed.append(message["content"].get("text", "")),
            timeout=_SECONDS,
        )
    return float("".join(printed).rpartition("duration")[2])


@contextmanager
def _kernel(python: str, **more: str) -> Iterator[BlockingKernelClient]:
    """Start a kernel of a Python, with an empty home."""
    with tempfile.TemporaryDirectory() as path:
        environment = clean_environment(Path(path), PYTHONPATH=str(ROOT), **more)
        # Without cached bytecode the benchmark would measure the compiler.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        manager = KernelManager(kernel_name="python3")
        assert manager.kernel_spec is not None
        manager.kernel_spec.argv[0] = python
        manager.start_kernel(env=environment, cwd=path, stderr=subprocess.DEVNULL)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=_SECONDS)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


if __name__ == "__main__":
    for row in report(*map(Path, sys.argv[1:])):
        print(row)  # noqa: T201 (the result of the command)
