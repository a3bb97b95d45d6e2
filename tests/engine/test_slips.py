"""Mistakes of the user and of the service: nothing is lost, and nothing is paid in vain."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine import session as session_module
from runapi_magic.errors import NOT_SENT, ConnectionFailedError, InvalidRequestError
from runapi_magic.http.responses import Response
from runapi_magic.http.transport import Transport
from runapi_magic.notebook import commands
from runapi_magic.notebook.api import edit, generate, generate_many, open_image, resume_batch
from tests.conftest import KEY
from tests.faults.clock import Clock
from tests.sessions import write_image

pytestmark = pytest.mark.server


def test_a_source_that_changed(service, use):
    """A file that was changed before its upload is not sent."""

    async def body(session):
        write_image("plot.png", "orange")
        first = session.edit("plot.png", "a poster")
        write_image("plot.png", "blue")
        second = session.edit("plot.png", "a poster")
        await first.ended()
        return first, await second

    first, second = use(service, body)
    assert "was changed" in first.errors[0].what
    assert len(second.images) == len(service.tasks) == 1


def test_an_edit_of_an_empty_list(service, use):
    """An edit of an empty list is refused, because it would generate a new image."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="no image to edit"):
            session.edit([], "make it night")

    use(service, body)
    assert service.tasks == []


def test_a_status_path_that_is_a_web_page(answering, scripted, png, make):
    """If a status path returns a web page, the next path is polled."""
    server = scripted()
    done = {"status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    server.answers = {
        "POST /v1/text_to_image": [(200, {}, {"task_id": "tsk_1", "status": "pending"})],
        "GET /v1/text_to_image/tsk_1": [(200, {"Content-Type": "text/html"}, b"<!doctype html>")],
        "GET /v1/tasks/tsk_1": [(200, {}, done)],
        "GET /a.png": [(200, {}, png)],
    }
    fields = {"model": "gpt-image-2-text-to-image"}
    assert make(server, fields=fields, timeout=5.0).image.path.is_file()


def test_a_long_cell_while_connecting(monkeypatch):
    """A connection that timed out during a long cell is retried."""
    clock, answers = Clock(monkeypatch), []

    async def once(*_):
        if not answers:
            answers.append(None)
            clock.now += 300  # the cell
            raise ConnectionFailedError("It cannot be reached.")
        return Response(200, {}, b"{}")

    monkeypatch.setattr(Transport, "_send_once", once)
    transport = Transport(Access("http://127.0.0.1", Secret(KEY), "a test", "a test"))
    assert asyncio.run(transport.request("GET", "/x", timeout=60.0)).status_code == 200


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: generate("a hen", count="2"), "count must be a whole number (got '2')"),
        (lambda: generate("a hen", count=2.5), "count must be a whole number (got 2.5)"),
        (lambda: generate("a hen", count=10**9), "1,000,000,000"),
        (lambda: edit("hen.png", None), "NoneType"),
        (lambda: generate("a hen", model=2), "The model is of type int"),
        (
            lambda: generate_many(["a hen"], concurrency=-1),
            "at least 1 (got -1)",
        ),
        (lambda: generate_many(["a hen"], concurrency=0), "at least 1 (got 0)"),
        (
            lambda: generate_many(["a hen"], concurrency="4"),
            "concurrency must be a whole number (got '4')",
        ),
        (lambda: generate_many(["a hen"], max_cost="a lot"), "max_cost is of type str"),
        (lambda: open_image(5), "type int"),
        (lambda: resume_batch(["a hen"]), "type list"),
    ],
)
def test_invalid_values(service, use, monkeypatch, ask, words):
    """A value of a wrong type or size is refused at once, and nothing is sent."""
    write_image("hen.png", "orange")

    async def body(session):
        monkeypatch.setitem(session_module._current, "session", session)
        with pytest.raises(InvalidRequestError) as caught:
            ask()
        return caught.value

    error = use(service, body)
    assert words in error.what
    assert (error.charged, bool(error.todo)) == (NOT_SENT, True)
    assert service.requests == []


def test_an_invalid_count_of_a_cell(service, use):
    """A typo such as ``-n 1000000000`` is refused before anything is calculated."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="count must be at most 10,000"):
            session.request("a hen", count=10**9)
        return session.request("a hen", count=np.int64(2)).count

    assert use(service, body) == 2


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf"])
def test_an_invalid_speed(service, use, speed):
    """An invalid simulator speed is refused, and RunAPI answers as before."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="finite number of more than 0"):
            commands.simulator(session, ["on", "--speed", speed])
        return session.simulator

    assert use(service, body) is None


def test_a_source_without_a_list(service, use, monkeypatch):
    """A single source of any kind needs no list."""
    write_image("hen.png", "orange")

    async def body(session):
        monkeypatch.setitem(session_module._current, "session", session)
        first = await generate("at night", sources="hen.png")
        second = await generate("at dawn", sources=first.image)
        third = await generate("at noon", sources=np.zeros((8, 8, 3), np.uint8))
        batch = await generate_many(["at dusk"], sources=first.image, progress=False)
        made = [first.image, second.image, third.image, *batch.images]
        return [len(image.request.sources) for image in made]

    assert use(service, body) == [1] * 4
    assert len(service.tasks) == 4
