"""How soon the end of a task is seen, and for how many requests: ours, the SDK's, the optimum.

All in virtual time. A task's duration is log-normal with the median and the spread (sigma of its
logarithm) in the first column; a delay is the time from its end to the look that sees it; a request
is a look. "SDK" is the official one's own `run`, with its clock and its HTTP replaced. "ours" is
the real plan after 0, 5, 20 and 200 tasks, each of which was looked at by such a plan and learned
from as in a kernel, so with the blur of its looks; of 200, the journal keeps the last 64. "optimum"
is the best series of looks for the true distribution, free to begin when it likes, found by dynamic
programming on a grid of 0.1 s: it minimises the mean delay plus the requests times what a look is
worth (`polling.look_worth`). "product" is delay times requests against the SDK's, "cost" the
quantity that the optimum minimises against the optimum's. At a spread of 0.35 and more even the
optimum's product is about a half.

The last tables: a service that becomes faster or slower after 200 tasks, task by task, against
plans that learn as if nothing ever changed; and a service that asks for a look every two seconds.
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

from runapi_magic.core import duration_model as durations
from runapi_magic.core.duration_model import KEPT, Durations, Took
from runapi_magic.core.polling import Expectation, PollingPlan, expect, look_worth

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = (0, 5, 20, 200)
_KERNELS = {0: 40, 5: 80, 20: 80, 200: 48}  # that learned so much, each from tasks of its own
_PLANS, _TASKS = 8, 12  # of each kernel that are measured, and tasks that each plan is held to
_SDK_TASKS = 2000
_AFTER = 8  # tasks after a change
_CHANGED_KERNELS = 40
_LONG_AFTER = 40  # tasks
_GRID = 0.1  # seconds
_FARTHEST = 45.0  # seconds between two looks of the optimum
_PATIENCE = 900.0  # seconds
_CASES = (
    # resolution, the true median over the guide's, the true spread
    ("1k", 1.0, 0.3), ("2k", 1.0, 0.3), ("4k", 1.0, 0.3),
    ("2k", 1.0, 0.2), ("2k", 1.0, 0.4),
    ("2k", 0.6, 0.3), ("2k", 1.7, 0.3), ("2k", 0.6, 0.2), ("2k", 1.7, 0.6),
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """How tasks were seen: mean and 95th percentile of the delay in seconds, mean requests."""

    delay: float
    p95: float
    requests: float

    @classmethod
    def of(cls, pairs: list[tuple[float, int]]) -> Seen:
        """Return it of the delay and the requests of each task."""
        delays, requests = zip(*pairs, strict=True)
        return cls(
            statistics.fmean(delays),
            statistics.quantiles(delays, n=20)[-1],
            statistics.fmean(requests),
        )

    def cost(self, truth: Expectation) -> float:
        """Return what the optimum minimises."""
        return self.delay + look_worth(truth) * self.requests


def drawn(truth: Expectation, chance: random.Random) -> float:
    """Return how long one task takes."""
    return chance.lognormvariate(log(truth.median), truth.sigma)


# Ours


def look(plan: PollingPlan, until: float, hint: float | None = None) -> list[float]:
    """Return the moments of a plan's looks, the last one after the end."""
    now, looks = 0.0, []
    while now < until:
        plan.hint(hint)
        now += plan.pause(now)
        looks.append(now)
        if now < until:
            plan.unfinished(now)
    plan.finished(now, now)
    return looks


def learn(known: Durations, duration: float, chance: random.Random) -> tuple[float, int]:
    """Look at one task and learn from it; return its delay and its requests."""
    plan = PollingPlan(lambda: known.expectation, _PATIENCE, chance=chance.random)
    looks = look(plan, duration)
    if plan.took is not None:
        known.add(Took(plan.took))
    return looks[-1] - duration, len(looks)


