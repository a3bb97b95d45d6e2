"""Notebooks run with nobody there: every picture is in place at the end."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from runapi_magic.simulator.art import palettes, scenes, subjects
from tests.conftest import ROOT, clean_environment
from tests.kernel.conftest import make_notebook
from tests.kernel.kernels import execute, is_image, plain_text

CELLS = (
    "%load_ext runapi_magic\n%runapi simulator on --speed 60",
    "%%gpt_image -a 3:4 -o cat\na cat on a hill",
    "%%gpt_edit cat -o blue\nmake it blue",
    "%gpt_image -n 2 two birds",
    "kept = %gpt_image a boat",
    "for animal in ('dog', 'fox'):\n    %gpt_image a {animal}",
)
EXPECTED = [0, 1, 1, 2, 1, 2]


def pictures(cell):
    """How many pictures a saved cell shows."""
    return sum(is_image(output) for output in cell.outputs)


def check_notebook(notebook):
    """Assert that every cell shows its pictures and no cell a placeholder, button or error."""
    nbformat.validate(notebook)
    assert [pictures(cell) for cell in notebook.cells] == EXPECTED
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    shown = "\n".join(plain_text(output) for output in outputs)
    assert "The service is drawing" not in shown
    assert "Sending the request" not in shown
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    assert not [output for output in outputs if output.output_type == "error"]
    assert "widgets" not in notebook.metadata


def execute_cells(folder, *cells, **options):
    """Run cells with nbclient and return the notebook."""
    return execute(make_notebook(*cells), folder, clean_environment(folder), seconds=60, **options)


def run_module(folder, *words):
    """Run ``python -m`` with these words."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
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
    """Run a notebook, compare it with what it holds, and return what pytest says."""
    settings = notebook.with_name("pytest.ini")
    settings.write_text("[pytest]\naddopts = -p no:cacheprovider --nbval\n")
    return run_module(notebook.parent, "pytest", "-c", settings, notebook).stdout


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that nbclient ran, in its folder."""
    folder = tmp_path_factory.mktemp("executed")
    return SimpleNamespace(folder=folder, notebook=execute_cells(folder, *CELLS))


@pytest.mark.versions
def test_nbclient(executed):
    """nbclient: all pictures are in place without --wait, and the files are there."""
    check_notebook(executed.notebook)
    assert len(list((executed.folder / "gpt-images").glob("*.png"))) == sum(EXPECTED)


def test_nbconvert(tmp_path, executed):
    """``jupyter nbconvert --execute``: all is in place, and the same to the letter as before."""
    nbformat.write(make_notebook(*CELLS), tmp_path / "a.ipynb")
    run_module(tmp_path, "nbconvert", "--to", "notebook", "--execute", "--inplace", "a.ipynb")
    notebook = nbformat.read(tmp_path / "a.ipynb", 4)
    check_notebook(notebook)
    ran_before = [cell.outputs for cell in executed.notebook.cells]
    assert [cell.outputs for cell in notebook.cells] == ran_before


INSIDE = (
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
def test_where_no_await_can_stand(tmp_path):
    """%%time, %%capture, functions and the cell that loads: all end, and are waited for."""
    notebook = execute_cells(tmp_path, *INSIDE)
    texts = ["\n".join(plain_text(output) for output in cell.outputs) for cell in notebook.cells]
    assert [text for text in texts if "'completed'" in text] == [texts[i] for i in (1, 3, 5, 8)]
    assert [number for number, text in enumerate(texts) if "did not wait" in text] == [0, 7]
    assert "Wall time" in texts[2]
    assert texts[4] == ""
    assert "Balance" in texts[6]
    assert pictures(notebook.cells[2]) == 1


@pytest.mark.versions
def test_papermill(tmp_path):
    """Papermill: all pictures are in place."""
    nbformat.write(make_notebook(*CELLS), tmp_path / "a.ipynb")
    run_module(tmp_path, "papermill", "--no-progress-bar", "a.ipynb", "b.ipynb")
    check_notebook(nbformat.read(tmp_path / "b.ipynb", 4))


def test_nbval(tmp_path):
    """Nbval: a notebook of picture cells, run and compared, passes where the facts are the same."""
    facts = "await cat\ncat.image.size, cat.status"
    notebook = execute_cells(tmp_path, *CELLS, facts)
    for cell in notebook.cells[1:-1]:
        cell.metadata["tags"] = ["nbval-ignore-output"]
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "((768, 1024), 'completed')"
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert "7 passed" in run_nbval(tmp_path / "a.ipynb")


NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def hurry(name, folder):
    """Copy a saved notebook into a folder, on a simulator that is much faster."""
    # From 50 on pictures are drawn roughly; one notebook is about a file that is too large.
    faster = 45 if name == "sweeps" else 80
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    speed = re.search(r"simulator on --speed (\d+)", text)[1]
    hurried = text.replace(f"--speed {speed}", f"--speed {faster}")
    hurried = hurried.replace(f"Simulator on, {speed} times", f"Simulator on, {faster} times")
    assert hurried.count(str(faster)) >= text.count(str(faster)) + 2
    notebook = folder / f"{name}.ipynb"
    notebook.write_text(hurried)
    return notebook


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_under_nbval(name, tmp_path):
    """Each saved notebook still says what it said, compared strictly by nbval."""
    notebook = hurry(name, tmp_path)
    cells = nbformat.read(notebook, 4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    assert f"{count} passed" in run_nbval(notebook)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("quickstart", 750_000),
        ("iterating", 2_000_000),
        ("scheduled", 100_000),
        ("sweeps", 2_000_000),
        ("teaching", 2_000_000),
    ],
)
def test_saved_notebooks_are_clean_and_small(name, most):
    """A saved notebook is valid and within its size, and has all outputs and no rubbish.

    No error, no warning, no widget, no placeholder, no path of the machine that made it.
    """
    path = ROOT / "notebooks" / f"{name}.ipynb"
    notebook, text = nbformat.read(path, 4), path.read_text()
    nbformat.validate(notebook)
    assert len(text) < most
    assert "widgets" not in notebook.metadata
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert [cell.id for cell in shown if not cell.outputs] == []
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert not any("widget" in kind for output in outputs for kind in output.get("data", {}))
    assert "The service is drawing" not in text
    assert not [place for place in (str(ROOT), "/home/", "/root/", "/tmp/") if place in text]


def test_every_notebook_has_its_size():
    """A new notebook gets its size in the test above, deliberately."""
    marks = test_saved_notebooks_are_clean_and_small.pytestmark
    assert sorted(name for mark in marks for name, _ in mark.args[1]) == NOTEBOOKS


def test_the_class_names_words_that_are_understood():
    """Each word of the first exercise's table is one that the simulator draws."""
    cells = nbformat.read(ROOT / "notebooks" / "teaching.ipynb", 4).cells
    (text,) = [cell.source for cell in cells if cell.id == "exercise-1"]
    rows = dict(re.findall(r"^\| (\w[\w ]+) \| (.+) \|$", text, re.MULTILINE))
    scenes_and_moods = " ".join([*scenes._SCENE_WORDS.values(), *palettes._MOOD_WORDS.values()])
    understood = {
        "thing": lambda word: subjects.choose(word) == word,
        "colour": palettes.colour_word,
        "place": lambda word: palettes.words(word) & set(scenes_and_moods.split()),
        "time and weather": lambda word: palettes.words(word) & set(scenes_and_moods.split()),
    }
    assert rows.keys() == understood.keys()
    unknown = {
        word for kind in rows for word in rows[kind].split(", ") if not understood[kind](word)
    }
    assert unknown == set()


