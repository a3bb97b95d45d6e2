"""The polling plan keeps its limits, obeys ``Retry-After``, and notices the deadline."""

from __future__ import annotations

import random
from itertools import pairwise
from math import erf, exp, inf, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.core.polling import Expectation, PollingPlan, expect, poll_value
from tests.properties import PROPERTY

SECONDS = st.floats(0, 5000, allow_nan=False)
SHARES = st.floats(0, 1)
EXPECTATIONS = st.builds(Expectation, st.floats(0.01, 300), st.floats(0.1, 1.5), SHARES)
CHANCES = st.integers(0, 1000).map(lambda seed: random.Random(seed).random)
SHORTEST, LONGEST, EARLY = 0.25, 5.0, 20.0


def _plan(expectation, timeout=900, **options):
    return PollingPlan(lambda: expectation, timeout, **options)


def _polls(plan, until):
    """Return the times of a plan's polls, the last one at or after a time."""
    now, polls = 0.0, []
    while now < until:
        now += plan.pause(now)
        polls.append(now)
    return polls


@pytest.mark.parametrize(
    ("resolution", "median"), [("1k", 12.0), ("2k", 18.0), ("4k", 27.0), (None, 12.0), ("8k", 12.0)]
)
def test_medians(resolution, median):
    """Each resolution has its own median, within the guide's 10 to 30 seconds."""
    assert expect(resolution).median == median
    assert 10 <= median <= 30


@PROPERTY
@given(EXPECTATIONS)
def test_quantiles(expectation):
    """One task in ten is faster than ``low``, and one in ten is slower than ``high``."""
    assert expectation.done_by(expectation.low) == pytest.approx(0.1, abs=0.001)
    assert expectation.done_by(expectation.median) == pytest.approx(0.5)
    assert expectation.done_by(expectation.high) == pytest.approx(0.9, abs=0.001)
    assert expectation.low < expectation.median < expectation.high


@PROPERTY
@given(EXPECTATIONS, SECONDS, SECONDS)
def test_done_by_never_falls(expectation, one, other):
    """The share of finished tasks is between 0 and 1 and never falls with time."""
    early, late = sorted((one, other))
    assert 0 <= expectation.done_by(early) <= expectation.done_by(late) <= 1


@PROPERTY
@given(EXPECTATIONS, st.floats(0.3, 3))
def test_the_hazard_is_the_rate_of_finishing(expectation, factor):
    """The hazard is the slope of the finished share, divided by the unfinished share."""
    moment, step = expectation.median * factor, expectation.median * 1e-5
    left = 1 - expectation.done_by(moment)
    slope = (expectation.done_by(moment + step) - expectation.done_by(moment - step)) / (2 * step)
    assert expectation.hazard(moment) * left == pytest.approx(slope, rel=1e-3, abs=1e-6)


