"""The delay until the end of a task is found, and the polls for it: ours, the SDK's, the optimum.

All times are virtual. A task's duration is log-normal; the first column has its median and its
spread (sigma of its logarithm). The delay is the time from the task's end to the poll that finds
it. A request is a poll. "SDK" is the official SDK's `run` with a replaced clock and HTTP client.
"ours" is the real polling plan after 0, 5, 20 and 200 tasks. As in a kernel, it learned each
duration from polls, so the durations are not exact. Of 200 tasks, the journal keeps the last 64.
"optimum" is the best series of polls for the true distribution, with any first poll. Dynamic
programming on a grid of 0.1 s finds it: it minimises the mean delay plus the number of requests
times the value of a poll (`polling.poll_value`). "product" is delay times requests, relative to
the SDK. "cost" is the quantity that the optimum minimises, relative to the optimum. For a spread
of 0.35 or more, even the optimum's product is about a half.

The last tables show a service that becomes faster or slower after 200 tasks, compared with plans
that assume a constant service; and a service that asks for a poll every two seconds.
"""

from __future__ import annotations

import random
import statistics
from bisect import bisect_left
from dataclasses import dataclass
from math import exp, log
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

from runapi.core import ApiResponse
from runapi.core import polling as sdk_polling
from runapi.gpt_image_2.resources import TextToImage

