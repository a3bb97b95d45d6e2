"""When to look at a task again, and what to tell the user meanwhile. Pure: no clock, no network.

Durations are taken as log-normal. A pause is as long as the delay that it is expected to cause
costs as much as the look that ends it; where the hazard h, the rate at which an unfinished task is
finishing, does not change, that is sqrt(2 L / h), L being the delay in seconds that one look is
worth. As the pause takes in how the hazard rises, nothing is looked at long before the first tasks
end. Worked out for medians of 12, 18 and 27 s and spreads of 0.2 to 0.6 that are known, it costs
at most 0.4 % more than the best looks that there are after the same early one; pauses by the hazard
at their beginning cost up to 5 % more. ``python -m tests.bench detection`` has it with learning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, inf, log, pi, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Medians in seconds by resolution: RunAPI's guide says "10 to 30 s depending on resolution".
_MEDIANS = {"1k": 12.0, "2k": 18.0, "4k": 27.0}
_SIGMA = 0.48  # of log(duration), before any task was seen: most of it is doubt about the median
# What one look is worth, in seconds of delay: this, divided by the looks that a client takes that
# looks every two seconds. So both are saved in like shares, whatever the duration.
_WORTH = 0.95
_EVERY = 2.0  # seconds between two looks of the official SDK; its first look is at once
_MOST_WORTH = 0.13  # seconds: nobody minds one look more at a task that takes seconds
_SHORTEST, _LONGEST = 0.25, 5.0  # seconds between two looks
_EARLY = 4.0  # times the longest pause, before one task in ten is done
_FIRST_POLL = 4.0  # seconds; failures tend to come early
_FAILING = 0.05  # share of tasks that fail early, before any task was seen
_HARDLY_FAILING = 0.02  # below, the early look costs more than the failures that it would show
_SHORTEST_HINT = 0.02  # seconds, whatever the service allows
_HURRIED_HINT = 1.0  # seconds; HTTP knows whole ones only, and a hurried simulator asks for less
_JITTER = 0.1  # of a pause, to either side
_HARDLY_ANY = 1e-4  # share of tasks, of which it cannot be said when they are done
# Where between two looks a task ended: half-way from the middle to where it was expected. The
# middle alone costs 2 % after twenty tasks; the expected alone would confirm itself.
_BY_WHAT_IS_EXPECTED = 0.5
_INSTANT = 1e-9  # seconds in which no task is done
_SLACK = 5.0  # seconds beyond the plan that one pause may count towards the deadline
_UNPLANNED = 0.2  # of a task's duration, in which nobody looked though it was planned
_BLINK = 0.1  # seconds of the same that are nothing
_ASLEEP = 1.0  # seconds between two clocks that went on for different times: the machine slept
_HIGH = 1.2816  # standard deviations: 10 % of tasks take longer, 10 % are faster
_LINGER = 3.0  # a task late by x seconds is taken to end at a rate of no more than this over x
_HALVINGS = 14  # of the longest pause: to a millisecond or two


@dataclass(frozen=True, slots=True)
class Expectation:
    """How long a task takes: log-normal with this median in seconds and this sigma.

    Attributes:
        median: Seconds.
        sigma: Of the logarithm of the duration.
        failing: Share of tasks, 0 to 1, that fail early.
    """

    median: float
    sigma: float = _SIGMA
    failing: float = _FAILING

    @property
    def mean(self) -> float:
        """Seconds that a task takes on average."""
        return self.median * exp(self.sigma * self.sigma / 2)

    @property
    def low(self) -> float:
        """Seconds that one task in ten stays below."""
        return self.median * exp(-_HIGH * self.sigma)

    @property
    def high(self) -> float:
        """Seconds that one task in ten goes beyond."""
        return self.median * exp(_HIGH * self.sigma)

    def at_time_scale(self, time_scale: float) -> Expectation:
        """Return the same where so many of the service's seconds pass in one of ours."""
        return Expectation(self.median / time_scale, self.sigma, self.failing)

    def done_by(self, elapsed: float) -> float:
        """Return the share of tasks, 0 to 1, that is finished after so many seconds."""
        if elapsed < _INSTANT:
            return 0.0
        return _normal(log(elapsed / self.median) / self.sigma)

    def done_for(self, elapsed: float) -> float:
        """Return for how many seconds a task is finished by then, on average."""
        if elapsed < _INSTANT:
            return 0.0
        z = log(elapsed / self.median) / self.sigma
        return elapsed * _normal(z) - self.mean * _normal(z - self.sigma)

    def between(self, early: float, late: float) -> float:
        """Return when a task is done, on average, that is done between two moments in seconds."""
        share = self.done_by(late) - self.done_by(early)
        if share < _HARDLY_ANY:
            return (early + late) / 2
        over = self.done_for(late) - self.done_for(early)
        mean = (late * self.done_by(late) - early * self.done_by(early) - over) / share
        return min(max(mean, early), late)

    def hazard(self, elapsed: float) -> float:
        """Return the rate, per second, at which a task unfinished until now is finishing."""
        if elapsed < _INSTANT:
            return 0.0
        z = log(elapsed / self.median) / self.sigma
        left = _normal(-z)
        density = exp(-z * z / 2) / (elapsed * self.sigma * sqrt(2 * pi))
        return density / left if left > 0 else inf


def _normal(z: float) -> float:
    return 0.5 * erfc(-z / sqrt(2))


