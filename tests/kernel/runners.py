"""Helpers that run notebooks with command-line tools and count their images."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import clean_environment
from tests.kernel.kernels import is_image


def count_images(cell):
    """Return how many images a saved cell shows."""
    return sum(is_image(output) for output in cell.outputs)


def run_module(folder, *arguments):
    """Run ``python -m`` with arguments and check that it succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_nbval(notebook):
    """Run a notebook with nbval, which compares it with its saved outputs; return the output."""
    settings = notebook.with_name("pytest.ini")
    settings.write_text("[pytest]\naddopts = -p no:cacheprovider --nbval\n")
    return run_module(notebook.parent, "pytest", "-c", settings, notebook).stdout
