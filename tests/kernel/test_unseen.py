"""Messages about images that arrived while the page was closed: once, in the right cell."""

from __future__ import annotations

import uuid

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

LOAD = "%load_ext runapi_magic"
MESSAGE = "while the page was closed: gpt-images/"


def comm_ids(kernel):
    """Return the ids of the comms through which the page answers, one for each image."""
    opened = [one for one in kernel.received if one.get("target_name") == "jupyter.widget"]
    return [one["comm_id"] for one in opened if "root" in one["data"]["state"]]


def send_from_page(kernel, comm, word):
    """Send a message from the page, as placed.js does."""
    data = {"method": "custom", "content": {"says": word}}
    content = {"comm_id": comm, "data": data}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", content))


def visibility_requests(kernel):
    """Return the messages that ask the page whether an image is visible."""
    contents = [one.get("data", {}).get("content", {}) for one in kernel.received]
    return [content["look"] for content in contents if "look" in content]


def reload_page(kernel):
    """Change the session, as a reload of the page does."""
    kernel.client.session.session = uuid.uuid4().hex


def start_task(kernel, server, prompt):
    """Start a task that does not end yet, in a page that answers."""
    server.fault(f"status=stuck,match={prompt}")
    known = len(comm_ids(kernel))
    cell = kernel.run_ok(f"%%gpt_image -o made\n{prompt}")
    kernel.wait(lambda: len(comm_ids(kernel)) > known)
    send_from_page(kernel, comm_ids(kernel)[-1], "here")
    assert kernel.value("made.is_done") is False
    return cell


def finish_task(kernel, server, cell):
    """Let the task end, and wait until the kernel asks the page for the image's visibility."""
    before = len(visibility_requests(kernel))
    server.clear_faults()
    kernel.wait_for_images(cell)
    kernel.wait(lambda: len(visibility_requests(kernel)) > before)


@pytest.mark.versions
def test_reloaded_page_shows_the_message_once(kernel, server):
    """After a reload the first cell shows the message, and the next cell does not."""
    cell = start_task(kernel, server, "a hill behind a closed page")
    finish_task(kernel, server, cell)
    reload_page(kernel)
    assert MESSAGE + "a-hill-behind-a-closed-page" in kernel.run_ok("1 + 1").text
    assert MESSAGE not in kernel.run_ok("1 + 1").text


def test_open_page_shows_no_message(kernel, server):
    """A page that runs another cell was open all the time, whether it answered or not."""
    cell = start_task(kernel, server, "a hill in an open page")
    finish_task(kernel, server, cell)
    assert MESSAGE not in kernel.run_ok("1 + 1").text
    reload_page(kernel)
    assert MESSAGE not in kernel.run_ok("1 + 1").text


def test_no_message_about_a_visible_image(kernel, server):
    """If the page has answered that the image is visible, a reloaded page shows no message."""
    cell = start_task(kernel, server, "a hill that is seen")
    finish_task(kernel, server, cell)
    send_from_page(kernel, comm_ids(kernel)[-1], "seen")
    reload_page(kernel)
    assert MESSAGE not in kernel.run_ok("1 + 1").text


def test_no_message_in_a_front_end_that_never_answers(kernel, server):
    """If the front end cannot answer whether an image is visible, there is no message."""
    cell = kernel.run_ok("%%gpt_image\na hill in a silent front end")
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert MESSAGE not in kernel.run_ok("1 + 1").text


def test_no_message_about_saved_images(kernel, server):
    """An image from an earlier request gives no message."""
    first = kernel.run_ok("%%gpt_image\na hill from the disk")
    kernel.wait_for_images(first)
    known = len(comm_ids(kernel))
    cell = kernel.run_ok("%%gpt_image\na hill from the disk")
    kernel.wait(lambda: len(comm_ids(kernel)) > known)
    send_from_page(kernel, comm_ids(kernel)[-1], "here")
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert MESSAGE not in kernel.run_ok("1 + 1").text


def test_no_message_after_freeze(kernel, server):
    """A user who removes the buttons before the image arrives sees the image."""
    cell = start_task(kernel, server, "a hill that is frozen")
    kernel.run_ok("%runapi freeze")
    server.clear_faults()
    kernel.wait_for_images(cell)
    reload_page(kernel)
    assert MESSAGE not in kernel.run_ok("1 + 1").text


@pytest.fixture
def own_server(tmp_path):
    """Start a simulator server; return it and a function that starts kernels with one journal."""
    with serve_simulator("--speed", "60") as server:
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        yield server, lambda *cells: start_kernel(tmp_path, environment, *cells)


def test_next_kernel_shows_the_message(own_server):
    """``%load_ext`` in the next kernel shows the message once."""
    server, start = own_server
    with start(LOAD) as kernel:
        cell = start_task(kernel, server, "a hill of yesterday")
        finish_task(kernel, server, cell)
        kernel.client.shutdown()
        kernel.wait(lambda: not kernel.manager.is_alive())
    with start() as kernel:
        assert MESSAGE + "a-hill-of-yesterday" in kernel.run_ok(LOAD).text
    with start() as kernel:
        assert kernel.run_ok(LOAD).text == ""
    assert len(server.bodies("yesterday")) == 1
