"""Requests of several tasks under faults: what the service charged, and what the user is told.

A case is a person's way through trouble: ask for several images, perhaps cancel once or twice, look
at what is said; then the trouble ends, what was left is resumed, and the same is asked for again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.engine.generation import Step
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY
from tests.faults.trial import NEVER_CHARGED

PRICE = 6  # cents of one gpt-image-2 image at 1k
_PATIENCE = 40.0  # seconds until a case counts as hanging
_PAUSE = 0.01  # seconds between two looks at the server
_FINAL = {"completed", "failed"}


@dataclass(frozen=True)
class Case:
    """One way into trouble.

    Attributes:
        name: What happens, in plain words.
        specs: The faults, in the simulator's grammar.
        count: Number of images.
        asked: ``request`` for one generation, ``batch`` for one item of a batch, ``items`` for so
            many items of a batch.
        moment: The step in which it is cancelled; None: it is not.
        cancels: How often it is cancelled.
        locked: Another program holds the journal: "a moment", or "for long".
    """

    name: str
    specs: tuple[str, ...] = ()
    count: int = 3
    asked: str = "request"
    moment: Step | None = None
    cancels: int = 0
    locked: str = ""


@dataclass
class Outcome:
    """What a case showed.

    Attributes:
        told: Cents that were charged at least and at most, as far as the user is told.
        charged: Cents that the service had charged by then, once it was done with all tasks.
        cost: Cents that the handle's ``cost`` named.
        words: What was said of the charge, for each task that ended without an image.
        status: The handle's status, or the item's.
        holds: Reservations that were left.
        resumed_for: Cents that the service charged for resuming what it already had, and more.
        images: Number of different images in the end.
        charged_in_all: Cents in the end.
        completed: Tasks that the service completed in all.
        unfinished: What the journal still called unfinished in the end.
    """

    told: tuple[int, int] = (0, 0)
    charged: int = 0
    cost: int = 0
    words: tuple[str, ...] = ()
    status: str = ""
    holds: int = 0
    images: int = 0
    charged_in_all: int = 0
    completed: int = 0
    unfinished: int = 0


async def run(case, server, folder):
    """Go the whole way of one case on a simulator that nobody else uses meanwhile."""
    outcome, before = Outcome(), await _state(server)
    await asyncio.to_thread(server.clear_faults)
    await asyncio.to_thread(server.fault, *case.specs)
    async with asyncio.timeout(_PATIENCE):
        async with _kernel(server, folder) as session:
            with _held(session.journal, case.locked):
                handle, parts = _ask(session, case)
                await _cancel(handle, parts, case)
                await handle.ended()
            _look(outcome, handle, parts())
            outcome.holds = _holds(session.journal)
            await asyncio.to_thread(server.clear_faults)
            outcome.charged = await _charged(server, before)
        async with _kernel(server, folder) as session:
            resumed = session.resume()
            await resumed.ended()
            handle, parts = _ask(session, case)
            await handle.ended()
            outcome.images = len({image.id for part in parts() for image in part.images})
            outcome.unfinished = len(session.journal.unfinished())
            outcome.holds += _holds(session.journal)
        outcome.charged_in_all = await _charged(server, before)
        tasks = (await _state(server))["tasks"][before["tasks_created"] :]
        outcome.completed = sum(task["status"] == "completed" for task in tasks)
    return outcome


def complaints(case, outcome):
    """Return what must never be, whatever the case: an empty list, if all is well."""
    low, high = outcome.told
    found = {
        "told too little or too much": not low <= outcome.charged <= high,
        "the cost names more than is sure": outcome.cost > outcome.charged,
        "a charge without doubt is not in the cost": low > outcome.cost,
        "a reservation is left": outcome.holds > 0,
        "images are missing in the end": outcome.images != case.count,
        "paid twice": outcome.completed != case.count,
        "charged for other than the images": outcome.charged_in_all != PRICE * case.count,
        "something stays unfinished": outcome.unfinished > 0,
    }
    return [f"{name}: {outcome}" for name, is_so in found.items() if is_so]


# Asking


def _ask(session, case):
    """Return a handle, and what returns its tasks' parts."""
    if case.asked == "request":
        generation = session.generate(case.name, count=case.count)
        return generation, lambda: generation.parts
    is_one = case.asked == "batch"
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
    batch = session.begin(Batch(items))
    return batch, lambda: [part for generation in made for part in generation.parts]


