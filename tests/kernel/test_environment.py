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
        "import runapi_magic.notebook.api as api, sys\n"
        "def fail(*_): raise RuntimeError('no output')\n"
        "api.show = api.show_batch = fail\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o cat A fox')\n"
        "except RuntimeError: pass\n"
        "try: get_ipython().run_line_magic('gpt_image', '-o grid --sweep aspect_ratio=1:1 A fox')\n"
        "except RuntimeError: pass\n"
        "print('BOUND', cat.status, len(grid.pictures))"
    )
    assert "BOUND completed 1" in out


@pytest.mark.parametrize(
    "lacking",
    [
        {"HOME": "/dev/null/nowhere", "RUNAPI_MAGIC_HOME": None},
        {"RUNAPI_MAGIC_HOME": "/dev/null/nowhere"},
        {"LC_ALL": "C", "TMPDIR": "/dev/null/nowhere", "RUNAPI_MAGIC_HOME": "/dev/null/x"},
    ],
    ids=["no home", "no data folder", "no locale, no temporary folder"],
)
def test_the_simulator_works_without_folders(ipython, lacking):
    """The extension says once what is missing and how to set it, and makes its picture."""
    out, err = ipython('cat = %gpt_image A fox\nprint("BOUND", cat.status)', **lacking)
    assert out.count("cannot be written to, so there is no journal") == 1
    assert "Set RUNAPI_MAGIC_HOME" in out
    assert "BOUND completed" in out
    assert "Traceback" not in out + err


def test_a_user_without_a_home(ipython):
    """Where no home folder is known at all, nothing is written below a folder named "~"."""
    out, _ = ipython(
        "cat = %gpt_image A fox\n"
        "from pathlib import Path; print('BOUND', cat.status, Path('~').exists())",
        load="import os.path; os.path.expanduser = lambda path: path\n"
        "from pathlib import Path\n"
        "def nobody(path):\n"
        "    if str(path)[:1] == '~': raise RuntimeError('Could not determine home directory.')\n"
        "    return path\n"
        "Path.expanduser = nobody\n" + _CELL,
        RUNAPI_MAGIC_HOME=None,
    )
    assert "BOUND completed False" in out


def test_a_python_without_sqlite(ipython, tmp_path):
    """The extension loads, and says in words what is missing when it is needed."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sqlite3.py").write_text("raise ImportError('no sqlite3')")
    out, err = ipython(
        "%gpt_image A fox", PYTHONPATH=os.pathsep.join([str(tmp_path / "without"), str(ROOT)])
    )
    assert "This Python has no sqlite3" in out + err
    assert "Traceback" not in out + err


def test_a_working_directory_that_takes_no_image(ipython):
    """Where images cannot be saved nothing is sent, and the setting is named."""
    out, _ = ipython(
        "%config RunAPIMagics.image_dir = '/dev/null/nowhere'\n"
        'cat = %gpt_image A fox\nprint("BOUND", cat.status)'
    )
    assert "cannot be written to" in out
    assert "Nothing was sent" in out
    assert "%config RunAPIMagics.image_dir" in out
    assert "BOUND failed" in out
