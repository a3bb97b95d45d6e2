"""When to look again: within bounds, as the service asks, and never past the deadline unnoticed."""

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


def _looks(plan, until):
    """The moments of a plan's looks, the last one at or after this moment."""
    now, looks = 0.0, []
    while now < until:
        now += plan.pause(now)
        looks.append(now)
    return looks


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


@PROPERTY
@given(EXPECTATIONS, st.floats(0.3, 3))
def test_done_for_adds_up_what_is_done(expectation, factor):
    """The seconds for which a task is done grow as fast as the share that is done."""
    moment, step = expectation.median * factor, expectation.median * 1e-3
    slope = expectation.done_for(moment + step) - expectation.done_for(moment - step)
    assert slope / (2 * step) == pytest.approx(expectation.done_by(moment), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("elapsed", [0.0, -1.0])
def test_nothing_is_done_before_the_start(elapsed):
    """At the start nothing is done and nothing is finishing."""
    assert expect("1k").done_by(elapsed) == 0
    assert expect("1k").done_for(elapsed) == 0
    assert expect("1k").hazard(elapsed) == 0


def test_done_by_is_a_log_normal():
    """The share that is done is the log-normal's, at a point worked out apart."""
    z = log(24 / 12) / 0.48
    assert expect("1k").done_by(24) == pytest.approx(0.5 * (1 + erf(z / sqrt(2))))
    assert expect("1k").high == pytest.approx(12 * exp(1.2816 * 0.48))


@PROPERTY
@given(EXPECTATIONS, st.floats(0.1, 1000))
def test_a_hurried_service(expectation, time_scale):
    """Where the service's time passes faster, all figures are as many times smaller."""
    hurried = expectation.at_time_scale(time_scale)
    assert hurried.high == pytest.approx(expectation.high / time_scale)
    assert (hurried.sigma, hurried.failing) == (expectation.sigma, expectation.failing)


def test_what_a_look_is_worth():
    """The longer a task takes the cheaper is one of its many looks; none costs more than 0.13 s."""
    worths = [poll_value(Expectation(median, 0.3)) for median in (0.5, 12, 18, 27, 120)]
    assert worths[0] == 0.13
    assert all(one > other for one, other in pairwise(worths[1:]))


@PROPERTY
@given(EXPECTATIONS, CHANCES, st.lists(SECONDS, min_size=1, max_size=20), st.floats(1, 5000))
def test_pauses_keep_their_bounds(expectation, chance, moments, timeout):
    """Without a hint each pause is 0.25 to 5 seconds, less only where the deadline is nearer.

    Before one task in ten is done it may be longer, but neither beyond that nor beyond 20 seconds.
    """
    plan = _plan(expectation, timeout, random=chance)
    plan.pause(0.0)
    for elapsed in moments:
        pause = plan.pause(elapsed)
        left = timeout - plan.counted
        longest = max(LONGEST, min(expectation.low - elapsed, EARLY))
        assert min(SHORTEST, left) <= pause <= min(longest, left)


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 4.0), (1.5, 2.5), (3.9, pytest.approx(0.1))])
def test_the_first_look_is_early(elapsed, pause):
    """The first look comes at four seconds, since failures come early."""
    assert _plan(expect("2k")).pause(elapsed) == pause


def test_no_early_look_where_nothing_fails():
    """Where tasks hardly ever fail early, the first look is as late as the others of the plan."""
    expectation = Expectation(27, 0.3, failing=0.01)
    assert _plan(expectation).pause(0.0) == pytest.approx(15, abs=3)


def test_a_fast_model_is_looked_at_sooner():
    """A task that takes a second or two does not wait for the early look."""
    assert _plan(Expectation(1.5, 0.3)).pause(0.0) < 2


@PROPERTY
@given(st.floats(1, 100), SECONDS, EXPECTATIONS, CHANCES)
def test_hints_are_obeyed_once(hint, elapsed, expectation, chance):
    """No look comes before ``Retry-After``, nor much later than planned or asked; only one."""
    plan, untold = _plan(expectation, random=chance), _plan(expectation, random=lambda: 1.0)
    plan.pause(0.0)
    untold.pause(0.0)
    plan.hint(hint)
    assert hint <= plan.pause(elapsed) <= max(1.1 * hint, untold.pause(elapsed), 1.25 * LONGEST,
                                              expectation.low - elapsed)  # fmt: skip
    assert plan.pause(5000.0) <= LONGEST


@PROPERTY
@given(st.floats(0.05, 0.99), st.floats(0, 30), CHANCES)
def test_a_hurried_simulator_is_obeyed_to_the_letter(hint, elapsed, chance):
    """A ``Retry-After`` below a second, which HTTP has not, is a simulator's: the look is then."""
    plan = _plan(expect("1k"), random=chance)
    for _ in range(3):
        plan.hint(hint)
        assert plan.pause(elapsed) == hint


