"""Every fault at every moment: the picture or a true error; nothing lost, nothing paid twice."""

from __future__ import annotations

import pytest

from runapi_magic.errors import CHARGED
from runapi_magic.simulator import faults
from tests.faults.matrix import MOMENTS, PAIRS, ROWS
from tests.faults.trial import NEVER_CHARGED

NAMES = [row.name for row in ROWS]


@pytest.fixture(scope="module")
def matrix(try_all):
    """All rows, tried once."""
    return try_all(
        [
            (
                row.name,
                row.specs,
                {
                    "fields": row.fields,
                    "source": row.is_edit,
                    "patience": row.patience,
                    "timeout": row.timeout,
                },
            )
            for row in ROWS
        ]
    )


@pytest.fixture
def outcome(matrix, row):
    """What came of one row."""
    found = matrix[0][row.name]
    assert not isinstance(found, Exception), repr(found)
    return found


def _charge(error):
    if error is None or error.charged == CHARGED:
        return "yes"
    return "no" if error.charged in NEVER_CHARGED else "maybe"


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_ends_as_the_table_says(row, outcome):
    """The request ends in the picture or in this very error, whose three parts are true."""
    assert type(outcome.error) is (row.ends or type(None)), outcome.error
    text = str(outcome.error)
    assert [part for part in row.says if part not in text] == [], text
    assert row.todo in getattr(outcome.error, "todo", ""), text
    assert _charge(outcome.error) == row.charged, text


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_server_and_the_journal_agree_with_the_table(row, outcome):
    """So many tasks and cents at the server, this state in the journal, so many keys sent."""
    assert (outcome.first.tasks, outcome.first.cents) == (row.tasks, row.cents)
    assert outcome.first.journal == (row.journal,)
    assert len({post.key for post in outcome.creates}) == row.keys


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_next_kernel_finishes_it(row, outcome):
    """Resuming brings what the table says, without a second task where there is a first."""
    assert outcome.resumed == (1 if row.resumes else None)
    assert outcome.second.tasks == max(row.tasks, int(row.resumes))
    assert outcome.second.files == int(row.ends is None or row.resumes)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_nothing_is_lost_or_paid_twice(row, outcome):
    """Whatever the fault: identical repeats, no half file, one paid picture in the end."""
    assert outcome.complaints() == []
    assert outcome.last.files == outcome.last.completed == 1


def test_nothing_is_left_unhandled(matrix):
    """No row leaves an exception to the event loop."""
    assert matrix[1] == []


def test_the_table_has_every_fault():
    """Every effect of the simulator at every moment that a request passes has its row."""
    tried = {spec.partition(",")[0] for row in ROWS for spec in row.specs}
    known = {f"{moment}={effect}" for moment in MOMENTS for effect in faults._EFFECTS[moment]}
    assert known - tried == set()


def test_names_are_unique():
    """No two rows are the same fault."""
    assert len(set(NAMES)) == len(NAMES)


def _name(pair):
    return " + ".join(pair)


@pytest.fixture(scope="module")
def pairs(try_all):
    """All pairs of faults, tried once."""
    uploads = ("prepare", "put", "confirm")
    return try_all(
        [
            (_name(pair), pair, {"source": pair[0].startswith(uploads), "timeout": 5.0})
            for pair in PAIRS
        ]
    )


def test_pairs_of_faults(pairs):
    """Two faults of different moments, all of them: the same holds."""
    outcomes, unhandled = pairs
    broken = {
        name: repr(found) if isinstance(found, Exception) else found.complaints()
        for name, found in outcomes.items()
    }
    assert {name: complaints for name, complaints in broken.items() if complaints} == {}
    assert len(outcomes) == len(set(PAIRS))
    assert unhandled == []
