"""What is learned of how long tasks take: soon, never for good, and never beyond reason."""

from __future__ import annotations

import random
from math import isfinite, log
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.core.duration_model import KEPT, Duration, Durations
from runapi_magic.core.polling import PollingPlan, expect
from tests.properties import PROPERTY

TOOK = st.builds(Duration, st.floats(0, 1e6), st.booleans())
_KERNELS = 30


def _drawn(median, count, spread=0.3, seed=0):
    return [Duration(end) for end in _ends(median, count, random.Random(seed), spread)]


def _ends(median, count, chance, spread=0.3):
    return [chance.lognormvariate(log(median), spread) for _ in range(count)]


def _delay(expectation, seconds, chance):
    """How long after a task's end a plan looks."""
    plan, now = PollingPlan(lambda: expectation, 900, random=chance.random), 0.0
    while now < seconds:
        now += plan.pause(now)
        if now < seconds:
            plan.note_unfinished(now)
    plan.note_finished(now, now)
    return now - seconds, Duration(plan.duration)


@pytest.mark.parametrize("resolution", ["1k", "2k", "4k", None])
def test_without_tasks_the_guide_counts(resolution):
    """Before any task was seen, what is expected is what the guide says."""
    assert Durations(expect(resolution)).expectation == expect(resolution)


@pytest.mark.parametrize("factor", [0.3, 0.6, 1.0, 1.7, 4.0])
def test_what_tasks_show_is_learned(factor):
    """After twenty tasks the median is theirs, whatever the guide says, and the spread about it."""
    learned = Durations(expect("2k"), _drawn(18 * factor, 20)).expectation
    assert learned.median == pytest.approx(18 * factor, rel=0.15)
    assert 0.2 < learned.sigma < 0.45


def test_one_task_moves_the_prior():
    """One task counts already: what is expected lies between it and the guide, nearer to it."""
    learned = Durations(expect("2k"), [Duration(9)]).expectation
    assert 9 < learned.median < 13.5
    assert learned.sigma < expect("2k").sigma * 1.1


def test_two_kernels_learn_the_same():
    """What is read from the journal and what is learned task by task come to the same."""
    past = _drawn(15, 30)
    growing = Durations(expect("1k"), past[:10])
    for took in past[10:]:
        growing.add(took)
    assert growing.expectation == Durations(expect("1k"), past).expectation


@PROPERTY
@given(st.lists(TOOK, max_size=40))
def test_whatever_came_an_expectation_comes_of_it(past):
    """Durations of all sizes, down to none at all, lead to figures that a plan can use."""
    learned = Durations(expect("1k"), past).expectation
    assert 0 < learned.low < learned.median < learned.high
    assert isfinite(learned.high)
    assert learned.sigma >= 0.1
    assert 0 <= learned.failing <= 1


@PROPERTY
@given(st.floats(2, 200), st.integers(5, 64))
def test_tasks_that_all_take_the_same(seconds, count):
    """Equal durations give that median, and a spread that stays wide enough to be wrong."""
    learned = Durations(expect("2k"), [Duration(seconds)] * count).expectation
    assert learned.median == pytest.approx(seconds, rel=0.35)
    assert learned.sigma >= 0.1


def test_one_stuck_task_is_soon_forgotten():
    """A task that took a quarter of an hour leaves little mark on the fourth task after it."""
    before = Durations(expect("1k"), _drawn(12, 40)).expectation
    after = Durations(expect("1k"), [*_drawn(12, 40), Duration(900), *_drawn(12, 3, seed=1)])
    assert after.expectation.median == pytest.approx(before.median, rel=0.3)
    assert after.expectation.high < 40


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_a_change_is_noticed_within_five_tasks(factor):
    """After 200 tasks, five of a changed service move the median most of the way."""
    medians = []
    for seed in range(_KERNELS):
        known = Durations(expect("2k"), _drawn(18, 200, seed=seed))
        for took in _drawn(18 * factor, 5, seed=1000 + seed):
            known.add(took)
        medians.append(known.expectation.median)
    assert fmean(medians) == pytest.approx(18 * factor, rel=0.25)


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_delays_recover_within_five_tasks(factor):
    """After a change, the sixth task is seen about as soon as tasks were before it.

    A mean over kernels, in virtual time; each learns from what its own looks saw.
    """
    before, after = [], []
    for seed in range(_KERNELS):
        chance = random.Random(seed)
        known = Durations(expect("2k"), _drawn(18, 200, seed=seed))
        before += [_delay(known.expectation, end, chance)[0] for end in _ends(18, 20, chance)]
        for end in _ends(18 * factor, 5, chance):
            known.add(_delay(known.expectation, end, chance)[1])
        late = _ends(18 * factor, 20, chance)
        after += [_delay(known.expectation, end, chance)[0] for end in late]
    assert fmean(after) < fmean(before) * 1.3


def test_failures_are_kept_apart():
    """Failures say nothing about how long a picture takes."""
    past = _drawn(18, 20)
    mixed = [*past[:10], *[Duration(1.5, failed=True)] * 10, *past[10:]]
    with_failures = Durations(expect("2k"), mixed).expectation
    without = Durations(expect("2k"), past).expectation
    assert with_failures.median == without.median
    assert with_failures.sigma == without.sigma
    assert with_failures.failing > 0.25


def test_the_early_look_goes_and_comes_with_early_failures():
    """Tasks without a failure save the early look; a failure that comes early brings it back."""
    known = Durations(expect("4k"), _drawn(27, 40))

    def first_look():
        return PollingPlan(lambda: known.expectation, 900).pause(0.0)

    assert first_look() > 10
    known.add(Duration(26, failed=True))
    assert first_look() > 10
    known.add(Duration(2, failed=True))
    assert first_look() == 4.0


def test_old_failures_count_no_more():
    """A failure is forgotten once as many tasks as are kept came after it."""
    known = Durations(expect("1k"), [Duration(1, failed=True), *_drawn(12, KEPT)])
    assert known.expectation == Durations(expect("1k"), _drawn(12, KEPT)).expectation
