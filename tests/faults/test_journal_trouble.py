"""A journal that cannot be used: images are still made, and the user gets a notice."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED, NOT_SENT, BudgetError, DownloadError
from runapi_magic.http.client import Client
from runapi_magic.journal.database import JournalVersionError
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import commands
from tests.conftest import KEY
from tests.faults.fast_simulators import fast_simulators

OFF = "cannot be found again after a restart"
DAMAGED = "The journal was damaged"


@pytest.fixture(scope="module")
def server():
    """Run a simulator with tiny images."""
    with fast_simulators(1) as (server,):
        yield server


@pytest.fixture
def data(tmp_path):
    """Return the path of the data folder, which does not exist yet."""
    return tmp_path / "journal folder"


@pytest.fixture
def make(server, tmp_path):
    """Return a function that makes an image in a new session, and returns the notices too."""

    def run(data, prompt, *, before=lambda _: None, count=1):
        async def main():
            settings = Settings(
                base_url=server.url, api_key=KEY, image_dir=str(tmp_path / "images"), timeout=30
            )
            session = Session(settings, Journal(data))
            try:
                before(session)
                generation = session.generate(prompt, count=count)
                async with asyncio.timeout(30):
                    await generation
                return generation, session.notices
            finally:
                session.journal.close()
                await session.service().client.transport.close()

        return asyncio.run(main())

    return run


def _tasks(server, prompt):
    return len(server.bodies(prompt))


def _integrity(path):
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return found


class _Full:
    """A connection to a full disk: after ``left`` writing statements, each one fails."""

    def __init__(self, real, left):
        self._real = real
        self._left = left

    def _write(self, statement):
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE")):
            self._left -= 1
            if self._left < 0:
                raise sqlite3.OperationalError("database or disk is full")

    def execute(self, statement, *values):
        self._write(statement)
        return self._real.execute(statement, *values)

    def executemany(self, statement, *values):
        self._write(statement)
        return self._real.executemany(statement, *values)

    def __enter__(self):
        return self._real.__enter__()

    def __exit__(self, *error):
        return self._real.__exit__(*error)

    def close(self):
        self._real.close()


@pytest.mark.parametrize("written", range(5))
def test_full_disk(server, make, data, written):
    """The disk is full from any write on: the image is saved once, and the user gets a notice."""
    prompt = f"full after {written}"

    def fill(session):
        session.journal.unfinished()
        session.journal._connection = _Full(session.journal._connection, written)

    generation, notices = make(data, prompt, before=fill)
    assert generation.image.pil().size == generation.image.size
    assert _tasks(server, prompt) == 1
    assert [notice for notice in notices if OFF in notice and "disk is full" in notice]
    assert len(notices) == 1
    assert _integrity(data / "journal.sqlite") == "ok"


def test_no_room_for_the_file(server, make, data, monkeypatch):
    """The disk has no room for an empty journal: the image is saved, with a notice."""

    def refuse(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runapi_magic.journal.process_locks.Owners.register", refuse)
    generation, notices = make(data, "no room")
    assert generation.image.path.is_file()
    assert [OFF in notice for notice in notices] == [True]
    assert "No space left on device" in notices[0]


def test_folder_that_cannot_be_written(server, make, data):
    """The data folder is a file: the image is saved, with a notice."""
    data.write_text("a file")
    generation, notices = make(data, "no folder")
    assert generation.image.path.is_file()
    assert [OFF in notice for notice in notices] == [True]
    assert data.read_text() == "a file"


def test_folder_in_place_of_the_file(server, make, data):
    """The journal is a folder: the image is saved, with a notice."""
    (data / "journal.sqlite").mkdir(parents=True)
    generation, notices = make(data, "folder for a file")
    assert generation.image.path.is_file()
    assert [OFF in notice for notice in notices] == [True]


def test_several_images_without_a_journal(server, make, data):
    """Without a journal, three images are three tasks."""
    data.write_text("a file")
    generation, _ = make(data, "three without", count=3)
    assert len({image.path for image in generation.images}) == 3
    assert _tasks(server, "three without") == 3


def test_two_cells_without_a_journal(server, make, data):
    """Without a journal nothing is reused, and no image is overwritten."""
    data.write_text("a file")
    first, _ = make(data, "twice without")
    second, _ = make(data, "twice without")
    assert first.image.path != second.image.path
    assert first.image.path.is_file()


DAMAGE = {
    "text": lambda _: b"this is no database" * 200,
    "wrong header": lambda content: b"\0" * 100 + content[100:],
    "header only": lambda content: content[:50],
    "cut off": lambda content: content[: len(content) // 2],
    "pages overwritten": lambda content: content[:4096] + b"\xa5" * (len(content) - 4096),
    "first page overwritten": lambda content: content[:100] + b"\xa5" * 3996 + content[4096:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_file(server, make, data, damage):
    """A damaged journal is renamed and a new one is started. The notice has the new name."""
    make(data, "before the damage")
    path = data / "journal.sqlite"
    content = damage(path.read_bytes())
    path.write_bytes(content)
    generation, notices = make(data, "after the damage")
    (renamed,) = data.glob("journal.sqlite.damaged-*")
    assert generation.image.path.is_file()
    assert len(renamed.read_bytes()) == len(content)
    assert renamed.read_bytes()[100:] == content[100:]  # SQLite updates the header
    assert [DAMAGED in notice and str(renamed) in notice for notice in notices] == [True]
    assert _integrity(path) == "ok"
    again, notices = make(data, "after the damage")
    assert again.image.reused
    assert notices == []


def test_damaged_twice(server, make, data):
    """A second damaged journal does not overwrite the first one."""
    data.mkdir()
    for text in (b"first " * 1000, b"second " * 1000):
        (data / "journal.sqlite").write_bytes(text)
        make(data, f"damage {text[:6]}")
    renamed_files = sorted(data.glob("journal.sqlite.damaged-*"))
    assert sorted(path.read_bytes()[:6] for path in renamed_files) == [b"first ", b"second"]


@pytest.fixture
def newer(make, data):
    """Return the path of a journal that a newer version has changed."""
    make(data, "before the upgrade")
    path = data / "journal.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE tasks ADD COLUMN star TEXT")
        connection.execute("CREATE TABLE stars (image TEXT)")
        connection.execute("PRAGMA user_version = 99")
    return path


def test_journal_of_a_newer_version(server, make, data, newer):
    """The image is saved, with a notice that says what to do. The journal is not changed."""
    before = newer.read_bytes()
    generation, notices = make(data, "after the downgrade")
    assert generation.image.path.is_file()
    assert _tasks(server, "after the downgrade") == 1
    (notice,) = notices
    assert "A newer version of runapi_magic wrote the journal" in notice
    assert OFF in notice
    assert "Update runapi_magic" in notice
    assert newer.read_bytes() == before
    assert list(data.glob("journal.sqlite.damaged-*")) == []


@pytest.mark.parametrize("scope", ["session", "day"])
def test_budget_and_a_journal_of_a_newer_version(server, make, data, newer, scope):
    """Nothing is sent if the session has a budget, or if the newer journal has one."""
    if scope == "day":
        with closing(sqlite3.connect(newer)) as connection, connection:
            connection.execute("INSERT INTO budgets VALUES (?, 5.0)", (server.url,))
    before = newer.read_bytes()
    prompt = f"a budget of the {scope} before the upgrade"

    def set_budget(session):
        if scope == "session":
            session.budgets.set_budget(server.url, "session", 5.0)

    with pytest.raises(BudgetError) as caught:
        make(data, prompt, before=set_budget)
    assert caught.value.charged == NOT_SENT
    assert "RUNAPI_MAGIC_HOME" in caught.value.todo
    assert server.bodies(prompt) == []
    assert newer.read_bytes() == before


@pytest.mark.parametrize(
    "line", ["history", "resume", "batches", "gallery", "budget", "budget 5 --day", "forget --lost"]
)
def test_commands_and_a_journal_of_a_newer_version(make, data, newer, line):
    """Commands that need the journal say why it is not used. They do not change it."""
    before = newer.read_bytes()
    command, arguments = commands.find(line)

    def run(session):
        with pytest.raises(JournalVersionError, match="Nothing was changed in it"):
            command(session, arguments)

    make(data, f"an image after {line}", before=run)
    assert newer.read_bytes() == before


def test_a_lock_that_another_kernel_removes(server, make, data, monkeypatch):
    """Two kernels that remove stale locks at the same time can both use the journal."""
    glob = Path.glob

    def find(folder, pattern):
        return [*glob(folder, pattern), *([folder / "gone.lock"] if pattern == "*.lock" else [])]

    monkeypatch.setattr(Path, "glob", find)
    assert make(data, "two kernels begin")[1] == []


def test_a_disk_that_is_full_at_the_download(make, data, monkeypatch):
    """The error says that the image was charged, and what to do."""

    async def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Client, "download", refuse)
    with pytest.raises(DownloadError) as caught:
        make(data, "no room for an image")
    assert caught.value.charged == CHARGED
    assert "Free disk space" in caught.value.todo