def test_the_plan_outweighs_a_standing_hint():
    """A service that always asks for two seconds gets fewer looks than one every two seconds."""
    plan, now, looks = _plan(Expectation(27, 0.3)), 0.0, 0
    while now < 27:
        plan.hint(2.0)
        now, looks = now + plan.pause(now), looks + 1
    assert looks < 27 / 2 - 3


def test_a_hint_does_not_outlast_the_deadline():
    """A hint longer than the time that is left waits for that time only."""
    plan = _plan(expect("1k"), 60)
    plan.note_wait(50, 50)
    plan.hint(3600)
    assert plan.pause(50) == 10


def test_no_hint_is_no_hint():
    """An answer without ``Retry-After`` takes an older hint back."""
    plan = _plan(expect("2k"))
    plan.hint(77)
    plan.hint(None)
    assert plan.pause(0.0) == 4.0


def test_a_task_that_may_be_done_is_looked_at_at_once():
    """A hint of nothing counts for the first look, as at a task that was under way before."""
    plan = _plan(expect("2k"))
    plan.hint(0.0)
    assert plan.pause(0.0) == 0.02


@pytest.mark.parametrize("hint", [0.0, 0.001])
def test_a_service_that_never_wants_a_pause_is_not_hammered(hint):
    """With ``Retry-After: 0`` at every look the looks stay apart, and the deadline comes."""
    plan, looks = _plan(expect("1k"), 60), 0
    while not plan.is_over and looks < 5000:
        plan.hint(hint)
        pause = plan.pause(plan.counted)
        plan.note_wait(pause, pause)
        looks += 1
    assert plan.is_over
    assert looks <= 60 / 0.02 + 2


def test_a_zero_is_no_wish():
    """``Retry-After: 0`` after a look says that there is no need to wait; the plan stays."""
    plan, untold = _plan(expect("2k")), _plan(expect("2k"))
    plan.pause(0.0)
    untold.pause(0.0)
    plan.hint(0.0)
    assert plan.pause(10.0) == untold.pause(10.0)


@PROPERTY
@given(
    EXPECTATIONS,
    st.floats(1, 100),
    st.lists(st.tuples(SECONDS, st.floats(0, 4))),
    st.none() | SECONDS,
)
def test_the_deadline_counts_what_was_planned(expectation, timeout, waits, hint):
    """A pause counts as long as it took, but at most five seconds more than was planned."""
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
    """An hour in which the loop was blocked counts as a pause and five seconds."""
    plan = _plan(expect("1k"))
    planned = plan.pause(0.0)
    plan.note_wait(planned, 3600.0)
    assert plan.counted == planned + 5
    assert not plan.is_over


@PROPERTY
@given(EXPECTATIONS, st.floats(1, 2000))
def test_the_deadline_comes(expectation, timeout):
    """Pauses that take their time add up to the deadline, in a number of looks that is bounded."""
    plan, looks = _plan(expectation, timeout), 0
    while not plan.is_over and looks < 20_000:
        pause = plan.pause(plan.counted)
        plan.note_wait(pause, pause)
        looks += 1
    assert plan.counted == pytest.approx(timeout)
    assert looks <= timeout / SHORTEST + 2


def test_looks_are_denser_where_the_task_is_likely_to_end():
    """Around the expected end the looks are closer together than before it."""
    plan = _plan(Expectation(18, 0.3))
    plan.pause(0.0)
    assert plan.pause(5.0) > plan.pause(12.0) > plan.pause(18.0) > SHORTEST


def test_looks_become_rare_at_a_task_that_hangs():
    """A task far beyond all expectation is looked at every few seconds, as long as it takes."""
    looks = _looks(_plan(Expectation(12, 0.15)), 300)
    assert looks[-1] - looks[-2] == pytest.approx(LONGEST, abs=1)
    assert len(looks) < 150


@pytest.mark.parametrize("resolution", ["1k", "2k", "4k"])
def test_a_pause_costs_as_much_as_its_look(resolution):
    """The delay that a pause is expected to cause is what the look after it is worth."""
    expectation = expect(resolution)
    plan = _plan(expectation)
    plan.pause(0.0)
    begin = expectation.median * 0.8
    end = begin + plan.pause(begin)
    steps = [begin + (end - begin) * (number + 0.5) / 1000 for number in range(1000)]
    late = sum(expectation.done_by(step) - expectation.done_by(begin) for step in steps)
    delay = late * (end - begin) / 1000 / (1 - expectation.done_by(begin))
    assert delay == pytest.approx(poll_value(expectation), rel=0.01)


