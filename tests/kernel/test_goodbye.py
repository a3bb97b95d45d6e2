"""Buttons leave the notebook: by %runapi freeze, and when the kernel is shut down in order."""

from __future__ import annotations

import json

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import is_image, start_kernel


@pytest.fixture
def own(tmp_path):
    """A kernel for one test, which may end it."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            yield kernel


def widgets(cell):
    """How many outputs of a cell name a widget."""
    return json.dumps(cell.outputs).count("widget-view+json")


@pytest.mark.versions
def test_shutdown(own):
    """An orderly shutdown leaves pictures and captions, and no output that names a widget."""
    cell = own.run_ok("%%gpt_image\na hill to say goodbye to")
    own.wait_for_images(cell)
    sheet = own.run_ok("%gpt_image --sweep animal=fox,owl a {animal} to say goodbye to")
    own.wait_for_images(sheet)
    panel = own.run_ok("%gpt_panel")
    assert [widgets(cell), widgets(sheet), widgets(panel)] == [1, 2, 2]
    own.client.shutdown()
    own.wait(lambda: widgets(cell) + widgets(sheet) + widgets(panel) == 0)
    assert [len(cell.images), len(sheet.images)] == [1, 1]
    assert "a hill to say goodbye to" in cell.text


@pytest.mark.versions
def test_freeze(kernel):
    """``%runapi freeze`` takes the buttons out of all cells, once; a re-run brings them back."""
    first = kernel.run_ok("%%gpt_image\na hill to freeze")
    kernel.wait_for_images(first)
    assert widgets(first) == 1
    said = kernel.run_ok("%runapi freeze")
    assert "The buttons were taken out;" in said.text
    assert "Save the notebook now: it opens anywhere." in said.text
    assert widgets(first) == 0
    assert len(first.images) == 1
    assert "There are no buttons" in kernel.run_ok("%runapi freeze").text
    again = kernel.run_ok("%%gpt_image\na hill to freeze")
    kernel.wait_for_images(again)
    assert widgets(again) == 1


def test_freeze_while_a_picture_is_coming(kernel, server):
    """Freezing stops nothing: the picture comes into its cell, without buttons."""
    server.fault("status=stuck,match=freeze early")
    cell = kernel.run_ok("%%gpt_image -o early\na hill to freeze early")
    said = kernel.run_ok("%runapi freeze")
    assert "under way comes without buttons: save the notebook when it is there" in said.text
    server.clear_faults()
    kernel.wait_for_images(cell)
    assert widgets(cell) == 0
    assert "Save the notebook now" not in said.text


def test_freeze_answers_a_question_with_no(kernel, server):
    """A question that is frozen before its answer counts as declined, and nothing is sent."""
    cell = kernel.run_ok("%%gpt_image -n 11 -o many\neleven hills to freeze")
    kernel.wait(lambda: "11 pictures: $0.66" in str(kernel.received))
    kernel.run_ok("%runapi freeze")
    kernel.wait(lambda: "declined" in cell.text)
    assert "Nothing was sent" in cell.text
    assert server.bodies("eleven hills to freeze") == []
    assert not any(is_image(output) for output in cell.outputs)


def test_progress_of_a_batch_is_plain(kernel):
    """A batch's bar is text, updated in place: no widget is left behind."""
    kernel.run_ok("from runapi_magic import generate_many")
    cell = kernel.run_ok("batch = generate_many(['a hill', 'a lake'], title='Two')")
    kernel.wait(lambda: "2/2" in cell.text)
    assert widgets(cell) == 0
    assert "Two: 100%" in cell.text
