"""Giving up unfinished tasks: they are not resumed any more, but count as charged."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from IPython.core.error import UsageError

import runapi_magic
from runapi_magic.engine import session as session_module
from runapi_magic.engine.resume import forget_tasks, resume_tasks
from runapi_magic.errors import InvalidRequestError, NotFoundError
from runapi_magic.journal.matching import KEY_LIFETIME
from runapi_magic.journal.startup_check import unfinished_tasks
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import commands

pytestmark = pytest.mark.server


def _set(session, **columns):
    names = ", ".join(f"{name} = ?" for name in columns)
    with session.journal.transaction() as connection:
        connection.execute(f"UPDATE tasks SET {names}", tuple(columns.values()))


async def _stop(session, prompt="a lost fox"):
    """Start a request, cancel it when it is sent, and return its row."""
    generation = session.generate(prompt)
    while not generation.task_ids:  # noqa: ASYNC110 (no event for it)
        await asyncio.sleep(0)
    generation.cancel()
    await generation.ended()
    (row,) = session.journal.unfinished()
    return row


async def _make_denied(session):
    """Return the row of a task that the service does not know, after a resume that found this."""
    row = await _stop(session)
    paths = [path.replace(row.task_id, "tsk_gone") for path in row.attempt.status_paths]
    _set(session, task_id="tsk_gone", status_paths=json.dumps(paths))
    resumed = resume_tasks(session)
    await resumed.ended()
    return row, resumed.errors


async def _make_unanswered(session):
    """Return the row of a request that was sent more than a day ago without a response."""
    row = await _stop(session)
    _set(session, task_id=None, state="sent", created=time.time() - KEY_LIFETIME - 60)
    return row


def _run(session, line):
    command, arguments = commands.find(line)
    return command(session, arguments)


def test_a_task_that_the_service_has_forgotten(service, use, tmp_path):
    """A resume says that the task is unknown and how to give it up; then it is given up."""

    async def body(session):
        row, (error,) = await _make_denied(session)
        output = _run(session, "forget tsk_gone")
        again = resume_tasks(session)
        await again.ended()
        return row, error, output, again.tasks, session.journal.task(row.id)

    row, error, output, tasks, after = use(service, body)
    assert type(error) is NotFoundError
    assert "%runapi forget tsk_gone" in error.todo
    assert "tsk_gone" in output
    assert "may have been charged" in output
    assert tasks == []
    assert (after.state, after.attempt.body) == ("forgotten", row.attempt.body)
    assert unfinished_tasks(tmp_path / "data") == []


@pytest.mark.parametrize("lost", [_make_denied, _make_unanswered])
def test_lost_tasks(service, use, lost):
    """``--lost`` gives up unknown tasks, and old requests without a response."""

    async def body(session):
        await lost(session)
        return _run(session, "forget --lost"), session.journal.unfinished()

    output, unfinished = use(service, body)
    assert "a lost fox" in output
    assert unfinished == []


def test_resumable_tasks_are_not_lost(service, use):
    """``--lost`` keeps tasks that can be resumed."""

    async def body(session):
        row = await _stop(session)
        output = _run(session, "forget --lost")
        resumed = await resume_tasks(session)
        return row, output, resumed

    row, output, resumed = use(service, body)
    assert output.startswith("Nothing is lost")
    assert resumed.task_ids == [row.task_id]


def test_a_task_that_is_found_later(service, use):
    """A task that the service knows after all is not lost."""

    async def body(session):
        row = await _stop(session)
        _set(session, error=f"{NotFoundError.title} (404).")
        denied = session.journal.task(row.id).is_denied
        await resume_tasks(session)
        return denied, _run(session, "forget --lost"), session.journal.task(row.id).state

    denied, output, state = use(service, body)
    assert denied
    assert output.startswith("Nothing is lost")
    assert state == "saved"


@pytest.mark.parametrize("arguments", ["forget tsk_gone", "forget --lost"])
def test_a_task_of_a_running_kernel(service, use, tmp_path, arguments):
    """A task that a running kernel works on is not given up."""
    service.fault("status=stuck")

    async def body(session):
        generation = session.generate("under way")
        while not generation.task_ids:  # noqa: ASYNC110 (no event for it)
            await asyncio.sleep(0)
        arguments_here = arguments.replace("tsk_gone", generation.task_ids[0])
        other = session_module.Session(session.settings, Journal(tmp_path / "data"))
        output = []
        for each in (session, other):
            try:
                output.append(_run(each, arguments_here))
            except InvalidRequestError as error:
                output.append(error.what)
        other.journal.close()
        state = session.journal.task(generation.tasks[0].id).state
        generation.cancel()
        await generation.ended()
        return output, state

    output, state = use(service, body)
    assert [("Nothing is lost" in one) or ("No unfinished task" in one) for one in output] == [
        True
    ] * 2
    assert state in {"sent", "running"}


def test_by_the_id_in_the_journal(service, use):
    """A request without a response has no task ID, so the journal's ID is used."""

    async def body(session):
        row = await _make_unanswered(session)
        listed = commands.COMMANDS["resume"].__globals__["_skipped"](session)
        return row, listed, _run(session, f"forget {row.id}"), session.journal.task(row.id).state

    row, listed, output, state = use(service, body)
    assert f"%runapi forget {row.id}" in listed
    assert row.id in output
    assert state == "forgotten"


def test_a_task_that_was_never_sent(service, use):
    """A task that was never sent is given up as not charged."""

    async def body(session):
        row = await _stop(session)
        _set(session, task_id=None, state="planned", idempotency_key=None)
        output = _run(session, f"forget {row.id}")
        spent = session.budgets.spending(session.service().access.base_url, "")
        return output, session.journal.task(row.id).state, spent.total

    output, state, spent = use(service, body)
    assert "nothing was charged" in output
    assert (state, spent) == ("refused", 0)


def test_it_counts_as_charged(service, use):
    """A sent task that is given up counts against budgets, and a new request is paid."""

    async def body(session):
        origin = session.service().access.base_url
        row, _ = await _make_denied(session)
        before = session.budgets.spending(origin, "").today
        forget_tasks(session.journal, "tsk_gone")
        after = session.budgets.spending(origin, "").today
        again = await session.generate("a lost fox")
        return row, before, after, again

    row, before, after, again = use(service, body)
    assert before == after > 0
    assert again.tasks[0].id != row.id
    assert not again.image.reused
    assert len(service.tasks) == 2


@pytest.mark.parametrize("line", ["forget", "forget --lost now", "forget --all", "forget a b"])
def test_invalid_arguments(service, use, line):
    """Without an ID, or with several, nothing is given up."""

    async def body(session):
        with pytest.raises(UsageError) as caught:
            _run(session, line)
        return str(caught.value)

    _, charged, todo = use(service, body).splitlines()
    assert charged == "Nothing was changed."
    assert "--lost" in todo


def test_an_unknown_id(service, use):
    """An unknown ID is an error, and nothing is changed."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="No unfinished task has the ID nobody"):
            forget_tasks(session.journal, "nobody")

    use(service, body)


def test_from_python(service, use, monkeypatch):
    """``forget`` does the same from Python, and returns the IDs."""

    async def body(session):
        monkeypatch.setattr("runapi_magic.notebook.api.open_session", lambda: session)
        await _make_denied(session)
        for wrong in (runapi_magic.forget, lambda: runapi_magic.forget("x", lost=True)):
            with pytest.raises(InvalidRequestError):
                wrong()
        return runapi_magic.forget("tsk_gone"), runapi_magic.forget(lost=True)

    assert use(service, body) == (["tsk_gone"], [])
