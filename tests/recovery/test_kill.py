"""A killed kernel loses nothing and pays nothing twice."""

from __future__ import annotations

import pytest

from tests.recovery.kill import PICTURES, run_rounds

ROUNDS = 4


@pytest.mark.kernel
def test_killed_kernels_lose_nothing(home):
    """After SIGKILL at any moment, each asked picture is there once and was paid for once."""
    count = run_rounds(ROUNDS, 7, home / "rounds")
    assert count.asked == ROUNDS * PICTURES
    assert count.pictures == count.asked
    assert count.tasks == count.asked
    assert count.charged_cents == count.expected_cents
    assert count.damaged == 0
    assert count.left_over == 0
    assert count.journal == "ok"
