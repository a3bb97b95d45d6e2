"""Several tasks under faults: the reported charge is right; nothing is lost or charged twice."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.journal import async_journal
from tests.faults.fast_simulators import fast_simulators
from tests.faults.several_tasks import CASES, run, violations

PARALLEL = 4


@pytest.fixture(scope="module")
def outcomes(short_pauses, patch, tmp_path_factory):
    """Run all cases once, some in parallel."""
    patch.setattr(async_journal, "_TIMEOUT", 1.5)
    folder = tmp_path_factory.mktemp("several")
    found = {}

    async def main(servers):
        waiting = list(enumerate(CASES))

        async def work(server):
            while waiting:
                number, case = waiting.pop(0)
                try:
                    found[case.name] = await run(case, server, folder / str(number))
                except Exception as error:  # noqa: BLE001 (the case's own test shows it)
                    found[case.name] = error

        await asyncio.gather(*map(work, servers))

    with fast_simulators(PARALLEL) as servers:
        asyncio.run(main(servers))
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_reported_charge_is_right(outcomes, case):
    """The charge is within the reported range, and every image is made once."""
    outcome = outcomes[case.name]
    assert not isinstance(outcome, Exception), repr(outcome)
    assert violations(case, outcome) == []


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("kind", ["request", "batch", "items"])
def test_a_running_task_is_never_called_free(outcomes, times, kind):
    """A cancelled request may be charged if the service works on its task."""
    outcome = outcomes[f"cancelled {times} times at DRAWING ({kind})"]
    assert outcome.charged == 18
    assert [word for word in outcome.charge_texts if "may be charged" not in word] == []


@pytest.mark.parametrize("kind", ["batch", "items"])
def test_the_cost_includes_lost_images(outcomes, kind):
    """If two of three charged images are gone, the cost is that of three."""
    outcome = outcomes[f"two images are gone ({kind})"]
    assert (outcome.charged, outcome.cost) == (18, 18)


def test_half_an_item_is_partial(outcomes):
    """An item with one of three images has the status "partial"."""
    assert outcomes["two images are gone (batch)"].status == "partial"
    assert outcomes["one task fails (batch)"].status == "partial"


@pytest.mark.parametrize("kind", ["request", "batch", "items"])
def test_nothing_is_sent_that_a_locked_journal_cannot_record(outcomes, kind):
    """While another program locks the journal for long, nothing is sent and nothing is charged."""
    outcome = outcomes[f"the journal is locked for long ({kind})"]
    assert (outcome.charged, outcome.reported) == (0, (0, 0))


@pytest.mark.parametrize("kind", ["request", "batch", "items"])
def test_a_short_lock_is_waited_for(outcomes, kind):
    """A short lock only delays the request."""
    assert outcomes[f"the journal is locked for a moment ({kind})"].cost == 18