async def _cancel(handle, parts, case):
    if case.moment is None:
        return
    while not any(part.step is case.moment for part in parts()):  # noqa: ASYNC110 (of many parts)
        await asyncio.sleep(0)
    for _ in range(case.cancels):
        handle.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _look(outcome, handle, parts):
    """Take down what the user is told: the least and the most that was charged."""
    low = high = 0
    words = []
    for part in parts:
        missing = part.count - len(part.images)
        charged = part.error.charged if part.error else CHARGED
        if missing:
            words.append(charged)
        low += PRICE * part.count if charged == CHARGED else 0
        high += 0 if charged in NEVER_CHARGED else PRICE * part.count
    outcome.told, outcome.words = (low, high), tuple(words)
    outcome.cost = round((handle.cost or 0) * 100)
    outcome.status = handle.items[0].status if isinstance(handle, Batch) else handle.status


# Looking


@contextmanager
def _held(journal, how):
    """Let another program hold the journal: until the request has ended, or for a moment."""
    if not how:
        yield
        return
    path = journal.path
    journal.unfinished()  # it is there
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.4, other.rollback)
        if how == "a moment":
            timer.start()
        yield
        timer.cancel()
        other.rollback()


def _holds(journal):
    with closing(sqlite3.connect(journal.path)) as connection:
        return connection.execute("SELECT count(*) FROM holds").fetchone()[0]


async def _state(server):
    return await asyncio.to_thread(server.state)


async def _charged(server, before):
    """Return the cents that were charged since, once the server is done with all tasks."""
    while True:
        state = await _state(server)
        tasks = state["tasks"][before["tasks_created"] :]
        if all(task["status"] in _FINAL for task in tasks):
            return state["charged_cents"] - before["charged_cents"]
        await asyncio.sleep(_PAUSE)


class _kernel:  # noqa: N801 (used like a function)
    """A session of its own on the case's journal, with a budget that has room for all."""

    def __init__(self, server, folder):
        settings = Settings(
            base_url=server.url, api_key=KEY, timeout=20.0, image_dir=str(folder / "images")
        )
        self.session = Session(settings, Journal(folder / "data"))

    async def __aenter__(self):
        origin = self.session.service().access.base_url
        self.session.ledger.set_budget(origin, "session", 100.0)
        return self.session

    async def __aexit__(self, *_):
        await self.session.service().client.transport.close()
        self.session.journal.close()


# The cases

_ASKED = ("request", "batch", "items")
_FAULTS = {
    "one is refused": ("create=422,skip=1,times=1",),
    "one finds no credit": ("create=402,skip=1,times=1",),
    "one create is lost before it arrives": ("create=drop_before,skip=1,times=1",),
    "one answer is lost": ("create=drop_after,skip=1,times=1",),
    "all answers are lost": ("create=drop_after",),
    "the service is in trouble": ("create=503,skip=2",),
    "one is slowed down": ("create=429,retry_after=0.05,skip=1,times=1",),
    "one task fails": ("status=failed,skip=1,times=1",),
    "two images are gone": ("download=404,skip=1",),
    "every image is gone": ("download=410",),
    "one image is damaged": ("download=corrupt,skip=2",),
    "no price is to be had": ("quote=404",),
    "the price is in trouble, and one image gone": ("quote=503", "download=404,skip=2"),
    "one is refused, one fails, one is gone": (
        "create=422,times=1", "status=failed,times=1", "download=404",
    ),
}  # fmt: skip
_SLOW = {
    Step.PREPARING: (),
    Step.SENDING: ("create=slow,seconds=0.2",),
    Step.DRAWING: ("status=stuck",),
    Step.FETCHING: ("download=slow,seconds=0.2",),
}

CASES = [
    *(
        Case(f"{name} ({asked})", specs, asked=asked)
        for name, specs in _FAULTS.items()
        for asked in _ASKED
    ),
    *(
        Case(f"cancelled {times} times at {step.name} ({asked})", specs, 3, asked, step, times)
        for step, specs in _SLOW.items()
        for times in (1, 2, 3)
        for asked in _ASKED
        if not (step is Step.PREPARING and asked != "request")
    ),
    *(
        Case(f"the journal is held for a moment ({asked})", asked=asked, locked="a moment")
        for asked in _ASKED
    ),
    *(
        Case(f"the journal is held for long ({asked})", asked=asked, locked="for long")
        for asked in _ASKED
    ),
]