def expect(output_resolution: str | None) -> Expectation:
    """Return how long a picture of this resolution is expected to take, before any was seen."""
    return Expectation(_MEDIANS.get(output_resolution or "1k", _MEDIANS["1k"]))


def poll_value(expectation: Expectation) -> float:
    """Return the delay, in seconds, that one look at a task is worth."""
    return min(_WORTH / (1 + 0.5 + expectation.mean / _EVERY), _MOST_WORTH)


def _in_the_middle() -> float:
    return 0.5


@dataclass(slots=True)
class PollingPlan:
    """The looks at one task: when the next one is due, and when to give up.

    Attributes:
        expected: Returns how long the task is expected to take, as far as is known by now.
        timeout: Seconds after which to give up.
        time_scale: Seconds of the service's that pass in one of ours; more than 1 with a simulator.
        random: Returns numbers between 0 and 1, evenly: pauses differ by 10 % to either side, so
            that the tasks of one request do not fall into step.
        is_new: Whether the task began when its looks begin; else nobody knows how long it takes.
        counted: Seconds that count towards the timeout: time in which nobody could look, because
            a long cell blocked the loop, does not.
        duration: Seconds of the service's that the task took, once it has ended: between the
            last look that found it unfinished and the one that found its end. None where
            looks were missed, so that this says little, and where the task is not new.
    """

    expected: Callable[[], Expectation]
    timeout: float
    time_scale: float = 1.0
    random: Callable[[], float] = _in_the_middle
    is_new: bool = True
    counted: float = field(default=0.0, init=False)
    duration: float | None = field(default=None, init=False)
    _hint: float | None = field(default=None, init=False)
    _looks: int = field(default=0, init=False)
    _unfinished: float = field(default=0.0, init=False)
    _planned: float = field(default=0.0, init=False)

    def hint(self, retry_after: float | None) -> None:
        """Take the service's ``Retry-After`` in seconds for the next pause only."""
        self._hint = retry_after

    def pause(self, elapsed: float) -> float:
        """Return the seconds to wait before the next look.

        Args:
            elapsed: Seconds since the task was created.
        """
        hint, self._hint = self._hint, None
        if hint is not None and hint < _HURRIED_HINT and (hint > 0 or self._looks == 0):
            # A hurried simulator wants to be asked sooner than anything learned would have it.
            wanted = max(hint, _SHORTEST_HINT)
        else:
            wanted = self._wanted(elapsed)
            if hint is not None:
                # Never before. Where the plan is to look later, it does: who does as a service
                # says that asks for every two seconds takes the looks of the official SDK.
                wanted = max(wanted, hint * (1 + _JITTER * self.random()))
        self._looks += 1
        self._planned += wanted
        return max(0.0, min(wanted, self.timeout - self.counted))

    def _wanted(self, elapsed: float) -> float:
        """Return the pause that is worth it, within its bounds."""
        expectation = self.expected()
        shortest, longest = _SHORTEST / self.time_scale, _LONGEST / self.time_scale
        until_some_are_done = min(expectation.low - elapsed, _EARLY * longest)
        farthest = max(longest, until_some_are_done)
        wanted = min(max(self._even(expectation, elapsed, farthest), shortest), farthest)
        blur = (2 * self.random() - 1) * _JITTER
        early = _FIRST_POLL * (1 + blur) / self.time_scale - elapsed
        if self._looks == 0 and early > 0 and expectation.failing > _HARDLY_FAILING:
            return min(wanted, early)
        return min(max(wanted + blur * min(wanted, longest), shortest), farthest)

    def _even(self, expectation: Expectation, elapsed: float, farthest: float) -> float:
        """Return the pause, up to the farthest, that costs as much in delay as a look."""
        worth = poll_value(expectation.at_time_scale(1 / self.time_scale)) / self.time_scale
        if elapsed > expectation.high:
            # From here on the hazard hardly changes; far beyond, nothing is known.
            late = elapsed - expectation.high
            hazard = min(expectation.hazard(elapsed), _LINGER / late)
            return sqrt(2 * worth / hazard)
        done, done_for = expectation.done_by(elapsed), expectation.done_for(elapsed)
        worth *= 1 - done  # of all tasks, as is the delay
        short, long = 0.0, farthest
        for _ in range(_HALVINGS):
            middle = (short + long) / 2
            delay = expectation.done_for(elapsed + middle) - done_for - done * middle
            if delay < worth:
                short = middle
            else:
                long = middle
        return long

    def waited(self, planned: float, actual: float) -> None:
        """Count a pause that was planned for so many seconds and took so many."""
        self.counted += min(actual, planned + _SLACK)

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.counted >= self.timeout

    def unfinished(self, asked: float) -> None:
        """Note a look that found the task unfinished, sent so many seconds after its creation."""
        self._unfinished, self._planned = asked, 0.0

    def finished(self, answered: float, by_the_clock: float) -> None:
        """Note that the task's end was seen.

        Args:
            answered: Seconds after its creation, without the time in which the machine slept.
            by_the_clock: The same by the clock on the wall, which went on meanwhile.
        """
        middle = (self._unfinished + answered) / 2
        unplanned = answered - self._unfinished - self._planned
        is_known = unplanned <= max(_UNPLANNED * middle, _BLINK)
        is_known = is_known and self._looks > 0 and self.is_new
        if is_known and by_the_clock - answered < _ASLEEP:
            likely = self.expected().between(self._unfinished, answered)
            self.duration = (middle + _BY_WHAT_IS_EXPECTED * (likely - middle)) * self.time_scale