@PROPERTY
@given(EXPECTATIONS, st.floats(0.3, 3))
def test_done_for_is_the_integral_of_done_by(expectation, factor):
    """``done_for`` grows as fast as the share of finished tasks."""
    moment, step = expectation.median * factor, expectation.median * 1e-3
    slope = expectation.done_for(moment + step) - expectation.done_for(moment - step)
    assert slope / (2 * step) == pytest.approx(expectation.done_by(moment), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("elapsed", [0.0, -1.0])
def test_nothing_is_done_before_the_start(elapsed):
    """At the start, no task is finished and the hazard is 0."""
    assert expect("1k").done_by(elapsed) == 0
    assert expect("1k").done_for(elapsed) == 0
    assert expect("1k").hazard(elapsed) == 0


def test_done_by_is_a_log_normal():
    """The share of finished tasks is that of a log-normal, at a separately calculated point."""
    z = log(24 / 12) / 0.48
    assert expect("1k").done_by(24) == pytest.approx(0.5 * (1 + erf(z / sqrt(2))))
    assert expect("1k").high == pytest.approx(12 * exp(1.2816 * 0.48))


@PROPERTY
@given(EXPECTATIONS, st.floats(0.1, 1000))
def test_time_scale(expectation, time_scale):
    """If time at the service runs faster, all durations are shorter by that factor."""
    hurried = expectation.at_time_scale(time_scale)
    assert hurried.high == pytest.approx(expectation.high / time_scale)
    assert (hurried.sigma, hurried.failing) == (expectation.sigma, expectation.failing)


def test_poll_value():
    """A poll of a longer task has a smaller value. No poll has a value of more than 0.13 s."""
    values = [poll_value(Expectation(median, 0.3)) for median in (0.5, 12, 18, 27, 120)]
    assert values[0] == 0.13
    assert all(one > other for one, other in pairwise(values[1:]))


@PROPERTY
@given(EXPECTATIONS, CHANCES, st.lists(SECONDS, min_size=1, max_size=20), st.floats(1, 5000))
def test_pauses_keep_their_bounds(expectation, random_number, moments, timeout):
    """Without a hint each pause is 0.25 to 5 seconds, or less if the deadline is nearer.

    Before one task in ten has finished it may be longer, up to that time and up to 20 seconds.
    """
    plan = _plan(expectation, timeout, random=random_number)
    plan.pause(0.0)
    for elapsed in moments:
        pause = plan.pause(elapsed)
        left = timeout - plan.counted
        longest = max(LONGEST, min(expectation.low - elapsed, EARLY))
        assert min(SHORTEST, left) <= pause <= min(longest, left)


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 4.0), (1.5, 2.5), (3.9, pytest.approx(0.1))])
def test_the_first_poll_is_early(elapsed, pause):
    """The first poll is after four seconds, because failures tend to be early."""
    assert _plan(expect("2k")).pause(elapsed) == pause


def test_no_early_poll_without_failures():
    """If tasks hardly ever fail early, there is no early poll."""
    expectation = Expectation(27, 0.3, failing=0.01)
    assert _plan(expectation).pause(0.0) == pytest.approx(15, abs=3)


def test_a_fast_model_is_polled_sooner():
    """A task of one or two seconds does not wait for the early poll."""
    assert _plan(Expectation(1.5, 0.3)).pause(0.0) < 2


@PROPERTY
@given(st.floats(1, 100), SECONDS, EXPECTATIONS, CHANCES)
def test_hints_are_obeyed_once(hint, elapsed, expectation, random_number):
    """One poll waits for ``Retry-After``, and not much longer than that or the plan."""
    plan, unhinted = (
        _plan(expectation, random=random_number),
        _plan(expectation, random=lambda: 1.0),
    )
    plan.pause(0.0)
    unhinted.pause(0.0)
    plan.hint(hint)
    assert hint <= plan.pause(elapsed) <= max(1.1 * hint, unhinted.pause(elapsed), 1.25 * LONGEST,
                                              expectation.low - elapsed)  # fmt: skip
    assert plan.pause(5000.0) <= LONGEST


@PROPERTY
@given(st.floats(0.05, 0.99), st.floats(0, 30), CHANCES)
def test_a_fast_simulator_is_obeyed_exactly(hint, elapsed, random_number):
    """``Retry-After`` below a second can only be from a simulator. The poll is exactly then."""
    plan = _plan(expect("1k"), random=random_number)
    for _ in range(3):
        plan.hint(hint)
        assert plan.pause(elapsed) == hint


def test_the_plan_may_wait_longer_than_a_hint():
    """If a service always asks for two seconds, the plan still sends fewer polls."""
    plan, now, polls = _plan(Expectation(27, 0.3)), 0.0, 0
    while now < 27:
        plan.hint(2.0)
        now, polls = now + plan.pause(now), polls + 1
    assert polls < 27 / 2 - 3


def test_a_hint_does_not_exceed_the_deadline():
    """A hint that is longer than the remaining time waits for that time only."""
    plan = _plan(expect("1k"), 60)
    plan.note_wait(50, 50)
    plan.hint(3600)
    assert plan.pause(50) == 10


def test_a_hint_can_be_withdrawn():
    """A response without ``Retry-After`` removes an older hint."""
    plan = _plan(expect("2k"))
    plan.hint(77)
    plan.hint(None)
    assert plan.pause(0.0) == 4.0


def test_a_resumed_task_is_polled_at_once():
    """A hint of 0 makes the first poll immediate, for tasks that were created earlier."""
    plan = _plan(expect("2k"))
    plan.hint(0.0)
    assert plan.pause(0.0) == 0.02