def test_news_count_from_the_next_pause_on():
    """What is learned while a task is under way changes its next pause already."""
    known = [Expectation(27, 0.2)]
    plan = PollingPlan(lambda: known[0], 900)
    plan.pause(0.0)
    unaware = plan.pause(4.0)
    known[0] = Expectation(8, 0.2)
    assert plan.pause(4.0) < unaware / 2


def test_tasks_of_one_request_do_not_fall_into_step():
    """Plans that begin together soon look at different moments, each time in the same way."""

    def moments(seed):
        return _looks(_plan(expect("2k"), random=random.Random(seed).random), 30)

    each = [moments(seed) for seed in range(20)]
    assert len({looks[3] for looks in each}) == 20
    assert max(looks[3] for looks in each) - min(looks[3] for looks in each) > 0.5
    assert moments(7) == each[7]


@PROPERTY
@given(EXPECTATIONS, st.floats(0.1, 400))
def test_hazards_stay_numbers(expectation, times):
    """However late, the hazard is a rate, and the pause one that can be slept."""
    late = expectation.median * times
    assert 0 <= expectation.hazard(late) <= inf
    plan = _plan(expectation)
    plan.pause(0.0)
    assert SHORTEST <= plan.pause(max(late, expectation.low)) <= LONGEST


def _duration(plan, end, *, slow_look=0.0, blocked=0.0, asleep=0.0):
    """What a plan makes of a task that ends then: with a slow look, a blocked loop, a sleep."""
    now = 0.0
    while now < end:
        now += plan.pause(now)
        if now < end:
            plan.note_unfinished(now)
    now += slow_look + blocked
    plan.note_finished(now, now + asleep)
    return plan.duration


@PROPERTY
@given(EXPECTATIONS, st.floats(0.05, 200), st.integers(0, 99))
def test_what_a_task_took(expectation, end, seed):
    """The duration is taken to lie between the last two looks, as the end does."""
    looks = _looks(_plan(expectation, random=random.Random(seed).random), end)
    duration = _duration(_plan(expectation, random=random.Random(seed).random), end)
    before = [0.0, *looks][-2]
    assert before <= duration <= looks[-1]
    assert before <= end <= looks[-1]


def test_where_between_two_looks_a_task_ended():
    """Seen at the first look, late, a task ended rather shortly before than early on."""
    expectation = Expectation(27, 0.3, failing=0.0)
    plan = _plan(expectation)
    first = plan.pause(0.0)
    plan.note_finished(first, first)
    assert first / 2 < plan.duration < expectation.between(0.0, first) < first


@PROPERTY
@given(EXPECTATIONS, SECONDS, SECONDS)
def test_the_mean_between_two_moments(expectation, one, other):
    """What ends between two moments ends there on average, however unlikely that is."""
    early, late = sorted((one, other))
    assert early <= expectation.between(early, late) <= late


def test_the_mean_of_all_is_the_mean():
    """Between the start and a moment long after all ends, the mean is the log-normal's."""
    assert expect("2k").between(0.0, 5000.0) == pytest.approx(expect("2k").mean)


def test_a_simulators_seconds_are_the_services():
    """At ten times the speed a task of two seconds took the service twenty."""
    expectation = expect("2k").at_time_scale(10)
    assert _duration(_plan(expectation, time_scale=10), 2.0) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    ("options", "is_known"),
    [
        ({}, True),
        ({"slow_look": 1.0}, True),
        ({"blocked": 30.0}, False),
        ({"asleep": 0.5}, True),
        ({"asleep": 3600.0}, False),
    ],
)
def test_durations_that_say_nothing(options, is_known):
    """A duration counts only where the looks came as planned and the machine did not sleep."""
    assert (_duration(_plan(expect("2k")), 20.0, **options) is not None) == is_known


def test_a_stop_that_was_over_before_the_end_does_no_harm():
    """A loop that was blocked long before the last look leaves the end as well known as ever."""
    plan = _plan(expect("2k"))
    plan.pause(0.0)
    plan.note_unfinished(60.0)
    plan.note_finished(60.0 + plan.pause(60.0), 62.0)
    assert plan.duration == pytest.approx(61, abs=2)


@pytest.mark.parametrize("is_new", [True, False])
def test_what_was_there_before_is_no_duration(is_new):
    """Of a task that was under way before its looks began, nobody knows how long it took."""
    assert (_duration(_plan(expect("2k"), is_new=is_new), 20.0) is not None) == is_new


def test_what_was_done_at_once_is_no_duration():
    """Of a task that the create's answer called done, nothing is learned."""
    plan = _plan(expect("2k"))
    plan.note_finished(0.0, 0.0)
    assert plan.duration is None
