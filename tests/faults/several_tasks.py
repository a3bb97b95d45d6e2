"""Requests for several images under faults: the charge of the service, and the charge as reported.

A case does what a user would do: request several images, perhaps cancel, and read the reported
charge. Then the faults end. The case resumes what is left and sends the same request again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.core.status import Phase
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY
from tests.faults.trial import NEVER_CHARGED

PRICE = 6  # cents of one gpt-image-2 image at 1k
_TIMEOUT = 40.0  # seconds until a case fails as hanging
_POLL_INTERVAL = 0.01  # seconds between two polls of the server's state
_FINAL = {"completed", "failed"}


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: What happens, in plain words.
        specs: The faults in the simulator's syntax.
        count: Number of images.
        kind: ``request``: one generation; ``batch``: one item of a batch with all images;
            ``items``: a batch with one item per image.
        phase: The phase at which it is cancelled; None: not at all.
        cancels: How often it is cancelled.
        locked: How long another program locks the journal: "", "a moment" or "for long".
    """

    name: str
    specs: tuple[str, ...] = ()
    count: int = 3
    kind: str = "request"
    phase: Phase | None = None
    cancels: int = 0
    locked: str = ""


@dataclass
class Outcome:
    """The result of a case.

    Attributes:
        reported: Minimum and maximum charge in cents, as reported to the user.
        charged: Charge of the service in cents, after all tasks have ended.
        cost: The handle's ``cost`` in cents.
        charge_texts: What the errors say about the charge, for each task without an image.
        status: The status of the handle, or of the batch's first item.
        reservations: Number of reservations that are left.
        images: Number of different images at the end.
        final_charge: Charge of the service at the end, in cents.
        completed: Number of completed tasks at the end.
        unfinished: Number of unfinished tasks in the journal at the end.
    """

    reported: tuple[int, int] = (0, 0)
    charged: int = 0
    cost: int = 0
    charge_texts: tuple[str, ...] = ()
    status: str = ""
    reservations: int = 0
    images: int = 0
    final_charge: int = 0
    completed: int = 0
    unfinished: int = 0


async def run(case, server, folder):
    """Run one case on a simulator that no other case uses at the same time."""
    outcome, before = Outcome(), await _state(server)
    await asyncio.to_thread(server.clear_faults)
    await asyncio.to_thread(server.fault, *case.specs)
    async with asyncio.timeout(_TIMEOUT):
        async with _session(server, folder) as session:
            with _journal_locked(session.journal, case.locked):
                handle, tasks = _start(session, case)
                await _cancel(handle, tasks, case)
                await handle.ended()
            _report(outcome, handle, tasks())
            outcome.reservations = _reservations(session.journal)
            await asyncio.to_thread(server.clear_faults)
            outcome.charged = await _charged(server, before)
        async with _session(server, folder) as session:
            resumed = resume_tasks(session)
            await resumed.ended()
            handle, tasks = _start(session, case)
            await handle.ended()
            outcome.images = len({image.id for task in tasks() for image in task.images})
            outcome.unfinished = len(session.journal.unfinished())
            outcome.reservations += _reservations(session.journal)
        outcome.final_charge = await _charged(server, before)
        tasks = (await _state(server))["tasks"][before["tasks_created"] :]
        outcome.completed = sum(task["status"] == "completed" for task in tasks)
    return outcome


def violations(case, outcome):
    """Return what went wrong; an empty list if everything is correct."""
    low, high = outcome.reported
    found = {
        "the reported charge is wrong": not low <= outcome.charged <= high,
        "the cost is higher than the charge": outcome.cost > outcome.charged,
        "a certain charge is not in the cost": low > outcome.cost,
        "a reservation is left": outcome.reservations > 0,
        "images are missing at the end": outcome.images != case.count,
        "charged twice": outcome.completed != case.count,
        "charged for more than the images": outcome.final_charge != PRICE * case.count,
        "a task stays unfinished": outcome.unfinished > 0,
    }
    return [f"{name}: {outcome}" for name, is_so in found.items() if is_so]


# Requests


def _start(session, case):
    """Start the case's request. Return a handle, and a function that returns its tasks."""
    if case.kind == "request":
        generation = session.generate(case.name, count=case.count)
        return generation, lambda: generation.tasks
    is_one = case.kind == "batch"
    made = []
    real = session.start

    def start(*values, **options):
        made.append(real(*values, **options))
        return made[-1]

    session.start = start
    count = case.count if is_one else 1
    items = [
        Item(number, session.request(case.name, count=count))
        for number in range(1 if is_one else case.count)
    ]
    batch = begin_batch(session, Batch(items))
    return batch, lambda: [task for generation in made for task in generation.tasks]


