"""What cannot be finished is given up: it is not offered again, and is counted as charged."""

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
    """Ask for a picture and stop waiting for it; return its row."""
    generation = session.generate(prompt)
    while not generation.task_ids:  # noqa: ASYNC110 (it tells nobody)
        await asyncio.sleep(0)
    generation.cancel()
    await generation.ended()
    (row,) = session.journal.unfinished()
    return row


async def _make_denied(session):
    """Return the row of a task that the service does not know, after a resume that found it so."""
    row = await _stop(session)
    paths = [path.replace(row.task_id, "tsk_gone") for path in row.attempt.status_paths]
    _set(session, task_id="tsk_gone", status_paths=json.dumps(paths))
    resumed = resume_tasks(session)
    await resumed.ended()
    return row, resumed.errors


async def _make_unanswered(session):
    """Return the row of a request that was sent more than a day ago and never answered."""
    row = await _stop(session)
    _set(session, task_id=None, state="sent", created=time.time() - KEY_LIFETIME - 60)
    return row


def _run(session, line):
    command, arguments = commands.find(line)
    return command(session, arguments)


def test_a_task_that_the_service_has_forgotten(service, use, tmp_path):
    """A resume says that the service does not know it and how to give it up; then it is gone."""

    async def body(session):
        row, (error,) = await _make_denied(session)
        said = _run(session, "forget tsk_gone")
        again = resume_tasks(session)
        await again.ended()
        return row, error, said, again.tasks, session.journal.task(row.id)

    row, error, said, tasks, after = use(service, body)
    assert type(error) is NotFoundError
    assert "%runapi forget tsk_gone" in error.todo
    assert "tsk_gone" in said
    assert "may have been charged" in said
    assert tasks == []
    assert (after.state, after.attempt.body) == ("forgotten", row.attempt.body)
    assert unfinished_tasks(tmp_path / "data") == []


@pytest.mark.parametrize("lost", [_make_denied, _make_unanswered])
def test_all_that_is_lost(service, use, lost):
    """``--lost`` gives up what the service denied, and what it never answered."""

    async def body(session):
        await lost(session)
        return _run(session, "forget --lost"), session.journal.unfinished()

    said, unfinished = use(service, body)
    assert "a lost fox" in said
    assert unfinished == []


def test_what_is_not_lost(service, use):
    """``--lost`` leaves alone what can be resumed: it was neither denied nor left unanswered."""

    async def body(session):
        row = await _stop(session)
        said = _run(session, "forget --lost")
        resumed = await resume_tasks(session)
        return row, said, resumed

    row, said, resumed = use(service, body)
    assert said.startswith("Nothing is lost")
    assert resumed.task_ids == [row.task_id]


def test_one_that_was_denied_and_then_found(service, use):
    """A task that the service knows after all is not lost any more."""

    async def body(session):
        row = await _stop(session)
        _set(session, error=f"{NotFoundError.title} (404).")
        denied = session.journal.task(row.id).is_denied
        await resume_tasks(session)
        return denied, _run(session, "forget --lost"), session.journal.task(row.id).state

    denied, said, state = use(service, body)
    assert denied
    assert said.startswith("Nothing is lost")
    assert state == "saved"


@pytest.mark.parametrize("arguments", ["forget tsk_gone", "forget --lost"])
def test_what_a_living_kernel_works_on(service, use, tmp_path, arguments):
    """What is under way is not given up, in this kernel or from another one."""
    service.fault("status=stuck")

    async def body(session):
        generation = session.generate("under way")
        while not generation.task_ids:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0)
        arguments_here = arguments.replace("tsk_gone", generation.task_ids[0])
        other = session_module.Session(session.settings, Journal(tmp_path / "data"))
        said = []
        for each in (session, other):
            try:
                said.append(_run(each, arguments_here))
            except InvalidRequestError as error:
                said.append(error.what)
        other.journal.close()
        state = session.journal.task(generation.tasks[0].id).state
        generation.cancel()
        await generation.ended()
        return said, state

    said, state = use(service, body)
    assert [("Nothing is lost" in one) or ("No unfinished task" in one) for one in said] == [
        True
    ] * 2
    assert state in {"sent", "running"}


def test_by_the_id_in_the_journal(service, use):
    """A request without an answer has no id of the service's; the journal's own is enough."""

    async def body(session):
        row = await _make_unanswered(session)
        listed = commands.COMMANDS["resume"].__globals__["_skipped"](session)
        return row, listed, _run(session, f"forget {row.id}"), session.journal.task(row.id).state

    row, listed, said, state = use(service, body)
    assert f"%runapi forget {row.id}" in listed
    assert row.id in said
    assert state == "forgotten"


def test_what_was_never_sent(service, use):
    """A task that was only planned is given up as not charged."""

    async def body(session):
        row = await _stop(session)
        _set(session, task_id=None, state="planned", idempotency_key=None)
        said = _run(session, f"forget {row.id}")
        spent = session.budgets.spending(session.service().access.base_url, "")
        return said, session.journal.task(row.id).state, spent.total

    said, state, spent = use(service, body)
    assert "nothing was charged" in said
    assert (state, spent) == ("refused", 0)


def test_it_counts_as_charged(service, use):
    """What was given up after it was sent counts against budgets, and the same is paid again."""

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
def test_what_it_does_not_take(service, use, line):
    """Without an id, or with more than one word, nothing is given up, and the words are told."""

    async def body(session):
        with pytest.raises(UsageError) as caught:
            _run(session, line)
        return str(caught.value)

    _, charged, todo = use(service, body).splitlines()
    assert charged == "Nothing was changed."
    assert "--lost" in todo


def test_an_id_that_is_not_there(service, use):
    """An id that no unfinished task has is told, with nothing changed."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="No unfinished task has the ID nobody"):
            forget_tasks(session.journal, "nobody")

    use(service, body)


def test_from_python(service, use, monkeypatch):
    """``forget`` does the same from Python, and returns the ids."""

    async def body(session):
        monkeypatch.setattr("runapi_magic.notebook.api.open_session", lambda: session)
        await _make_denied(session)
        for wrong in (runapi_magic.forget, lambda: runapi_magic.forget("x", lost=True)):
            with pytest.raises(InvalidRequestError):
                wrong()
        return runapi_magic.forget("tsk_gone"), runapi_magic.forget(lost=True)

    assert use(service, body) == (["tsk_gone"], [])
