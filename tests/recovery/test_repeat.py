"""A request whose answer was lost is never asked for under a second key while a first may hold."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import MAYBE_CHARGED, ConflictError, RunAPIError
from tests.conftest import KEY


async def lose_the_answer(session, server):
    """Ask for an edit whose answer is lost for good, though the task is made or not."""
    Image.radial_gradient("L").save("source.png")
    lost = session.edit("source.png", "invert")
    await lost.ended()
    assert lost.errors[0].doubtful
    server.clear_faults()


async def closing(session, work):
    """Await some work, then close the connections that it opened."""
    try:
        return await work
    finally:
        await session.service().client.transport.close()


@pytest.fixture
def asked(home, simulator_server, monkeypatch):
    """A session, and the server that it asks; pauses between repeats are short."""
    monkeypatch.setattr("runapi_magic.http.retry._FIRST_BACKOFF", 0.01)
    return Session(Settings(base_url=simulator_server.url, api_key=KEY)), simulator_server


def test_a_refused_repeat_of_what_was_never_taken(asked):
    """Where the repeat is refused and there is no task, it is asked afresh, and paid for once."""
    session, server = asked

    async def main():
        server.fault("create=drop_before")
        await lose_the_answer(session, server)
        server.fault("create=422,times=1")
        return await session.resume()

    resumed = asyncio.run(closing(session, main()))
    assert resumed.image.prompt == "invert"
    assert server.state()["tasks_created"] == 1


def test_a_refused_repeat_of_what_was_taken(asked):
    """Where a service refuses a repeat although it has the task, no second task is made."""
    session, server = asked

    async def main():
        server.fault("create=drop_after")
        await lose_the_answer(session, server)
        server.fault("create=422,times=1")
        session.service()._known.clear()  # its upload has expired: another address, another body
        with pytest.raises(RunAPIError) as error:
            await session.resume()
        return error.value

    error = asyncio.run(closing(session, main()))
    assert isinstance(error, ConflictError)
    assert error.charged == MAYBE_CHARGED
    assert "--new" in error.todo
    assert server.state()["tasks_created"] == 1