async def _cancel(handle, tasks, case):
    if case.phase is None:
        return
    while not any(task.phase is case.phase for task in tasks()):  # noqa: ASYNC110 (many tasks)
        await asyncio.sleep(0)
    for _ in range(case.cancels):
        handle.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _report(outcome, handle, tasks):
    """Store the reported charge: minimum and maximum."""
    low = high = 0
    charge_texts = []
    for task in tasks:
        missing = task.count - len(task.images)
        charged = task.error.charged if task.error else CHARGED
        if missing:
            charge_texts.append(charged)
        low += PRICE * task.count if charged == CHARGED else 0
        high += 0 if charged in NEVER_CHARGED else PRICE * task.count
    outcome.reported, outcome.charge_texts = (low, high), tuple(charge_texts)
    outcome.cost = round((handle.cost or 0) * 100)
    outcome.status = handle.items[0].status if isinstance(handle, Batch) else handle.status


# Server and journal


@contextmanager
def _journal_locked(journal, how):
    """Lock the journal as another program would: until the request has ended, or briefly."""
    if not how:
        yield
        return
    path = journal.path
    journal.unfinished()  # creates the file
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.4, other.rollback)
        if how == "a moment":
            timer.start()
        yield
        timer.cancel()
        other.rollback()


def _reservations(journal):
    with closing(sqlite3.connect(journal.path)) as connection:
        return connection.execute("SELECT count(*) FROM holds").fetchone()[0]


async def _state(server):
    return await asyncio.to_thread(server.state)


async def _charged(server, before):
    """Return the cents charged since ``before``, after all tasks have ended."""
    while True:
        state = await _state(server)
        tasks = state["tasks"][before["tasks_created"] :]
        if all(task["status"] in _FINAL for task in tasks):
            return state["charged_cents"] - before["charged_cents"]
        await asyncio.sleep(_POLL_INTERVAL)


class _session:  # noqa: N801 (used like a function)
    """A session on the case's journal, with a budget that is large enough."""

    def __init__(self, server, folder):
        settings = Settings(
            base_url=server.url, api_key=KEY, timeout=20.0, image_dir=str(folder / "images")
        )
        self.session = Session(settings, Journal(folder / "data"))

    async def __aenter__(self):
        origin = self.session.service().access.base_url
        self.session.budgets.set_budget(origin, "session", 100.0)
        return self.session

    async def __aexit__(self, *_):
        await self.session.service().client.transport.close()
        self.session.journal.close()


# Cases

_KINDS = ("request", "batch", "items")
_FAULTS = {
    "one create request is rejected": ("create=422,skip=1,times=1",),
    "one create request lacks credit": ("create=402,skip=1,times=1",),
    "one create request is lost": ("create=drop_before,skip=1,times=1",),
    "one create response is lost": ("create=drop_after,skip=1,times=1",),
    "all create responses are lost": ("create=drop_after",),
    "the service is unavailable": ("create=503,skip=2",),
    "one create request is rate limited": ("create=429,retry_after=0.05,skip=1,times=1",),
    "one task fails": ("status=failed,skip=1,times=1",),
    "two images are gone": ("download=404,skip=1",),
    "every image is gone": ("download=410",),
    "one image is damaged": ("download=corrupt,skip=2",),
    "no price is available": ("quote=404",),
    "the price is unavailable, and one image gone": ("quote=503", "download=404,skip=2"),
    "one is rejected, one fails, one is gone": (
        "create=422,times=1", "status=failed,times=1", "download=404",
    ),
}  # fmt: skip
_SLOW = {
    Phase.PREPARING: (),
    Phase.SENDING: ("create=slow,seconds=0.2",),
    Phase.DRAWING: ("status=stuck",),
    Phase.FETCHING: ("download=slow,seconds=0.2",),
}

CASES = [
    *(
        Case(f"{name} ({kind})", specs, kind=kind)
        for name, specs in _FAULTS.items()
        for kind in _KINDS
    ),
    *(
        Case(f"cancelled {times} times at {phase.name} ({kind})", specs, 3, kind, phase, times)
        for phase, specs in _SLOW.items()
        for times in (1, 2, 3)
        for kind in _KINDS
        if not (phase is Phase.PREPARING and kind != "request")
    ),
    *(
        Case(f"the journal is locked for a moment ({kind})", kind=kind, locked="a moment")
        for kind in _KINDS
    ),
    *(
        Case(f"the journal is locked for long ({kind})", kind=kind, locked="for long")
        for kind in _KINDS
    ),
]
