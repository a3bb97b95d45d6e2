"""A page that is loaded again while a picture is coming: it says so, and nothing is lost."""

from __future__ import annotations

from tests.browser.lab import LOAD, STUCK

SAID = "while the page was closed: gpt-images/"
ADVICE = "Run the cell again to see it here, at no cost."


def _arrived(workspace, name):
    return list((workspace.folder / "gpt-images").glob(f"{name}-*.png"))


def test_page_loaded_again(open_lab, workspace, server):
    """The next cell says what came meanwhile, and so does the old one; its re-run is free."""
    server.fault(STUCK + "loaded again")
    lab = open_lab(LOAD, "%%gpt_image -o ship\na ship loaded again", "1 + 1", "await ship")
    lab.run(0)
    lab.run(1)
    lab.button(1, "Cancel").wait_for()
    lab.wait_for_text(1, "The service is drawing")
    lab.save()
    lab.reload()
    server.clear_faults()
    lab.wait_for_text(1, ADVICE, ".jupyter-widgets")
    lab.run(2)
    lab.wait_for_text(2, SAID + "a-ship-loaded-again")
    assert lab.images(1).count() == 0
    lab.run(1)
    lab.wait_for_images(1)
    lab.wait_for_text(1, "from disk")
    assert len(server.bodies("loaded again")) == 1
    assert len(_arrived(workspace, "a-ship-loaded-again")) == 1
    lab.run(2)
    lab.wait_for_text(2, "2")
    assert SAID not in lab.cell(2).locator(".jp-OutputArea").inner_text()
