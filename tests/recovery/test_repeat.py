"""A request whose response was lost is not sent under a new key while the old key may work."""

from __future__ import annotations

import pytest
from PIL import Image

from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import MAYBE_CHARGED, ConflictError, RunAPIError
from tests.conftest import KEY
from tests.recovery.run import run


async def lose_the_response(session, server):
    """Send an edit whose response is lost, whether or not the task is created."""
    Image.radial_gradient("L").save("source.png")
    lost = session.edit("source.png", "invert")
    await lost.ended()
    assert lost.errors[0].doubtful
    server.clear_faults()


@pytest.fixture
def session_and_server(home, simulator_server, monkeypatch):
    """Return a session and its server. Pauses between attempts are short."""
    monkeypatch.setattr("runapi_magic.http.retry._FIRST_BACKOFF", 0.01)
    return Session(Settings(base_url=simulator_server.url, api_key=KEY)), simulator_server


def test_a_rejected_repeat_without_a_task(session_and_server):
    """If the repeat is rejected and no task exists, the request is sent anew and charged once."""
    session, server = session_and_server

    async def main():
        server.fault("create=drop_before")
        await lose_the_response(session, server)
        server.fault("create=422,times=1")
        return await resume_tasks(session)

    resumed = run(session, main())
    assert resumed.image.prompt == "invert"
    assert server.state()["tasks_created"] == 1


def test_a_rejected_repeat_with_a_task(session_and_server):
    """If the repeat is rejected although the task exists, no second task is created."""
    session, server = session_and_server

    async def main():
        server.fault("create=drop_after")
        await lose_the_response(session, server)
        server.fault("create=422,times=1")
        session.service()._known.clear()  # the upload has expired, so the request's body differs
        with pytest.raises(RunAPIError) as error:
            await resume_tasks(session)
        return error.value

    error = run(session, main())
    assert isinstance(error, ConflictError)
    assert error.charged == MAYBE_CHARGED
    assert "--new" in error.todo
    assert server.state()["tasks_created"] == 1
