"""A killed kernel loses nothing and pays nothing twice."""

from __future__ import annotations

import pytest

from tests.recovery.kill import run_rounds

ROUNDS = 4


@pytest.mark.kernel
def test_killed_kernels_lose_nothing(home):
    """After SIGKILL or two cancellations at any moment, each image is there and paid for once."""
    count = run_rounds(ROUNDS, 7, home.parent / "rounds")
    assert count.rounds == ROUNDS
    assert count.pictures == count.asked
    assert count.tasks == count.asked_tasks
    assert count.charged_cents == count.expected_cents
    assert round(count.told_cents) == count.charged_cents
    assert round(count.spent_cents) == count.charged_cents
    assert count.damaged == 0
    assert count.left_over == 0
    assert count.journal == "ok"
