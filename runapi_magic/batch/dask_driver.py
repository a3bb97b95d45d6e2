"""A batch on a Dask cluster: this kernel keeps the journal and the money, workers do the rest.

Every request goes the way that it always goes, up to its POST: met from disk where it can be,
priced, its sources uploaded, its bytes and its idempotency key written down. Only then a worker is
asked to post it, to wait for it and to fetch its pictures; see ``errands``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.dask_worker import Errand, Outcome, carry_out
from runapi_magic.core.status import Phase, TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.download import cost_of_one
from runapi_magic.engine.pipeline import Pipeline
from runapi_magic.errors import (
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    RunAPIError,
    TaskFailedError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from runapi_magic.http.client import Client, note_send
from runapi_magic.http.results import CreatedTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from distributed import Client as DaskClient
    from distributed import Future

    from runapi_magic.batch.batch import Batch
    from runapi_magic.core.request import Attempt
    from runapi_magic.engine.backend import Service
    from runapi_magic.engine.download import DownloadOptions
    from runapi_magic.engine.generation import Generation, GenerationTask
    from runapi_magic.engine.pipeline import Gate, PlannedTask
    from runapi_magic.engine.session import Session
    from runapi_magic.media.files import Saved

# What the service says of a request's bytes. Any other refusal may come to a worker that asks once
# more after the first one died, and then there may be a task all the same.
_OF_THE_REQUEST = (
    NotFoundError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    ValidationError,
)


def run_on_cluster(
    batch: Batch,
    session: Session,
    client: DaskClient,
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    gate: Gate | None = None,
    launch: Callable[..., object] | None = None,
) -> Batch:
    """Start a batch of which workers make the pictures, and return it at once.

    The workers need runapi_magic and, in their own environment or files, the same API key; and a
    folder that they share with this machine, or an object store (``RunAPIMagics.image_dir``).

    Args:
        batch: What is asked for.
        session: Whose journal, money and settings count.
        client: The cluster; not an asynchronous client.
        loop: The loop that works on it, by default the running one; another thread's is fine.
        gate: Awaited before anything is sent; what it raises is the batch's end.
        launch: Begins a retry on the loop of wherever the user is; by default on the same loop.

    Raises:
        InvalidRequestError: A request, or the client, cannot be right; nothing was sent.
        MissingKeyError: There is no key.
        ConfigurationError: The base URL is unusable.
    """
    _check(client, session)
    cluster = _Cluster(client, batch)
    on_cluster = copy.copy(session)  # the same journal, budgets and images; another pipeline
    on_cluster.services = copy.copy(session.services)
    on_cluster.services.pipeline = _ClusterPipeline(session.pipeline, cluster)
    begin_batch(on_cluster, batch, loop, gate=gate, launch=launch)
    return batch


def _check(client: DaskClient, session: Session) -> None:
    try:
        from distributed import Client as DaskClient
    except ImportError:
        raise InvalidRequestError(
            "client= takes a Dask client, and Dask is not installed.",
            todo="pip install 'runapi-magic[dask]'",
        ) from None
    if not isinstance(client, DaskClient) or client.asynchronous:
        raise InvalidRequestError(
            f"client= takes a distributed.Client that is not asynchronous, not {client!r:.60}.",
            todo="from dask.distributed import Client; client = Client(address).",
        )
    if session.service().is_simulated:
        raise InvalidRequestError(
            "The simulator in this kernel cannot answer other processes.",
            todo="Start one for all: python -m runapi_magic.simulator, with RUNAPI_BASE_URL and a"
            " made-up RUNAPI_API_KEY set here and on the workers; then %runapi simulator off.",
        )


class _Job:
    """An errand under way.

    Attributes:
        future: The cluster's handle on it; None once it is done.
        told: The task, as soon as its worker knows it.
        done: What became of it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: Future[Outcome] | None = None
        self.told: asyncio.Future[CreatedTask] = loop.create_future()
        self.done: asyncio.Future[Outcome | RunAPIError] = loop.create_future()

    async def created(self, stop: asyncio.Event | None) -> CreatedTask:
        """Return the task as soon as it is known.

        Raises:
            RunAPIError: There is none, or none that is known of.
            CancelledError: ``stop`` was set before.
        """
        stopped = asyncio.ensure_future((stop or asyncio.Event()).wait())
        first: list[asyncio.Future[Any]] = [self.told, self.done, stopped]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self.told.done():
            return self.told.result()
        if not self.done.done():
            self.give_up()
            raise asyncio.CancelledError
        outcome = self.done.result()
        if isinstance(outcome, RunAPIError):
            raise outcome
        if outcome.created is None:
            assert outcome.failure is not None, "without a task, there is a reason"
            error = outcome.failure
            error.doubtful = error.doubtful or not isinstance(error, _OF_THE_REQUEST)
            raise error
        return outcome.created

    async def outcome(self) -> Outcome:
        """Return what became of it.

        Raises:
            RunAPIError: Nobody knows.
        """
        try:
            outcome = await asyncio.shield(self.done)
        except asyncio.CancelledError:
            self.give_up()
            raise
        if isinstance(outcome, RunAPIError):
            raise outcome
        return outcome

    def finish(self, outcome: Outcome | RunAPIError) -> None:
        """Take what became of it. The cluster may forget it."""
        self.future = None
        self.done.set_result(outcome)

    def give_up(self) -> None:
        """Take it off the cluster where it has not begun; else its worker ends it for nobody."""
        if self.future is not None:
            asyncio.get_running_loop().run_in_executor(None, self.future.cancel)


