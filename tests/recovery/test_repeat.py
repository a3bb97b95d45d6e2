"""A request whose response was lost is not sent under a new key while the old key may work."""

from __future__ import annotations

import pytest
from PIL import Image

from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import MAYBE_CHARGED, ConflictError, RunAPIError, ValidationError
from runapi_magic.http.client import Client
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


def test_a_cancelled_repeat_sends_nothing_new(session_and_server, monkeypatch):
    """If you cancel while a repeat is being rejected, the request is not sent anew."""
    session, server = session_and_server
    resumed, post = [], Client.post

    async def cancel_then_reject(client, attempt, **options):
        try:
            return await post(client, attempt, **options)
        except ValidationError:
            resumed[0].cancel()
            await options["stop"].wait()
            raise

    async def main():
        server.fault("create=drop_before")
        await lose_the_response(session, server)
        server.fault("create=422,times=1")
        monkeypatch.setattr(Client, "post", cancel_then_reject)
        resumed.append(resume_tasks(session))
        await resumed[0].ended()
        return session.journal.task(resumed[0].tasks[0].id)

    row = run(session, main())
    assert resumed[0].status == "cancelled"
    assert resumed[0].errors[0].charged == MAYBE_CHARGED
    assert (row.state, row.owner) == ("sent", None)
    assert server.state()["tasks_created"] == 0


def test_a_repeat_keeps_its_key_on_its_own_route(home, use, scripted, png):
    """A new POST after a rejected repeat has the old key on the old route, not a new key."""
    server = scripted()
    flat = "POST /v1/text_to_image"
    server.answers[flat] = [(502, {}, b"")]
    images = [{"url": f"{server.url}/a.png"}]
    done = {"id": "tsk_1", "status": "completed", "images": images}

    async def lose(session):
        lost = session.generate("a fox")
        await lost.ended()
        assert lost.errors[0].doubtful
        return session.journal.task(lost.tasks[0].id)

    async def resume(session):
        return await resume_tasks(session)

    row = use(server, lose, timeout=1.0)
    assert row.attempt.path == "/v1/text_to_image"
    server.seen.clear()
    server.answers |= {flat: [(422, {}, b""), (200, {}, done)], "GET /a.png": [(200, {}, png)]}
    use(server, resume)
    posts = [(path, head["idempotency-key"]) for _, path, head, _ in server.received("POST")]
    assert posts == [(row.attempt.path, row.attempt.idempotency_key)] * 2
