"""Cells in a live front end: they return at once, and their images arrive later."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import plain_text

pytestmark = pytest.mark.versions

STUCK = "status=stuck,match="  # the start of a fault; a part of a prompt follows


def count_polls(server):
    """Return how often the kernel polled the status of a task."""
    requests = server.state()["requests"]
    return sum(r["method"] == "GET" and "text_to_image" in r["path"] for r in requests)


def wait_for_polls(kernel, server, more=3):
    """Wait until the kernel has polled a few more times."""
    enough = count_polls(server) + more
    kernel.wait(lambda: count_polls(server) >= enough)


def test_cell_returns_before_its_image(kernel, server):
    """A cell returns while its task runs. Other cells run, and the image appears in the first."""
    server.fault(STUCK + "returns at once")
    cell = kernel.run_ok("%%gpt_image -o early\na hill that returns at once")
    assert cell.images == []
    assert kernel.value("6 * 7") == 42
    wait_for_polls(kernel, server)
    assert kernel.value("early.status") == "processing"
    assert cell.images == []
    server.clear_faults()
    assert len(kernel.wait_for_images(cell)) == 1
    assert kernel.value("(await early).status") == "completed"


def test_variable_is_bound_before_the_first_poll(kernel, server):
    """``-o`` binds the Generation at once, before the service has answered the request."""
    cell = kernel.run_ok("%gpt_image -o bound a hill bound early\nbound, bound.task_ids")
    assert cell.result.startswith("(<Generation")
    assert cell.result.endswith(", [])")
    kernel.run_ok("await bound")


@pytest.mark.parametrize("outer", ["%%time", "%%time\n%%capture out", "%%capture out\n%%time"])
@pytest.mark.parametrize("inner", ["%runapi status", "%runapi balance", "%gpt_image --wait a hill"])
def test_inside_other_magics(kernel, server, outer, inner):
    """Our magics run inside %%time and %%capture, where a cell cannot wait. No cell fails."""
    kernel.run_ok(f"{outer}\n{inner}")


def test_slow_page_receives_all_messages(kernel, server):
    """The messages of 12 cached images with buttons fit into ZeroMQ's queue.

    By default the queue keeps 1,000 messages for a page that reads none, and drops the rest.
    """
    code = "%gpt_image --yes -n 12 a hill for a slow page"
    kernel.wait_for_images(kernel.run_ok(code), 12)
    before = len(kernel.received)

    def buttons(name):
        states = [content.get("data", {}).get("state", {}) for content in kernel.received[before:]]
        return [state for state in states if state.get("description") == name]

    kernel.wait_for_images(kernel.run_ok(code), 12)
    kernel.wait(lambda: len(buttons("Again")) == 12)
    assert len(kernel.received) - before < 1000


def test_several_cells_at_once(kernel, server):
    """The tasks of three cells run at the same time, and each image appears in its own cell."""
    server.fault(STUCK + "side by side")
    cells = [kernel.run_ok(f"%gpt_image hill {n} side by side") for n in range(3)]
    kernel.wait(lambda: len(server.bodies("side by side")) == 3)
    assert [cell.images for cell in cells] == [[], [], []]
    server.clear_faults()
    for number, cell in enumerate(cells):
        (image,) = kernel.wait_for_images(cell)
        assert f"hill {number} side by side" in plain_text(image)


def test_count_makes_as_many_images(kernel, server):
    """``-n 3`` creates three tasks and shows three images in one cell."""
    cell = kernel.run_ok("%%gpt_image -n 3 -o three\nthree times a hill")
    images = kernel.wait_for_images(cell, 3)
    assert len({image["data"]["image/jpeg"] for image in images}) == 3
    assert len(server.bodies("three times a hill")) == 3
    assert kernel.value("len(three.images)") == 3


def test_await_in_a_later_cell(kernel, server):
    """``await`` in a later cell waits for the image, which appears in its own cell only."""
    server.fault(STUCK + "waited for later")
    first = kernel.run_ok("%%gpt_image -o late\na hill waited for later")
    later = kernel.start("await late\nlate.status, late.image.path.exists()")
    wait_for_polls(kernel, server)
    assert not later.is_done
    server.clear_faults()
    kernel.wait(lambda: later.is_done)
    assert later.result == "('completed', True)"
    assert len(first.images) == 1
    assert later.images == []


def test_wait_keeps_a_live_cell_running(kernel, server):
    """``--wait`` keeps the cell running until it shows its image."""
    server.fault(STUCK + "held on")
    cell = kernel.start("%%gpt_image --wait\na hill held on")
    wait_for_polls(kernel, server)
    assert not cell.is_done
    server.clear_faults()
    kernel.wait(lambda: cell.is_done)
    assert len(cell.images) == 1


def test_placeholder_shows_the_progress(kernel, server):
    """A placeholder shows the progress until the image replaces it."""
    server.fault(STUCK + "with a placeholder")
    cell = kernel.run_ok("%gpt_image a hill with a placeholder")
    kernel.wait(lambda: "The service is drawing" in cell.text)
    server.clear_faults()
    kernel.wait_for_images(cell)
    kernel.wait(lambda: "simulated" in cell.text or "$" in cell.text)
    assert "The service is drawing" not in cell.text


def test_edit_of_a_running_task(kernel, server):
    """An edit of an image that is still being generated waits for it and is then sent."""
    server.fault(STUCK + "to be edited")
    kernel.run_ok("%%gpt_image -o source\na hill to be edited")
    edit = kernel.run_ok("%%gpt_edit source -o child\nmake the hill blue at once")
    wait_for_polls(kernel, server)
    assert server.bodies("make the hill blue at once") == []
    server.clear_faults()
    kernel.wait_for_images(edit)
    assert kernel.value("child.image.parent is source.image")


def test_magic_in_assignment_function_and_loop(kernel, server):
    """A magic works on the right side of ``=``, in a function and in a loop."""
    cell = kernel.run_ok(
        "assigned = %gpt_image hill by assignment\n"
        "def make(word):\n"
        "    return get_ipython().run_line_magic('gpt_image', f'hill by {word}')\n"
        "called = make('function')\n"
        "for word in ('loop one', 'loop two'):\n"
        "    %gpt_image hill by {word}\n"
    )
    shown = [plain_text(image) for image in kernel.wait_for_images(cell, 4)]
    for word in ("assignment", "function", "loop one", "loop two"):
        assert any(f"hill by {word}" in text for text in shown), word
    assert kernel.value("(type(assigned).__name__, type(called).__name__)") == (
        "Generation",
        "Generation",
    )


def test_generate_from_python(kernel, server):
    """``generate`` as a cell's last line shows its image; ``await`` returns the result."""
    cell = kernel.run_ok("from runapi_magic import generate\ngenerate('a hill from python')")
    kernel.wait_for_images(cell)
    kernel.run_ok("made = await generate('a second hill from python')")
    assert kernel.value("made.image.prompt") == "a second hill from python"


