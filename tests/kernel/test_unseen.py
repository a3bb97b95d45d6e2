"""Pictures that came when no page was there are told of, once, and in the right place."""

from __future__ import annotations

import uuid

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

LOAD = "%load_ext runapi_magic"
SAID = "while the page was closed: gpt-images/"


def pages(kernel):
    """Return the comms that stand for the page below each picture, oldest first."""
    opened = [one for one in kernel.received if one.get("target_name") == "jupyter.widget"]
    return [one["comm_id"] for one in opened if "root" in one["data"]["state"]]


def says(kernel, comm, word):
    """Let the page say something, as placed.js does."""
    data = {"method": "custom", "content": {"says": word}}
    content = {"comm_id": comm, "data": data}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", content))


def looks(kernel):
    """Return the questions whether a picture is seen."""
    contents = [one.get("data", {}).get("content", {}) for one in kernel.received]
    return [content["look"] for content in contents if "look" in content]


def reload_page(kernel):
    """Go on as a page that was loaded again: with another session."""
    kernel.client.session.session = uuid.uuid4().hex


def make(kernel, server, prompt):
    """Run a cell whose picture comes later, in a page that answers."""
    server.fault(f"status=stuck,match={prompt}")
    known = len(pages(kernel))
    cell = kernel.run_ok(f"%%gpt_image -o made\n{prompt}")
    kernel.wait(lambda: len(pages(kernel)) > known)
    says(kernel, pages(kernel)[-1], "here")
    assert kernel.value("made.is_done") is False
    return cell


def finish(kernel, server, cell):
    """Let the picture come, and wait until its page was asked."""
    asked = len(looks(kernel))
    server.clear_faults()
    kernel.wait_for_images(cell)
    kernel.wait(lambda: len(looks(kernel)) > asked)


@pytest.mark.versions
def test_another_page_is_told_once(kernel, server):
    """The first cell of a page that was loaded again says what came; the next says nothing."""
    cell = make(kernel, server, "a hill behind a closed page")
    finish(kernel, server, cell)
    reload_page(kernel)
    assert SAID + "a-hill-behind-a-closed-page" in kernel.run_ok("1 + 1").text
    assert SAID not in kernel.run_ok("1 + 1").text


def test_the_same_page_is_not_told(kernel, server):
    """A page that runs another cell was there all the time, whether it answered or not."""
    cell = make(kernel, server, "a hill in an open page")
    finish(kernel, server, cell)
    assert SAID not in kernel.run_ok("1 + 1").text
    reload_page(kernel)
    assert SAID not in kernel.run_ok("1 + 1").text


def test_what_was_seen_is_not_told(kernel, server):
    """What a page has said that it shows is not told to the next page."""
    cell = make(kernel, server, "a hill that is seen")
    finish(kernel, server, cell)
    says(kernel, pages(kernel)[-1], "seen")
    reload_page(kernel)
    assert SAID not in kernel.run_ok("1 + 1").text


def test_a_page_that_never_answers_is_not_told(kernel, server):
    """Where the front end cannot say what it shows, nothing is guessed."""
    cell = kernel.run_ok("%%gpt_image\na hill in a silent front end")
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert SAID not in kernel.run_ok("1 + 1").text


def test_pictures_from_disk_are_not_told(kernel, server):
    """What was paid for before is no news."""
    first = kernel.run_ok("%%gpt_image\na hill from the disk")
    kernel.wait_for_images(first)
    known = len(pages(kernel))
    cell = kernel.run_ok("%%gpt_image\na hill from the disk")
    kernel.wait(lambda: len(pages(kernel)) > known)
    says(kernel, pages(kernel)[-1], "here")
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert SAID not in kernel.run_ok("1 + 1").text


def test_what_was_frozen_is_not_told(kernel, server):
    """Somebody who takes the buttons out before the picture comes is there to see it."""
    cell = make(kernel, server, "a hill that is frozen")
    kernel.run_ok("%runapi freeze")
    server.clear_faults()
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert SAID not in kernel.run_ok("1 + 1").text


@pytest.fixture
def own(tmp_path):
    """A simulator server, and a function that starts a kernel with its journal."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        yield server, lambda *cells: start_kernel(tmp_path, environment, *cells)


def test_the_next_kernel_says_so(own):
    """What came after the page was closed is told by the next kernel's ``%load_ext``, once."""
    server, start = own
    with start(LOAD) as kernel:
        cell = make(kernel, server, "a hill of yesterday")
        finish(kernel, server, cell)
        kernel.client.shutdown()
        kernel.wait(lambda: not kernel.manager.is_alive())
    with start() as kernel:
        assert SAID + "a-hill-of-yesterday" in kernel.run_ok(LOAD).text
    with start() as kernel:
        assert kernel.run_ok(LOAD).text == ""
    assert len(server.bodies("yesterday")) == 1
