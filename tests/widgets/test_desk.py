"""A widget's work on the kernel's loop, and what is told when it goes wrong."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runapi_magic.errors import NOT_SENT, InvalidRequestError
from runapi_magic.journal.database import JournalError
from runapi_magic.widgets.desk import Desk

ERRORS = [
    pytest.param(
        InvalidRequestError("No.", todo="Yes."), ("No.", NOT_SENT, "Yes."), id="of the package"
    ),
    pytest.param(
        JournalError("locked"),
        (
            "The journal cannot be used (locked).",
            NOT_SENT,
            "Check the folder that %runapi status names.",
        ),
        id="of the journal",
    ),
    pytest.param(
        KeyError("x"),
        (
            "Something unexpected happened (KeyError: 'x').",
            "If something was sent, it may have been charged.",
            "%runapi resume looks for what is unfinished. Please report this.",
        ),
        id="unexpected",
    ),
]


async def _told(start):
    """Return the first error that is told after something was started at a desk."""
    told = asyncio.get_running_loop().create_future()
    start(Desk(told.set_result))
    return await told


@pytest.mark.parametrize(("error", "lines"), ERRORS)
def test_an_error_of_a_job_is_told(error, lines):
    """What a coroutine raises is told: what happened, whether it was charged, what to do."""

    async def job():
        raise error

    assert asyncio.run(_told(lambda desk: desk.work(job()))) == lines


@pytest.mark.parametrize(("error", "lines"), ERRORS)
def test_an_error_of_a_callback_is_told(error, lines):
    """What a callback raises is told too, on whatever thread it came."""

    def act():
        raise error

    def start(desk):
        thread = threading.Thread(target=desk.run, args=(act,))
        thread.start()
        thread.join()

    assert asyncio.run(_told(start)) == lines


def test_callbacks_keep_their_order_and_their_thread():
    """Callbacks are called one after the other, on the loop's thread."""

    async def calls():
        seen, desk = [], Desk(print)
        for number in range(3):
            desk.run(lambda number=number: seen.append((number, threading.get_ident())))
        done = asyncio.Event()
        desk.run(done.set)
        await done.wait()
        return seen, threading.get_ident()

    seen, here = asyncio.run(calls())
    assert seen == [(0, here), (1, here), (2, here)]
