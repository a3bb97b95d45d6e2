"""One image is paid for once, also with concurrent cells or a damaged journal."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.core.status import Phase
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import NOT_CHARGED, NOT_SENT, BudgetError, DownloadError
from runapi_magic.journal.database import JournalError
from tests.engine.money import wait_until

pytestmark = pytest.mark.server


def _is_joined(generation):
    return generation.tasks[0].phase is Phase.JOINED


async def _until(generation, has_come):
    """Wait until a condition of a request is true."""
    come = asyncio.Event()
    stop = generation.subscribe(lambda: come.set() if has_come(generation) else None)
    if not has_come(generation):
        await come.wait()
    stop()


async def _two(session, prompt):
    """Make the same request twice; return both before anything is sent, and an event to go on."""
    go_on, asked, ask = asyncio.Event(), asyncio.Event(), session.pipeline.submitter.submit

    async def ask_later(*arguments):
        asked.set()
        await go_on.wait()
        return await ask(*arguments)

    session.pipeline.submitter.submit = ask_later
    first = session.generate(prompt)
    await asked.wait()
    second = session.generate(prompt)
    await _until(second, _is_joined)
    return first, second, go_on


def _refuse(*_):
    raise JournalError("database is locked")


def test_a_joined_task_that_was_sent(service, use):
    """If another cell stops a task that was sent, the cell that joined it continues it."""

    async def body(session):
        first, second, go_on = await _two(session, "a joined fox")
        go_on.set()
        await _until(first, lambda generation: generation.task_ids)
        first.cancel()
        await first.ended()
        return first, await second

    first, second = use(service, body)
    assert len(second.images) == 1
    assert second.task_ids == first.task_ids
    assert len(service.tasks) == 1


def test_a_joined_task_without_a_journal(service, use, monkeypatch):
    """If the journal cannot be read, a cell that joined a task sends nothing."""

    async def body(session):
        first, second, go_on = await _two(session, "a locked fox")
        with monkeypatch.context() as locked:
            locked.setattr(session.journal, "task", _refuse)
            await second.ended()
        go_on.set()
        await first
        return first, second, session.journal.task(first.tasks[0].id)

    first, second, row = use(service, body)
    assert "journal cannot be read" in second.errors[0].what
    assert len(first.images) == len(service.tasks) == 1
    assert row.state == "saved"


def test_a_joined_task_whose_images_cannot_be_read(service, use, monkeypatch):
    """If a joined task's images cannot be read, the request is not completed."""

    async def body(session):
        first, second, go_on = await _two(session, "a fox behind a lock")
        monkeypatch.setattr(session.journal, "images", _refuse)
        go_on.set()
        await first
        await second.ended()
        return second

    second = use(service, body)
    assert second.status == "failed"
    assert "journal cannot be read" in second.errors[0].what
    assert len(service.tasks) == 1


@pytest.fixture
def taken_over(service, use):
    """Let a request take over a planned task of a dead kernel, under a budget in USD."""

    def run(budget):
        async def body(session):
            first, second, _ = await _two(session, "a fox of a dead kernel")
            session.budgets.set_budget(service.url, "session", budget)
            del session.pipeline.submitter.submit  # from now on, submit is not delayed
            with session.journal.transaction() as connection:
                connection.execute("UPDATE tasks SET owner = 'a dead kernel'")
                connection.execute("UPDATE holds SET owner = 'a dead kernel'")
            await second.ended()
            spending = session.budgets.spending(service.url, "")
            first.cancel()
            await first.ended()
            return second, spending

        return use(service, body)

    return run


def test_taking_over_a_task_over_the_budget(taken_over, service):
    """A planned task of a dead kernel is not sent if the budget has no money left."""
    second, spending = taken_over(0.01)
    assert [type(error) for error in second.errors] == [BudgetError]
    assert second.errors[0].charged == NOT_SENT
    assert service.tasks == []
    assert spending.reserved == 0


