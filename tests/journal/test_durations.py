"""The durations of tasks in the journal."""

from __future__ import annotations

import pytest

from runapi_magic.core.duration_model import KEPT, Duration, Kind
from runapi_magic.journal import database
from runapi_magic.journal.schema import MIGRATIONS
from tests.journal.tasks import ATTEMPT, ORIGIN, insert_old_task, plan, query

KIND = Kind(ORIGIN, "gpt-image-2", "text_to_image", "2k")


def test_durations_are_stored(journal, open_journal):
    """Another kernel reads the durations, oldest first, with a mark on failures."""
    task = plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.mark_completed(task, 0.06, 14.0, (KIND, Duration(12.5)))
    journal.add_duration(KIND, Duration(3.0, failed=True))
    assert open_journal().durations(KIND) == [Duration(12.5), Duration(3.0, failed=True)]
    assert (journal.task(task).state, journal.task(task).cost) == ("completed", 0.06)


@pytest.mark.parametrize(
    "other",
    [
        Kind("http://simulator.localhost", KIND.model, KIND.action, KIND.resolution),
        Kind(ORIGIN, "gpt-4o-image", KIND.action, KIND.resolution),
        Kind(ORIGIN, KIND.model, "edit_image", KIND.resolution),
        Kind(ORIGIN, KIND.model, KIND.action, ""),
    ],
)
def test_durations_of_other_kinds(journal, other):
    """Another service, model, action or resolution has its own durations."""
    journal.add_duration(KIND, Duration(12.5))
    assert journal.durations(other) == []
    assert journal.durations(KIND) == [Duration(12.5)]


def test_old_durations_are_deleted(journal):
    """Only the last durations of each kind are kept."""
    other = Kind(ORIGIN, "gpt-image-2", "text_to_image", "4k")
    journal.add_duration(other, Duration(1.0))
    for number in range(KEPT + 5):
        journal.add_duration(KIND, Duration(float(number)))
    assert [duration.seconds for duration in journal.durations(KIND)] == list(range(5, KEPT + 5))
    assert journal.durations(other) == [Duration(1.0)]
    assert query(journal, "SELECT count(*) FROM durations") == [(KEPT + 1,)]


def test_durations_are_found_by_their_index(journal):
    """The query for the durations of one kind uses an index."""
    plan(journal)
    rows = query(
        journal,
        "EXPLAIN QUERY PLAN SELECT seconds FROM durations WHERE origin = 'a' AND model = 'b'"
        " AND action = 'c' AND resolution = 'd' ORDER BY rowid DESC LIMIT 64",
    )
    (step,) = (row[3] for row in rows)
    assert step.startswith("SEARCH durations USING INDEX durations_by_kind (origin=? AND model=?")


def test_a_journal_from_before_durations(journal, monkeypatch):
    """An older file without durations keeps its rows and can store durations."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:4])
    task = insert_old_task(journal)
    journal.close()
    monkeypatch.undo()
    assert journal.durations(KIND) == []
    journal.add_duration(KIND, Duration(12.5))
    assert journal.durations(KIND) == [Duration(12.5)]
    assert journal.task(task).prompt == "a fox"