def test_the_class_fits_its_hour():
    """The timetable of the class is the one of its headings, and it takes 45 minutes."""
    cells = nbformat.read(ROOT / "notebooks" / "teaching.ipynb", 4).cells
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    timetable = re.findall(r"^\| (\d+) \| (.+?) \|", words, re.MULTILINE)
    parts = re.findall(r"^## (\d+): (.+?) \((\d+) minutes\)$", words, re.MULTILINE)
    assert [(begin, title) for begin, title, _ in parts] == timetable
    begins, lengths = [int(part[0]) for part in parts], [int(part[2]) for part in parts]
    assert begins == [sum(lengths[:number]) for number in range(len(lengths))]
    assert sum(lengths) == 45


def test_demo(tmp_path):
    """The quickstart as ``make demo`` runs it ends with pictures and stays a valid notebook."""
    notebook = hurry("quickstart", tmp_path)
    run_module(tmp_path, "nbconvert", "--to", "notebook", "--execute", "--inplace", notebook)
    done = nbformat.read(notebook, 4)
    nbformat.validate(done)
    assert sum(pictures(cell) for cell in done.cells if cell.cell_type == "code") == 7
    assert len(list((tmp_path / "gpt-images").glob("*.png"))) == 6


def test_detached_picture_shows_where_it_is_awaited(tmp_path):
    """``--detach`` with nobody there: the first cell that awaits shows the picture, once."""
    notebook = execute_cells(
        tmp_path,
        CELLS[0],
        "%%gpt_image --detach -o later\na cat for later",
        "await later",
        "await later\nlater.status",
    )
    shown = [pictures(cell) for cell in notebook.cells]
    assert shown[2:] == [1, 0]
    assert "a cat for later" in "\n".join(map(plain_text, notebook.cells[2].outputs))
    assert notebook.cells[3].outputs[-1].data["text/plain"] == "'completed'"


def test_picture_of_a_function_shows_where_it_is_awaited(tmp_path):
    """A magic in a function cannot wait by itself; awaiting what it returns shows the picture."""
    notebook = execute_cells(
        tmp_path,
        CELLS[0],
        "def make(word):\n    made = %gpt_image a {word}\n    return made",
        "made = make('owl')",
        "await made\nmade.image.prompt",
    )
    assert pictures(notebook.cells[2]) + pictures(notebook.cells[3]) >= 1


def test_failed_task_fails_its_cell(tmp_path, simulator_server):
    """With nobody there a task that fails fails its cell, with the three parts and no traceback."""
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


def test_login_with_nobody_there(tmp_path):
    """``%runapi login`` with nobody there says so in words, without a traceback."""
    notebook = execute_cells(tmp_path, "%load_ext runapi_magic", "%runapi login", allow_errors=True)
    text = "\n".join(map(plain_text, notebook.cells[1].outputs))
    assert "UsageError: Nobody can type a key here." in text
    assert "RUNAPI_API_KEY" in text
    assert "StdinNotImplementedError" not in text
    assert "Traceback" not in text