def test_quiet_shows_nothing(kernel, server):
    """``-q`` makes the image and shows nothing in the notebook."""
    cell = kernel.run_ok("%%gpt_image -q -o silent\na silent hill")
    kernel.run_ok("await silent")
    assert cell.outputs == []
    assert kernel.value("silent.image.path.exists()")


def test_interrupt_does_not_cancel_the_task(kernel, server):
    """An interrupt stops waiting without a traceback and names the task. The image still comes."""
    server.fault(STUCK + "interrupted")
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


def test_interrupted_wait_is_not_resumed(kernel, server):
    """After an interrupt in an unattended run, the next cell does not wait for the task."""
    server.fault(STUCK + "waited for no more")
    cell = kernel.start("%gpt_image a hill waited for no more", live=False)
    kernel.wait(lambda: len(server.bodies("waited for no more")) == 1)
    wait_for_polls(kernel, server)
    kernel.interrupt()
    kernel.wait(lambda: cell.is_done)
    assert "being generated" not in cell.text
    assert kernel.run_ok("6 * 7", live=False).result == "42"
    server.clear_faults()
    kernel.wait_for_images(cell)


def test_interrupt_of_an_await(kernel, server):
    """An interrupt of ``await`` in a later cell does not cancel the task."""
    server.fault(STUCK + "awaited and stopped")
    cell = kernel.run_ok("%%gpt_image -o halted\na hill awaited and stopped")
    waiting = kernel.start("await halted")
    wait_for_polls(kernel, server)
    kernel.interrupt()
    kernel.wait(lambda: waiting.is_done)
    assert "Stopped waiting" in waiting.text
    assert "Traceback" not in waiting.text
    server.clear_faults()
    kernel.wait_for_images(cell)


def test_failed_task_shows_an_error_in_its_cell(kernel, server):
    """A failed task shows in its cell what happened, that it is not charged, and what to do."""
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


def test_failed_task_leaves_the_log_empty(kernel, server):
    """A failed task that no cell awaits causes no asyncio warning in the kernel's log."""
    server.fault("status=failed,match=nobody waits")
    cell = kernel.run_ok("%gpt_image a hill nobody waits for")
    kernel.wait(lambda: "not charged" in cell.text)
    after = kernel.run_ok("import gc\n_ = gc.collect()")
    assert after.text == ""
    assert "never retrieved" not in kernel.log
    assert "Traceback" not in kernel.log


def test_one_of_three_tasks_fails(kernel, server):
    """If one of three tasks fails, the cell shows two images and the reason of the failure."""
    server.fault("status=failed,match=two of three,times=1,message=bad luck")
    cell = kernel.run_ok("%%gpt_image -n 3 -o partly\ntwo of three hills")
    kernel.wait_for_images(cell, 2)
    kernel.wait(lambda: "bad luck" in cell.text)
    assert kernel.value("((await partly).status, len(partly.images), len(partly.errors))") == (
        "completed",
        2,
        1,
    )
