"""The SQLite file: creation, migrations, damage, and locks of other programs."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runapi_magic
from runapi_magic.core.request import ImageRequest
from runapi_magic.errors import NOT_SENT
from runapi_magic.journal import database
from runapi_magic.journal.database import JournalBusyError, JournalDamagedError, JournalError
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.task_log import Journal
from tests.journal.tasks import finish, insert_old_task, plan, query


def test_nothing_is_created_before_the_first_use(tmp_path):
    """A journal that is not used creates no file and no folder."""
    Journal(tmp_path / "data").close()
    assert not (tmp_path / "data").exists()


def test_a_file_that_another_kernel_creates(journal, monkeypatch):
    """A kernel waits while another kernel creates the file."""
    journal.path.parent.mkdir()
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    delays = []
    monkeypatch.setattr(
        database.time, "sleep", lambda seconds: (delays.append(seconds), other.rollback())
    )
    assert journal.task(plan(journal)).state == "planned"
    assert len(delays) == 1
    other.close()


def test_many_threads_write(journal):
    """The calls of many threads are all written."""
    tasks = [plan(journal, ImageRequest(f"fox {number}", "gpt-image-2")) for number in range(8)]
    threads = [threading.Thread(target=finish, args=(journal, task)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {journal.task(task).state for task in tasks} == {"saved"}


@pytest.mark.posix
def test_the_file_is_private(journal):
    """Only the user has access to the folder and the file."""
    plan(journal)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_migrations(journal):
    """A new file has the newest tables. Opening it again changes nothing."""
    task = plan(journal)
    journal.close()
    before = query(journal, "SELECT sql FROM sqlite_master ORDER BY name")
    assert query(journal, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert journal.task(task).state == "planned"
    journal.close()
    assert query(journal, "SELECT sql FROM sqlite_master ORDER BY name") == before


def test_an_older_file_is_migrated(journal, monkeypatch):
    """A file of an older version gets the new column and keeps its rows."""
    task = plan(journal)
    journal.close()

    def add_a_column(connection):
        connection.execute("ALTER TABLE tasks ADD COLUMN star INTEGER")

    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, add_a_column))
    assert journal.task(task).prompt == "a fox"
    assert query(journal, "SELECT star FROM tasks") == [(None,)]
    assert query(journal, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


def test_a_failed_migration_changes_nothing(journal, monkeypatch):
    """A failed migration is rolled back, so that the next start can try again."""

    def fail(connection):
        connection.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, fail))
    with pytest.raises(JournalError, match="disk I/O error"):
        journal.unfinished()
    monkeypatch.undo()
    assert journal.unfinished() == []
    assert query(journal, "SELECT name FROM sqlite_master WHERE name = 'half'") == []


@pytest.mark.parametrize("content", [b"this is not a database, not at all" * 50, b"\x00" * 5000])
def test_a_damaged_file_is_renamed(journal, content):
    """A file that is not a database is renamed, and a new file is created."""
    journal.path.parent.mkdir(parents=True)
    journal.path.write_bytes(content)
    assert plan(journal)
    assert journal.damaged_file.read_bytes() == content


def _plan_again(journal, prompt):
    """Plan a task. If the file is damaged, the second call uses a new file."""
    request = ImageRequest(prompt, "gpt-image-2")
    try:
        return plan(journal, request)
    except JournalDamagedError:
        return plan(journal, request)


@pytest.mark.posix
@pytest.mark.parametrize("part", [slice(0, 100), slice(4096, None)], ids=["header", "pages"])
def test_kernels_share_the_new_file(journal, open_journal, part):
    """If a file is damaged while two kernels use it, both use one new file and know the old one."""
    for number in range(30):
        plan(journal, ImageRequest(f"fox {number}", "gpt-image-2"))
    journal.close()
    kernels = [journal, open_journal()]
    for kernel in kernels:
        kernel.unfinished()
    content = bytearray(journal.path.read_bytes())
    content[part] = b"\xa5" * len(content[part])
    with journal.path.open("rb+") as file:
        file.write(content)
    tasks = [_plan_again(kernels[n % 2], f"new fox {n}") for n in range(4)]
    assert set(tasks[1:]) <= {row[0] for row in query(journal, "SELECT id FROM tasks")}
    assert len({kernel.damaged_file for kernel in kernels} - {None}) == 1
    assert all(kernel.task(tasks[-1]) for kernel in kernels)
    asides = [path for path in journal.path.parent.glob("*.damaged-*") if path.suffix]
    assert len({path.name.removesuffix("-wal").removesuffix("-shm") for path in asides}) == 1


def test_two_connections_of_one_process(journal, open_journal):
    """Opening a journal again does not end the locks of the process, which protect its log."""
    task = plan(journal)
    journal.close()
    assert journal.task(task) is not None
    assert open_journal().task(task) is not None
    code = (
        "import sys; from pathlib import Path\n"
        "from runapi_magic.journal.task_log import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "print(len(journal.task(sys.argv[2]).prompt)); journal.close()\n"
    )

    def read_in_a_process(task):
        command = [sys.executable, "-c", code, str(journal.path.parent), task]
        environ = {**os.environ, "PYTHONPATH": str(Path(runapi_magic.__file__).parent.parent)}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environ, timeout=60
        ).stdout

    assert read_in_a_process(task) == "5\n"
    later = plan(journal, ImageRequest("a later fox", "gpt-image-2"))
    assert read_in_a_process(later) == "11\n"


def _lock(path):
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.fixture
def _short_timeout(monkeypatch):
    """Let calls wait for another program only 0.1 s."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 0.1)


