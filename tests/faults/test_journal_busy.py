"""A journal that another program holds: what is sent is recorded, before it is sent and after."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager

import pytest

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import NOT_SENT, BudgetError
from runapi_magic.journal import async_journal as recording
from runapi_magic.journal import database
from runapi_magic.journal.budgets import Ledger
from runapi_magic.journal.database import JournalBusyError, JournalDamagedError
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import commands
from tests.conftest import KEY
from tests.faults.quick import quick_simulators

BUSY = "another program holds"


@pytest.fixture(scope="module")
def server():
    """A simulator with tiny pictures."""
    with quick_simulators(1) as (server,):
        yield server


@pytest.fixture
def use(server, tmp_path):
    """Run a coroutine function with a session, in a kernel of its own."""

    def run(body):
        async def main():
            settings = Settings(
                base_url=server.url, api_key=KEY, image_dir=str(tmp_path / "pictures"), timeout=30
            )
            session = Session(settings, Journal(tmp_path / "data"))
            session.journal.unfinished()  # so that there is a file to be held
            try:
                return await asyncio.wait_for(body(session), 60)
            finally:
                session.journal.close()
                await session.service().client.transport.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def hurry(monkeypatch):
    """Let a second of waiting be a hundredth."""
    for name in ("_PATIENCE", "_WORTH_TELLING", "_HELD_UP", "_AGAIN"):
        monkeypatch.setattr(recording, name, getattr(recording, name) / 100)
    monkeypatch.setattr(database, "_MOMENT", 0.01)


class Other:
    """Another program, with a write transaction that does not end."""

    def __init__(self, path):
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def hold(self):
        """Begin to write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def let_go(self):
        """Write nothing after all."""
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
def test_held_for_too_long(server, use, budget, count):
    """A request waits and is then refused: nothing was sent, and the user is told why, and what."""
    prompt = f"held too long {budget} {count}"

    async def body(session):
        if budget is not None:
            session.ledger.set_budget(server.url, budget, 5.0)
        with _other(session) as other:
            other.hold()
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
@pytest.mark.parametrize("moment", ["reserve", "hold", "sending"])
def test_held_from_a_moment_on(server, use, monkeypatch, moment):
    """Whichever step before the POST finds it held: nothing is sent, no money stays set aside."""
    prompt = f"held from {moment}"
    kind = Ledger if moment == "hold" else Journal
    real = getattr(kind, moment)

    async def body(session):
        session.ledger.set_budget(server.url, "day", 5.0)
        with _other(session) as other:
            others = [other]

            def held(*values, **options):
                if others:
                    others.pop().hold()
                return real(*values, **options)

            monkeypatch.setattr(kind, moment, held)
            generation = session.generate(prompt)
            gone = asyncio.ensure_future(generation.ended())
            await _until(lambda: generation.errors, generation)
            other.let_go()
            await gone
        again = await session.generate(prompt)
        return generation.errors, again, session.ledger.spending(server.url, "")

    errors, again, spent = use(body)
    assert [type(error) for error in errors] == [JournalBusyError]
    assert again.cost > 0
    assert len(server.bodies(prompt)) == 1
    assert (spent.today, spent.under_way) == (pytest.approx(again.cost), 0)


async def _until(is_so, generation):
    """Wait until something is so with a request."""
    changed = asyncio.Event()
    stop = generation.subscribe(changed.set)
    while not is_so():
        await changed.wait()
        changed.clear()
    stop()


@pytest.mark.usefixtures("hurry")
def test_what_is_on_disk_while_it_is_held(server, use):
    """A request that was met before shows its picture also while another program writes."""

    async def body(session):
        first = await session.generate("on disk while held")
        with _other(session) as other:
            other.hold()
            again = session.generate("on disk while held")
            await _until(lambda: again.parts[0].is_done, again)
            other.let_go()
            await again.ended()
        return first.image.id, again

    first, again = use(body)
    assert again.errors == []
    assert (again.image.id, again.image.reused) == (first, True)
    assert len(server.bodies("on disk while held")) == 1


@pytest.mark.usefixtures("hurry")
def test_let_go_in_time(server, use, monkeypatch):
    """A request that waits goes on when the other program lets go: one picture, and recorded."""
    monkeypatch.setattr(recording, "_PATIENCE", 30.0)

    async def body(session):
        with _other(session) as other:
            other.hold()
            told = asyncio.Event()
            monkeypatch.setattr(session.pipeline._record, "_notice", lambda _: told.set())
            generation = session.generate("let go in time")
            await told.wait()
            other.let_go()
            await generation
            return session.journal.task(generation.parts[0].id), session.journal.unfinished()

    stored, unfinished = use(body)
    assert (stored.state, unfinished) == ("saved", [])
    assert len(server.bodies("let go in time")) == 1


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("moment", ["created", "completed", "saved"])
def test_held_after_the_post(server, use, monkeypatch, moment):
    """What was sent goes on to its picture, and all of it is in the journal once that is free."""
    prompt = f"held at {moment}"
    real = getattr(Journal, moment)

    async def body(session):
        with _other(session) as other:
            others = [other]

            def held(*values, **options):
                if others:
                    others.pop().hold()
                return real(*values, **options)

            held.is_afterwards = True
            monkeypatch.setattr(Journal, moment, held)
            generation = session.generate(prompt)
            await _until(lambda: generation.parts[0].is_done, generation)
            shown, before = generation.image.path.is_file(), generation.parts[0].id
            other.let_go()
            await generation
        return shown, session.journal.task(before), session.journal.images(before), generation

    shown, stored, images, generation = use(body)
    assert shown
    assert (stored.state, stored.owner) == ("saved", None)
    assert (stored.task_id, stored.cost) == (generation.task_ids[0], generation.cost)
    assert [image.path for image in images] == [generation.image.path]
    assert len(server.bodies(prompt)) == 1


