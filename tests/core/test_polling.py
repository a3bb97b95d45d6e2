"""When to look again: within bounds, as the service asks, and never past the deadline unnoticed."""

from __future__ import annotations

from math import erf, exp, inf, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.polling import Expectation, PollingPlan, expect

from .properties import PROPERTY

SECONDS = st.floats(0, 5000, allow_nan=False)
EXPECTATIONS = st.builds(Expectation, st.floats(0.01, 300), st.floats(0.1, 1.5))
SHORTEST, LONGEST = 0.25, 5.0


@pytest.mark.parametrize(
    ("resolution", "median"), [("1k", 12.0), ("2k", 18.0), ("4k", 27.0), (None, 12.0), ("8k", 12.0)]
)
def test_what_is_expected(resolution, median):
    """Each resolution has its own median, within the guide's 10 to 30 seconds."""
    assert expect(resolution).median == median
    assert 10 <= median <= 30


@PROPERTY
@given(EXPECTATIONS)
def test_quantiles(expectation):
    """One task in ten is faster than the low figure, one in ten slower than the high one."""
    assert expectation.done_by(expectation.low) == pytest.approx(0.1, abs=0.001)
    assert expectation.done_by(expectation.median) == pytest.approx(0.5)
    assert expectation.done_by(expectation.high) == pytest.approx(0.9, abs=0.001)
    assert expectation.low < expectation.median < expectation.high


@PROPERTY
@given(EXPECTATIONS, SECONDS, SECONDS)
def test_done_by_never_falls(expectation, one, other):
    """The share that is done is between 0 and 1 and never falls with time."""
    early, late = sorted((one, other))
    assert 0 <= expectation.done_by(early) <= expectation.done_by(late) <= 1


@PROPERTY
@given(EXPECTATIONS, st.floats(0.3, 3))
def test_the_hazard_is_the_rate_of_finishing(expectation, factor):
    """The hazard is the slope of what is done, over what is left."""
    moment, step = expectation.median * factor, expectation.median * 1e-5
    left = 1 - expectation.done_by(moment)
    slope = (expectation.done_by(moment + step) - expectation.done_by(moment - step)) / (2 * step)
    assert expectation.hazard(moment) * left == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("elapsed", [0.0, -1.0])
def test_nothing_is_done_before_the_start(elapsed):
    """At the start nothing is done and nothing is finishing."""
    assert expect("1k").done_by(elapsed) == 0
    assert expect("1k").hazard(elapsed) == 0


def test_done_by_is_a_log_normal():
    """The share that is done is the log-normal's, at a point worked out apart."""
    z = log(24 / 12) / 0.4
    assert expect("1k").done_by(24) == pytest.approx(0.5 * (1 + erf(z / sqrt(2))))
    assert expect("1k").high == pytest.approx(12 * exp(1.2816 * 0.4))


@PROPERTY
@given(EXPECTATIONS, st.lists(SECONDS, min_size=1, max_size=20), st.floats(1, 5000))
def test_pauses_keep_their_bounds(expectation, moments, timeout):
    """Without a hint each pause is 0.25 to 5 seconds, less only where the deadline is nearer."""
    plan = PollingPlan(expectation, timeout)
    plan.pause(0.0)
    for elapsed in moments:
        pause = plan.pause(elapsed)
        left = timeout - plan.counted
        assert min(SHORTEST, left) <= pause <= min(LONGEST, left)


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 4.0), (1.5, 2.5), (3.9, pytest.approx(0.1))])
def test_the_first_look_is_early(elapsed, pause):
    """The first look comes at four seconds, since failures come early."""
    assert PollingPlan(expect("1k"), 900).pause(elapsed) == pause


