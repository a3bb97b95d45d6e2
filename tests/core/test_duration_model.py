"""The duration model learns fast, forgets old data, and ignores outliers."""

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

DURATIONS = st.builds(Duration, st.floats(0, 1e6), st.booleans())
_KERNELS = 30


def _drawn(median, count, spread=0.3, seed=0):
    return [Duration(end) for end in _ends(median, count, random.Random(seed), spread)]


def _ends(median, count, rng, spread=0.3):
    return [rng.lognormvariate(log(median), spread) for _ in range(count)]


def _delay(expectation, seconds, rng):
    """Return the seconds from the end of a task to the poll that finds it, and the duration."""
    plan, now = PollingPlan(lambda: expectation, 900, random=rng.random), 0.0
    while now < seconds:
        now += plan.pause(now)
        if now < seconds:
            plan.note_unfinished(now)
    plan.note_finished(now, now)
    return now - seconds, Duration(plan.duration)


@pytest.mark.parametrize("resolution", ["1k", "2k", "4k", None])
def test_without_tasks_the_prior_counts(resolution):
    """Before the first task, the expectation is the one of the guide."""
    assert Durations(expect(resolution)).expectation == expect(resolution)


@pytest.mark.parametrize("factor", [0.3, 0.6, 1.0, 1.7, 4.0])
def test_twenty_tasks_determine_the_median(factor):
    """After twenty tasks the median is theirs, and the spread is about theirs."""
    learned = Durations(expect("2k"), _drawn(18 * factor, 20)).expectation
    assert learned.median == pytest.approx(18 * factor, rel=0.15)
    assert 0.2 < learned.sigma < 0.45


def test_one_task_moves_the_prior():
    """After one task, the expectation is between that task and the guide, nearer to the task."""
    learned = Durations(expect("2k"), [Duration(9)]).expectation
    assert 9 < learned.median < 13.5
    assert learned.sigma < expect("2k").sigma * 1.1


def test_the_order_of_reading_does_not_matter():
    """Learning from the journal at once and task by task gives the same result."""
    past = _drawn(15, 30)
    growing = Durations(expect("1k"), past[:10])
    for duration in past[10:]:
        growing.add(duration)
    assert growing.expectation == Durations(expect("1k"), past).expectation


@PROPERTY
@given(st.lists(DURATIONS, max_size=40))
def test_any_durations_give_an_expectation(past):
    """Any durations, even 0, give numbers that a plan can use."""
    learned = Durations(expect("1k"), past).expectation
    assert 0 < learned.low < learned.median < learned.high
    assert isfinite(learned.high)
    assert learned.sigma >= 0.1
    assert 0 <= learned.failing <= 1


@PROPERTY
@given(st.floats(2, 200), st.integers(5, 64))
def test_equal_durations(seconds, count):
    """Equal durations give that median, and a spread that is not too narrow."""
    learned = Durations(expect("2k"), [Duration(seconds)] * count).expectation
    assert learned.median == pytest.approx(seconds, rel=0.35)
    assert learned.sigma >= 0.1


def test_one_stuck_task_is_soon_forgotten():
    """A task of a quarter of an hour has little effect on the fourth task after it."""
    before = Durations(expect("1k"), _drawn(12, 40)).expectation
    after = Durations(expect("1k"), [*_drawn(12, 40), Duration(900), *_drawn(12, 3, seed=1)])
    assert after.expectation.median == pytest.approx(before.median, rel=0.3)
    assert after.expectation.high < 40


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_a_change_is_noticed_within_five_tasks(factor):
    """After 200 tasks, five tasks of a changed service move the median most of the way."""
    medians = []
    for seed in range(_KERNELS):
        known = Durations(expect("2k"), _drawn(18, 200, seed=seed))
        for duration in _drawn(18 * factor, 5, seed=1000 + seed):
            known.add(duration)
        medians.append(known.expectation.median)
    assert fmean(medians) == pytest.approx(18 * factor, rel=0.25)


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_delays_recover_within_five_tasks(factor):
    """After a change, the sixth task is found about as soon as tasks before the change.

    This is a mean over kernels, in virtual time. Each kernel learns from its own polls.
    """
    before, after = [], []
    for seed in range(_KERNELS):
        rng = random.Random(seed)
        known = Durations(expect("2k"), _drawn(18, 200, seed=seed))
        before += [_delay(known.expectation, end, rng)[0] for end in _ends(18, 20, rng)]
        for end in _ends(18 * factor, 5, rng):
            known.add(_delay(known.expectation, end, rng)[1])
        late = _ends(18 * factor, 20, rng)
        after += [_delay(known.expectation, end, rng)[0] for end in late]
    assert fmean(after) < fmean(before) * 1.3


def test_failures_are_kept_apart():
    """Failures do not change the expected duration of an image."""
    past = _drawn(18, 20)
    mixed = [*past[:10], *[Duration(1.5, failed=True)] * 10, *past[10:]]
    with_failures = Durations(expect("2k"), mixed).expectation
    without = Durations(expect("2k"), past).expectation
    assert with_failures.median == without.median
    assert with_failures.sigma == without.sigma
    assert with_failures.failing > 0.25


def test_early_failures_bring_back_the_early_poll():
    """Without failures there is no early poll. An early failure brings it back."""
    known = Durations(expect("4k"), _drawn(27, 40))

    def first_poll():
        return PollingPlan(lambda: known.expectation, 900).pause(0.0)

    assert first_poll() > 10
    known.add(Duration(26, failed=True))
    assert first_poll() > 10
    known.add(Duration(2, failed=True))
    assert first_poll() == 4.0


def test_old_failures_are_forgotten():
    """A failure is forgotten after as many tasks as the model keeps."""
    known = Durations(expect("1k"), [Duration(1, failed=True), *_drawn(12, KEPT)])
    assert known.expectation == Durations(expect("1k"), _drawn(12, KEPT)).expectation
