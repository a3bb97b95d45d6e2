"""Decide when to poll a task, and when to give up. Pure: no clock, no network.

The durations of tasks are assumed to be log-normal. A poll costs something, and waiting longer
delays the moment at which you see the image. The plan chooses the pause for which both costs are
equal. For a constant hazard h (the rate at which an unfinished task finishes) this pause is
sqrt(2 L / h), where L is the value of one poll, in seconds of delay. The plan also takes into
account that the hazard rises, so it does not poll long before the first tasks finish.

We calculated the cost for known medians of 12, 18 and 27 s and spreads of 0.2 to 0.6. It is at most
0.4 % above that of the best possible polls after the same early poll. Pauses that use only the
hazard at their beginning cost up to 5 % more. ``python -m tests.bench detection`` measures plans
that learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, inf, log, pi, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Medians in seconds by resolution. RunAPI's guide says "10 to 30 s depending on resolution".
_MEDIANS = {"1k": 12.0, "2k": 18.0, "4k": 27.0}
_SIGMA = 0.48  # of log(duration) before the first task; most of it is uncertainty of the median
# The value of one poll, in seconds of delay, is this number divided by the polls of a client that
# polls every two seconds. So the plan saves a similar share of polls and of delay for any duration.
_WORTH = 0.95
_SDK_INTERVAL = 2.0  # seconds between two polls of the official SDK; its first poll is at once
_MOST_WORTH = 0.13  # seconds; for tasks of a few seconds, one more poll does not matter
_SHORTEST, _LONGEST = 0.25, 5.0  # seconds between two polls
_EARLY = 4.0  # times the longest pause, while fewer than one task in ten has finished
_FIRST_POLL = 4.0  # seconds; tasks that fail tend to fail early
_FAILING = 0.05  # share of tasks that fail early, before the first task
_HARDLY_FAILING = 0.02  # below this share, the early poll costs more than it finds
_SHORTEST_HINT = 0.02  # seconds; a shorter Retry-After counts as this
_HURRIED_HINT = 1.0  # seconds; only a fast simulator asks for less, HTTP allows whole seconds
_JITTER = 0.1  # of a pause, up and down
_HARDLY_ANY = 1e-4  # a share of tasks too small to calculate with
# A task finished somewhere between two polls. The plan assumes the time half-way between the middle
# and the expected time. The middle alone costs 2 % after twenty tasks. The expected time alone
# would confirm itself.
_EXPECTED_SHARE = 0.5
_INSTANT = 1e-9  # seconds in which no task finishes
_SLACK = 5.0  # seconds beyond a planned pause that still count towards the timeout
_UNPLANNED = 0.2  # share of a task's duration that may pass without the planned polls
_BLINK = 0.1  # seconds that may always pass without them
_ASLEEP = 1.0  # seconds by which two clocks differ after the machine slept
_HIGH = 1.2816  # standard deviations: 10 % of tasks take longer, 10 % are faster
_LINGER = 3.0  # for a task that is late by x seconds, the hazard is at most this over x
_HALVINGS = 14  # of the longest pause: down to one or two milliseconds


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected duration of a task: a log-normal distribution.

    Attributes:
        median: The median in seconds.
        sigma: The standard deviation of the logarithm of the duration.
        failing: The share of tasks that fail early, 0 to 1.
    """

    median: float
    sigma: float = _SIGMA
    failing: float = _FAILING

    @property
    def mean(self) -> float:
        """The mean duration in seconds."""
        return self.median * exp(self.sigma * self.sigma / 2)

    @property
    def low(self) -> float:
        """The duration in seconds that one task in ten stays below."""
        return self.median * exp(-_HIGH * self.sigma)

    @property
    def high(self) -> float:
        """The duration in seconds that one task in ten exceeds."""
        return self.median * exp(_HIGH * self.sigma)

    def at_time_scale(self, time_scale: float) -> Expectation:
        """Return the same expectation for a service on which time runs faster by this factor."""
        return Expectation(self.median / time_scale, self.sigma, self.failing)

    def done_by(self, elapsed: float) -> float:
        """Return the share of tasks, 0 to 1, that are finished after some seconds."""
        if elapsed < _INSTANT:
            return 0.0
        return _normal(log(elapsed / self.median) / self.sigma)

    def done_for(self, elapsed: float) -> float:
        """Return the mean number of seconds since a task finished; 0 counts for unfinished ones."""
        if elapsed < _INSTANT:
            return 0.0
        z = log(elapsed / self.median) / self.sigma
        return elapsed * _normal(z) - self.mean * _normal(z - self.sigma)

    def between(self, early: float, late: float) -> float:
        """Return the mean duration in seconds of the tasks that finish between two times."""
        share = self.done_by(late) - self.done_by(early)
        if share < _HARDLY_ANY:
            return (early + late) / 2
        over = self.done_for(late) - self.done_for(early)
        mean = (late * self.done_by(late) - early * self.done_by(early) - over) / share
        return min(max(mean, early), late)

    def hazard(self, elapsed: float) -> float:
        """Return the rate, per second, at which a task that is still unfinished finishes."""
        if elapsed < _INSTANT:
            return 0.0
        z = log(elapsed / self.median) / self.sigma
        left = _normal(-z)
        density = exp(-z * z / 2) / (elapsed * self.sigma * sqrt(2 * pi))
        return density / left if left > 0 else inf


def _normal(z: float) -> float:
    return 0.5 * erfc(-z / sqrt(2))


def expect(output_resolution: str | None) -> Expectation:
    """Return the expected duration for an image of this resolution, before the first task."""
    return Expectation(_MEDIANS.get(output_resolution or "1k", _MEDIANS["1k"]))


