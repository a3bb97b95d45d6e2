"""Confirmation of requests for many or expensive images: by ``--yes`` or by a click."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import FIND_WIDGETS, NOT_SENT, error_message

FIND_QUESTION = """
from runapi_magic.widgets import placed

def question():
    button = newest(Button, "Generate")
    boxes = [w for w in _instances.values() if button in getattr(w, "children", ())]
    return boxes[-1]

def is_asked():
    box = question()
    is_placed = any(box in one._root.children for one in placed._placed)
    return is_placed and box.layout.display != "none"

def toolbars(count):
    made = [w for w in _instances.values() if "runapi-toolbar" in getattr(w, "_dom_classes", ())]
    return made[-count:]
"""


@pytest.fixture
def asking(kernel):
    """Let the kernel ask for confirmation of more than two images."""
    kernel.run_ok("%config RunAPIMagics.ask_above_count = 2")
    kernel.run_ok(FIND_WIDGETS)
    kernel.run_ok(FIND_QUESTION)
    yield kernel
    kernel.run_ok("%config RunAPIMagics.ask_above_count = 10")


def test_many_images_in_an_unattended_run(kernel, server):
    """In an unattended run, requests for more than ten images need ``--yes``."""
    message = error_message(kernel.run("%%gpt_image -n 11 -q\na hill eleven times", live=False))
    assert "11 images: $0.66 (quoted)." in message
    assert NOT_SENT in message
    assert "Add --yes" in message
    assert server.bodies("eleven times") == []
    kernel.run_ok("%%gpt_image -n 11 -q --yes\na hill eleven times", live=False)
    assert len(server.bodies("eleven times")) == 11
    again = kernel.run_ok("%%gpt_image -n 11 -q -o free\na hill eleven times", live=False)
    assert "yes" not in again.text
    assert kernel.value("[len(free.images), free.cost]") == [11, 0.0]
    assert len(server.bodies("eleven times")) == 11


def test_expensive_images_in_an_unattended_run(kernel, server):
    """In an unattended run, requests for more than one dollar need ``--yes``, too."""
    message = error_message(kernel.run("%%gpt_image -n 7 -r 4k -a 3:2\na large hill", live=False))
    assert "7 images: $1.12 (quoted)." in message
    assert server.bodies("a large hill") == []


@pytest.mark.versions
def test_click_on_generate(asking, server):
    """A live cell asks for confirmation and sends nothing before a click on Generate."""
    cell = asking.run_ok("%%gpt_image -n 3 -o agreed\na hill to agree on")
    asking.wait(lambda: asking.value("is_asked()"))
    assert "3 images: $0.18 (quoted)" in asking.value("question().children[0].value")
    asking.wait(lambda: cell.text.strip() == "Waiting for your click above; nothing is sent yet")
    assert asking.value("[bar.layout.display for bar in toolbars(3)]") == ["none"] * 3
    assert server.bodies("to agree on") == []
    asking.run_ok("newest(Button, 'Generate').click()")
    assert len(asking.wait_for_images(cell, 3)) == 3
    assert asking.value("is_asked()") is False
    assert asking.value("[bar.layout.display for bar in toolbars(3)]") == [None] * 3
    assert len(server.bodies("to agree on")) == 3
    again = asking.run_ok("%%gpt_image -n 3\na hill to agree on")
    assert len(asking.wait_for_images(again, 3)) == 3
    assert asking.value("is_asked()") is False
    assert len(server.bodies("to agree on")) == 3


def test_click_on_cancel(asking, server):
    """A click on Cancel sends nothing and says so. The same cell then asks again."""
    cell = asking.run_ok("%%gpt_image -n 3 -o declined\na hill to decline")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[2].click()")
    asking.wait(lambda: "declined" in cell.text)
    assert NOT_SENT in error_message(cell)
    assert "to be asked again" in cell.text
    assert asking.value("[declined.status, is_asked()]") == ["failed", False]
    assert server.bodies("to decline") == []
    asking.run_ok("%%gpt_image -n 3 -o declined\na hill to decline")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[1].click()\nquestion().children[2].click()")
    assert asking.value("len((await declined).images)") == 3


SWEEP = "%%gpt_image -o {0} --sweep style=oil,ink,wax\na {{style}} hill to {0}"


def test_confirmed_sweep(asking, server):
    """A sweep has no contact sheet before the click. A retry of its failures needs no click."""
    server.fault("create=422,match=hill to agree,message=not today,times=3")
    cell = asking.run_ok(SWEEP.format("agree"))
    asking.wait(lambda: "Waiting for your click above" in cell.text)
    assert cell.images == []
    assert " s ·" not in cell.text
    asking.run_ok("newest(Button, 'Generate').click()")
    asking.wait(lambda: "0 of 3 images, 3 failed" in cell.text)
    asking.wait_for_images(cell)
    asking.run_ok("agree.retry_failed()")
    asking.wait(lambda: "3 of 3 images" in cell.text)
    assert asking.value("is_asked()") is False


def test_declined_sweep(asking, server):
    """A declined sweep shows one error, without a contact sheet and without a retry button."""
    cell = asking.run_ok(SWEEP.format("drop"))
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[2].click()")
    asking.wait(lambda: "declined" in cell.text)
    assert cell.text.strip().splitlines() == [
        "BudgetError: 3 images: $0.18 (quoted): declined.",
        NOT_SENT,
        "Run the cell again to be asked again.",
    ]
    assert cell.images == []
    assert asking.value("newest(Button, 'Retry failed').layout.display") == "none"
    assert server.bodies("hill to drop") == []


def test_yes_needs_no_click(asking, server):
    """With ``--yes`` a live cell does not ask for confirmation."""
    cell = asking.run_ok("%%gpt_image -n 3 --yes\na hill that is paid for")
    assert len(asking.wait_for_images(cell, 3)) == 3


def test_cancel_of_an_open_question(asking, server):
    """``%runapi cancel`` removes the question, and a later click sends nothing."""
    asking.run_ok("%%gpt_image -n 3 -o asked\na hill that is asked about")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("%runapi cancel")
    asking.wait(lambda: asking.value("asked.status") == "cancelled")
    assert asking.value("is_asked()") is False
    asking.run_ok("newest(Button, 'Generate').click()")
    assert server.bodies("asked about") == []
