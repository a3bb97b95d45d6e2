"""Every fault at every point: the image or a complete error; nothing lost or charged twice."""

from __future__ import annotations

import pytest

from runapi_magic.errors import CHARGED
from runapi_magic.simulator import faults
from tests.faults.matrix import PAIRS, POINTS, ROWS
from tests.faults.trial import NEVER_CHARGED

NAMES = [row.name for row in ROWS]


@pytest.fixture(scope="module")
def matrix(run_trials):
    """Run all rows once."""
    return run_trials(
        [
            (
                row.name,
                row.specs,
                {
                    "fields": row.fields,
                    "source": row.is_edit,
                    "response_timeout": row.response_timeout,
                    "timeout": row.timeout,
                },
            )
            for row in ROWS
        ]
    )


@pytest.fixture
def outcome(matrix, row):
    """Return the outcome of one row."""
    found = matrix[0][row.name]
    assert not isinstance(found, Exception), repr(found)
    return found


def _charge(error):
    if error is None or error.charged == CHARGED:
        return "yes"
    return "no" if error.charged in NEVER_CHARGED else "maybe"


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_result_matches_the_table(row, outcome):
    """The request ends with the image or with the error of the row."""
    assert type(outcome.error) is (row.error or type(None)), outcome.error
    text = str(outcome.error)
    assert [part for part in row.messages if part not in text] == [], text
    assert row.todo in getattr(outcome.error, "todo", ""), text
    assert _charge(outcome.error) == row.charged, text


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_server_and_the_journal_agree_with_the_table(row, outcome):
    """Tasks, charge, journal and idempotency keys match the row."""
    assert (outcome.first.tasks, outcome.first.cents) == (row.tasks, row.cents)
    assert outcome.first.journal == (row.journal,)
    assert len({post.key for post in outcome.creates}) == row.keys


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_next_kernel_finishes_it(row, outcome):
    """Resuming saves the image if the row says so, and creates no second task."""
    assert outcome.resumed == (1 if row.resumes else None)
    assert outcome.second.tasks == max(row.tasks, int(row.resumes))
    assert outcome.second.files == int(row.error is None or row.resumes)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_nothing_is_lost_or_charged_twice(row, outcome):
    """Repeated requests are identical, no partial file is left, and one image is charged."""
    assert outcome.violations() == []
    assert outcome.last.files == outcome.last.completed == 1


def test_nothing_is_left_unhandled(matrix):
    """No row leaves an unhandled exception in the event loop."""
    assert matrix[1] == []


def test_the_table_has_every_fault():
    """Every effect of the simulator has a row at every point that a request passes."""
    tried = {spec.partition(",")[0] for row in ROWS for spec in row.specs}
    known = {f"{point}={effect}" for point in POINTS for effect in faults._EFFECTS[point]}
    assert known - tried == set()


def test_names_are_unique():
    """Every row is a different fault."""
    assert len(set(NAMES)) == len(NAMES)


def _name(pair):
    return " + ".join(pair)


@pytest.fixture(scope="module")
def pairs(run_trials):
    """Run all pairs of faults once."""
    uploads = ("prepare", "put", "confirm")
    return run_trials(
        [
            (_name(pair), pair, {"source": pair[0].startswith(uploads), "timeout": 5.0})
            for pair in PAIRS
        ]
    )


def test_pairs_of_faults(pairs):
    """The general rules also hold for two faults at different points."""
    outcomes, unhandled = pairs
    broken = {
        name: repr(found) if isinstance(found, Exception) else found.violations()
        for name, found in outcomes.items()
    }
    assert {name: violations for name, violations in broken.items() if violations} == {}
    assert len(outcomes) == len(set(PAIRS))
    assert unhandled == []
