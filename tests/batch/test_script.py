"""Batches in a script: the call waits and shows a progress bar."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT, clean_environment
from tests.servers import KEY

pytestmark = pytest.mark.server


_SCRIPT = """
from runapi_magic import generate_many
batch = generate_many(["a boat", "a tree", "a bad tree"], title="trees"{options})
print(batch.counts["completed"], batch.counts["failed"], batch.is_done)
"""


def _script(service, folder, options=""):
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(options=options)],
        cwd=folder,
        env=clean_environment(
            folder, RUNAPI_BASE_URL=service.url, RUNAPI_API_KEY=KEY, PYTHONPATH=str(ROOT)
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_script_waits_and_shows_a_bar(slow, tmp_path):
    """In a script the call returns at the end. The progress bar is on stderr."""
    slow.fault("status=failed,match=a bad tree")
    said, bar = _script(slow, tmp_path)
    assert said == "2 1 True\n"
    assert "trees: 100%" in bar
    assert "3/3" in bar
    assert "1 failed" in bar
    assert bar.endswith("\n")


def test_a_script_without_a_bar(service, tmp_path):
    """``progress=False`` shows nothing."""
    said, bar = _script(service, tmp_path, ", progress=False")
    assert (said, bar) == ("3 0 True\n", "")
