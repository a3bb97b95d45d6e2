"""Terminal IPython where the environment lacks something: everything goes on, in words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

_CELL = """
%load_ext runapi_magic
%runapi simulator on --speed 200
{more}
"""


@pytest.fixture
def ipython(tmp_path):
    """Run lines in a new terminal IPython with the simulator, in an environment of a few names."""

    def run(more, *, load=_CELL, **environ):
        places = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
        code = load.format(more=more)
        named = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | places | environ
        done = subprocess.run(
            [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code],
            env={name: value for name, value in named.items() if value is not None},
            cwd=tmp_path, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        return done.stdout.decode("latin-1"), done.stderr.decode("latin-1")

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_caption_that_cannot_be_encoded(ipython, encoding):
    """The picture is shown with its file and cost, and its variable is bound."""
    out, err = ipython(
        'cat = %gpt_image A "café" of a 狐\nprint("BOUND", cat.status)', PYTHONIOENCODING=encoding
    )
    assert "px" in out
    assert "$0.06 (simulated" in out
    assert "BOUND completed" in out
    assert "Traceback" not in out + err


def test_a_variable_is_bound_before_its_picture_is_shown(ipython):
    """With an output that fails altogether, -o has its picture all the same."""
    out, _ = ipython(
        "import runapi_magic.api as api, sys\n"
        "def fail(*_): raise RuntimeError('no output')\n"
        "api.show = api.show_batch = fail\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o cat A fox')\n"
        "except RuntimeError: pass\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o grid --sweep aspect_ratio=1:1 A fox')\n"
        "except RuntimeError: pass\n"
        "print('BOUND', cat.status, len(grid.pictures))"
    )
    assert "BOUND completed 1" in out
