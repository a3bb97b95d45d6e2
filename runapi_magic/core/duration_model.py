"""How long tasks of one kind take, learned from those that have ended. Pure: no clock, no journal.

The logarithm of a duration is taken as normal, with a conjugate (normal-inverse-gamma) prior around
what the guide says. A service changes: after each task it may be another one than before, with a
chance of one in forty. So there are several histories of how long it has been as it is now; each
one predicts from the tasks since then and the prior, and counts as much as its predictions were
right (Adams and MacKay, "Bayesian Online Changepoint Detection", 2007). What is older than a change
fades as soon as the change is likelier than chance, and without one nothing is lost.

Measured on durations with a spread of 0.3: weights that fade by 15 % per task are as fast after a
change, and cost 3 to 6 % more than the optimum at a service that does not change, instead of 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import exp, lgamma, log, log1p, sqrt
from typing import TYPE_CHECKING

from runapi_magic.core.polling import Expectation

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 64  # durations of one kind that are kept; older ones say nothing new
_CHANGES = 1 / 40  # chance that the service is another one after a task
_MEDIAN_KNOWN = 0.5  # tasks that the prior's median counts as
_SPREAD_KNOWN = 3.0  # tasks that the prior's spread counts as
_NARROWEST = 0.1  # of log(duration): looks blur it, and nothing is that sure
# One stuck task is not to outweigh all others: a duration counts as at most so far from what was
# expected, in standard deviations; but twice as long or as short is always believed.
_FARTHEST = 4.0
_BELIEVED = 0.7  # of log(duration)
_SHORTEST = 1e-3  # seconds
_UNLIKELY = 5.0  # log: a history that is so much less likely than the likeliest is dropped
_TASKS_KNOWN = 10.0  # tasks that the prior's share of failing ones counts as


@dataclass(frozen=True, slots=True)
class Kind:
    """What durations have in common.

    Attributes:
        origin: The service's base URL.
        model: RunAPI's name of the model.
        action: RunAPI's name of what it does.
        resolution: The picture's resolution; empty where none was asked for.
    """

    origin: str
    model: str
    action: str
    resolution: str


@dataclass(frozen=True, slots=True)
class Duration:
    """How long one task took.

    Attributes:
        seconds: The service's own, from its acceptance to its end.
        failed: Whether it came to nothing.
    """

    seconds: float
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _History:
    """The tasks since the service changed last, if that was so long ago.

    Attributes:
        weight: Logarithm of how likely that is.
        count: Tasks since then.
        total: Sum of their log(duration / the prior's median).
        squares: Sum of the squares of these.
    """

    weight: float
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def with_one(self, value: float, weight: float) -> _History:
        """Return it with one task more."""
        count, total = self.count + 1, self.total + value
        return _History(weight, count, total, self.squares + value * value)


class Durations:
    """What is known of how long tasks of one kind take.

    Args:
        prior: What is expected before any was seen.
        past: The tasks that were seen, oldest first.
    """

    def __init__(self, prior: Expectation, past: Iterable[Duration] = ()) -> None:
        self._prior = prior
        # The prior's sigma has both in it: the spread, and the doubt about the median.
        self._variance = prior.sigma**2 / (1 + 1 / _MEDIAN_KNOWN)
        self._histories = [_History(0.0)]
        self._failures: list[bool] = []
        self._expectation = prior
        for took in past:
            self.add(took)

    @property
    def expectation(self) -> Expectation:
        """How long the next one is expected to take, in the service's seconds."""
        return self._expectation

    def add(self, took: Duration) -> None:
        """Take in how long one more task took."""
        seconds = max(took.seconds, _SHORTEST)
        if not took.failed:
            expected = log(self._expectation.median / self._prior.median)
            farthest = max(_FARTHEST * self._expectation.sigma, _BELIEVED)
            value = log(seconds / self._prior.median)
            self._weigh(min(max(value, expected - farthest), expected + farthest))
        # A late failure says nothing about an early look.
        fails_early = took.failed and seconds < self._expectation.median / 2
        self._failures = [*self._failures, fails_early][-KEPT:]
        self._expectation = self._predict()

    def _weigh(self, value: float) -> None:
        """Let every history grow by a task, and one more begin."""
        grown = [
            one.with_one(value, one.weight + self._log_density(one, value))
            for one in self._histories
        ]
        likeliest = max(one.weight for one in grown)
        grown = [one for one in grown if one.weight > likeliest - _UNLIKELY]
        total = sum(exp(one.weight - likeliest) for one in grown)
        stays = log(1 - _CHANGES) - likeliest - log(total)
        grown = [_History(one.weight + stays, one.count, one.total, one.squares) for one in grown]
        self._histories = [_History(log(_CHANGES)), *grown][:KEPT]

    def _posterior(self, history: _History) -> tuple[float, float, float]:
        """Return the mean and the variance that a history predicts, and its degrees of freedom."""
        known = _MEDIAN_KNOWN + history.count
        mean = history.total / known
        freedom = _SPREAD_KNOWN + history.count
        # Rounding must not make it negative.
        apart = max(0.0, history.squares - history.total * mean)
        variance = (_SPREAD_KNOWN * self._variance + apart) / freedom
        return mean, variance * (1 + 1 / known), freedom

    def _log_density(self, history: _History, value: float) -> float:
        """Return the logarithm of how well a history predicted a task: Student's t."""
        mean, variance, freedom = self._posterior(history)
        scale = freedom * variance
        tail = (freedom + 1) / 2 * log1p((value - mean) ** 2 / scale)
        return _height(freedom) - log(scale) / 2 - tail

    def _predict(self) -> Expectation:
        """Return the log-normal with the mean and variance of what all histories predict."""
        weights = [exp(one.weight) for one in self._histories]
        predicted = [self._posterior(one) for one in self._histories]
        total = sum(weights)
        pairs = list(zip(weights, predicted, strict=True))
        mean = sum(weight * one[0] for weight, one in pairs) / total
        variance = sum(weight * (one[1] + (one[0] - mean) ** 2) for weight, one in pairs) / total
        failed = self._prior.failing * _TASKS_KNOWN + sum(self._failures)
        return Expectation(
            self._prior.median * exp(mean),
            max(sqrt(variance), _NARROWEST),
            failed / (_TASKS_KNOWN + len(self._failures)),
        )


@cache
def _height(freedom: float) -> float:
    """Return what the logarithm of Student's t has of its degrees of freedom alone."""
    return lgamma((freedom + 1) / 2) - lgamma(freedom / 2)