@pytest.mark.parametrize("hint", [0.0, 0.001])
def test_zero_hints_do_not_cause_too_many_polls(hint):
    """With ``Retry-After: 0`` at every poll, the pauses stay, and the deadline comes."""
    plan, polls = _plan(expect("1k"), 60), 0
    while not plan.is_over and polls < 5000:
        plan.hint(hint)
        pause = plan.pause(plan.counted)
        plan.note_wait(pause, pause)
        polls += 1
    assert plan.is_over
    assert polls <= 60 / 0.02 + 2


def test_a_zero_hint_after_a_poll_is_ignored():
    """``Retry-After: 0`` after a poll does not change the plan."""
    plan, unhinted = _plan(expect("2k")), _plan(expect("2k"))
    plan.pause(0.0)
    unhinted.pause(0.0)
    plan.hint(0.0)
    assert plan.pause(10.0) == unhinted.pause(10.0)


@PROPERTY
@given(
    EXPECTATIONS,
    st.floats(1, 100),
    st.lists(st.tuples(SECONDS, st.floats(0, 4))),
    st.none() | SECONDS,
)
def test_the_deadline_counts_what_was_planned(expectation, timeout, waits, hint):
    """A pause counts with its actual length, but at most five seconds more than planned."""
    plan, expected = _plan(expectation, timeout), 0.0
    for elapsed, factor in waits:
        plan.hint(hint)
        planned = plan.pause(elapsed)
        actual = planned * factor
        plan.note_wait(planned, actual)
        expected += min(actual, planned + 5)
        assert plan.counted == pytest.approx(expected)
        assert plan.is_over == (plan.counted >= timeout)


def test_a_long_cell_does_not_use_up_the_deadline():
    """An hour in which the loop was blocked counts as the planned pause and five seconds."""
    plan = _plan(expect("1k"))
    planned = plan.pause(0.0)
    plan.note_wait(planned, 3600.0)
    assert plan.counted == planned + 5
    assert not plan.is_over


@PROPERTY
@given(EXPECTATIONS, st.floats(1, 2000))
def test_the_deadline_comes(expectation, timeout):
    """Long pauses add up to the deadline, after a limited number of polls."""
    plan, polls = _plan(expectation, timeout), 0
    while not plan.is_over and polls < 20_000:
        pause = plan.pause(plan.counted)
        plan.note_wait(pause, pause)
        polls += 1
    assert plan.counted == pytest.approx(timeout)
    assert polls <= timeout / SHORTEST + 2


def test_polls_are_denser_around_the_expected_end():
    """Around the expected end the polls are closer together than before it."""
    plan = _plan(Expectation(18, 0.3))
    plan.pause(0.0)
    assert plan.pause(5.0) > plan.pause(12.0) > plan.pause(18.0) > SHORTEST


def test_polls_of_a_stuck_task_are_rare():
    """A task far beyond its expected duration is polled every few seconds until the end."""
    polls = _polls(_plan(Expectation(12, 0.15)), 300)
    assert polls[-1] - polls[-2] == pytest.approx(LONGEST, abs=1)
    assert len(polls) < 150


@pytest.mark.parametrize("resolution", ["1k", "2k", "4k"])
def test_a_pause_costs_as_much_as_a_poll(resolution):
    """The expected delay of a pause equals the value of a poll."""
    expectation = expect(resolution)
    plan = _plan(expectation)
    plan.pause(0.0)
    begin = expectation.median * 0.8
    end = begin + plan.pause(begin)
    steps = [begin + (end - begin) * (number + 0.5) / 1000 for number in range(1000)]
    late = sum(expectation.done_by(step) - expectation.done_by(begin) for step in steps)
    delay = late * (end - begin) / 1000 / (1 - expectation.done_by(begin))
    assert delay == pytest.approx(poll_value(expectation), rel=0.01)


def test_a_new_expectation_changes_the_next_pause():
    """What is learned while a task runs changes its next pause."""
    known = [Expectation(27, 0.2)]
    plan = PollingPlan(lambda: known[0], 900)
    plan.pause(0.0)
    unaware = plan.pause(4.0)
    known[0] = Expectation(8, 0.2)
    assert plan.pause(4.0) < unaware / 2