def held_to(
    expectation: Expectation,
    truth: Expectation,
    chance: random.Random,
    hint: float | None = None,
) -> list[tuple[float, int]]:
    """Return delay and requests of tasks that plans with this expectation look at."""
    pairs = []
    for _ in range(_PLANS):
        tasks = [drawn(truth, chance) for _ in range(_TASKS)]
        plan = PollingPlan(lambda: expectation, _PATIENCE, chance=chance.random)
        looks = look(plan, max(tasks), hint)  # a plan does not know when its task will end
        for task in tasks:
            seen = bisect_left(looks, task)
            pairs.append((looks[seen] - task, seen + 1))
    return pairs


def ours(resolution: str, truth: Expectation) -> Iterator[tuple[int, Seen]]:
    """Yield how our plans see tasks, by how many they learned from before."""
    for samples in SAMPLES:
        pairs = []
        for kernel in range(_KERNELS[samples]):
            chance = random.Random(f"{truth} {samples} {kernel}")
            known = Durations(expect(resolution))
            for _ in range(min(samples, KEPT)):  # the journal keeps the last ones alone
                learn(known, drawn(truth, chance), chance)
            pairs += held_to(known.expectation, truth, chance)
        yield samples, Seen.of(pairs)


# The official SDK


def sdk(truth: Expectation) -> Seen:
    """Return how the official SDK's ``run`` sees tasks."""
    chance = random.Random(f"sdk {truth}")
    pairs = []
    for _ in range(_SDK_TASKS):
        end = drawn(truth, chance)
        clock = SimpleNamespace(now=0.0, looks=0)

        def request(method: str, *_: object, clock=clock, end=end, **__: object) -> ApiResponse:
            clock.looks += method == "get"
            body = {"id": "tsk_1", "status": "processing"}
            if clock.now >= end:
                body |= {"status": "completed", "images": [{"url": "https://example.org/a.png"}]}
            return ApiResponse(body, status_code=200)

        def sleep(seconds: float, clock=clock) -> None:
            clock.now += seconds

        time = SimpleNamespace(monotonic=lambda clock=clock: clock.now, sleep=sleep)
        with patch.object(sdk_polling, "time", time):
            TextToImage(SimpleNamespace(request=request)).run(model="gpt-image-2", prompt="a fox")
        pairs.append((clock.now - end, clock.looks))
    return Seen.of(pairs)


# The optimum


def optimum(truth: Expectation) -> list[float]:
    """Return the moments of the best looks, until hardly a task is unfinished."""
    worth = look_worth(truth)
    count = int(truth.median * exp(5 * truth.sigma) / _GRID)
    farthest = int(_FARTHEST / _GRID)
    at = [number * _GRID for number in range(count + 1)]
    done = [truth.done_by(moment) for moment in at]
    done_for = [truth.done_for(moment) for moment in at]
    # Of all tasks, not of those that are unfinished: what comes after a moment costs so much.
    costs, following = [0.0] * (count + 1), [count] * (count + 1)
    for here in range(count - 1, -1, -1):
        base = worth * (1 - done[here]) - done_for[here] + done[here] * at[here]
        share = done[here]
        costs[here], following[here] = min(
            (base + done_for[there] - share * at[there] + costs[there], there)
            for there in range(here + 1, min(here + farthest, count) + 1)
        )
    looks, here = [], 0
    while here < count:
        here = following[here]
        looks.append(at[here])
    return looks


def best(truth: Expectation) -> Seen:
    """Return how the optimum sees tasks."""
    chance = random.Random(f"optimum {truth}")
    looks = optimum(truth)
    pairs = []
    for _ in range(_SDK_TASKS * 4):
        task = min(drawn(truth, chance), looks[-1])
        seen = bisect_left(looks, task)
        pairs.append((looks[seen] - task, seen + 1))
    return Seen.of(pairs)


# A service that changes


