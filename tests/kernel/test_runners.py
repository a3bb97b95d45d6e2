"""Unattended runs of notebooks by nbclient, nbconvert, papermill and nbval."""

from __future__ import annotations

from types import SimpleNamespace

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.conftest import clean_environment
from tests.kernel.conftest import make_notebook
from tests.kernel.kernels import execute, plain_text
from tests.kernel.runners import count_images, run_module, run_nbval

CELLS = (
    "%load_ext runapi_magic\n%runapi simulator on --speed 60",
    "%%gpt_image -a 3:4 -o cat\na cat on a hill",
    "%%gpt_edit cat -o blue\nmake it blue",
    "%gpt_image -n 2 two birds",
    "kept = %gpt_image a boat",
    "for animal in ('dog', 'fox'):\n    %gpt_image a {animal}",
)
EXPECTED = [0, 1, 1, 2, 1, 2]


def check_notebook(notebook):
    """Check that the cells show their images and no placeholder, widget or error."""
    nbformat.validate(notebook)
    assert [count_images(cell) for cell in notebook.cells] == EXPECTED
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    shown = "\n".join(plain_text(output) for output in outputs)
    assert "The service is drawing" not in shown
    assert "Sending the request" not in shown
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    assert not [output for output in outputs if output.output_type == "error"]
    assert "widgets" not in notebook.metadata


def execute_cells(folder, *cells, **options):
    """Run cells with nbclient and return their notebook."""
    return execute(make_notebook(*cells), folder, clean_environment(folder), seconds=60, **options)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Run CELLS with nbclient; return the notebook and its folder."""
    folder = tmp_path_factory.mktemp("executed")
    return SimpleNamespace(folder=folder, notebook=execute_cells(folder, *CELLS))


@pytest.mark.versions
def test_nbclient(executed):
    """Nbclient: without --wait all cells show their images, and the files are saved."""
    check_notebook(executed.notebook)
    assert len(list((executed.folder / "gpt-images").glob("*.png"))) == sum(EXPECTED)


def test_nbconvert(tmp_path, executed):
    """``jupyter nbconvert --execute``: the outputs are exactly those of nbclient."""
    nbformat.write(make_notebook(*CELLS), tmp_path / "a.ipynb")
    run_module(tmp_path, "nbconvert", "--to", "notebook", "--execute", "--inplace", "a.ipynb")
    notebook = nbformat.read(tmp_path / "a.ipynb", 4)
    check_notebook(notebook)
    expected = [cell.outputs for cell in executed.notebook.cells]
    assert [cell.outputs for cell in notebook.cells] == expected


CELLS_WITHOUT_AWAIT = (
    "%load_ext runapi_magic\n%runapi simulator on --speed 60\n%gpt_image -o plum a plum",
    "plum.status",
    "%%time\n%gpt_image -o pear a pear",
    "pear.status",
    "%%capture said\n%gpt_image -o fig a fig\n%runapi balance",
    "fig.status",
    "%time %runapi balance",
    "def make():\n    %gpt_image -o kiwi a kiwi\nmake()",
    "kiwi.status",
)


@pytest.mark.versions
def test_cells_that_cannot_await(tmp_path):
    """Images are complete after %%time, %%capture, a function and the cell with %load_ext, too."""
    notebook = execute_cells(tmp_path, *CELLS_WITHOUT_AWAIT)
    texts = ["\n".join(plain_text(output) for output in cell.outputs) for cell in notebook.cells]
    assert [text for text in texts if "'completed'" in text] == [texts[i] for i in (1, 3, 5, 8)]
    assert [number for number, text in enumerate(texts) if "being generated" in text] == [0, 7]
    assert "Wall time" in texts[2]
    assert texts[4] == ""
    assert "Balance" in texts[6]
    assert count_images(notebook.cells[2]) == 1


@pytest.mark.versions
def test_papermill(tmp_path):
    """Papermill: all cells show their images."""
    nbformat.write(make_notebook(*CELLS), tmp_path / "a.ipynb")
    run_module(tmp_path, "papermill", "--no-progress-bar", "a.ipynb", "b.ipynb")
    check_notebook(nbformat.read(tmp_path / "b.ipynb", 4))


def test_nbval(tmp_path):
    """Nbval: the comparison passes if image cells are tagged and later cells show facts."""
    facts = "await cat\ncat.image.size, cat.status"
    notebook = execute_cells(tmp_path, *CELLS, facts)
    for cell in notebook.cells[1:-1]:
        cell.metadata["tags"] = ["nbval-ignore-output"]
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "((768, 1024), 'completed')"
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert "7 passed" in run_nbval(tmp_path / "a.ipynb")


def test_detached_image_appears_where_it_is_awaited(tmp_path):
    """With ``--detach`` the image appears once, in the first cell that awaits it."""
    notebook = execute_cells(
        tmp_path,
        CELLS[0],
        "%%gpt_image --detach -o later\na cat for later",
        "await later",
        "await later\nlater.status",
    )
    shown = [count_images(cell) for cell in notebook.cells]
    assert shown[2:] == [1, 0]
    assert "a cat for later" in "\n".join(map(plain_text, notebook.cells[2].outputs))
    assert notebook.cells[3].outputs[-1].data["text/plain"] == "'completed'"


def test_image_of_a_function_appears_where_it_is_awaited(tmp_path):
    """A magic in a function cannot wait. ``await`` of its result shows the image."""
    notebook = execute_cells(
        tmp_path,
        CELLS[0],
        "def make(word):\n    made = %gpt_image a {word}\n    return made",
        "made = make('owl')",
        "await made\nmade.image.prompt",
    )
    assert count_images(notebook.cells[2]) + count_images(notebook.cells[3]) >= 1


def test_failed_task_fails_its_cell(tmp_path, simulator_server):
    """A failed task raises an error in its cell, with a message and without a traceback."""
    simulator_server.fault("status=failed,match=dragon,message=the dragon was asleep")
    notebook = make_notebook("%load_ext runapi_magic", "%%gpt_image\na dragon", "'never run'")
    access = {"RUNAPI_BASE_URL": simulator_server.url, "RUNAPI_API_KEY": "sk-any-key-will-do"}
    with pytest.raises(CellExecutionError, match="the dragon was asleep") as caught:
        execute(notebook, tmp_path, clean_environment(tmp_path, **access), seconds=60)
    assert caught.value.ename == "TaskFailedError"
    text = "\n".join(map(plain_text, notebook.cells[1].outputs))
    assert "Failed tasks are not charged." in text
    assert "run the cell again" in text
    assert "Traceback" not in text
    assert notebook.cells[2].outputs == []


def test_login_in_an_unattended_run(tmp_path):
    """``%runapi login`` gives a message without a traceback, because no user can type a key."""
    notebook = execute_cells(tmp_path, "%load_ext runapi_magic", "%runapi login", allow_errors=True)
    text = "\n".join(map(plain_text, notebook.cells[1].outputs))
    assert "ConfigurationError: This front end cannot ask for a key." in text
    assert "RUNAPI_API_KEY" in text
    assert "StdinNotImplementedError" not in text
    assert "Traceback" not in text