from runapi_magic.core import duration_model
from runapi_magic.core.duration_model import KEPT, Duration, Durations
from runapi_magic.core.polling import Expectation, PollingPlan, expect, poll_value

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = (0, 5, 20, 200)
_KERNELS = {0: 40, 5: 80, 20: 80, 200: 48}  # kernels by number of learned tasks
_PLANS, _TASKS = 8, 12  # plans per kernel, and tasks per plan
_SDK_TASKS = 2000
_AFTER = 8  # tasks after a change
_CHANGED_KERNELS = 40
_LONG_AFTER = 40  # tasks
_GRID = 0.1  # seconds
_MAX_GAP = 45.0  # maximum seconds between two polls of the optimum
_TIMEOUT = 900.0  # seconds
_CASES = (
    # resolution, factor on the guide's median, spread
    ("1k", 1.0, 0.3), ("2k", 1.0, 0.3), ("4k", 1.0, 0.3),
    ("2k", 1.0, 0.2), ("2k", 1.0, 0.4),
    ("2k", 0.6, 0.3), ("2k", 1.7, 0.3), ("2k", 0.6, 0.2), ("2k", 1.7, 0.6),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Result for some tasks: mean and 95th percentile of the delay in seconds, mean requests."""

    delay: float
    p95: float
    requests: float

    @classmethod
    def of(cls, pairs: list[tuple[float, int]]) -> Result:
        """Calculate it from the delay and the requests of each task."""
        delays, requests = zip(*pairs, strict=True)
        return cls(
            statistics.fmean(delays),
            statistics.quantiles(delays, n=20)[-1],
            statistics.fmean(requests),
        )

    def cost(self, truth: Expectation) -> float:
        """Return the quantity that the optimum minimises."""
        return self.delay + poll_value(truth) * self.requests


def draw_duration(truth: Expectation, rng: random.Random) -> float:
    """Return the duration of one task."""
    return rng.lognormvariate(log(truth.median), truth.sigma)


# Ours


def poll(plan: PollingPlan, until: float, hint: float | None = None) -> list[float]:
    """Return the times of a plan's polls. The last one is after the end."""
    now, polls = 0.0, []
    while now < until:
        plan.hint(hint)
        now += plan.pause(now)
        polls.append(now)
        if now < until:
            plan.note_unfinished(now)
    plan.note_finished(now, now)
    return polls


def learn(known: Durations, duration: float, rng: random.Random) -> tuple[float, int]:
    """Poll one task and learn its duration. Return its delay and its requests."""
    plan = PollingPlan(lambda: known.expectation, _TIMEOUT, random=rng.random)
    polls = poll(plan, duration)
    if plan.duration is not None:
        known.add(Duration(plan.duration))
    return polls[-1] - duration, len(polls)


def measure(
    expectation: Expectation,
    truth: Expectation,
    rng: random.Random,
    hint: float | None = None,
) -> list[tuple[float, int]]:
    """Return delay and requests of tasks that are polled by plans with this expectation."""
    pairs = []
    for _ in range(_PLANS):
        tasks = [draw_duration(truth, rng) for _ in range(_TASKS)]
        plan = PollingPlan(lambda: expectation, _TIMEOUT, random=rng.random)
        polls = poll(plan, max(tasks), hint)  # a plan does not know the end of its task
        for task in tasks:
            found = bisect_left(polls, task)
            pairs.append((polls[found] - task, found + 1))
    return pairs


def ours(resolution: str, truth: Expectation) -> Iterator[tuple[int, Result]]:
    """Yield the number of learned tasks, and the result of our plans."""
    for samples in SAMPLES:
        pairs = []
        for kernel in range(_KERNELS[samples]):
            rng = random.Random(f"{truth} {samples} {kernel}")
            known = Durations(expect(resolution))
            for _ in range(min(samples, KEPT)):  # the journal keeps only the last ones
                learn(known, draw_duration(truth, rng), rng)
            pairs += measure(known.expectation, truth, rng)
        yield samples, Result.of(pairs)


# The official SDK


def sdk(truth: Expectation) -> Result:
    """Return the result of the official SDK's ``run``."""
    rng = random.Random(f"sdk {truth}")
    pairs = []
    for _ in range(_SDK_TASKS):
        end = draw_duration(truth, rng)
        clock = SimpleNamespace(now=0.0, polls=0)

        def request(method: str, *_: object, clock=clock, end=end, **__: object) -> ApiResponse:
            clock.polls += method == "get"
            body = {"id": "tsk_1", "status": "processing"}
            if clock.now >= end:
                body |= {"status": "completed", "images": [{"url": "https://example.org/a.png"}]}
            return ApiResponse(body, status_code=200)

        def sleep(seconds: float, clock=clock) -> None:
            clock.now += seconds

        time = SimpleNamespace(monotonic=lambda clock=clock: clock.now, sleep=sleep)
        with patch.object(sdk_polling, "time", time):
            TextToImage(SimpleNamespace(request=request)).run(model="gpt-image-2", prompt="a fox")
        pairs.append((clock.now - end, clock.polls))
    return Result.of(pairs)


# The optimum


def optimum(truth: Expectation) -> list[float]:
    """Return the times of the best polls, until almost every task has ended."""
    worth = poll_value(truth)
    count = int(truth.median * exp(5 * truth.sigma) / _GRID)
    max_gap = int(_MAX_GAP / _GRID)
    at = [number * _GRID for number in range(count + 1)]
    done = [truth.done_by(moment) for moment in at]
    done_for = [truth.done_for(moment) for moment in at]
    # costs[n]: cost of everything after time n, averaged over all tasks, also the finished ones.
    costs, following = [0.0] * (count + 1), [count] * (count + 1)
    for here in range(count - 1, -1, -1):
        base = worth * (1 - done[here]) - done_for[here] + done[here] * at[here]
        share = done[here]
        costs[here], following[here] = min(
            (base + done_for[there] - share * at[there] + costs[there], there)
            for there in range(here + 1, min(here + max_gap, count) + 1)
        )
    polls, here = [], 0
    while here < count:
        here = following[here]
        polls.append(at[here])
    return polls


def best(truth: Expectation) -> Result:
    """Return the result of the optimum."""
    rng = random.Random(f"optimum {truth}")
    polls = optimum(truth)
    pairs = []
    for _ in range(_SDK_TASKS * 4):
        task = min(draw_duration(truth, rng), polls[-1])
        found = bisect_left(polls, task)
        pairs.append((polls[found] - task, found + 1))
    return Result.of(pairs)


# A service that changes


def changed(truth: Expectation, factor: float) -> tuple[float, list[float], float]:
    """Return the mean delay before a change, of each task after it, and long after it."""
    after = Expectation(truth.median * factor, truth.sigma)
    before, later = [], []
    delays: list[list[float]] = [[] for _ in range(_AFTER)]
    for kernel in range(_CHANGED_KERNELS):
        rng = random.Random(f"{truth} {factor} {kernel}")
        known = Durations(expect("2k"))
        for _ in range(KEPT):
            learn(known, draw_duration(truth, rng), rng)
        before += [delay for delay, _ in measure(known.expectation, truth, rng)]
        for each in delays:
            each += [delay for delay, _ in measure(known.expectation, after, rng)]
            learn(known, draw_duration(after, rng), rng)
        for _ in range(_LONG_AFTER):
            learn(known, draw_duration(after, rng), rng)
        later += [delay for delay, _ in measure(known.expectation, after, rng)]
    return (
        statistics.fmean(before),
        [statistics.fmean(each) for each in delays],
        statistics.fmean(later),
    )


# Tables


def report() -> Iterator[str]:
    """Yield the lines of the tables."""
    yield (
        f"{'tasks':<26}{'plan':<12}{'delay':>9}{'p95':>9}{'requests':>10}"
        f"{'delay':>8}{'requests':>10}{'product':>9}{'cost':>7}"
    )
    yield f"{'':<38}{'s':>9}{'s':>9}{'':>10}{'/ SDK':>8}{'/ SDK':>10}{'/ SDK':>9}{'/ opt.':>7}"
    for resolution, factor, spread in _CASES:
        truth = Expectation(expect(resolution).median * factor, spread)
        official, optimal = sdk(truth), best(truth)
        rows = [
            ("SDK", official),
            *((f"ours, {samples}", found) for samples, found in ours(resolution, truth)),
            ("optimum", optimal),
        ]
        title = f"{resolution}: {truth.median:.1f} s, spread {spread}"
        for plan_name, found in rows:
            delay, requests = found.delay / official.delay, found.requests / official.requests
            yield (
                f"{title:<26}{plan_name:<12}{found.delay:9.2f}{found.p95:9.2f}{found.requests:10.2f}"
                f"{delay:8.2f}{requests:10.2f}{delay * requests:9.2f}"
                f"{found.cost(truth) / optimal.cost(truth):7.2f}"
            )
            title = ""
    yield ""
    yield (
        f"{'mean delay in s, 18 s before':<44}{'before':>8}"
        f"{'by the number of tasks since the change':>46}{'long after':>12}"
    )
    yield f"{'':<52}" + "".join(f"{number:6}" for number in range(_AFTER))
    for factor, spread in ((0.6, 0.2), (0.6, 0.3), (1.6, 0.2), (1.6, 0.3)):
        truth = Expectation(expect("2k").median, spread)
        for words, run in (("", changed), (", assumed constant", _assumed_constant)):
            before, each, later = run(truth, factor)
            yield (
                f"{f'times {factor}, spread {spread}{words}':<44}{before:8.2f}"
                + "".join(f"{delay:6.2f}" for delay in each)
                + f"{later:10.2f}"
            )
    yield ""
    yield from _hints()


def _assumed_constant(truth: Expectation, factor: float) -> tuple[float, list[float], float]:
    with patch.object(duration_model, "_CHANGES", 1e-9):
        return changed(truth, factor)


def _hints() -> Iterator[str]:
    truth = Expectation(expect("2k").median, 0.3)
    known = Expectation(truth.median, 0.31)
    pairs = []
    rng = random.Random("hints")
    for _ in range(_SDK_TASKS):
        task, now, polls = draw_duration(truth, rng), 0.0, 0
        while now < task:
            now, polls = now + 2.0, polls + 1
        pairs.append((now - task, polls))
    rows = {
        "polling exactly then": Result.of(pairs),
        "polling then or later (ours)": Result.of(
            [pair for _ in range(20) for pair in measure(known, truth, rng, 2.0)]
        ),
    }
    for words, found in rows.items():
        yield (
            f"Retry-After: 2, {words:<32} delay {found.delay:.2f} s, requests {found.requests:.2f},"
            f" product {found.delay * found.requests:.1f}"
        )


if __name__ == "__main__":
    for row in report():
        print(row)  # noqa: T201 (the result of the command)
