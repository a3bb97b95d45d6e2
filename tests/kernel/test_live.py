"""Cells in a front end with a person: they return at once, and the pictures follow."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import plain_text

pytestmark = pytest.mark.versions

SLOW = "status=stuck,match="


def polls(server):
    """How often the simulator was asked how a task is."""
    requests = server.state()["requests"]
    return sum(r["method"] == "GET" and "text_to_image" in r["path"] for r in requests)


def wait_for_polls(kernel, server, more=3):
    """Wait until tasks have been looked at a few times from now."""
    enough = polls(server) + more
    kernel.wait(lambda: polls(server) >= enough)


def test_cell_returns_before_its_picture(kernel, server):
    """A cell returns while its task is under way, others run, and the picture comes into it."""
    server.fault(SLOW + "returns at once")
    cell = kernel.run_ok("%%gpt_image -o early\na hill that returns at once")
    assert cell.images == []
    assert kernel.value("6 * 7") == 42
    wait_for_polls(kernel, server)
    assert kernel.value("early.status") == "processing"
    assert cell.images == []
    server.clear_faults()
    assert len(kernel.wait_for_images(cell)) == 1
    assert kernel.value("(await early).status") == "completed"


def test_variable_is_bound_before_the_first_look(kernel, server):
    """``-o`` binds the Generation at once, while the request has not even been answered."""
    cell = kernel.run_ok("%gpt_image -o bound a hill bound early\nbound, bound.task_ids")
    assert cell.result.startswith("(<Generation")
    assert cell.result.endswith(", [])")
    kernel.run_ok("await bound")


@pytest.mark.parametrize("outer", ["%%time", "%%time\n%%capture out", "%%capture out\n%%time"])
@pytest.mark.parametrize("inner", ["%runapi status", "%runapi balance", "%gpt_image --wait a hill"])
def test_inside_other_magics(kernel, server, outer, inner):
    """Magics that run ours, which may wait anywhere else, run them; no cell fails."""
    kernel.run_ok(f"{outer}\n{inner}")


def test_a_slow_page_loses_nothing(kernel, server):
    """What 12 pictures from disk send with their buttons fits into ZeroMQ's queue.

    By default that keeps 1,000 messages for a page that takes nothing in, and drops the rest.
    """
    asked = "%gpt_image --yes -n 12 a hill for a slow page"
    kernel.wait_for_images(kernel.run_ok(asked), 12)
    before = len(kernel.received)

    def buttons(name):
        states = [content.get("data", {}).get("state", {}) for content in kernel.received[before:]]
        return [state for state in states if state.get("description") == name]

    kernel.wait_for_images(kernel.run_ok(asked), 12)
    kernel.wait(lambda: len(buttons("Again")) == 12)
    assert len(kernel.received) - before < 1000


def test_several_cells_at_once(kernel, server):
    """Three cells' tasks are under way at the same time, and each picture finds its cell."""
    server.fault(SLOW + "side by side")
    cells = [kernel.run_ok(f"%gpt_image hill {n} side by side") for n in range(3)]
    kernel.wait(lambda: len(server.bodies("side by side")) == 3)
    assert [cell.images for cell in cells] == [[], [], []]
    server.clear_faults()
    for number, cell in enumerate(cells):
        (picture,) = kernel.wait_for_images(cell)
        assert f"hill {number} side by side" in plain_text(picture)


def test_count_shows_as_many_pictures(kernel, server):
    """``-n 3`` makes three tasks and three pictures in one cell."""
    cell = kernel.run_ok("%%gpt_image -n 3 -o three\nthree times a hill")
    pictures = kernel.wait_for_images(cell, 3)
    assert len({picture["data"]["image/jpeg"] for picture in pictures}) == 3
    assert len(server.bodies("three times a hill")) == 3
    assert kernel.value("len(three.images)") == 3


def test_await_in_a_later_cell(kernel, server):
    """``await`` holds a later cell until the picture is there; the picture stays in its own."""
    server.fault(SLOW + "waited for later")
    first = kernel.run_ok("%%gpt_image -o late\na hill waited for later")
    later = kernel.start("await late\nlate.status, late.image.path.exists()")
    wait_for_polls(kernel, server)
    assert not later.is_done
    server.clear_faults()
    kernel.wait(lambda: later.is_done)
    assert later.result == "('completed', True)"
    assert len(first.images) == 1
    assert later.images == []


def test_wait_keeps_a_live_cell(kernel, server):
    """``--wait`` keeps the cell busy until its picture is in place."""
    server.fault(SLOW + "held on")
    cell = kernel.start("%%gpt_image --wait\na hill held on")
    wait_for_polls(kernel, server)
    assert not cell.is_done
    server.clear_faults()
    kernel.wait(lambda: cell.is_done)
    assert len(cell.images) == 1


def test_placeholder_says_what_goes_on(kernel, server):
    """Until the picture comes its place says what is done, and that text goes away with it."""
    server.fault(SLOW + "with a placeholder")
    cell = kernel.run_ok("%gpt_image a hill with a placeholder")
    kernel.wait(lambda: "The service is drawing" in cell.text)
    server.clear_faults()
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "simulated" in cell.text or "$" in cell.text)
    assert "The service is drawing" not in cell.text


def test_edit_of_a_picture_under_way(kernel, server):
    """An edit may name a picture that is still to come: it waits for it and then goes on."""
    server.fault(SLOW + "to be edited")
    kernel.run_ok("%%gpt_image -o source\na hill to be edited")
    edit = kernel.run_ok("%%gpt_edit source -o child\nmake the hill blue at once")
    wait_for_polls(kernel, server)
    assert server.bodies("make the hill blue at once") == []
    server.clear_faults()
    kernel.wait_for_images(edit)
    assert kernel.value("child.image.parent is source.image")


