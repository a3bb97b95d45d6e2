"""Cells and buttons in JupyterLab, in a real browser."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import LOAD, STUCK, XSS, choose
from tests.conftest import ROOT


def test_cell_returns_before_its_image(open_lab, server):
    """A cell returns while its task runs. Another cell runs, and then the image appears."""
    server.fault(STUCK + "takes its time")
    lab = open_lab(LOAD, "%%gpt_image -o cat\na cat that takes its time", "20 + 22")
    lab.run(0)
    lab.run(1)
    lab.wait_until_done(1)
    lab.wait_for_text(1, "The service is drawing")
    lab.run(2)
    lab.wait_for_text(2, "42")
    assert lab.images(1).count() == 0
    server.clear_faults()
    lab.wait_for_images(1)
    lab.wait_for_text(1, "gpt-images/a-cat-that-takes-its-time")
    assert lab.images(1).count() == 1


@pytest.mark.versions
def test_buttons(open_lab, server, workspace):
    """Edit (by Enter or Go), both arrows, Again and Save as work in one output."""
    lab = open_lab(LOAD, "%%gpt_image -o cat\na cat with buttons", "len(cat.images)")
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    first = lab.source(1)

    lab.click(1, "Edit")
    lab.type(1, "make it blue")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "2 of 2")
    lab.wait_for_text(1, "gpt-images/make-it-blue")
    blue = lab.source(1)
    assert blue != first
    assert lab.images(1).count() == 1

    lab.click(1, "Previous version")
    lab.wait_for_text(1, "1 of 2")
    lab.wait_for_text(1, "gpt-images/a-cat-with-buttons")
    assert lab.source(1) == first
    lab.click(1, "Next version")
    lab.wait_for_text(1, "2 of 2")
    lab.wait_for_text(1, "gpt-images/make-it-blue")
    assert lab.source(1) == blue

    lab.click(1, "Edit")
    lab.type(1, "put it in a frame")
    lab.click(1, "Go ($0.06)")
    lab.wait_for_text(1, "3 of 3")
    lab.click(1, "Again ($0.06)")
    lab.wait_for_text(1, "4 of 4")
    assert len(server.bodies("put it in a frame")) == 2

    lab.click(1, "Save as")
    lab.type(1, "saved/cat.jpg")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "Saved: saved/cat.jpg")
    assert (workspace.folder / "saved" / "cat.jpg").read_bytes().startswith(b"\xff\xd8")
    lab.run(2)
    lab.wait_for_text(2, "4")


def test_empty_instruction_is_rejected(open_lab, server):
    """An empty instruction gives a message and sends nothing."""
    lab = open_lab(LOAD, "%gpt_image a cat without instruction")
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    before = len(server.state()["tasks"])
    lab.click(1, "Edit")
    lab.click(1, "Go ($0.06)")
    lab.wait_for_text(1, "Nothing was sent.")
    assert len(server.state()["tasks"]) == before
    message = lab.cell(1).locator(".widget-html").get_by_text("Nothing was sent.")
    expect(message).to_have_count(1)
    choose(lab.cell(1).get_by_role("combobox", name="Presets"), "Remove the background")
    expect(message).to_have_count(0)


def test_cancel_button(open_lab, server):
    """Cancel stops waiting and says in the cell that the task may be charged."""
    server.fault(STUCK + "cancelled by hand")
    lab = open_lab(LOAD, "%gpt_image a cat cancelled by hand")
    lab.run(0)
    lab.run(1)
    lab.wait_for_text(1, "The service is drawing")
    lab.click(1, "Cancel")
    lab.wait_for_text(1, "Stopped waiting")
    lab.wait_for_text(1, "may be charged")
    assert lab.images(1).count() == 0


def test_markup_in_texts_stays_text(open_lab, server):
    """Markup in a prompt, an instruction or an error of the service is shown as text."""
    server.fault(f"status=failed,match=refuse,message={XSS}")
    lab = open_lab(LOAD, f"%%gpt_image\n{XSS}", f"%%gpt_image\nrefuse {XSS}", "1 + 1")
    dialogs = []
    lab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    lab.wait_for_text(1, "<b>bold</b>")
    lab.run(2)
    lab.wait_for_text(2, "<b>bold</b>")
    lab.wait_for_text(2, "not charged")
    lab.click(1, "Edit")
    lab.type(1, f"refuse {XSS}")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "<b>bold</b>", ".runapi-toolbar")
    lab.run(3)
    lab.wait_for_text(3, "2")
    assert dialogs == []
    assert lab.page.evaluate("window.hacked") is None
    outputs = lab.page.locator(".jp-OutputArea-output")
    assert outputs.locator("img[src=x]").count() == 0
    assert outputs.locator("b").count() == 0


@pytest.mark.versions
def test_saved_notebook_shows_the_image_after_a_reload(open_lab, server):
    """After a save and a reload, the notebook shows the image that arrived after its cell."""
    lab = open_lab(LOAD, "%gpt_image -a 1:1 a cat that survives")
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    lab.wait_for_text(1, "gpt-images/a-cat-that-survives")
    shown = lab.source(1)
    lab.save()
    lab.reload()
    lab.wait_for_images(1)
    assert lab.source(1) == shown
    lab.wait_for_text(1, "gpt-images/a-cat-that-survives")


def test_run_all_cells_of_the_quickstart(open_lab):
    """With Run All Cells in JupyterLab, the quickstart shows all its images and no error."""
    quickstart = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", 4)
    lab = open_lab(notebook=quickstart)
    lab.run_all()
    last = len(quickstart.cells) - 2  # a text cell follows it
    lab.wait_until_done(last)
    images = lab.page.locator(".jp-RenderedImage img")
    images.nth(6).wait_for(timeout=60_000)
    assert images.count() == 7
    assert "[(1024, 1024), (1024, 1024)]" in lab.cell(last).inner_text()
    errors = lab.page.locator("[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0
