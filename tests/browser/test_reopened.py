"""A saved notebook that is opened without its kernel: images, captions, no broken widgets."""

from __future__ import annotations

import json

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import LOAD, Lab

CELLS = (
    LOAD,
    "%%gpt_image\na lighthouse to keep",
    "%gpt_image --sweep animal=fox,owl a {animal} to keep",
    "%gpt_panel",
    "%runapi freeze",
)
IMAGES = {1: 1, 2: 1, 3: 0}  # by cell


def freeze(lab):
    """Remove the buttons with %runapi freeze."""
    lab.run(4)
    lab.wait_for_text(4, "The buttons were removed")


def restart(lab):
    """Restart the kernel from the menu."""
    lab.restart()


def shut_down(lab):
    """Shut down the kernel from the menu."""
    lab.shut_down_from_menu()


@pytest.mark.versions
@pytest.mark.parametrize("end", [freeze, restart, shut_down])
def test_reopened(open_lab, workspace, page, end):
    """After freeze, restart or shutdown, the saved notebook opens with images and captions only."""
    lab = open_lab(*CELLS)
    lab.run(0)
    for number in (1, 2):
        lab.run(number)
        lab.wait_for_images(number)
    lab.run(3)
    lab.button(1, "Edit").wait_for()
    lab.button(3, "Generate").wait_for()
    lab.wait_for_text(1, "gpt-images/")
    lab.wait_for_text(2, "2 of 2 images")
    end(lab)
    for number in IMAGES:
        lab.cell(number).locator(".jupyter-widgets").first.wait_for(state="detached")
    lab.save()
    path = next(workspace.folder.glob("test_reopened*.ipynb"))
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert "widget" not in json.dumps([cell.outputs for cell in notebook.cells])
    assert "widgets" not in notebook.metadata

    lab.shut_down()
    page.goto("about:blank")
    again = Lab(page, workspace.url, path.name)
    for number, count in IMAGES.items():
        expect(again.images(number)).to_have_count(count)
    again.wait_for_text(1, "a lighthouse to keep")
    assert page.get_by_text("Error displaying widget").count() == 0
    again.shut_down()
    path.unlink()