@pytest.mark.usefixtures("_short_timeout")
def test_busy(journal):
    """While another program writes, reading works, and writing raises JournalBusyError."""
    task = plan(journal)
    other = _lock(journal.path)
    with pytest.raises(JournalBusyError, match="another program has locked") as caught:
        journal.mark_failed(task, "no", refused=False)
    assert journal.task(task).state == "planned"
    other.close()
    journal.mark_failed(task, "no", refused=False)
    assert journal.task(task).state == "failed"
    assert caught.value.charged == NOT_SENT


@pytest.mark.usefixtures("_short_timeout")
def test_open_a_busy_journal(journal, open_journal):
    """A new kernel can read the journal while another program writes to it."""
    task = plan(journal)
    other = _lock(journal.path)
    assert open_journal().task(task).id == task
    other.close()


@pytest.mark.usefixtures("_short_timeout")
def test_migrate_a_busy_journal(journal, monkeypatch):
    """The tables are migrated when the other program has finished."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:-1])
    with journal.transaction():
        pass  # create the tables of the version before
    journal.close()
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS)
    other = _lock(journal.path)
    with pytest.raises(JournalBusyError):
        journal.unfinished()
    other.close()
    assert journal.unfinished() == []
    assert query(journal, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_read_while_a_thread_waits_to_write(journal):
    """While one thread waits for another program, another thread can read."""
    task = plan(journal)
    other = _lock(journal.path)
    writing = threading.Thread(
        target=journal.mark_failed, args=(task, "no"), kwargs={"refused": False}
    )
    writing.start()
    assert journal.task(task).state == "planned"
    other.close()
    writing.join(30)
    assert journal.task(task).state == "failed"


def test_a_call_on_the_event_loop_has_a_short_timeout(journal, monkeypatch):
    """A call on the thread of an event loop gives up soon, because it blocks the loop."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 1e6)
    monkeypatch.setattr(database, "_SHORT_TIMEOUT", 0.1)
    task = plan(journal)
    other = _lock(journal.path)

    async def call():
        journal.mark_failed(task, "no", refused=False)

    with pytest.raises(JournalBusyError):
        asyncio.run(call())
    other.close()


def test_a_folder_that_cannot_be_created(tmp_path):
    """If the folder cannot be created, the error names the file."""
    (tmp_path / "data").write_text("a file")
    journal = Journal(tmp_path / "data")
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        journal.unfinished()


def test_close_and_continue(journal):
    """A closed journal opens again on the next use. It can be closed twice."""
    task = plan(journal)
    journal.close()
    journal.close()
    assert journal.task(task).id == task


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/v1/nano_banana_pro/edit_image", ("nano_banana_pro", "edit_image")),
        ("/v1/text_to_image", (None, None)),
    ],
)
def test_an_unknown_model_in_an_older_journal(journal, monkeypatch, path, route):
    """A task of a model that is not in the catalogue has the route of its stored path."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:7])
    task = insert_old_task(journal, "nano-banana-pro", path)
    journal.close()
    monkeypatch.undo()
    stored = journal.task(task)
    assert (stored.route, stored.task_id) == (route, "tsk_1")
    assert stored.attempt.paths_of("tsk_1") == (f"{path}/tsk_1",)
    assert [one.id for one in journal.unfinished()] == [task]
