"""A page that is reloaded while a task runs: a message, and no lost image."""

from __future__ import annotations

from tests.browser.lab import LOAD, STUCK

MESSAGE = "while the page was closed: gpt-images/"
ADVICE = "Run the cell again to see it here, at no cost."


def _saved_files(workspace, name):
    return list((workspace.folder / "gpt-images").glob(f"{name}-*.png"))


def test_reload_while_a_task_runs(open_lab, workspace, server):
    """The next cell and the old output say which image arrived. The cell runs again at no cost."""
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
    lab.wait_for_text(2, MESSAGE + "a-ship-loaded-again")
    assert lab.images(1).count() == 0
    lab.run(1)
    lab.wait_for_images(1)
    lab.wait_for_text(1, "cached")
    assert len(server.bodies("loaded again")) == 1
    assert len(_saved_files(workspace, "a-ship-loaded-again")) == 1
    lab.run(2)
    lab.wait_for_text(2, "2")
    assert MESSAGE not in lab.cell(2).locator(".jp-OutputArea").inner_text()
