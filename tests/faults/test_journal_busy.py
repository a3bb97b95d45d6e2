"""A journal that another program locks: every request that is sent is also recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager

import pytest

from runapi_magic.batch.begin import begin_batch
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import NOT_SENT, BudgetError
from runapi_magic.journal import async_journal, database
from runapi_magic.journal.budgets import Budgets
from runapi_magic.journal.database import JournalBusyError, JournalDamagedError
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import commands
from tests.conftest import KEY
from tests.faults.fast_simulators import fast_simulators

BUSY = "another program has locked"


@pytest.fixture(scope="module")
def server():
    """Run a simulator with tiny images."""
    with fast_simulators(1) as (server,):
        yield server


@pytest.fixture
def use(server, tmp_path):
    """Return a function that runs a coroutine function with a new session."""

    def run(body):
        async def main():
            settings = Settings(
                base_url=server.url, api_key=KEY, image_dir=str(tmp_path / "images"), timeout=30
            )
            session = Session(settings, Journal(tmp_path / "data"))
            session.journal.unfinished()  # creates the file that the tests lock
            try:
                return await asyncio.wait_for(body(session), 60)
            finally:
                session.journal.close()
                await session.service().client.transport.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def hurry(monkeypatch):
    """Shorten the journal's timeouts and pauses to a hundredth."""
    for name in ("_TIMEOUT", "_NOTICE_AFTER", "_LONGEST_DELAY", "_RETRY_DELAY"):
        monkeypatch.setattr(async_journal, name, getattr(async_journal, name) / 100)
    monkeypatch.setattr(database, "_SHORT_TIMEOUT", 0.01)


