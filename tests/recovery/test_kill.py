"""A killed kernel loses nothing, and nothing is charged twice."""

from __future__ import annotations

import pytest

from tests.recovery.kill import run_rounds

ROUNDS = 4


@pytest.mark.kernel
def test_killed_kernels_lose_nothing(home):
    """After SIGKILL or two cancellations at any time, each image exists and is charged once."""
    totals = run_rounds(ROUNDS, 7, home.parent / "rounds")
    assert totals.rounds == ROUNDS
    assert totals.images == totals.requested_images
    assert totals.tasks == totals.expected_tasks
    assert totals.charged_cents == totals.expected_cents
    assert round(totals.reported_cents) == totals.charged_cents
    assert round(totals.spent_cents) == totals.charged_cents
    assert totals.damaged == 0
    assert totals.partial_files == 0
    assert totals.journal == "ok"
