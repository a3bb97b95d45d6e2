"""What a worker of a cluster does for one task: all that may be repeated, and nothing else.

The driver has decided, priced and written down everything before: a worker posts exactly these
bytes under exactly this idempotency key, waits for the task, and puts its pictures where they
belong. If it dies, another one does the same and meets the same task and the same files. The API
key is in no errand: each worker has its own way to it.
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
from runapi_magic.engine.image_store import fetch_each
from runapi_magic.engine.settings import Settings
from runapi_magic.engine.storage_check import StorageCheck
from runapi_magic.errors import ConfigurationError, MissingKeyError, RunAPIError
from runapi_magic.http.rate_limit import Limiter
from runapi_magic.http.wait_for_task import wait_for_task
from runapi_magic.journal.async_journal import AsyncJournal
from runapi_magic.journal.rate_store import SharedRate
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.object_store import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runapi_magic.core.access import Access
    from runapi_magic.core.request import Attempt
    from runapi_magic.core.task import Task
    from runapi_magic.http.results import CreatedTask
    from runapi_magic.media.files import Saved
    from runapi_magic.media.object_store import Place

_log = logging.getLogger(__name__)

_storage = StorageCheck()


@dataclass(frozen=True, slots=True)
class Errand:
    """One task, as a worker is asked for it.

    Attributes:
        origin: The service's base URL.
        account: A hash of address and key: the worker's must be the same.
        attempt: What to post; None where the task is known.
        created: The task, where it is known.
        expectation: How long it is expected to take.
        timeout: Seconds to wait for it.
        options: How its pictures are to be kept.
        at_once: Tasks of this account under way at a time on the whole cluster.
        topic: Where to tell the driver of the task's id.
    """

    origin: str
    account: str
    attempt: Attempt | None
    created: CreatedTask | None
    expectation: Expectation
    timeout: float
    options: DownloadOptions
    at_once: int
    topic: str


@dataclass(slots=True)
class Outcome:
    """What became of an errand.

    Attributes:
        created: The task, once the service has answered.
        task: The task when it was completed.
        duration: Seconds of the service's that it took, where they are known; see ``PollingPlan``.
        files: Its pictures, each with the service's address, as far as they are in place.
        failure: Why there are no more.
    """

    created: CreatedTask | None = None
    task: Task | None = None
    duration: float | None = None
    files: list[tuple[Saved, str]] = field(default_factory=list)
    failure: RunAPIError | None = None


def carry_out(errand: Errand) -> Outcome:
    """Do an errand in a thread of a Dask worker. What goes wrong is in the outcome."""
    from distributed import Semaphore, get_worker

    worker = get_worker()

    def tell(created: CreatedTask) -> None:
        told = {"part": errand.options.local_id, "task": created.task.id}
        worker.log_event(errand.topic, told | {"paths": list(created.status_paths)})

    # Its size belongs to its name: the scheduler refuses one name with two sizes. The lease of a
    # dead worker comes back after distributed.scheduler.locks.lease-timeout.
    name = f"runapi-magic-{errand.account}-{errand.at_once}"
    with Semaphore(errand.at_once, name):
        return asyncio.run(_carry_out(errand, tell))


async def _carry_out(errand: Errand, tell: Callable[[CreatedTask], None]) -> Outcome:
    outcome = Outcome()
    options = replace(
        errand.options,
        # Before a store, the local copies are this machine's own.
        place=place_of(errand.options.place.url or str(errand.options.place.folder), data_home()),
        run=f"-{secrets.token_hex(4)}",
    )
    try:
        access = _access(errand)
        client = remote_service(access, _limiter(access)).client
    except RunAPIError as error:
        outcome.failure = error
        return outcome

    async def keep(task: Task, position: int) -> None:
        decoder = contextlib.nullcontext()  # a worker has as many threads as it is to have
        saved = await download_image(
            client, task, position, options, decoder=decoder, partial_files=set()
        )
        outcome.files.append((saved, task.image_urls[position]))

    try:
        outcome.created = errand.created
        if errand.attempt is not None:
            await client.transport.prepare()
            await _check_storage(options.place, errand.topic)
            outcome.created = await client.post(errand.attempt, timeout=errand.timeout)
        assert outcome.created is not None, "an errand has an attempt or a task"
        tell(outcome.created)
        plan = PollingPlan(
            lambda: errand.expectation,
            errand.timeout,
            chance=random.Random(outcome.created.task.id).random,  # noqa: S311 (no secret)
            is_new=errand.attempt is not None and not outcome.created.task.replayed,
        )
        try:
            outcome.task, paths = await wait_for_task(
                client, outcome.created, plan, on_progress=lambda _: None, on_notice=_log.warning
            )
        finally:
            outcome.duration = plan.duration
        await fetch_each(client, outcome.task, paths, keep)
    except RunAPIError as error:
        outcome.failure = error
    finally:
        await client.transport.close()
    return outcome


async def _check_storage(place: Place, run: str) -> None:
    try:
        await _storage(place, run)
    except ConfigurationError as error:
        here = f"The Dask worker on {socket.gethostname()} cannot save images"
        raise ConfigurationError(f"{here}: {error.what}", todo=error.todo) from None


@cache
def _limiter(access: Access) -> Limiter:
    """Return the limiter of an account, whose rate this machine's processes share."""
    journal = Journal(data_home())
    return Limiter(SharedRate(access.account, journal, AsyncJournal(journal, _log.warning)))


def _access(errand: Errand) -> Access:
    """Return this worker's own way to the driver's account."""
    access = resolve_access(Settings(base_url=errand.origin))
    here = f"The Dask worker on {socket.gethostname()}"
    todo = "Set RUNAPI_API_KEY where the workers are started, then: batch.retry_failed()."
    if not access.key:
        raise MissingKeyError(f"{here} has no RunAPI key.", todo=todo)
    if access.account != errand.account:  # under it, the same request would be paid again
        raise ConfigurationError(
            f"{here} has another RunAPI key than this kernel ({access.key_source}).", todo=todo
        )
    return access
