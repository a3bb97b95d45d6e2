"""How long tasks are expected to take: what the journal knows, and what this kernel saw since.

The journal is asked once for each kind of task, off the loop; from then on all tasks of a kind
share what is learned, those under way from their next pause on. Times are the service's own: a
simulator's are kept as if it was not hurried, so that they stay true at another speed, and under
its own address, so that they are never mixed with RunAPI's. Without a usable journal everything
works with what the guide says, and learns from there.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from runapi_magic.core.duration_model import Duration, Durations, Kind
from runapi_magic.core.polling import Expectation, PollingPlan, expect

if TYPE_CHECKING:
    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.generation import GenerationTask
    from runapi_magic.http.results import CreatedTask
    from runapi_magic.journal.async_journal import AsyncJournal
    from runapi_magic.journal.task_log import Journal


class Timing:
    """What is known of how long tasks take.

    Args:
        journal: Where durations are kept.
        record: Reads and writes it off the loop.
    """

    def __init__(self, journal: Journal, record: AsyncJournal) -> None:
        self._journal = journal
        self._record = record
        self._known: dict[Kind, Durations] = {}

    def expected(self, request: ImageRequest, service: Service) -> Expectation:
        """Return how long one task of a request is expected to take, as far as is known by now."""
        known = self._known.get(_kind_of(request, service))
        expectation = known.expectation if known else expect(request.output_resolution)
        return expectation.at_time_scale(_time_scale_of(service))

    async def recall(self, request: ImageRequest, service: Service) -> None:
        """Read what the journal knows of tasks like a request's, where that was not done before."""
        kind, prior = _kind_of(request, service), expect(request.output_resolution)
        if kind not in self._known:
            self._known[kind] = Durations(prior)  # what others go by meanwhile
            known = await self._record.if_not_busy(self._read, kind, prior)
            self._known[kind] = known or self._known[kind]

    def _read(self, kind: Kind, prior: Expectation) -> Durations:
        return Durations(prior, self._journal.durations(kind))

    async def plan(
        self, task: GenerationTask, service: Service, created: CreatedTask, patience: float
    ) -> PollingPlan:
        """Return when to poll a task.

        Args:
            task: The task; what is expected of it stays as new as what is known.
            service: What works on it.
            created: The task.
            patience: Seconds after which to give up.
        """

        def expected() -> Expectation:
            task.expectation = self.expected(task.request, service)
            return task.expectation

        await self.recall(task.request, service)
        chance = random.Random(created.task.id).random  # noqa: S311 (no secret)
        return PollingPlan(
            expected,
            patience,
            _time_scale_of(service),
            chance,
            is_new=not (task.is_resumed or created.task.replayed),
        )

    def learn(
        self, task: GenerationTask, service: Service, seconds: float | None, *, failed: bool = False
    ) -> tuple[Kind, Duration] | None:
        """Take in how long a task took, and return what is to be written down of it.

        Args:
            task: The task.
            service: What worked on it.
            seconds: The service's own; None where they are not known.
            failed: Whether it came to nothing.
        """
        if seconds is None:
            return None
        kind, duration = _kind_of(task.request, service), Duration(seconds, failed)
        prior = expect(task.request.output_resolution)
        self._known.setdefault(kind, Durations(prior)).add(duration)
        return kind, duration

    async def failed(self, task: GenerationTask, service: Service, seconds: float | None) -> None:
        """Take in, and write down, how long a task took that came to nothing; see ``learn``."""
        learned = self.learn(task, service, seconds, failed=True)
        if learned is not None:
            await self._record(self._journal.add_duration, *learned)


def _kind_of(request: ImageRequest, service: Service) -> Kind:
    """Return what a request's tasks have in common with others."""
    action = request.catalogue.action(with_sources=bool(request.sources))
    return Kind(
        service.access.base_url,
        request.model,
        action.name if action else "",
        request.output_resolution or "",
    )


def _time_scale_of(service: Service) -> float:
    """Return the seconds of the service's that pass in one of ours."""
    return service.speed if service.is_simulated else 1.0
