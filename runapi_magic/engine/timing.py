"""Expected durations of tasks: from the journal, and from the tasks of this kernel.

The journal is read once for each kind of task, without blocking the loop. After that, all tasks of
a kind share what is learned; running tasks use it from their next poll on. Durations are measured
in the service's own time: those of a simulator are stored as if it had run at normal speed, so they
stay correct at another speed. They are stored under the simulator's own URL, so they are not mixed
with RunAPI's. If the journal cannot be used, the durations of RunAPI's guide are the start.
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
    """Learns the durations of tasks and predicts them.

    Args:
        journal: Stores durations.
        record: Calls the journal without blocking the loop.
    """

    def __init__(self, journal: Journal, record: AsyncJournal) -> None:
        self._journal = journal
        self._record = record
        self._known: dict[Kind, Durations] = {}

    def expected(self, request: ImageRequest, service: Service) -> Expectation:
        """Return the expected duration of one task of a request."""
        known = self._known.get(_kind_of(request, service))
        expectation = known.expectation if known else expect(request.output_resolution)
        return expectation.at_time_scale(_time_scale_of(service))

    async def load(self, request: ImageRequest, service: Service) -> None:
        """Read the durations of such tasks from the journal, unless they were read before."""
        kind, prior = _kind_of(request, service), expect(request.output_resolution)
        if kind not in self._known:
            self._known[kind] = Durations(prior)  # for other requests until the journal is read
            known = await self._record.if_not_busy(self._read, kind, prior)
            self._known[kind] = known or self._known[kind]

    def _read(self, kind: Kind, prior: Expectation) -> Durations:
        return Durations(prior, self._journal.durations(kind))

    async def plan(
        self, task: GenerationTask, service: Service, created: CreatedTask, timeout: float
    ) -> PollingPlan:
        """Return when to poll a task.

        Args:
            task: The task; its expectation is updated as more is learned.
            service: The service that runs it.
            created: The task at the service.
            timeout: Seconds until the plan gives up.
        """

        def expected() -> Expectation:
            task.expectation = self.expected(task.request, service)
            return task.expectation

        await self.load(task.request, service)
        chance = random.Random(created.task.id).random  # noqa: S311 (no secret)
        return PollingPlan(
            expected,
            timeout,
            _time_scale_of(service),
            chance,
            is_new=not (task.is_resumed or created.task.replayed),
        )

    def learn(
        self, task: GenerationTask, service: Service, seconds: float | None, *, failed: bool = False
    ) -> tuple[Kind, Duration] | None:
        """Learn the duration of a task; return what is to be stored, None if it is unknown.

        Args:
            task: The task.
            service: The service that ran it.
            seconds: The duration in the service's time; None if it is unknown.
            failed: Whether the task failed.
        """
        if seconds is None:
            return None
        kind, duration = _kind_of(task.request, service), Duration(seconds, failed)
        prior = expect(task.request.output_resolution)
        self._known.setdefault(kind, Durations(prior)).add(duration)
        return kind, duration

    async def record_failure(
        self, task: GenerationTask, service: Service, seconds: float | None
    ) -> None:
        """Learn and store the duration of a failed task; see ``learn``."""
        learned = self.learn(task, service, seconds, failed=True)
        if learned is not None:
            await self._record(self._journal.add_duration, *learned)


def _kind_of(request: ImageRequest, service: Service) -> Kind:
    """Return what a request's tasks have in common with other tasks of similar duration."""
    action = request.catalogue.action(with_sources=bool(request.sources))
    return Kind(
        service.access.base_url,
        request.model,
        action.name if action else "",
        request.output_resolution or "",
    )


def _time_scale_of(service: Service) -> float:
    """Return how many seconds of the service pass in one second here."""
    return service.speed if service.is_simulated else 1.0
