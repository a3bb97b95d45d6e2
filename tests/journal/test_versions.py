"""Journals of other versions: an older one is read as before, a newer one is not changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runapi_magic.batch.saved import Batches
from runapi_magic.core.duration_model import Duration, Kind
from runapi_magic.core.request import ImageRequest
from runapi_magic.errors import NOT_SENT
from runapi_magic.journal import database
from runapi_magic.journal.budgets import Budgets
from runapi_magic.journal.database import JournalVersionError
from runapi_magic.journal.history import History
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.startup_check import check_journal, unfinished_tasks
from runapi_magic.journal.task_log import Journal
from runapi_magic.notebook import extension

ORIGIN = "https://runapi.ai"
FOX = ImageRequest(
    "a fox in the snow", "gpt-image-2", {"aspect_ratio": "4:3", "output_resolution": "2k"}
)
FIRST = Path(__file__).with_name("journal-0.1.0.sql")


@pytest.fixture
def folder(tmp_path):
    """Return a data folder with the journal of version 0.1.0."""
    data = tmp_path / "data"
    data.mkdir()
    with closing(sqlite3.connect(data / "journal.sqlite")) as connection:
        connection.executescript(FIRST.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return data


@pytest.fixture
def journal(folder):
    """Return the journal of that folder."""
    opened = Journal(folder)
    yield opened
    opened.close()


def _dump(folder):
    """Return all tables and rows, and the version."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()
        return [*connection.iterdump(), version]


# A journal of version 0.1.0


def test_history_of_the_first_version(journal):
    """All images are found, newest first, with what was measured and where they are stored."""
    history = History(journal)
    newest = history.images(limit=9)
    assert [image.id for image in newest] == [
        "task-two-1", "task-two-0", "task-night-0", "task-fox-0",
    ]  # fmt: skip
    night, fox = newest[2:]
    assert (fox.path, fox.sharpness, fox.noise) == (
        Path("/home/user/gpt-images/fox.png"), 0.75, 0.125,
    )  # fmt: skip
    assert (fox.task.task_id, fox.task.cost, fox.seconds) == ("tsk_fox", 0.06, 14.5)
    assert (night.parent, night.location) == (fox.id, "s3://foxes/night.png")
    assert [image.id for image in history.images("SNOW", limit=9)] == [fox.id]
    assert [image.id for image in history.trees([night.id])] == [fox.id, night.id]
    assert history.by_digest(fox.digest) == fox
    assert [image.id for image in history.pop_unseen()] == [night.id]


def test_unfinished_tasks_of_the_first_version(journal, folder):
    """Every task without an end can be resumed; a running one at the path that was posted to."""
    unfinished = journal.unfinished()
    assert [(task.state, task.task_id) for task in unfinished] == [
        ("running", "tsk_running"),
        ("running", "tsk_unlisted"),
        ("completed", "tsk_completed"),
        ("sent", None),
        ("planned", None),
    ]
    running, unlisted, _, sent, planned = unfinished
    assert running.attempt.paths_of("tsk_running") == (
        "/api/v1/gpt_image_2/text_to_image/tsk_running",
    )
    assert unlisted.route == ("nano_banana_pro", "text_to_image")
    assert (sent.attempt.idempotency_key, planned.attempt) == ("key-sent", None)
    assert sent.attempt.body == b'{"model":"gpt-image-2","prompt":"sent"}'
    assert check_journal(folder) == {"unfinished", "unseen"}
    assert unfinished_tasks(folder) == unfinished
    assert journal.claim(lambda _: True, "second") == unfinished


def test_a_request_that_the_first_version_answered(journal):
    """The same request finds its image: it has the same fingerprint in this version."""
    found = journal.allocate(
        "new", FOX, ORIGIN, split=lambda count: (count,), new_id=lambda: "new",
        usable=lambda *_: True,
    )  # fmt: skip
    assert [image.id for image in found.finished] == ["task-fox-0"]
    assert found.planned == []


def test_batches_of_the_first_version(journal):
    """Batches and sweeps are listed and loaded, with their requests and variables."""

    class Sources:
        def sources_of(self, rows):
            assert [row["image"] for row in rows] in ([], ["task-fox-0"])
            return (), None

    batches = Batches(journal, Sources())
    assert [(batch, title, size) for batch, _, title, size in batches.newest(9)] == [
        ("sweep-1", "a fox in {style}", 2),
        ("batch-1", "2 prompts", 2),
    ]
    batch = batches.load("batch-1", 2, ORIGIN)
    assert [item.request.prompt for item in batch.items] == [FOX.prompt, "make it night"]
    assert batch.items[0].request == FOX
    assert batch.items[1].variables == {"animal": "fox"}
    sweep = batches.load("sweep-1", 2, ORIGIN)
    assert (type(sweep).__name__, sweep.since) == ("Sweep", 1_767_000_000.0)
    assert [item.variables for item in sweep.items] == [{"style": "oil"}, {"style": "pixels"}]


def test_money_of_the_first_version(journal):
    """The budget is kept. Tasks that were sent count by their cost or by their expected price."""
    budgets = Budgets(journal)
    assert budgets.budgets(ORIGIN) == {"day": 5.0}
    found = budgets.spending(ORIGIN, "foxes.ipynb")
    assert found.total == found.notebook == pytest.approx(0.06 + 0.06 + 0.12 + 5 * 0.06)
    assert (found.session, found.reserved) == (0, 0)


def test_durations_of_the_first_version(journal):
    """Learned durations are kept."""
    kind = Kind(ORIGIN, "gpt-image-2", "text_to_image", "2k")
    assert journal.durations(kind) == [Duration(12.5), Duration(15.0), Duration(4.0, failed=True)]