def poll_value(expectation: Expectation) -> float:
    """Return the value of one poll, in seconds of delay."""
    return min(_WORTH / (1 + 0.5 + expectation.mean / _SDK_INTERVAL), _MOST_WORTH)


def _no_jitter() -> float:
    return 0.5


@dataclass(slots=True)
class PollingPlan:
    """The polls of one task: when the next one is due, and when to give up.

    Attributes:
        expected: Returns the expected duration of the task, as known now.
        timeout: Seconds after which to give up.
        time_scale: Seconds at the service in one real second. More than 1 for a simulator.
        random: Returns random numbers between 0 and 1. Pauses vary by 10 % up and down, so the
            polls of several tasks do not happen at the same time.
        is_new: Whether polling begins when the task begins. Otherwise the duration is not known.
        counted: Seconds that count towards the timeout. Time in which a long cell blocked the
            loop, so that no poll was possible, does not count.
        duration: The duration of the finished task, in seconds at the service. It is estimated
            from the last poll that found the task unfinished and the poll that found it finished.
            None if it would not be precise, because polls were missed or the machine slept, or if
            the task is not new.
    """

    expected: Callable[[], Expectation]
    timeout: float
    time_scale: float = 1.0
    random: Callable[[], float] = _no_jitter
    is_new: bool = True
    counted: float = field(default=0.0, init=False)
    duration: float | None = field(default=None, init=False)
    _hint: float | None = field(default=None, init=False)
    _polls: int = field(default=0, init=False)
    _unfinished: float = field(default=0.0, init=False)
    _planned: float = field(default=0.0, init=False)

    def hint(self, retry_after: float | None) -> None:
        """Use a ``Retry-After`` of the service, in seconds, for the next pause only."""
        self._hint = retry_after

    def pause(self, elapsed: float) -> float:
        """Return the seconds to wait before the next poll.

        Args:
            elapsed: Seconds since the task was created.
        """
        hint, self._hint = self._hint, None
        if hint is not None and hint < _HURRIED_HINT and (hint > 0 or self._polls == 0):
            # A fast simulator asks for a poll sooner than the plan would send one. And a hint of 0
            # before the first poll means that the task is resumed: it may be finished already.
            wanted = max(hint, _SHORTEST_HINT)
        else:
            wanted = self._planned_pause(elapsed)
            if hint is not None:
                # Not sooner than the service asks. But the planned pause may be longer: if a
                # service asks for a poll every two seconds, that would be too many polls.
                wanted = max(wanted, hint * (1 + _JITTER * self.random()))
        self._polls += 1
        self._planned += wanted
        return max(0.0, min(wanted, self.timeout - self.counted))

    def _planned_pause(self, elapsed: float) -> float:
        """Return the best pause within its limits, with jitter."""
        expectation = self.expected()
        shortest, longest = _SHORTEST / self.time_scale, _LONGEST / self.time_scale
        until_some_are_done = min(expectation.low - elapsed, _EARLY * longest)
        farthest = max(longest, until_some_are_done)
        wanted = min(max(self._balanced_pause(expectation, elapsed, farthest), shortest), farthest)
        blur = (2 * self.random() - 1) * _JITTER
        early = _FIRST_POLL * (1 + blur) / self.time_scale - elapsed
        if self._polls == 0 and early > 0 and expectation.failing > _HARDLY_FAILING:
            return min(wanted, early)
        return min(max(wanted + blur * min(wanted, longest), shortest), farthest)

    def _balanced_pause(self, expectation: Expectation, elapsed: float, farthest: float) -> float:
        """Return the pause, up to the farthest, for which the delay costs as much as a poll."""
        worth = poll_value(expectation.at_time_scale(1 / self.time_scale)) / self.time_scale
        if elapsed > expectation.high:
            # From here the hazard changes little. Far beyond, the distribution says little.
            late = elapsed - expectation.high
            hazard = min(expectation.hazard(elapsed), _LINGER / late)
            return sqrt(2 * worth / hazard)
        done, done_for = expectation.done_by(elapsed), expectation.done_for(elapsed)
        worth *= 1 - done  # per task of all tasks, like the delay
        short, long = 0.0, farthest
        for _ in range(_HALVINGS):
            middle = (short + long) / 2
            delay = expectation.done_for(elapsed + middle) - done_for - done * middle
            if delay < worth:
                short = middle
            else:
                long = middle
        return long

    def note_wait(self, planned: float, actual: float) -> None:
        """Count a wait towards the timeout, from its planned and its actual seconds."""
        self.counted += min(actual, planned + _SLACK)

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.counted >= self.timeout

    def note_unfinished(self, sent: float) -> None:
        """Note a poll that found the task unfinished, sent some seconds after the create."""
        self._unfinished, self._planned = sent, 0.0

    def note_finished(self, answered: float, by_the_clock: float) -> None:
        """Note a poll that found the task finished, and estimate the duration.

        Args:
            answered: Seconds from the create to the response, without time in which the machine
                slept.
            by_the_clock: The same by the wall clock, with that time.
        """
        middle = (self._unfinished + answered) / 2
        unplanned = answered - self._unfinished - self._planned
        is_precise = unplanned <= max(_UNPLANNED * middle, _BLINK)
        is_precise = is_precise and self._polls > 0 and self.is_new
        if is_precise and by_the_clock - answered < _ASLEEP:
            likely = self.expected().between(self._unfinished, answered)
            self.duration = (middle + _EXPECTED_SHARE * (likely - middle)) * self.time_scale
