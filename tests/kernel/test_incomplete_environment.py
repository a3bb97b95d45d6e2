"""Terminal IPython in an incomplete environment: the extension works or says what is missing."""

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
    """Return a function that runs code in terminal IPython with the simulator."""

    def run(more, *, load=_CELL, **environ):
        folders = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
        code = load.format(more=more)
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | folders | environ
        done = subprocess.run(
            [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code],
            env={name: value for name, value in variables.items() if value is not None},
            cwd=tmp_path, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        return done.stdout.decode("latin-1"), done.stderr.decode("latin-1")

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_caption_with_characters_that_cannot_be_encoded(ipython, encoding):
    """The image is shown with its file and its cost, and its variable is bound."""
    out, err = ipython(
        'cat = %gpt_image A "café" of a 狐\nprint("BOUND", cat.status)', PYTHONIOENCODING=encoding
    )
    assert "px" in out
    assert "$0.06 (simulated" in out
    assert "BOUND completed" in out
    assert "Traceback" not in out + err


def test_variable_is_bound_before_the_image_is_shown(ipython):
    """-o binds its variable even if no output can be shown."""
    out, _ = ipython(
        "import runapi_magic.notebook.api as api, sys\n"
        "def fail(*_): raise RuntimeError('no output')\n"
        "api.show = api.show_batch = fail\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o cat A fox')\n"
        "except RuntimeError: pass\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o grid --sweep aspect_ratio=1:1 A fox')\n"
        "except RuntimeError: pass\n"
        "print('BOUND', cat.status, len(grid.images))"
    )
    assert "BOUND completed 1" in out


@pytest.mark.parametrize(
    "missing",
    [
        {"HOME": "/dev/null/nowhere", "RUNAPI_MAGIC_HOME": None},
        {"RUNAPI_MAGIC_HOME": "/dev/null/nowhere"},
        {"LC_ALL": "C", "TMPDIR": "/dev/null/nowhere", "RUNAPI_MAGIC_HOME": "/dev/null/x"},
    ],
    ids=["no home", "no data folder", "no locale, no temporary folder"],
)
def test_the_simulator_works_without_folders(ipython, missing):
    """The extension says once which folder is missing and how to set it, and makes the image."""
    out, err = ipython('cat = %gpt_image A fox\nprint("BOUND", cat.status)', **missing)
    assert out.count("cannot be written to, so there is no journal") == 1
    assert "Set RUNAPI_MAGIC_HOME" in out
    assert "BOUND completed" in out
    assert "Traceback" not in out + err


def test_user_without_a_home_folder(ipython):
    """If the home folder is unknown, no folder named "~" is created."""
    out, _ = ipython(
        "cat = %gpt_image A fox\n"
        "from pathlib import Path; print('BOUND', cat.status, Path('~').exists())",
        load="import os.path; os.path.expanduser = lambda path: path\n"
        "from pathlib import Path\n"
        "def fail(path):\n"
        "    if str(path)[:1] == '~': raise RuntimeError('Could not determine home directory.')\n"
        "    return path\n"
        "Path.expanduser = fail\n" + _CELL,
        RUNAPI_MAGIC_HOME=None,
    )
    assert "BOUND completed False" in out


def test_python_without_sqlite(ipython, tmp_path):
    """The extension loads. The first request says that sqlite3 is missing."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sqlite3.py").write_text("raise ImportError('no sqlite3')")
    out, err = ipython(
        "%gpt_image A fox", PYTHONPATH=os.pathsep.join([str(tmp_path / "without"), str(ROOT)])
    )
    assert "This Python has no sqlite3" in out + err
    assert "Traceback" not in out + err


def test_image_folder_that_cannot_be_written(ipython):
    """If images cannot be saved, nothing is sent. The message names the setting."""
    out, _ = ipython(
        "%config RunAPIMagics.image_dir = '/dev/null/nowhere'\n"
        'cat = %gpt_image A fox\nprint("BOUND", cat.status)'
    )
    assert "cannot be written to" in out
    assert "Nothing was sent" in out
    assert "%config RunAPIMagics.image_dir" in out
    assert "BOUND failed" in out
