"""Faults while a task is polled: no task is lost, and the messages are true."""

from __future__ import annotations

import pytest

from runapi_magic.errors import (
    AuthenticationError,
    PermissionDeniedError,
    TaskFailedError,
    TaskTimeoutError,
)
from runapi_magic.http.client import Client
from tests.engine.answers import SDK, SOON, done
from tests.faults.clock import Clock

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "fault",
    ["status=500,times=2", "status=bad_json,times=2", "status=drop,times=2", "status=empty,times=2",
     "status=429,retry_after=0.1,times=2", "status=404,times=2", "status=unknown,times=2",
     "status=synonyms", "status=redirect_foreign,times=1"],
)  # fmt: skip
def test_failed_polls(service, make, fault):
    """After failed polls, polling continues and the image comes."""
    service.fault(fault)
    assert make(service).image.path.is_file()
    assert len(service.tasks) == 1


def test_an_unknown_status(service, use):
    """An unknown status does not end the task, and there is one notice."""
    service.fault("status=unknown,word=dreaming,times=2")

    async def body(session):
        await session.generate("a fox")
        return session.notices

    (notice,) = use(service, body)
    assert "'dreaming'" in notice


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError)]
)
def test_a_key_that_is_revoked(service, fail, status, kind):
    """If the key is refused while a task runs, the task is not called free."""
    service.fault(f"status={status}")
    _, error, row = fail(service)
    assert type(error) is kind
    assert error.task_id == service.tasks[0]["id"] == row.task_id
    assert "may be charged" in error.charged
    assert "resume" in error.todo
    assert row.state == "running"


def test_an_unknown_task(service, fail):
    """If all status paths return 404, the error has the task ID, and the task can be resumed."""
    service.fault("status=404")
    _, error, row = fail(service)
    assert error.status_code == 404
    assert error.task_id in str(error)
    assert "may be charged" in error.charged
    assert f"%runapi resume {row.task_id}" in error.todo
    assert row.state == "running"


def test_a_timeout(service, fail):
    """At the timeout the error has the task ID, the possible charge, and how to resume."""
    service.fault("status=stuck")
    _, error, row = fail(service, timeout=1.0)
    task_id = service.tasks[0]["id"]
    assert type(error) is TaskTimeoutError
    assert f"Task {task_id} was not finished after 1 s" in error.what
    assert "may be charged" in error.charged
    assert f"%runapi resume {task_id}" in error.todo
    assert (row.state, row.task_id, row.owner) == ("running", task_id, None)


def test_a_long_cell_after_a_poll(scripted, make, png, monkeypatch):
    """A long cell between two polls does not cause a timeout."""
    clock, get = Clock(monkeypatch), Client.get

    async def held_up(*arguments):
        answer = await get(*arguments)
        clock.now += 30
        return answer

    monkeypatch.setattr(Client, "get", held_up)
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(200, {}, {"id": "tsk_1", "status": "pending"})],
        f"GET {SDK}/tsk_1": [(200, {}, {"status": "processing"}), done(server, "a")],
        "GET /a": [(200, {}, png)],
    }
    assert make(server, timeout=8.0).image.path.is_file()


def test_a_timeout_with_failed_polls(service, fail):
    """If the last polls failed, the timeout error has the reason of the last one."""
    service.fault("status=bad_json")
    _, error, _ = fail(service, timeout=1.0)
    assert type(error) is TaskTimeoutError
    assert "The last poll failed: " in error.what


def test_a_timeout_after_an_earlier_failure(service, fail):
    """The timeout error does not mention a poll that failed long before."""
    service.fault("status=bad_json,times=1", "status=stuck")
    _, error, _ = fail(service, timeout=1.0)
    assert type(error) is TaskTimeoutError
    assert "last look failed" not in str(error)


def test_a_failed_task(scripted, fail):
    """A failed task has the service's reason, and is not charged."""
    server = scripted()
    failed = {"id": "tsk_1", "status": "failed", "error": "too many foxes"}
    server.answers = {
        f"POST {SDK}": [(200, SOON, {"id": "tsk_1"})],
        f"GET {SDK}/tsk_1": [(200, SOON, {"status": "processing"}), (200, {}, failed)],
    }
    generation, error, row = fail(server)
    assert type(error) is TaskFailedError
    assert "too many foxes" in error.what
    assert "tsk_1" in error.parts[0]
    assert error.charged == "Failed tasks are not charged."
    assert error.todo
    assert (generation.status, row.state) == ("failed", "failed")


def test_a_task_that_failed_at_once(scripted, fail):
    """A POST whose response has a failed task raises its reason without polling."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(200, {}, {"id": "tsk_1", "status": "failed", "error": "no"})]
    _, error, _ = fail(server)
    assert type(error) is TaskFailedError
    assert error.task_id == "tsk_1"
    assert len(server.seen) == 1


def test_a_task_without_images(service, fail):
    """A completed task without images is not called free, and can be resumed."""
    service.fault("status=no_images")
    _, error, row = fail(service)
    assert "completed without an image" in error.what
    assert error.task_id == service.tasks[0]["id"]
    assert "charged" in error.charged
    assert "not charged" not in error.charged
    assert error.task_id in error.todo
    assert row.state == "completed"
