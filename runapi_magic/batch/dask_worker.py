"""Run one task on a Dask worker: post the request, wait for the task, and save its images.

A worker does only what may be repeated. The driver has checked the price and written the request to
the journal. The worker posts exactly these bytes under exactly this idempotency key. If it dies,
another worker repeats the job and finds the same task and the same files. A job does not contain
the API key: each worker reads its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from runapi_magic.core.paths import data_home
from runapi_magic.core.polling import Expectation, PollingPlan
from runapi_magic.engine.backend import remote_service
from runapi_magic.engine.credentials import resolve_access
from runapi_magic.engine.download import DownloadOptions, download_image
from runapi_magic.engine.image_store import download_each
from runapi_magic.engine.settings import Settings
from runapi_magic.engine.storage_check import StorageCheck
from runapi_magic.errors import ConfigurationError, MissingKeyError, RunAPIError
from runapi_magic.http.rate_limit import Limiter
from runapi_magic.http.wait_for_task import wait_for_task
from runapi_magic.journal.async_journal import AsyncJournal
from runapi_magic.journal.rate_store import SharedRate
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.object_store import save_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.access import Access
    from runapi_magic.core.request import Attempt
    from runapi_magic.core.task import Task
    from runapi_magic.http.results import CreatedTask
    from runapi_magic.media.files import SavedFile
    from runapi_magic.media.object_store import SaveLocation

_log = logging.getLogger(__name__)

_storage = StorageCheck()


@dataclass(frozen=True, slots=True)
class Job:
    """One task, as the driver sends it to a worker.

    Attributes:
        origin: The base URL of the service.
        account: A hash of the base URL and the API key; the worker must have the same.
        attempt: The request to post; None if the task exists already.
        created: The task, if it exists already.
        expectation: The expected duration of the task.
        timeout: Seconds to wait for the task.
        options: How to save the images.
        concurrency: Number of tasks of this account that run at the same time on the cluster.
        topic: The Dask topic on which the worker reports the ID of the task.
    """

    origin: str
    account: str
    attempt: Attempt | None
    created: CreatedTask | None
    expectation: Expectation
    timeout: float
    options: DownloadOptions
    concurrency: int
    topic: str


@dataclass(slots=True)
class JobResult:
    """The result of a job.

    Attributes:
        created: The task, once the service has answered.
        task: The completed task.
        duration: Seconds that the service needed, if they are known; see ``PollingPlan``.
        files: The saved images, each with its URL.
        failure: Why images are missing.
    """

    created: CreatedTask | None = None
    task: Task | None = None
    duration: float | None = None
    files: list[tuple[SavedFile, str]] = field(default_factory=list)
    failure: RunAPIError | None = None


def run_job(job: Job) -> JobResult:
    """Run a job in a thread of a Dask worker. A ``RunAPIError`` becomes part of the result."""
    from distributed import Semaphore, get_worker

    worker = get_worker()

    def report(created: CreatedTask) -> None:
        event = {"local_id": job.options.local_id, "task": created.task.id}
        worker.log_event(job.topic, event | {"paths": list(created.status_paths)})

    # The name contains the size, because Dask refuses one name with two sizes. If a worker dies,
    # its lease becomes free after distributed.scheduler.locks.lease-timeout.
    name = f"runapi-magic-{job.account}-{job.concurrency}"
    with Semaphore(job.concurrency, name):
        return asyncio.run(_run(job, report))


async def _run(job: Job, report: Callable[[CreatedTask], None]) -> JobResult:
    result = JobResult()
    options = replace(
        job.options,
        # With an object store, each machine has its own local copies.
        location=save_location(
            job.options.location.url or str(job.options.location.folder), data_home()
        ),
        run=f"-{secrets.token_hex(4)}",
    )
    try:
        access = _access(job)
        client = remote_service(access, _limiter(access)).client
    except RunAPIError as error:
        result.failure = error
        return result

    async def save(task: Task, position: int) -> None:
        decoder = contextlib.nullcontext()  # Dask limits the threads of a worker
        saved = await download_image(
            client, task, position, options, decoder=decoder, partial_files=set()
        )
        result.files.append((saved, task.image_urls[position]))

    try:
        result.created = job.created
        if job.attempt is not None:
            await client.transport.prepare()
            await _check_storage(options.location, job.topic)
            result.created = await client.post(job.attempt, timeout=job.timeout)
        assert result.created is not None, "a job has an attempt or a task"
        report(result.created)
        plan = PollingPlan(
            lambda: job.expectation,
            job.timeout,
            random=random.Random(result.created.task.id).random,  # noqa: S311 (no secret)
            is_new=job.attempt is not None and not result.created.task.replayed,
        )
        try:
            result.task, paths = await wait_for_task(
                client, result.created, plan, on_progress=lambda _: None, on_notice=_log.warning
            )
        finally:
            result.duration = plan.duration
        await download_each(client, result.task, paths, save)
    except RunAPIError as error:
        result.failure = error
    finally:
        await client.transport.close()
    return result


async def _check_storage(location: SaveLocation, run: str) -> None:
    try:
        await _storage(location, run)
    except ConfigurationError as error:
        here = f"The Dask worker on {socket.gethostname()} cannot save images"
        raise ConfigurationError(f"{here}: {error.what}", todo=error.todo) from None


@cache
def _limiter(access: Access) -> Limiter:
    """Return the rate limiter of an account, which all processes of this machine share."""
    journal = Journal(data_home())
    return Limiter(SharedRate(access.account, journal, AsyncJournal(journal, _log.warning)))


def _access(job: Job) -> Access:
    """Return the API key and base URL of this worker.

    Raises:
        MissingKeyError: The worker has no API key.
        ConfigurationError: The worker has the API key of another account. Under that account, the
            same request would be charged again.
    """
    access = resolve_access(Settings(base_url=job.origin))
    here = f"The Dask worker on {socket.gethostname()}"
    todo = "Set RUNAPI_API_KEY where the workers start, then run batch.retry_failed()."
    if not access.key:
        raise MissingKeyError(f"{here} has no RunAPI key.", todo=todo)
    if access.account != job.account:
        raise ConfigurationError(
            f"{here} has another RunAPI key than the kernel ({access.key_source}).", todo=todo
        )
    return access