def changed(truth: Expectation, factor: float) -> tuple[float, list[float], float]:
    """Return the mean delay before a change, of each task after it, and long after."""
    after = Expectation(truth.median * factor, truth.sigma)
    before, later = [], []
    delays: list[list[float]] = [[] for _ in range(_AFTER)]
    for kernel in range(_CHANGED_KERNELS):
        chance = random.Random(f"{truth} {factor} {kernel}")
        known = Durations(expect("2k"))
        for _ in range(KEPT):
            learn(known, drawn(truth, chance), chance)
        before += [delay for delay, _ in held_to(known.expectation, truth, chance)]
        for each in delays:
            each += [delay for delay, _ in held_to(known.expectation, after, chance)]
            learn(known, drawn(after, chance), chance)
        for _ in range(_LONG_AFTER):
            learn(known, drawn(after, chance), chance)
        later += [delay for delay, _ in held_to(known.expectation, after, chance)]
    return (
        statistics.fmean(before),
        [statistics.fmean(each) for each in delays],
        statistics.fmean(later),
    )


# The tables


def report() -> Iterator[str]:
    """Yield the lines of the tables."""
    yield (
        f"{'tasks':<26}{'who':<12}{'delay':>9}{'p95':>9}{'requests':>10}"
        f"{'delay':>8}{'requests':>10}{'product':>9}{'cost':>7}"
    )
    yield f"{'':<38}{'s':>9}{'s':>9}{'':>10}{'/ SDK':>8}{'/ SDK':>10}{'/ SDK':>9}{'/ opt.':>7}"
    for resolution, factor, spread in _CASES:
        truth = Expectation(expect(resolution).median * factor, spread)
        theirs, most = sdk(truth), best(truth)
        rows = [
            ("SDK", theirs),
            *((f"ours, {samples}", seen) for samples, seen in ours(resolution, truth)),
            ("optimum", most),
        ]
        title = f"{resolution}: {truth.median:.1f} s, spread {spread}"
        for who, seen in rows:
            delay, requests = seen.delay / theirs.delay, seen.requests / theirs.requests
            yield (
                f"{title:<26}{who:<12}{seen.delay:9.2f}{seen.p95:9.2f}{seen.requests:10.2f}"
                f"{delay:8.2f}{requests:10.2f}{delay * requests:9.2f}"
                f"{seen.cost(truth) / most.cost(truth):7.2f}"
            )
            title = ""
    yield ""
    yield (
        f"{'mean delay in s, 18 s before':<44}{'before':>8}"
        f"{'by the number of tasks seen since the change':>46}{'long after':>12}"
    )
    yield f"{'':<52}" + "".join(f"{number:6}" for number in range(_AFTER))
    for factor, spread in ((0.6, 0.2), (0.6, 0.3), (1.6, 0.2), (1.6, 0.3)):
        truth = Expectation(expect("2k").median, spread)
        for words, run in (("", changed), (", as if nothing changed", _unchanging)):
            before, each, later = run(truth, factor)
            yield (
                f"{f'times {factor}, spread {spread}{words}':<44}{before:8.2f}"
                + "".join(f"{delay:6.2f}" for delay in each)
                + f"{later:10.2f}"
            )
    yield ""
    yield from _hints()


def _unchanging(truth: Expectation, factor: float) -> tuple[float, list[float], float]:
    with patch.object(durations, "_CHANGES", 1e-9):
        return changed(truth, factor)


def _hints() -> Iterator[str]:
    truth = Expectation(expect("2k").median, 0.3)
    known = Expectation(truth.median, 0.31)
    pairs = []
    chance = random.Random("hints")
    for _ in range(_SDK_TASKS):
        task, now, looks = drawn(truth, chance), 0.0, 0
        while now < task:
            now, looks = now + 2.0, looks + 1
        pairs.append((now - task, looks))
    rows = {
        "looking exactly then": Seen.of(pairs),
        "looking then or later (ours)": Seen.of(
            [pair for _ in range(20) for pair in held_to(known, truth, chance, 2.0)]
        ),
    }
    for words, seen in rows.items():
        yield (
            f"Retry-After: 2, {words:<32} delay {seen.delay:.2f} s, requests {seen.requests:.2f},"
            f" product {seen.delay * seen.requests:.1f}"
        )


if __name__ == "__main__":
    for row in report():
        print(row)  # noqa: T201 (a report)
