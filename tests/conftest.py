"""Fixtures for all tests: a clean environment, images, and a simulator as a server."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

KEY = "sk-test-3f9c2a7d51e8b604"
ROOT = Path(__file__).parent.parent
pytest_plugins = ["tests.servers"]

_PERSONAL = ("RUNAPI_", "HERMES_", "XDG_", "JUPYTER_", "IPYTHON", "PYTEST_")


def pytest_configure():
    """Restore Ctrl-C: processes that a script starts in the background with "&" ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class SimulatorServer:
    """A simulator in its own process, on loopback."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def state(self):
        """Return what the simulator has received and done."""
        with urllib.request.urlopen(f"{self.url}/_simulator/state") as response:
            return json.load(response)

    def bodies(self, part_of_prompt):
        """Return the requests that created a task with such a prompt, oldest first."""
        found = [task["body"] for task in self.state()["tasks"]]
        return [body for body in found if part_of_prompt in body.get("prompt", "")]

    def fault(self, *specs):
        """Add faults."""
        request = urllib.request.Request(
            f"{self.url}/_simulator/faults",
            json.dumps(list(specs)).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()

    def clear_faults(self):
        """Remove all faults, so stuck tasks continue."""
        request = urllib.request.Request(f"{self.url}/_simulator/faults", method="DELETE")
        urllib.request.urlopen(request).close()


@contextmanager
def serve_simulator(*options, stderr=None):
    """Run ``python -m runapi_magic.simulator`` and yield it. ``stderr`` is that of `Popen`."""
    command = [sys.executable, "-m", "runapi_magic.simulator", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            first = process.stdout.readline().strip()
            assert first.startswith("listening on "), first
            yield SimulatorServer(process, first.removeprefix("listening on "))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


@pytest.fixture
def simulator_server():
    """Start a simulator server for both route families, 20 times faster than real time."""
    with serve_simulator("--speed", "20") as server:
        yield server


def clean_environment(folder, **more):
    """Return environment variables with an empty home, settings and journal in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)}
    folders = {
        "HOME": folder / "home",
        "RUNAPI_MAGIC_HOME": folder / "data",
        "IPYTHONDIR": folder / "ipython",
        "JUPYTER_CONFIG_DIR": folder / "jupyter-config",
        "JUPYTER_DATA_DIR": folder / "jupyter-data",
        "JUPYTER_RUNTIME_DIR": folder / "jupyter-runtime",
    }
    folders["HOME"].mkdir(parents=True, exist_ok=True)
    return kept | {name: str(path) for name, path in folders.items()} | more


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Hide the user's settings: use an empty home, data folder and working directory; no key."""
    for name in list(os.environ):
        if name.startswith(("RUNAPI_", "HERMES_", "XDG_", "JUPYTER_", "IPYTHON")):
            monkeypatch.delenv(name)
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def make_image():
    """Return a function that makes an encoded image."""

    def make(
        size=(8, 6),
        *,
        mode="RGB",
        color="orange",
        kind="PNG",
        noise=False,
    ):
        if noise:
            count = size[0] * size[1] * len(mode)
            image = Image.frombytes(mode, size, random.Random(1).randbytes(count))
        else:
            image = Image.new(mode, size, color)
        buffer = io.BytesIO()
        image.save(buffer, kind, compress_level=1)
        return buffer.getvalue()

    return make
