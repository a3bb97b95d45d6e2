"""Removal of the buttons: by %runapi freeze, and when the kernel shuts down."""

from __future__ import annotations

import json

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import is_image, start_kernel


@pytest.fixture
def own_kernel(tmp_path):
    """Start a kernel for one test, which may shut it down."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            yield kernel


def count_widgets(cell):
    """Return how many outputs of a cell name a widget."""
    return json.dumps(cell.outputs).count("widget-view+json")


@pytest.mark.versions
def test_shutdown_removes_the_buttons(own_kernel):
    """After a shutdown the images and captions are there, and no output names a widget."""
    kernel = own_kernel
    cell = kernel.run_ok("%%gpt_image\na hill to say goodbye to")
    kernel.wait_for_images(cell)
    sheet = kernel.run_ok("%gpt_image --sweep animal=fox,owl a {animal} to say goodbye to")
    kernel.wait_for_images(sheet)
    panel = kernel.run_ok("%gpt_panel")
    assert [count_widgets(cell), count_widgets(sheet), count_widgets(panel)] == [1, 2, 2]
    kernel.client.shutdown()
    kernel.wait(lambda: count_widgets(cell) + count_widgets(sheet) + count_widgets(panel) == 0)
    assert [len(cell.images), len(sheet.images)] == [1, 1]
    assert "a hill to say goodbye to" in cell.text


@pytest.mark.versions
def test_freeze_removes_the_buttons(kernel):
    """``%runapi freeze`` removes the buttons of all cells. A cell that runs again has new ones."""
    first = kernel.run_ok("%%gpt_image\na hill to freeze")
    kernel.wait_for_images(first)
    assert count_widgets(first) == 1
    message = kernel.run_ok("%runapi freeze")
    assert "The buttons were removed;" in message.text
    assert "Save the notebook now: it opens anywhere." in message.text
    assert count_widgets(first) == 0
    assert len(first.images) == 1
    assert "There are no buttons" in kernel.run_ok("%runapi freeze").text
    again = kernel.run_ok("%%gpt_image\na hill to freeze")
    kernel.wait_for_images(again)
    assert count_widgets(again) == 1


def test_freeze_while_a_task_runs(kernel, server):
    """Freezing stops no task: the image arrives in its cell, without buttons."""
    server.fault("status=stuck,match=freeze early")
    cell = kernel.run_ok("%%gpt_image -o early\na hill to freeze early")
    message = kernel.run_ok("%runapi freeze")
    assert (
        "still running will have no buttons: save the notebook when they are done" in message.text
    )
    server.clear_faults()
    kernel.wait_for_images(cell)
    assert count_widgets(cell) == 0
    assert "Save the notebook now" not in message.text


def test_freeze_declines_an_open_question(kernel, server):
    """A question that is frozen without an answer counts as declined, and nothing is sent."""
    cell = kernel.run_ok("%%gpt_image -n 11 -o many\neleven hills to freeze")
    kernel.wait(lambda: "11 images: $0.66" in str(kernel.received))
    kernel.run_ok("%runapi freeze")
    kernel.wait(lambda: "declined" in cell.text)
    assert "Nothing was sent" in cell.text
    assert server.bodies("eleven hills to freeze") == []
    assert not any(is_image(output) for output in cell.outputs)


def test_progress_of_a_batch_is_text(kernel):
    """A batch's progress bar is text that is updated, not a widget."""
    kernel.run_ok("from runapi_magic import generate_many")
    cell = kernel.run_ok("batch = generate_many(['a hill', 'a lake'], title='Two')")
    kernel.wait(lambda: "2/2" in cell.text)
    assert count_widgets(cell) == 0
    assert "Two: 100%" in cell.text