@pytest.mark.usefixtures("hurry")
def test_stopped_while_it_waits(server, use):
    """A request that is cancelled while it waits for the journal ends at once, and is not sent."""

    async def body(session):
        with _other(session) as other:
            other.hold()
            generation = session.generate("stopped while it waits")
            line = session.pipeline._record._line
            while not line.locked():  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0)
            generation.cancel()
            await _until(lambda: generation.parts[0].is_done, generation)
            other.let_go()
            await generation.ended()
        return generation.status, session.journal.unfinished()

    assert use(body) == ("cancelled", [])
    assert server.bodies("stopped while it waits") == []


@pytest.mark.usefixtures("hurry")
def test_a_batch_that_finds_it_held(server, use):
    """A batch that cannot be written down is refused whole, before its first request."""

    async def body(session):
        from runapi_magic.batch.batch import Batch
        from runapi_magic.batch.item import Item

        with _other(session) as other:
            other.hold()
            items = [Item(number, session.request(f"batch held {number}")) for number in range(3)]
            batch = session.begin(Batch(items, concurrency=2))
            await batch.ended()
        return [type(item.error) for item in batch.items]

    assert use(body) == [JournalBusyError] * 3
    assert server.bodies("batch held") == []


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    ("line", "says"),
    [("history", "There are no pictures"), ("budget", "There is no budget"), ("status", "Journal"),
     ("batches", "There are no batches"), ("gallery", "There are no pictures")],
)  # fmt: skip
def test_commands_that_read(use, line, says):
    """What only looks at the journal answers while another program writes to it."""

    async def body(session):
        with _other(session) as other:
            other.hold()
            command, arguments = commands.find(line)
            return str(command(session, arguments))

    assert says in use(body)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("line", ["budget 5 --day", "budget off"])
def test_commands_that_write(use, line):
    """What changes the journal says that it is busy, soon, and what to do."""

    async def body(session):
        with _other(session) as other:
            other.hold()
            command, arguments = commands.find(line)
            with pytest.raises(JournalBusyError) as caught:
                command(session, arguments)
            return caught.value.parts

    what, _, todo = use(body)
    assert BUSY in what
    assert "Close" in todo


# Unusable, and a budget


@pytest.fixture
def unusable(monkeypatch):
    """From now on nothing can be written to the data folder by a kernel that starts."""

    def refuse(self):
        raise OSError(30, "Read-only file system")

    def make():
        monkeypatch.setattr("runapi_magic.journal.process_locks.Owners.register", refuse)

    return make


def _ask_of_a_new_kernel(session, prompt):
    """Ask for a picture as a kernel that starts now does."""
    session.journal.close()
    return session.generate(prompt)


@pytest.mark.parametrize("has_budget", [False, True])
def test_a_budget_of_the_day_in_a_journal_that_cannot_be_written(server, use, unusable, has_budget):
    """Without a budget the picture comes, unrecorded; with one of the day nothing is sent."""
    prompt = f"read-only {has_budget}"

    async def body(session):
        if has_budget:
            session.ledger.set_budget(server.url, "day", 5.0)
        unusable()
        generation = _ask_of_a_new_kernel(session, prompt)
        await generation.ended()
        return [type(error) for error in generation.errors]

    assert use(body) == ([BudgetError] if has_budget else [])
    assert len(server.bodies(prompt)) == (0 if has_budget else 1)


def test_a_journal_that_cannot_be_read_may_have_a_budget(server, use, unusable, monkeypatch):
    """A journal that is there and cannot be read may hide a budget: nothing is sent."""
    connect = sqlite3.connect

    def refuse(path, **options):
        if options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, **options)

    async def body(session):
        unusable()
        monkeypatch.setattr(sqlite3, "connect", refuse)
        generation = _ask_of_a_new_kernel(session, "not to be read")
        await generation.ended()
        return generation.errors

    (error,) = use(body)
    assert isinstance(error, BudgetError)
    assert "RUNAPI_MAGIC_HOME" in error.todo
    assert server.bodies("not to be read") == []


def test_a_budget_that_was_lost_with_a_damaged_journal(server, use):
    """A budget of the day that this kernel knew counts on when its journal was damaged."""

    async def body(session):
        session.ledger.set_budget(server.url, "day", 5.0)
        await session.generate("before the damage to a budget")
        session.journal.close()
        session.journal.path.write_bytes(b"this is no database" * 200)
        generation = session.generate("after the damage to a budget")
        await generation.ended()
        session.ledger.set_budget(server.url, "day", 5.0)
        again = await session.generate("after the damage to a budget")
        return generation.errors, again

    errors, again = use(body)
    assert [type(error) for error in errors] == [BudgetError]
    assert "%runapi budget" in errors[0].todo
    assert again.image is not None
    assert len(server.bodies("after the damage to a budget")) == 1


def test_a_damaged_journal_is_not_busy(tmp_path):
    """Damage that a transaction finds is told as damage, and the next call works on a new file."""
    journal = Journal(tmp_path / "data")
    with pytest.raises(JournalDamagedError), journal.transaction():
        raise sqlite3.DatabaseError("file is not a database")
    assert journal.unfinished() == []
    journal.close()
