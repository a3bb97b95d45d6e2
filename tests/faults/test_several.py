"""Several tasks under every kind of trouble: charged is told, nothing is lost or paid twice."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.journal import async_journal as recording
from tests.faults.quick import quick_simulators
from tests.faults.several import CASES, complaints, run

AT_ONCE = 4


@pytest.fixture(scope="module")
def outcomes(hurried, patch, tmp_path_factory):
    """Run all cases once, some at a time."""
    patch.setattr(recording, "_PATIENCE", 1.5)
    folder = tmp_path_factory.mktemp("several")
    found = {}

    async def main(servers):
        waiting = list(enumerate(CASES))

        async def work(server):
            while waiting:
                number, case = waiting.pop(0)
                try:
                    found[case.name] = await run(case, server, folder / str(number))
                except Exception as error:  # noqa: BLE001 (shown at its own test)
                    found[case.name] = error

        await asyncio.gather(*map(work, servers))

    with quick_simulators(AT_ONCE) as servers:
        asyncio.run(main(servers))
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_charged_is_told(outcomes, case):
    """What the service charged lies within what the user is told, and everything comes once."""
    outcome = outcomes[case.name]
    assert not isinstance(outcome, Exception), repr(outcome)
    assert complaints(case, outcome) == []


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("asked", ["request", "batch", "items"])
def test_a_task_at_the_service_is_never_called_free(outcomes, times, asked):
    """However often a request is cancelled: a task that the service works on may be charged."""
    outcome = outcomes[f"cancelled {times} times at DRAWING ({asked})"]
    assert outcome.charged == 18
    assert [word for word in outcome.words if "may be charged" not in word] == []


@pytest.mark.parametrize("asked", ["batch", "items"])
def test_what_was_paid_and_is_gone_is_in_the_cost(outcomes, asked):
    """Two of three paid images are gone: the cost is that of three."""
    outcome = outcomes[f"two images are gone ({asked})"]
    assert (outcome.charged, outcome.cost) == (18, 18)


def test_half_an_item_is_partial(outcomes):
    """An item with one of three images says so."""
    assert outcomes["two images are gone (batch)"].status == "partial"
    assert outcomes["one task fails (batch)"].status == "partial"


@pytest.mark.parametrize("asked", ["request", "batch", "items"])
def test_nothing_is_sent_that_a_held_journal_cannot_record(outcomes, asked):
    """While another program holds the journal for long, nothing is sent and nothing is charged."""
    outcome = outcomes[f"the journal is held for long ({asked})"]
    assert (outcome.charged, outcome.told) == (0, (0, 0))


@pytest.mark.parametrize("asked", ["request", "batch", "items"])
def test_a_journal_that_is_held_for_a_moment_is_waited_for(outcomes, asked):
    """A short wait for another program's write costs nothing but that time."""
    assert outcomes[f"the journal is held for a moment ({asked})"].cost == 18