def test_assignment_and_function_and_loop(kernel, server):
    """A magic works as the right side of ``=``, in a function and in a loop."""
    cell = kernel.run_ok(
        "assigned = %gpt_image hill by assignment\n"
        "def make(word):\n"
        "    return get_ipython().run_line_magic('gpt_image', f'hill by {word}')\n"
        "called = make('function')\n"
        "for word in ('loop one', 'loop two'):\n"
        "    %gpt_image hill by {word}\n"
    )
    shown = [plain_text(picture) for picture in kernel.wait_for_images(cell, 4)]
    for word in ("assignment", "function", "loop one", "loop two"):
        assert any(f"hill by {word}" in text for text in shown), word
    assert kernel.value("(type(assigned).__name__, type(called).__name__)") == (
        "Generation",
        "Generation",
    )


def test_generate_from_python_shows_itself(kernel, server):
    """``generate`` as a cell's last line shows its picture there; awaited it gives the result."""
    cell = kernel.run_ok("from runapi_magic import generate\ngenerate('a hill from python')")
    kernel.wait_for_images(cell)
    kernel.run_ok("made = await generate('a second hill from python')")
    assert kernel.value("made.image.prompt") == "a second hill from python"


def test_quiet_shows_nothing(kernel, server):
    """``-q`` makes the picture and puts nothing into the notebook."""
    cell = kernel.run_ok("%%gpt_image -q -o silent\na silent hill")
    kernel.run_ok("await silent")
    assert cell.outputs == []
    assert kernel.value("silent.image.path.exists()")


def test_interrupt_leaves_the_task(kernel, server):
    """Interrupting a wait shows no traceback, names the task, and the picture still comes."""
    server.fault(SLOW + "interrupted")
    cell = kernel.start("%%gpt_image --wait -o stopped\na hill interrupted")
    kernel.wait(lambda: len(server.bodies("interrupted")) == 1)
    wait_for_polls(kernel, server)
    kernel.interrupt()
    kernel.wait(lambda: cell.is_done)
    (task_id,) = kernel.value("stopped.task_ids")
    assert "Traceback" not in cell.text
    assert f"Stopped waiting for task {task_id}." in cell.text
    assert "Await the Generation again" in cell.text
    server.clear_faults()
    kernel.wait_for_images(cell)
    assert kernel.value("(await stopped).status") == "completed"


def test_an_interrupted_wait_is_not_taken_up_again(kernel, server):
    """Where nobody watches, too, an interrupt ends the waiting: the next cell does not wait."""
    server.fault(SLOW + "waited for no more")
    cell = kernel.start("%gpt_image a hill waited for no more", live=False)
    kernel.wait(lambda: len(server.bodies("waited for no more")) == 1)
    wait_for_polls(kernel, server)
    kernel.interrupt()
    kernel.wait(lambda: cell.is_done)
    assert "did not wait" not in cell.text
    assert kernel.run_ok("6 * 7", live=False).result == "42"
    server.clear_faults()
    kernel.wait_for_images(cell)


def test_interrupt_of_an_await(kernel, server):
    """Interrupting ``await`` in a later cell leaves the task under way as well."""
    server.fault(SLOW + "awaited and stopped")
    cell = kernel.run_ok("%%gpt_image -o halted\na hill awaited and stopped")
    waiting = kernel.start("await halted")
    wait_for_polls(kernel, server)
    kernel.interrupt()
    kernel.wait(lambda: waiting.is_done)
    assert "Stopped waiting" in waiting.text
    assert "Traceback" not in waiting.text
    server.clear_faults()
    kernel.wait_for_images(cell)


def test_failed_task_is_told_in_its_cell(kernel, server):
    """A task that fails in the background says in its own cell what, what it cost, what to do."""
    server.fault("status=failed,match=that fails,message=the dragon was asleep")
    cell = kernel.run_ok("%%gpt_image -o failing\na hill that fails")
    kernel.wait(lambda: "the dragon was asleep" in cell.text)
    assert "Failed tasks are not charged." in cell.text
    assert "run the cell again" in cell.text
    assert cell.images == []
    waiting = kernel.run("await failing")
    assert waiting.reply["ename"] == "TaskFailedError"
    assert "Traceback" not in waiting.text
    assert "the dragon was asleep" in waiting.text


def test_nothing_is_left_in_the_log(kernel, server):
    """A failed task that nobody waited for leaves no complaint of asyncio in the kernel's log."""
    server.fault("status=failed,match=nobody waits")
    cell = kernel.run_ok("%gpt_image a hill nobody waits for")
    kernel.wait(lambda: "not charged" in cell.text)
    after = kernel.run_ok("import gc\n_ = gc.collect()")
    assert after.text == ""
    assert "never retrieved" not in kernel.log
    assert "Traceback" not in kernel.log


def test_failure_of_one_of_several(kernel, server):
    """Of three pictures one fails: two are shown, the third's place says why."""
    server.fault("status=failed,match=two of three,times=1,message=bad luck")
    cell = kernel.run_ok("%%gpt_image -n 3 -o partly\ntwo of three hills")
    kernel.wait_for_images(cell, 2)
    kernel.wait(lambda: "bad luck" in cell.text)
    assert kernel.value("((await partly).status, len(partly.images), len(partly.errors))") == (
        "completed",
        2,
        1,
    )