class _Cluster:
    """The workers, as one batch uses them.

    Args:
        client: The cluster.
        batch: The batch.
    """

    def __init__(self, client: DaskClient, batch: Batch) -> None:
        self.at_once = batch.concurrency
        self.topic = f"runapi-magic-{batch.reservation}"
        self._client = client
        self._jobs: dict[str, _Job] = {}
        self._is_listening = False
        batch.subscribe(lambda: self._stop_listening() if batch.is_done else None)

    async def send(self, errand: Errand) -> _Job:
        """Give an errand to the cluster, which gives it to a worker.

        Raises:
            RunAPIError: The cluster cannot be reached.
        """
        loop = asyncio.get_running_loop()
        part = errand.options.local_id
        job = self._jobs[part] = _Job(loop)
        self._listen(loop)

        def finish(outcome: Outcome | RunAPIError) -> None:
            job.finish(outcome)
            if self._jobs.get(part) is job:
                del self._jobs[part]

        def finished(future: Future[Outcome]) -> None:
            outcome: Outcome | RunAPIError
            try:
                outcome = future.result()
            except (Exception, CancelledError) as error:  # noqa: BLE001 (whatever Dask says)
                outcome = _lost(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(finish, outcome)

        try:
            future = await asyncio.to_thread(
                self._client.submit,
                carry_out,
                errand,
                key=f"runapi-magic-{part}-{secrets.token_hex(4)}",
                pure=False,
            )
        except Exception as error:  # noqa: BLE001 (whatever Dask says)
            raise _lost(error) from None
        job.future = future
        future.add_done_callback(finished)
        return job

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear of tasks' ids as soon as workers know them; without it they come with the rest."""
        if self._is_listening:
            return

        def tell(told: dict[str, Any]) -> None:
            job = self._jobs.get(told["part"])
            if job is not None and not job.told.done():
                task = Task(told["task"], TaskStatus.PROCESSING)
                job.told.set_result(CreatedTask(task, tuple(told["paths"]), None))

        def heard(event: tuple[float, dict[str, Any]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(tell, event[1])

        self._client.subscribe_topic(self.topic, heard)
        self._is_listening = True

    def _stop_listening(self) -> None:
        if self._is_listening and self._client.status == "running":
            self._client.unsubscribe_topic(self.topic)
        self._is_listening = False


@dataclass(slots=True, kw_only=True)
class _Remote(Client):
    """RunAPI's calls, of which a worker makes the one that is paid, and all that follow it."""

    cluster: _Cluster
    errand: Callable[[Attempt | None, CreatedTask | None], Errand]
    job: _Job | None = None

    async def post(
        self,
        attempt: Attempt,
        *,
        before_send: Callable[[Attempt], Awaitable[None]] | None = None,
        state: TaskState | None = None,
        timeout: float = 120.0,  # noqa: ARG002 (the errand has its own)
        stop: asyncio.Event | None = None,
        on_wait: Callable[[float], None] | None = None,  # noqa: ARG002 (workers wait, unseen)
    ) -> CreatedTask:
        """Let a worker send an attempt, or send it once more; see ``Client.post``."""
        state = TaskState() if state is None else state
        with state.sending():
            await note_send(attempt, before_send, state)
            self.job = await self.cluster.send(self.errand(attempt, None))
            created = await self.job.created(stop)
        state.know(created.task.id)
        return created


class _ClusterPipeline(Pipeline):
    """A session's pipeline, with workers for what comes from the POST on.

    Args:
        pipeline: The session's.
        cluster: The workers.
    """

    def __init__(self, pipeline: Pipeline, cluster: _Cluster) -> None:
        vars(self).update(vars(pipeline))
        self._cluster = cluster

    async def _run_at_service(
        self, generation: Generation, planned: PlannedTask, service: Service
    ) -> None:
        task = planned.task
        options = await asyncio.to_thread(
            self.image_store.download_options, generation, task, service
        )
        timeout = self._settings().timeout

        def errand(attempt: Attempt | None, created: CreatedTask | None) -> Errand:
            return Errand(
                origin=service.access.base_url,
                account=service.access.account,
                attempt=attempt,
                created=created,
                expectation=self.timing.expected(task.request, service),
                timeout=timeout,
                options=options,
                at_once=self._cluster.at_once,
                topic=self._cluster.topic,
            )

        remote = _Remote(
            service.client.transport,
            service.client.families,
            cluster=self._cluster,
            errand=errand,
        )
        through_workers = replace(service, client=remote)
        created = await self.submitter.recover(generation, task, planned.stored, through_workers)
        if created is None:
            old = planned.stored.attempt
            key = old.idempotency_key if old else None
            created = await self.submitter.submit(generation, task, through_workers, key)
        task.phase, task.status = Phase.DRAWING, "processing"
        generation.changed()
        job = remote.job or await self._cluster.send(errand(None, created))
        await self._receive(generation, task, service, await job.outcome(), options)

    async def _receive(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        outcome: Outcome,
        options: DownloadOptions,
    ) -> None:
        """Write down what a worker has done; what is in place stays, whatever failed after it."""
        finished = outcome.task
        if finished is not None:
            task.cost = finished.cost
            task.state.finish(has_images=bool(finished.image_urls))
            learned = self.timing.learn(task, service, outcome.duration)
            await self._record(
                self._journal.mark_completed, task.id, finished.cost, task.seconds, learned
            )
            for saved, url in outcome.files:
                here = await asyncio.to_thread(found, saved, options)
                self.image_store.adopt(
                    generation,
                    task,
                    service,
                    here,
                    task_id=finished.id,
                    cost=cost_of_one(finished),
                    url=url,
                )
        if outcome.failure is not None:
            if isinstance(outcome.failure, TaskFailedError):
                task.state.fail()
            if finished is None:
                await self.timing.failed(task, service, outcome.duration)
            raise outcome.failure
        if not task.images:
            raise TaskFailedError("The task was completed without a picture.")
        await self._record(self._journal.mark_saved, task.id, task.images)


def found(saved: Saved, options: DownloadOptions) -> Saved:
    """Return a worker's file as this machine finds it, and clear away what a dead worker left.

    Raises:
        DownloadError: It is not to be seen from here.
    """
    folder = options.place.folder
    here = replace(saved, path=folder / saved.path.name)
    if options.place.url:
        return here
    if not here.path.is_file():
        raise DownloadError(
            f"A worker saved {here.path}, and this machine cannot see it.",
            todo="Let RunAPIMagics.image_dir be a folder that all machines share, or the URL of a"
            " store.",
        )
    for partial in folder.glob(f".{options.local_id}-*.part"):
        partial.unlink(missing_ok=True)
    return here


def _lost(error: BaseException) -> RunAPIError:
    reason = str(error).strip().partition("\n")[0][:200]
    lost = RunAPIError(
        f"The Dask cluster lost this request ({type(error).__name__}: {reason}).",
        todo="See to the cluster, then batch.retry_failed() or %runapi resume: the same task, not"
        " a second one.",
    )
    lost.doubtful = True
    return lost