# A journal of a newer version


def _upgrade(connection):
    """Change the tables as a newer version could."""
    connection.executescript(
        f"""ALTER TABLE tasks ADD COLUMN star TEXT;
        ALTER TABLE tasks RENAME COLUMN prompt TO words;
        CREATE TABLE stars (image TEXT PRIMARY KEY, stars INTEGER) STRICT;
        INSERT INTO stars VALUES ('task-fox-0', 5);
        PRAGMA user_version = {len(MIGRATIONS) + 1};"""
    )


@pytest.fixture
def newer(folder):
    """Return a data folder with a journal that a newer version wrote."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        _upgrade(connection)
    return folder


def _bytes(folder):
    """Return the content of the file and of the log of writes that are not in it yet."""
    paths = [folder / f"journal.sqlite{ending}" for ending in ("", "-wal")]
    return [path.read_bytes() if path.exists() else b"" for path in paths]


def _allocate(journal):
    return journal.allocate(
        "new", FOX, ORIGIN, split=lambda count: (count,), new_id=lambda: "new",
        usable=lambda *_: True, since=None,
    )  # fmt: skip


USES = {
    "allocate": _allocate,
    "missing": lambda journal: journal.count_missing(FOX, ORIGIN, usable=lambda *_: True),
    "sent": lambda journal: journal.mark_running("task-sent", "tsk_sent", ()),
    "failed": lambda journal: journal.mark_failed("task-running", "no", refused=False),
    "release": lambda journal: journal.release("generation-running"),
    "unfinished": Journal.unfinished,
    "claim": lambda journal: journal.claim(lambda _: True, "second"),
    "forget": lambda journal: journal.forget(lambda _: True),
    "history": lambda journal: History(journal).images(limit=3),
    "trees": lambda journal: History(journal).trees(["task-fox-0"]),
    "unseen": lambda journal: History(journal).pop_unseen(),
    "metrics": lambda journal: History(journal).set_metrics("task-fox-0", 1.0, 1.0),
    "read budgets": lambda journal: Budgets(journal).budgets(ORIGIN),
    "set a budget": lambda journal: Budgets(journal).set_budget(ORIGIN, "day", 1.0),
    "spending": lambda journal: Budgets(journal).spending(ORIGIN, ""),
    "batches": lambda journal: Batches(journal, None).newest(3),
    "changes": Journal.data_version,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_newer_journal_is_refused(newer, use):
    """Every use is refused with an error of its own. No byte of the file changes."""
    before = _bytes(newer)
    journal = Journal(newer)
    with pytest.raises(JournalVersionError) as caught:
        use(journal)
    journal.close()
    assert _bytes(newer) == before
    assert journal.damaged_file is None
    assert not list(newer.glob("*.damaged-*"))
    what, charged, todo = caught.value.parts
    assert what.startswith("A newer version of runapi_magic wrote the journal")
    assert str(newer / "journal.sqlite") in what
    assert "Nothing was changed" in what
    assert charged == NOT_SENT
    assert "Update runapi_magic" in todo
    assert "RUNAPI_MAGIC_HOME" in todo


def test_a_newer_journal_that_is_in_use(folder):
    """A newer kernel's writes that are only in the log yet are not touched."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as other:
        _upgrade(other)
        before = _bytes(folder)
        assert before[1]
        journal = Journal(folder)
        with pytest.raises(JournalVersionError):
            _allocate(journal)
        assert check_journal(folder) == {"newer"}
        journal.close()
        assert _bytes(folder) == before


def test_a_journal_that_is_updated_while_it_is_open(journal, folder):
    """A kernel stops using its open journal when a newer version has changed it."""
    assert len(journal.unfinished()) == 5
    with closing(sqlite3.connect(folder / "journal.sqlite")) as other:
        _upgrade(other)
    before = _dump(folder)
    for use in USES.values():
        with pytest.raises(JournalVersionError):
            use(journal)
    journal.close()
    assert _dump(folder) == before


def test_loading_the_extension_with_a_newer_journal(newer, monkeypatch, capsys):
    """``%load_ext`` only prints why the journal is not used. It changes nothing."""
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", str(newer))
    before = _bytes(newer)
    extension._print_unfinished_and_unseen()
    printed = capsys.readouterr().out
    assert "A newer version of runapi_magic wrote the journal" in printed
    assert "Update runapi_magic" in printed
    assert "resume" not in printed
    assert _bytes(newer) == before


def test_a_newer_journal_after_the_update(newer, monkeypatch):
    """After the update, the journal can be used again."""
    journal = Journal(newer)
    with pytest.raises(JournalVersionError):
        journal.unfinished()
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, lambda _: None))
    assert Budgets(journal).budgets(ORIGIN) == {"day": 5.0}
    journal.close()


@pytest.mark.parametrize(
    ("change", "may_have_budget"),
    [
        ("SELECT 1", True),
        ("DELETE FROM budgets", False),
        ("ALTER TABLE budgets RENAME TO limits", True),
        ("ALTER TABLE budgets RENAME COLUMN origin TO service", True),
    ],
)
def test_budgets_of_a_newer_journal(newer, change, may_have_budget):
    """A budget counts as set if the newer journal has one, or if this version cannot tell."""
    with closing(sqlite3.connect(newer / "journal.sqlite")) as connection, connection:
        connection.execute(change)
    before = _bytes(newer)
    assert Budgets(Journal(newer)).may_have_budget(ORIGIN) is may_have_budget
    assert _bytes(newer) == before
