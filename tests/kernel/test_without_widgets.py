"""A kernel whose environment lacks ipywidgets or anywidget: all but the controls works."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

HINT = "There are no buttons here: the package"
# What Python runs at its start: a package that cannot be found, or one that breaks when imported.
SITE = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["LACKS"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name == os.environ["BREAKS"]:
            raise AttributeError("module 'traitlets' has no attribute 'Old'")
sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function that starts a kernel that lacks one package, or has a broken one."""
    with serve_simulator("--speed", "60") as server:

        def start_(*, lacks="", breaks=""):
            folder = tmp_path_factory.mktemp("bare")
            (folder / "sitecustomize.py").write_text(SITE)
            environment = clean_environment(
                folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY, LACKS=lacks, BREAKS=breaks
            )
            environment["PYTHONPATH"] = f"{folder}:{environment.get('PYTHONPATH', '')}"
            return start_kernel(folder, environment, "%load_ext runapi_magic")

        yield start_


@pytest.fixture(scope="module")
def bare(start):
    """A kernel that lacks ipywidgets."""
    with start(lacks="ipywidgets") as kernel:
        yield kernel


def check_cell(kernel, cell):
    """Assert that a cell shows its picture with a caption, and nothing went wrong beside."""
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "$0.06" in cell.text)
    assert cell.stream("stderr") == ""


def test_cells(start):
    """Pictures and captions are there as ever, and one line, in the first cell, says what to do."""
    with start(lacks="ipywidgets") as kernel:
        cells = [kernel.run_ok(f"%gpt_image a cat, number {number}") for number in (1, 2)]
        for cell in cells:
            check_cell(kernel, cell)
        assert [cell.text.count(HINT) for cell in cells] == [1, 0]
        assert "the package ipywidgets is missing in the kernel's environment" in cells[0].text
        assert "%pip install --upgrade ipywidgets, then restart the kernel." in cells[0].text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"lacks": "anywidget"}, "anywidget is missing in the kernel's environment"),
        (
            {"breaks": "ipywidgets"},
            "ipywidgets cannot be imported (AttributeError: module 'traitlets' has no",
        ),
    ],
)
def test_other_states(start, state, words):
    """The same where only anywidget is missing, or ipywidgets breaks; the line names which."""
    with start(**state) as kernel:
        cell = kernel.run_ok("%gpt_image a dog")
        check_cell(kernel, cell)
        assert f"{HINT} {words}" in cell.text


def test_sweep(bare):
    """A sweep's sheet fills in."""
    cell = bare.run_ok("%gpt_image -o grid --sweep animal=fox,owl a {animal} without widgets")
    bare.wait(lambda: "2 of 2 pictures" in cell.text)
    assert len(cell.images) == 1
    assert cell.stream("stderr") == ""


def test_batch(bare):
    """A batch has a bar of text, without a warning."""
    code = "from runapi_magic import generate_many\n"
    code += "boats = await generate_many(['a red boat', 'a blue boat'])\nlen(boats.pictures)"
    cell = bare.run_ok(code)
    assert cell.result == "2"
    assert "2/2" in cell.text
    assert "Warning" not in cell.text


def test_panel(bare):
    """The panel says in words what it needs."""
    said = bare.run_ok("%gpt_panel").stream("stdout")
    assert said.startswith("No panel: the package ipywidgets is missing")
    assert "%%gpt_image does the same from a cell" in said


def test_many_pictures_need_yes(bare):
    """Many pictures need --yes where there is nothing to click, and nothing is sent without."""
    bare.run_ok("%config RunAPIMagics.ask_above_count = 1")
    cell = bare.run("%gpt_image -o many -n 2 a flock without widgets")
    bare.wait(lambda: "Add --yes" in cell.text)
    assert bare.value("(many.status, many.task_ids)") == ("failed", [])
    allowed = bare.run_ok("%gpt_image --yes -n 2 a flock without widgets")
    bare.wait_for_images(allowed, 2)
