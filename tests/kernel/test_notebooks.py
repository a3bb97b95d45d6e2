"""The notebooks in notebooks/: they run, and their saved outputs are clean and small."""

from __future__ import annotations

import re

import nbformat
import pytest

from runapi_magic.simulator.art import palettes, scenes, subjects
from tests.conftest import ROOT
from tests.kernel.runners import count_images, run_module, run_nbval

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def copy_with_faster_simulator(name, folder):
    """Copy a saved notebook into a folder, with a faster simulator."""
    # From speed 50 on the simulator draws small files; one notebook needs a file that is too large.
    faster = 45 if name == "sweeps" else 80
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    speed = re.search(r"simulator on --speed (\d+)", text)[1]
    changed = text.replace(f"--speed {speed}", f"--speed {faster}")
    changed = changed.replace(f"Simulator on, {speed} times", f"Simulator on, {faster} times")
    assert changed.count(str(faster)) >= text.count(str(faster)) + 2
    notebook = folder / f"{name}.ipynb"
    notebook.write_text(changed)
    return notebook


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_matches_its_saved_outputs(name, tmp_path):
    """A notebook that runs again has the same outputs as saved, compared by nbval."""
    notebook = copy_with_faster_simulator(name, tmp_path)
    cells = nbformat.read(notebook, 4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    assert f"{count} passed" in run_nbval(notebook)


@pytest.mark.parametrize(
    ("name", "max_size"),
    [
        ("quickstart", 750_000),
        ("iterating", 2_000_000),
        ("scheduled", 100_000),
        ("sweeps", 2_000_000),
        ("teaching", 2_000_000),
    ],
)
def test_saved_notebooks_are_clean_and_small(name, max_size):
    """A saved notebook is valid, small and complete.

    It has no error, warning, widget, placeholder, or path of the machine that saved it.
    """
    saved = ROOT / "notebooks" / f"{name}.ipynb"
    notebook, text = nbformat.read(saved, 4), saved.read_text()
    nbformat.validate(notebook)
    assert len(text) < max_size
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
    assert not [path for path in (str(ROOT), "/home/", "/root/", "/tmp/") if path in text]


def test_each_notebook_has_a_maximum_size():
    """The test above has a maximum size for each notebook."""
    marks = test_saved_notebooks_are_clean_and_small.pytestmark
    assert sorted(name for mark in marks for name, _ in mark.args[1]) == NOTEBOOKS


def test_teaching_notebook_names_words_that_the_simulator_draws():
    """The simulator can draw each word in the table of the first exercise."""
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


def test_teaching_notebook_takes_45_minutes():
    """The timetable agrees with the headings, and all parts together take 45 minutes."""
    cells = nbformat.read(ROOT / "notebooks" / "teaching.ipynb", 4).cells
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    timetable = re.findall(r"^\| (\d+) \| (.+?) \|", words, re.MULTILINE)
    parts = re.findall(r"^## (\d+): (.+?) \((\d+) minutes\)$", words, re.MULTILINE)
    assert [(begin, title) for begin, title, _ in parts] == timetable
    begins, lengths = [int(part[0]) for part in parts], [int(part[2]) for part in parts]
    assert begins == [sum(lengths[:number]) for number in range(len(lengths))]
    assert sum(lengths) == 45


def test_demo(tmp_path):
    """The quickstart runs as in ``make demo``, shows its images and stays a valid notebook."""
    notebook = copy_with_faster_simulator("quickstart", tmp_path)
    run_module(tmp_path, "nbconvert", "--to", "notebook", "--execute", "--inplace", notebook)
    done = nbformat.read(notebook, 4)
    nbformat.validate(done)
    assert sum(count_images(cell) for cell in done.cells if cell.cell_type == "code") == 7
    assert len(list((tmp_path / "gpt-images").glob("*.png"))) == 6
