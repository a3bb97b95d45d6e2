"""Kernels without ipywidgets or anywidget: everything works except the controls."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

HINT = "There are no buttons here: the package"
# Python runs this when it starts. One package cannot be found, or its import fails.
SITE = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["MISSING"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name == os.environ["BROKEN"]:
            raise AttributeError("module 'traitlets' has no attribute 'Old'")
sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that starts a kernel without a package, or with a broken one."""
    with serve_simulator("--speed", "60") as server:

        def start_(*, missing="", broken=""):
            folder = tmp_path_factory.mktemp("no_widgets")
            (folder / "sitecustomize.py").write_text(SITE)
            environment = clean_environment(
                folder,
                RUNAPI_BASE_URL=server.url,
                RUNAPI_API_KEY=KEY,
                MISSING=missing,
                BROKEN=broken,
            )
            environment["PYTHONPATH"] = f"{folder}:{environment.get('PYTHONPATH', '')}"
            return start_kernel(folder, environment, "%load_ext runapi_magic")

        yield start_


@pytest.fixture(scope="module")
def no_widgets(start):
    """Start a kernel without ipywidgets."""
    with start(missing="ipywidgets") as kernel:
        yield kernel


def check_cell(kernel, cell):
    """Check that a cell shows its image with a caption and prints no error."""
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "$0.06" in cell.text)
    assert cell.stream("stderr") == ""


def test_first_cell_has_a_hint(start):
    """Cells show images and captions. A line in the first cell says what to install."""
    with start(missing="ipywidgets") as kernel:
        cells = [kernel.run_ok(f"%gpt_image a cat, number {number}") for number in (1, 2)]
        for cell in cells:
            check_cell(kernel, cell)
        assert [cell.text.count(HINT) for cell in cells] == [1, 0]
        assert "the package ipywidgets is missing in the kernel's environment" in cells[0].text
        assert "%pip install --upgrade ipywidgets, then restart the kernel." in cells[0].text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"missing": "anywidget"}, "anywidget is missing in the kernel's environment"),
        (
            {"broken": "ipywidgets"},
            "ipywidgets cannot be imported (AttributeError: module 'traitlets' has no",
        ),
    ],
)
def test_hint_names_the_package(start, state, words):
    """If only anywidget is missing, or ipywidgets is broken, the line names the package."""
    with start(**state) as kernel:
        cell = kernel.run_ok("%gpt_image a dog")
        check_cell(kernel, cell)
        assert f"{HINT} {words}" in cell.text


def test_sweep(no_widgets):
    """A sweep shows its contact sheet."""
    cell = no_widgets.run_ok("%gpt_image -o grid --sweep animal=fox,owl a {animal} without widgets")
    no_widgets.wait(lambda: "2 of 2 images" in cell.text)
    assert len(cell.images) == 1
    assert cell.stream("stderr") == ""


def test_batch(no_widgets):
    """A batch has a text progress bar and causes no warning."""
    code = "from runapi_magic import generate_many\n"
    code += "boats = await generate_many(['a red boat', 'a blue boat'])\nlen(boats.images)"
    cell = no_widgets.run_ok(code)
    assert cell.result == "2"
    assert "2/2" in cell.text
    assert "Warning" not in cell.text


def test_panel(no_widgets):
    """The panel says which package it needs."""
    message = no_widgets.run_ok("%gpt_panel").stream("stdout")
    assert message.startswith("No panel: the package ipywidgets is missing")
    assert "%%gpt_image does the same in a cell" in message


def test_many_images_need_yes(no_widgets):
    """Many images need --yes, because there are no buttons; without it nothing is sent."""
    no_widgets.run_ok("%config RunAPIMagics.ask_above_count = 1")
    cell = no_widgets.run("%gpt_image -o many -n 2 a flock without widgets")
    no_widgets.wait(lambda: "Add --yes" in cell.text)
    assert no_widgets.value("(many.status, many.task_ids)") == ("failed", [])
    allowed = no_widgets.run_ok("%gpt_image --yes -n 2 a flock without widgets")
    no_widgets.wait_for_images(allowed, 2)