class Other:
    """Another program with an open write transaction."""

    def __init__(self, path):
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def lock(self):
        """Begin the transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def unlock(self):
        """Roll the transaction back."""
        self._connection.execute("ROLLBACK")


@contextmanager
def _other(session):
    other = Other(session.journal.path)
    try:
        yield other
    finally:
        other._connection.close()


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("budget", [None, "day", "session"])
@pytest.mark.parametrize("count", [1, 3])
def test_locked_for_too_long(server, use, budget, count):
    """The request waits and is then refused. Nothing is sent; error and notice give the reason."""
    prompt = f"locked too long {budget} {count}"

    async def body(session):
        if budget is not None:
            session.budgets.set_budget(server.url, budget, 5.0)
        with _other(session) as other:
            other.lock()
            generation = session.generate(prompt, count=count)
            await generation.ended()
        return generation.errors, session.notices

    errors, notices = use(body)
    assert {type(error) for error in errors} == {JournalBusyError}
    assert {error.charged for error in errors} == {NOT_SENT}
    assert BUSY in errors[0].what
    assert "try again" in errors[0].todo
    assert server.bodies(prompt) == []
    assert [BUSY in notice for notice in notices] == [True]


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("moment", ["allocate", "reserve", "mark_sent"])
def test_locked_before_the_post(server, use, monkeypatch, moment):
    """If any step before the POST fails: nothing is sent, and no reservation is left."""
    prompt = f"locked from {moment}"
    kind = Budgets if moment == "reserve" else Journal
    real = getattr(kind, moment)

    async def body(session):
        session.budgets.set_budget(server.url, "day", 5.0)
        with _other(session) as other:
            others = [other]

            def locked(*values, **options):
                if others:
                    others.pop().lock()
                return real(*values, **options)

            monkeypatch.setattr(kind, moment, locked)
            generation = session.generate(prompt)
            gone = asyncio.ensure_future(generation.ended())
            await _until(lambda: generation.errors, generation)
            other.unlock()
            await gone
        again = await session.generate(prompt)
        return generation.errors, again, session.budgets.spending(server.url, "")

    errors, again, spent = use(body)
    assert [type(error) for error in errors] == [JournalBusyError]
    assert again.cost > 0
    assert len(server.bodies(prompt)) == 1
    assert (spent.today, spent.reserved) == (pytest.approx(again.cost), 0)


async def _until(is_so, generation):
    """Wait until a condition of the request is true."""
    changed = asyncio.Event()
    stop = generation.subscribe(changed.set)
    while not is_so():
        await changed.wait()
        changed.clear()
    stop()


@pytest.mark.usefixtures("hurry")
def test_cached_image_while_locked(server, use):
    """A repeated request shows its saved image while another program writes to the journal."""

    async def body(session):
        first = await session.generate("on disk while locked")
        with _other(session) as other:
            other.lock()
            again = session.generate("on disk while locked")
            await _until(lambda: again.tasks[0].is_done, again)
            other.unlock()
            await again.ended()
        return first.image.id, again

    first, again = use(body)
    assert again.errors == []
    assert (again.image.id, again.image.reused) == (first, True)
    assert len(server.bodies("on disk while locked")) == 1


@pytest.mark.usefixtures("hurry")
def test_unlocked_in_time(server, use, monkeypatch):
    """A waiting request continues when the lock ends: one image, which is recorded."""
    monkeypatch.setattr(async_journal, "_TIMEOUT", 30.0)

    async def body(session):
        with _other(session) as other:
            other.lock()
            notified = asyncio.Event()
            monkeypatch.setattr(session.pipeline._record, "_notice", lambda _: notified.set())
            generation = session.generate("unlocked in time")
            await notified.wait()
            other.unlock()
            await generation
            return session.journal.task(generation.tasks[0].id), session.journal.unfinished()

    stored, unfinished = use(body)
    assert (stored.state, unfinished) == ("saved", [])
    assert len(server.bodies("unlocked in time")) == 1


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("moment", ["mark_running", "mark_completed", "mark_saved"])
def test_locked_after_the_post(server, use, monkeypatch, moment):
    """A sent request saves its image. The journal is complete when the lock has ended."""
    prompt = f"locked at {moment}"
    real = getattr(Journal, moment)

    async def body(session):
        with _other(session) as other:
            others = [other]

            def locked(*values, **options):
                if others:
                    others.pop().lock()
                return real(*values, **options)

            locked.retries_until_written = True
            monkeypatch.setattr(Journal, moment, locked)
            generation = session.generate(prompt)
            await _until(lambda: generation.tasks[0].is_done, generation)
            shown, before = generation.image.path.is_file(), generation.tasks[0].id
            other.unlock()
            await generation
        return shown, session.journal.task(before), session.journal.images(before), generation

    shown, stored, images, generation = use(body)
    assert shown
    assert (stored.state, stored.owner) == ("saved", None)
    assert (stored.task_id, stored.cost) == (generation.task_ids[0], generation.cost)
    assert [image.path for image in images] == [generation.image.path]
    assert len(server.bodies(prompt)) == 1


@pytest.mark.usefixtures("hurry")
def test_cancelled_while_it_waits(server, use):
    """A request that is cancelled while it waits for the journal ends at once. It is not sent."""

    async def body(session):
        with _other(session) as other:
            other.lock()
            generation = session.generate("stopped while it waits")
            queue = session.pipeline._record._queue
            while not queue.locked():  # noqa: ASYNC110 (the lock has no event)
                await asyncio.sleep(0)
            generation.cancel()
            await _until(lambda: generation.tasks[0].is_done, generation)
            other.unlock()
            await generation.ended()
        return generation.status, session.journal.unfinished()

    assert use(body) == ("cancelled", [])
    assert server.bodies("stopped while it waits") == []


@pytest.mark.usefixtures("hurry")
def test_a_batch_with_a_locked_journal(server, use):
    """A batch that cannot be recorded is refused before its first request."""

    async def body(session):
        from runapi_magic.batch.batch import Batch
        from runapi_magic.batch.item import Item

        with _other(session) as other:
            other.lock()
            items = [Item(number, session.request(f"batch locked {number}")) for number in range(3)]
            batch = begin_batch(session, Batch(items, concurrency=2))
            await batch.ended()
        return [type(item.error) for item in batch.items]

    assert use(body) == [JournalBusyError] * 3
    assert server.bodies("batch locked") == []


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    ("line", "says"),
    [("history", "There are no images"), ("budget", "There is no budget"), ("status", "Journal"),
     ("batches", "There are no batches"), ("gallery", "There are no images")],
)  # fmt: skip
def test_commands_that_read(use, line, says):
    """Commands that only read the journal work while another program writes to it."""

    async def body(session):
        with _other(session) as other:
            other.lock()
            command, arguments = commands.find(line)
            return str(command(session, arguments))

    assert says in use(body)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("line", ["budget 5 --day", "budget off"])
def test_commands_that_write(use, line):
    """Commands that write to the journal quickly say that it is busy, and what to do."""

    async def body(session):
        with _other(session) as other:
            other.lock()
            command, arguments = commands.find(line)
            with pytest.raises(JournalBusyError) as caught:
                command(session, arguments)
            return caught.value.parts

    what, _, todo = use(body)
    assert BUSY in what
    assert "Close" in todo


# A journal that cannot be used, and budgets


@pytest.fixture
def unusable(monkeypatch):
    """Return a function that makes the data folder read-only for every new kernel."""

    def refuse(self):
        raise OSError(30, "Read-only file system")

    def make():
        monkeypatch.setattr("runapi_magic.journal.process_locks.Owners.register", refuse)

    return make


def _request_in_a_new_kernel(session, prompt):
    """Request an image as a new kernel would."""
    session.journal.close()
    return session.generate(prompt)


@pytest.mark.parametrize("has_budget", [False, True])
def test_a_budget_of_the_day_in_a_journal_that_cannot_be_written(server, use, unusable, has_budget):
    """Without a budget the image is made but not recorded. With a budget nothing is sent."""
    prompt = f"read-only {has_budget}"

    async def body(session):
        if has_budget:
            session.budgets.set_budget(server.url, "day", 5.0)
        unusable()
        generation = _request_in_a_new_kernel(session, prompt)
        await generation.ended()
        return [type(error) for error in generation.errors]

    assert use(body) == ([BudgetError] if has_budget else [])
    assert len(server.bodies(prompt)) == (0 if has_budget else 1)


def test_a_journal_that_cannot_be_read_may_have_a_budget(server, use, unusable, monkeypatch):
    """A journal that exists but cannot be read may contain a budget: nothing is sent."""
    connect = sqlite3.connect

    def refuse(path, **options):
        if options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, **options)

    async def body(session):
        unusable()
        monkeypatch.setattr(sqlite3, "connect", refuse)
        generation = _request_in_a_new_kernel(session, "not to be read")
        await generation.ended()
        return generation.errors

    (error,) = use(body)
    assert isinstance(error, BudgetError)
    assert "RUNAPI_MAGIC_HOME" in error.todo
    assert server.bodies("not to be read") == []


def test_a_budget_that_was_lost_with_a_damaged_journal(server, use):
    """A budget that this kernel knows stays valid after its journal was damaged."""

    async def body(session):
        session.budgets.set_budget(server.url, "day", 5.0)
        await session.generate("before the damage to a budget")
        session.journal.close()
        session.journal.path.write_bytes(b"this is no database" * 200)
        generation = session.generate("after the damage to a budget")
        await generation.ended()
        session.budgets.set_budget(server.url, "day", 5.0)
        again = await session.generate("after the damage to a budget")
        return generation.errors, again

    errors, again = use(body)
    assert [type(error) for error in errors] == [BudgetError]
    assert "%runapi budget" in errors[0].todo
    assert again.image is not None
    assert len(server.bodies("after the damage to a budget")) == 1


def test_a_damaged_journal_is_not_busy(tmp_path):
    """The error says that the journal is damaged. The next call uses a new file."""
    journal = Journal(tmp_path / "data")
    with pytest.raises(JournalDamagedError), journal.transaction():
        raise sqlite3.DatabaseError("file is not a database")
    assert journal.unfinished() == []
    journal.close()
