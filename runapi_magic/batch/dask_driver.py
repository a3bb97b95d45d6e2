"""Run a batch on a Dask cluster: this kernel keeps the journal and the budget, workers do the rest.

Up to the POST, each request is handled as always: an image on disk is reused, the price is checked,
sources are uploaded, and the bytes and the idempotency key are written to the journal. Then a
worker posts the request, waits for the task and downloads its images; see ``dask_worker``.
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
from runapi_magic.batch.dask_worker import Job, JobResult, run_job
from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.download import cost_per_image
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
    from runapi_magic.media.files import SavedFile

# Errors that the bytes of a request cause. After any other error a task may exist: the worker may
# have repeated the POST of another worker that died.
_INVALID_REQUEST = (
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
    """Start a batch whose images are made by the workers of a cluster, and return it at once.

    The workers need runapi_magic and the same API key, in their own environment or files. They also
    need a folder that they share with this machine, or an object store
    (``RunAPIMagics.image_dir``).

    Args:
        batch: The batch.
        session: The session with the journal, the budgets and the settings.
        client: The client of the cluster; not an asynchronous one.
        loop: The event loop, by default the running one; it may run on another thread.
        gate: Awaited before anything is sent; an exception ends the batch.
        launch: Calls a function with the right event loop for a retry; by default the same loop.

    Raises:
        InvalidRequestError: A request or the client is not valid; nothing was sent.
        MissingKeyError: There is no API key.
        ConfigurationError: The base URL is not valid.
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
            "client= needs Dask, which is not installed.", todo="pip install 'runapi-magic[dask]'"
        ) from None
    if not isinstance(client, DaskClient) or client.asynchronous:
        raise InvalidRequestError(
            f"client= must be a distributed.Client that is not asynchronous (got {client!r:.60}).",
            todo="from dask.distributed import Client; client = Client(address)",
        )
    if session.service().is_simulated:
        raise InvalidRequestError(
            "The simulator in this kernel cannot answer other processes.",
            todo="Start a simulator for all of them: python -m runapi_magic.simulator. Set its"
            " address as RUNAPI_BASE_URL and any RUNAPI_API_KEY here and on the workers, then run"
            " %runapi simulator off.",
        )