def test_taking_over_a_task_releases_the_money(taken_over, service):
    """After a task was taken over, its reservation is released."""
    second, spending = taken_over(0.10)
    assert len(second.images) == len(service.tasks) == 1
    assert spending.session == pytest.approx(service.charged)
    assert spending.reserved == 0


def test_a_reservation_is_released_by_its_own_request(service, use):
    """If two cells joined a task, the end of one does not release the money of the other."""

    async def body(session):
        def reserved():
            return session.budgets.spending(service.url, "").reserved

        first, second, go_on = await _two(session, "a fox for three cells")
        third = session.generate("a fox for three cells")
        await _until(third, _is_joined)
        session.budgets.set_budget(service.url, "session", 0.10)
        first.cancel()
        await first.ended()
        with session.journal.transaction() as connection:
            connection.execute("UPDATE tasks SET state = 'planned', owner = 'a dead kernel'")
        # One of them takes over the task, and waits until it may submit it.
        await asyncio.to_thread(wait_until, reserved)
        owner, other = (third, second) if _is_joined(second) else (second, third)
        other.cancel()
        await other.ended()
        before = reserved()
        go_on.set()
        await owner
        return before, reserved()

    assert use(service, body) == (pytest.approx(0.06), 0)
    assert len(service.tasks) == 1


def test_a_joined_task_that_ended_without_a_reason(service, use):
    """The error about a joined task that was not sent names a reason and no charge."""

    async def body(session):
        first, second, _ = await _two(session, "a fox without a reason")
        with session.journal.transaction() as connection:
            connection.execute("UPDATE tasks SET state = 'refused', owner = NULL")
        await second.ended()
        first.cancel()
        await first.ended()
        return second.errors[0]

    error = use(service, body)
    assert "None" not in error.what
    assert error.charged == NOT_CHARGED


def test_a_joined_image_that_cannot_be_loaded(service, use, monkeypatch):
    """If a joined task's image cannot be loaded, the error denies that a task is running."""

    async def refuse(*_, **__):
        raise DownloadError("The file is damaged.")

    async def body(session):
        first, second, go_on = await _two(session, "a fox in a damaged file")
        monkeypatch.setattr(session.pipeline.image_store, "load", refuse)
        go_on.set()
        await first
        await second.ended()
        return second.errors[0]

    error = use(service, body)
    assert error.charged == "Nothing was sent for this cell."
    assert "%runapi resume" not in error.todo


def test_a_task_of_which_only_the_id_was_recorded(service, use, monkeypatch):
    """A task is resumed if the journal has only its ID, and is not paid for again."""

    async def lose(session):
        monkeypatch.setattr(session.journal, "mark_sent", _refuse)
        generation = session.generate("a fox on a full disk")
        await _until(generation, lambda generation: generation.task_ids)
        generation.cancel()
        await generation.ended()
        return generation

    async def resume(session):
        return await resume_tasks(session)

    lost, resumed = use(service, lose), use(service, resume)
    assert resumed.task_ids == lost.task_ids
    assert len(resumed.images) == len(service.tasks) == 1


@pytest.mark.parametrize("trouble", ["stopped at once", "a locked journal"])
def test_a_task_that_nobody_works_on(service, use, monkeypatch, trouble):
    """A task that this kernel owns but does not run is resumed, at no cost."""

    async def body(session):
        left = session.generate("a left fox")
        await _until(left, lambda generation: generation.task_ids)
        with monkeypatch.context() as locked:
            if trouble == "a locked journal":
                locked.setattr(session.journal, "release_task", _refuse)
                transaction = session.journal.transaction
                locked.setattr(
                    session.journal,
                    "transaction",
                    lambda: _refuse() if left.errors else transaction(),
                )
            left.cancel()
            await left.ended()
        if trouble == "stopped at once":
            stopped = resume_tasks(session)
            stopped.cancel()
            await stopped.ended()
            assert "Not charged" not in str(stopped.errors[0])
        assert [task.task_id for task in session.journal.unfinished()] == left.task_ids
        async with asyncio.timeout(20):
            return await session.generate("a left fox")

    assert len(use(service, body).images) == 1
    assert len(service.tasks) == 1
