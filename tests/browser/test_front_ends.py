"""Notebook 7 and nbclassic show the same cells, images and buttons as JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import LOAD, STUCK, Classic, Notebook, make_notebook, write_notebook

CAT, SWEEP, PANEL, DOLLARS, FORMULA = 1, 2, 3, 4, 5
CELLS = (
    LOAD,
    "%%gpt_image -o cat\na cat in NAME",
    "%gpt_image -a 1:1 --sweep animal=fox,owl a {animal} in NAME",
    "%gpt_panel",
    "%gpt_image a sign in NAME: apples $5, pears $3\n%gpt_image --new --max-cost 0.01 a dear one",
    "from IPython.display import HTML\nHTML('the only formula: $x$')",
)


@pytest.fixture(scope="module", params=[Notebook, Classic])
def notebook(workspace, page, request):
    """Open a notebook in a front end. Each test runs a cell of its own."""
    name = request.param.__name__
    cells = [cell.replace("NAME", name) for cell in CELLS]
    write_notebook(workspace.folder / f"{name}.ipynb", make_notebook(*cells))
    opened = request.param(page, workspace.url, f"{name}.ipynb")
    opened.run(0)
    yield opened
    opened.shut_down()


def test_cell_and_edit(notebook, server):
    """An image replaces the placeholder. An edit by Enter shows version 2 in the same output."""
    server.fault(STUCK + "a cat in")
    notebook.run(CAT)
    notebook.wait_for_text(CAT, "The service is drawing")
    assert notebook.images(CAT).count() == 0
    server.clear_faults()
    notebook.wait_for_images(CAT)
    notebook.wait_for_text(CAT, "gpt-images/a-cat-in")
    first = notebook.source(CAT)
    notebook.click(CAT, "Edit")
    notebook.type(CAT, "make it blue")
    notebook.page.keyboard.press("Enter")
    notebook.wait_for_text(CAT, "v2 of 2")
    notebook.wait_for_text(CAT, "gpt-images/make-it-blue")
    assert notebook.source(CAT) != first
    assert notebook.images(CAT).count() == 1
    missing = notebook.cell(CAT).get_by_text("lacks the package anywidget")
    expect(missing).to_have_count(1)
    expect(missing).to_be_hidden()


def test_click_on_a_contact_sheet(notebook, server):
    """A click on the right half of a contact sheet of two images opens the second one below."""
    notebook.run(SWEEP)
    notebook.wait_for_text(SWEEP, "2 of 2 images")
    sheet = notebook.images(SWEEP).first
    box = sheet.bounding_box()
    sheet.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.6})
    notebook.wait_for_images(SWEEP, 2)
    notebook.wait_for_text(SWEEP, "gpt-images/a-owl-in")
    expect(notebook.button(SWEEP, "Edit")).to_be_visible()


def test_panel(notebook, server):
    """The panel sends the typed prompt and shows the image with its buttons."""
    notebook.run(PANEL)
    prompt = f"a boat in {type(notebook).__name__}"
    notebook.page.get_by_role("textbox", name="Prompt").fill(prompt)
    notebook.button(PANEL, "Generate").click()
    notebook.wait_for_images(PANEL)
    notebook.wait_for_text(PANEL, "gpt-images/a-boat-in")
    expect(notebook.button(PANEL, "Edit")).to_be_visible()
    assert len(server.bodies(prompt)) == 1


def test_dollars_are_not_shown_as_formulas(notebook, server):
    """Dollar signs in prompts and prices stay as written, even if the front end shows formulas."""
    notebook.run(DOLLARS)
    notebook.wait_for_images(DOLLARS)
    notebook.wait_for_text(DOLLARS, "apples $5, pears $3")
    notebook.wait_for_text(DOLLARS, re.compile(r"\$0\.06.*\$0\.01"))
    notebook.run(FORMULA)
    formulas = notebook.page.locator("mjx-container, .MathJax")
    formulas.first.wait_for()
    expect(formulas).to_have_count(1)