class _RunningJob:
    """A job that a worker does.

    Attributes:
        future: Dask's future of the job; None when the job has ended.
        known: The task, as soon as the worker has reported it.
        done: The result of the job, or the error of the cluster.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: Future[JobResult] | None = None
        self.known: asyncio.Future[CreatedTask] = loop.create_future()
        self.done: asyncio.Future[JobResult | RunAPIError] = loop.create_future()

    async def created(self, stop: asyncio.Event | None) -> CreatedTask:
        """Wait until the task is known, and return it.

        Raises:
            RunAPIError: The job has ended without a task, or the task is not known.
            CancelledError: ``stop`` was set first.
        """
        stopped = asyncio.ensure_future((stop or asyncio.Event()).wait())
        first: list[asyncio.Future[Any]] = [self.known, self.done, stopped]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self.known.done():
            return self.known.result()
        if not self.done.done():
            self.abandon()
            raise asyncio.CancelledError
        result = self.done.result()
        if isinstance(result, RunAPIError):
            raise result
        if result.created is None:
            assert result.failure is not None, "without a task, there is a reason"
            error = result.failure
            error.doubtful = error.doubtful or not isinstance(error, _INVALID_REQUEST)
            raise error
        return result.created

    async def result(self) -> JobResult:
        """Wait for the end of the job and return its result.

        Raises:
            RunAPIError: The cluster lost the job.
        """
        try:
            result = await asyncio.shield(self.done)
        except asyncio.CancelledError:
            self.abandon()
            raise
        if isinstance(result, RunAPIError):
            raise result
        return result

    def finish(self, result: JobResult | RunAPIError) -> None:
        """Store the result, and let the cluster release the job."""
        self.future = None
        self.done.set_result(result)

    def abandon(self) -> None:
        """Cancel the job if no worker has begun it; a worker that has begun finishes it."""
        if self.future is not None:
            asyncio.get_running_loop().run_in_executor(None, self.future.cancel)


class _Cluster:
    """The connection of one batch to the cluster.

    Args:
        client: The client of the cluster.
        batch: The batch.
    """

    def __init__(self, client: DaskClient, batch: Batch) -> None:
        self.concurrency = batch.concurrency
        self.topic = f"runapi-magic-{batch.reservation}"
        self._client = client
        self._running: dict[str, _RunningJob] = {}
        self._is_listening = False
        batch.subscribe(lambda: self._stop_listening() if batch.is_done else None)

    async def send(self, job: Job) -> _RunningJob:
        """Submit a job to the cluster.

        Raises:
            RunAPIError: The cluster cannot be reached.
        """
        loop = asyncio.get_running_loop()
        local_id = job.options.local_id
        running = self._running[local_id] = _RunningJob(loop)
        self._listen(loop)

        def finish(result: JobResult | RunAPIError) -> None:
            running.finish(result)
            if self._running.get(local_id) is running:
                del self._running[local_id]

        def finished(future: Future[JobResult]) -> None:
            result: JobResult | RunAPIError
            try:
                result = future.result()
            except (Exception, CancelledError) as error:  # noqa: BLE001 (any error of Dask)
                result = _lost(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, result)

        try:
            future = await asyncio.to_thread(
                self._client.submit,
                run_job,
                job,
                key=f"runapi-magic-{local_id}-{secrets.token_hex(4)}",
                pure=False,
            )
        except Exception as error:  # noqa: BLE001 (any error of Dask)
            raise _lost(error) from None
        running.future = future
        future.add_done_callback(finished)
        return running

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Receive the IDs of tasks as soon as workers know them, not only with the results."""
        if self._is_listening:
            return

        def set_known(event: dict[str, Any]) -> None:
            running = self._running.get(event["local_id"])
            if running is not None and not running.known.done():
                task = Task(event["task"], TaskStatus.PROCESSING)
                running.known.set_result(CreatedTask(task, tuple(event["paths"]), None))

        def receive(event: tuple[float, dict[str, Any]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(set_known, event[1])

        self._client.subscribe_topic(self.topic, receive)
        self._is_listening = True

    def _stop_listening(self) -> None:
        if self._is_listening and self._client.status == "running":
            self._client.unsubscribe_topic(self.topic)
        self._is_listening = False


@dataclass(slots=True, kw_only=True)
class _ClusterClient(Client):
    """A client of RunAPI whose POST is sent by a worker, which also does everything after it."""

    cluster: _Cluster
    job: Callable[[Attempt | None, CreatedTask | None], Job]
    running: _RunningJob | None = None

    async def post(
        self,
        attempt: Attempt,
        *,
        before_send: Callable[[Attempt], Awaitable[None]] | None = None,
        state: TaskState | None = None,
        timeout: float = 120.0,  # noqa: ARG002 (the job has its own)
        stop: asyncio.Event | None = None,
        on_wait: Callable[[float], None] | None = None,  # noqa: ARG002 (workers do not report it)
    ) -> CreatedTask:
        """Let a worker send a request, for the first time or again; see ``Client.post``."""
        state = TaskState() if state is None else state
        with state.sending():
            await note_send(attempt, before_send, state)
            self.running = await self.cluster.send(self.job(attempt, None))
            created = await self.running.created(stop)
        state.know(created.task.id)
        return created


class _ClusterPipeline(Pipeline):
    """The pipeline of a session, with workers that do everything from the POST on.

    Args:
        pipeline: The pipeline of the session.
        cluster: The connection to the cluster.
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

        def job(attempt: Attempt | None, created: CreatedTask | None) -> Job:
            return Job(
                origin=service.access.base_url,
                account=service.access.account,
                attempt=attempt,
                created=created,
                expectation=self.timing.expected(task.request, service),
                timeout=timeout,
                options=options,
                concurrency=self._cluster.concurrency,
                topic=self._cluster.topic,
            )

        client = _ClusterClient(
            service.client.transport,
            service.client.families,
            cluster=self._cluster,
            job=job,
        )
        created = await self._submit(generation, planned, replace(service, client=client))
        running = client.running or await self._cluster.send(job(None, created))
        await self._receive(generation, task, service, await running.result(), options)

    async def _receive(
        self,
        generation: Generation,
        task: GenerationTask,
        service: Service,
        result: JobResult,
        options: DownloadOptions,
    ) -> None:
        """Write the result of a job to the journal. Images on disk stay, also after an error."""
        finished = result.task
        if finished is not None:
            task.cost = finished.cost
            task.state.finish(has_images=bool(finished.image_urls))
            learned = self.timing.learn(task, service, result.duration)
            await self._record(
                self._journal.mark_completed, task.id, finished.cost, task.seconds, learned
            )
            for saved, url in result.files:
                here = await asyncio.to_thread(local_file, saved, options)
                self.image_store.add_saved(
                    generation,
                    task,
                    service,
                    here,
                    task_id=finished.id,
                    cost=cost_per_image(finished),
                    url=url,
                )
        if result.failure is not None:
            if isinstance(result.failure, TaskFailedError):
                task.state.fail()
            if finished is None:
                await self.timing.record_failure(task, service, result.duration)
            raise result.failure
        if not task.images:
            raise TaskFailedError("The task was completed without an image.")
        await self._record(self._journal.mark_saved, task.id, task.images)


def local_file(saved: SavedFile, options: DownloadOptions) -> SavedFile:
    """Return the file of a worker as this machine sees it, and delete the files of dead workers.

    Raises:
        DownloadError: This machine does not see the file.
    """
    folder = options.location.folder
    here = replace(saved, path=folder / saved.path.name)
    if options.location.url:
        return here
    if not here.path.is_file():
        raise DownloadError(
            f"A worker saved {here.path}, but this machine cannot see it.",
            todo="Set RunAPIMagics.image_dir to a folder that all machines share, or to the URL of"
            " an object store.",
        )
    for partial in folder.glob(f".{options.local_id}-*.part"):
        partial.unlink(missing_ok=True)
    return here


def _lost(error: BaseException) -> RunAPIError:
    reason = str(error).strip().partition("\n")[0][:200]
    lost = RunAPIError(
        f"The Dask cluster lost this request ({type(error).__name__}: {reason}).",
        todo="Check the cluster, then run batch.retry_failed() or %runapi resume. They continue"
        " the same task and create no second one.",
    )
    lost.doubtful = True
    return lost
