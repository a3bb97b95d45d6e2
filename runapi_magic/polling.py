"""When to look at a task again, and what to tell the user meanwhile. Pure: no clock, no network.

Durations are taken as log-normal. The next look is spaced by the hazard h, the rate at which a
task that is not finished yet is finishing: sqrt(2 L / h), where L is the delay in seconds that
one look is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erfc, exp, inf, log, pi, sqrt

# Medians in seconds by resolution: RunAPI's guide says "10 to 30 s depending on resolution".
_MEDIANS = {"1k": 12.0, "2k": 18.0, "4k": 27.0}
_SIGMA = 0.4  # of log(duration): nine of ten tasks within a factor of two of the median
_LOOK_WORTH = 0.1  # seconds of delay that one look is worth
_SHORTEST, _LONGEST = 0.25, 5.0  # seconds between two looks
_FIRST_LOOK = 4.0  # seconds; failures tend to come early
_SHORTEST_HINT = 0.05  # seconds, whatever the service allows
_INSTANT = 1e-9  # seconds in which no task is done
_SLACK = 5.0  # seconds beyond the plan that one pause may count towards the deadline
_HIGH = 1.2816  # standard deviations: 10 % of tasks take longer, 10 % are faster


@dataclass(frozen=True, slots=True)
class Expectation:
    """How long a task takes: log-normal with this median in seconds and this sigma."""

    median: float
    sigma: float = _SIGMA

    @property
    def low(self) -> float:
        """Seconds that one task in ten stays below."""
        return self.median * exp(-_HIGH * self.sigma)

    @property
    def high(self) -> float:
        """Seconds that one task in ten goes beyond."""
        return self.median * exp(_HIGH * self.sigma)

    def done_by(self, elapsed: float) -> float:
        """Return the share of tasks, 0 to 1, that is finished after so many seconds."""
        if elapsed < _INSTANT:
            return 0.0
        return 0.5 * erfc(-log(elapsed / self.median) / self.sigma / sqrt(2))

    def hazard(self, elapsed: float) -> float:
        """Return the rate, per second, at which a task unfinished until now is finishing."""
        if elapsed < _INSTANT:
            return 0.0
        z = log(elapsed / self.median) / self.sigma
        left = 0.5 * erfc(z / sqrt(2))
        density = exp(-z * z / 2) / (elapsed * self.sigma * sqrt(2 * pi))
        return density / left if left > 0 else inf


def expect(output_resolution: str | None) -> Expectation:
    """Return how long a picture of this resolution is expected to take."""
    return Expectation(_MEDIANS.get(output_resolution or "1k", _MEDIANS["1k"]))


@dataclass(slots=True)
class PollingPlan:
    """The looks at one task: when the next one is due, and when to give up.

    Attributes:
        expectation: How long the task is expected to take.
        timeout: Seconds after which to give up.
        pace: Seconds of the service's that pass in one of ours; more than 1 with a simulator.
        counted: Seconds that count towards the timeout: time in which nobody could look, because
            a long cell blocked the loop, does not.
    """

    expectation: Expectation
    timeout: float
    pace: float = 1.0
    counted: float = field(default=0.0, init=False)
    _hint: float | None = field(default=None, init=False)
    _looks: int = field(default=0, init=False)

    def hint(self, retry_after: float | None) -> None:
        """Take the service's ``Retry-After`` in seconds for the next pause only."""
        self._hint = retry_after

    def pause(self, elapsed: float) -> float:
        """Return the seconds to wait before the next look.

        Args:
            elapsed: Seconds since the task was created.
        """
        hint, self._hint = self._hint, None
        if hint is not None:
            wanted = max(hint, _SHORTEST_HINT)
        elif self._looks == 0 and elapsed < _FIRST_LOOK / self.pace:
            wanted = _FIRST_LOOK / self.pace - elapsed
        else:
            shortest, longest = _SHORTEST / self.pace, _LONGEST / self.pace
            hazard = self.expectation.hazard(elapsed)
            wanted = sqrt(2 * _LOOK_WORTH / self.pace / hazard) if hazard > 0 else longest
            wanted = min(max(wanted, shortest), longest)
        self._looks += 1
        return max(0.0, min(wanted, self.timeout - self.counted))

    def waited(self, planned: float, actual: float) -> None:
        """Count a pause that was planned for so many seconds and took so many."""
        self.counted += min(actual, planned + _SLACK)

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.counted >= self.timeout