def test_plans_have_different_jitter():
    """Plans that begin together soon poll at different times, reproducibly."""

    def moments(seed):
        return _polls(_plan(expect("2k"), random=random.Random(seed).random), 30)

    each = [moments(seed) for seed in range(20)]
    assert len({polls[3] for polls in each}) == 20
    assert max(polls[3] for polls in each) - min(polls[3] for polls in each) > 0.5
    assert moments(7) == each[7]


@PROPERTY
@given(EXPECTATIONS, st.floats(0.1, 400))
def test_late_hazards(expectation, times):
    """At any time, the hazard is 0 or more, even infinite, and the pause keeps its bounds."""
    late = expectation.median * times
    assert 0 <= expectation.hazard(late) <= inf
    plan = _plan(expectation)
    plan.pause(0.0)
    assert SHORTEST <= plan.pause(max(late, expectation.low)) <= LONGEST


def _duration(plan, end, *, slow_poll=0.0, blocked=0.0, asleep=0.0):
    """Return a plan's duration of a task, with a slow poll, a blocked loop or a sleep."""
    now = 0.0
    while now < end:
        now += plan.pause(now)
        if now < end:
            plan.note_unfinished(now)
    now += slow_poll + blocked
    plan.note_finished(now, now + asleep)
    return plan.duration


@PROPERTY
@given(EXPECTATIONS, st.floats(0.05, 200), st.integers(0, 99))
def test_duration(expectation, end, seed):
    """The estimated duration is between the last two polls, like the end of the task."""
    polls = _polls(_plan(expectation, random=random.Random(seed).random), end)
    duration = _duration(_plan(expectation, random=random.Random(seed).random), end)
    before = [0.0, *polls][-2]
    assert before <= duration <= polls[-1]
    assert before <= end <= polls[-1]


def test_duration_after_a_late_first_poll():
    """If the first poll is late and finds the end, the task ended shortly before it."""
    expectation = Expectation(27, 0.3, failing=0.0)
    plan = _plan(expectation)
    first = plan.pause(0.0)
    plan.note_finished(first, first)
    assert first / 2 < plan.duration < expectation.between(0.0, first) < first


@PROPERTY
@given(EXPECTATIONS, SECONDS, SECONDS)
def test_the_mean_between_two_moments(expectation, one, other):
    """The mean of the tasks that end between two times is between them, however few they are."""
    early, late = sorted((one, other))
    assert early <= expectation.between(early, late) <= late


def test_the_mean_of_all_is_the_mean():
    """Between the start and a very late time, the mean is the mean of the log-normal."""
    assert expect("2k").between(0.0, 5000.0) == pytest.approx(expect("2k").mean)


def test_duration_at_a_time_scale():
    """At ten times the speed, a task of two seconds has a duration of twenty."""
    expectation = expect("2k").at_time_scale(10)
    assert _duration(_plan(expectation, time_scale=10), 2.0) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    ("options", "is_known"),
    [
        ({}, True),
        ({"slow_poll": 1.0}, True),
        ({"blocked": 30.0}, False),
        ({"asleep": 0.5}, True),
        ({"asleep": 3600.0}, False),
    ],
)
def test_unknown_durations(options, is_known):
    """There is no duration if polls were missed or the machine slept."""
    assert (_duration(_plan(expect("2k")), 20.0, **options) is not None) == is_known


def test_an_early_block_does_not_matter():
    """If the loop was blocked long before the last poll, the duration is still precise."""
    plan = _plan(expect("2k"))
    plan.pause(0.0)
    plan.note_unfinished(60.0)
    plan.note_finished(60.0 + plan.pause(60.0), 62.0)
    assert plan.duration == pytest.approx(61, abs=2)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_resumed_task_has_no_duration(is_new):
    """A task that began before its polls has no duration."""
    assert (_duration(_plan(expect("2k"), is_new=is_new), 20.0) is not None) == is_new


def test_a_finished_create_has_no_duration():
    """If the response to the create is a finished task, there is no duration."""
    plan = _plan(expect("2k"))
    plan.note_finished(0.0, 0.0)
    assert plan.duration is None