@PROPERTY
@given(st.floats(SHORTEST, 100), SECONDS)
def test_hints_are_obeyed_once(hint, elapsed):
    """``Retry-After`` decides the next pause, and only that one."""
    plan, untold = PollingPlan(expect("1k"), 900), PollingPlan(expect("1k"), 900)
    plan.pause(0.0)
    untold.pause(0.0)
    plan.hint(hint)
    assert plan.pause(elapsed) == hint
    assert plan.pause(elapsed) == untold.pause(elapsed)


def test_a_hint_does_not_outlast_the_deadline():
    """A hint longer than the time that is left waits for that time only."""
    plan = PollingPlan(expect("1k"), 60)
    plan.waited(50, 50)
    plan.hint(3600)
    assert plan.pause(50) == 10


def test_no_hint_is_no_hint():
    """An answer without ``Retry-After`` takes an older hint back."""
    plan = PollingPlan(expect("1k"), 900)
    plan.hint(77)
    plan.hint(None)
    assert plan.pause(0.0) == 4.0


@pytest.mark.parametrize("hint", [0.0, 0.001])
def test_a_service_that_never_wants_a_pause_is_not_hammered(hint):
    """With ``Retry-After: 0`` at every look the looks stay apart, and the deadline comes."""
    plan, looks = PollingPlan(expect("1k"), 60), 0
    while not plan.is_over and looks < 5000:
        plan.hint(hint)
        pause = plan.pause(plan.counted)
        plan.waited(pause, pause)
        looks += 1
    assert plan.is_over
    assert looks <= 60 / 0.05 + 2


@PROPERTY
@given(
    EXPECTATIONS,
    st.floats(1, 100),
    st.lists(st.tuples(SECONDS, st.floats(0, 4))),
    st.none() | SECONDS,
)
def test_the_deadline_counts_what_was_planned(expectation, timeout, waits, hint):
    """A pause counts as long as it took, but at most five seconds more than was planned."""
    plan, expected = PollingPlan(expectation, timeout), 0.0
    for elapsed, factor in waits:
        plan.hint(hint)
        planned = plan.pause(elapsed)
        actual = planned * factor
        plan.waited(planned, actual)
        expected += min(actual, planned + 5)
        assert plan.counted == pytest.approx(expected)
        assert plan.is_over == (plan.counted >= timeout)


def test_a_long_cell_does_not_use_up_the_deadline():
    """An hour in which the loop was blocked counts as a pause and five seconds."""
    plan = PollingPlan(expect("1k"), 900)
    planned = plan.pause(0.0)
    plan.waited(planned, 3600.0)
    assert plan.counted == planned + 5
    assert not plan.is_over


@PROPERTY
@given(EXPECTATIONS, st.floats(1, 2000))
def test_the_deadline_comes(expectation, timeout):
    """Pauses that take their time add up to the deadline, in a number of looks that is bounded."""
    plan, looks = PollingPlan(expectation, timeout), 0
    while not plan.is_over and looks < 20_000:
        pause = plan.pause(plan.counted)
        plan.waited(pause, pause)
        looks += 1
    assert plan.counted == pytest.approx(timeout)
    assert looks <= timeout / SHORTEST + 2


def test_looks_are_denser_where_the_task_is_likely_to_end():
    """Around the expected end the looks are closer together than long before it."""
    plan = PollingPlan(expect("2k"), 900)
    plan.pause(0.0)
    assert plan.pause(5.0) > plan.pause(12.0) > plan.pause(18.0) > SHORTEST


def test_looks_of_a_usual_task():
    """A task of the expected length costs about as many looks as the design promises."""
    plan, now, looks = PollingPlan(expect("1k"), 900), 0.0, 0
    while now < 12:
        now += plan.pause(now)
        looks += 1
    assert 3 <= looks <= 9


def test_hazards_stay_numbers():
    """Even absurdly late the hazard is a rate, and the pause one that can be slept."""
    late = Expectation(0.001, 0.1)
    assert 0 <= late.hazard(5000.0) <= inf
    assert SHORTEST <= PollingPlan(late, 900).pause(5000.0) <= LONGEST
