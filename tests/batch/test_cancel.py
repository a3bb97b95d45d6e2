"""Cancelling a batch: before, while and after its requests are sent."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.errors import (
    NOT_CHARGED,
    STILL_THERE,
    RunAPIError,
)
from runapi_magic.notebook import commands
from runapi_magic.notebook.api import generate_many
from tests.batch.conftest import PROMPTS

pytestmark = pytest.mark.server


def _wait_until(condition):
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def test_cancel(run, service):
    """A cancelled batch sends nothing more, keeps what it has, and can go on."""
    service.fault("status=stuck,match=boat 1", "status=stuck,match=boat 2")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        async for _ in batch.as_completed():
            break
        await asyncio.to_thread(_wait_until, lambda: len(service.tasks) == 3)
        batch.cancel()
        await batch.ended()
        sent = len(service.tasks)
        counts = dict(batch.counts)
        assert all(item.error.parts[0].startswith("Stopped") for item in batch.failures)
        await asyncio.to_thread(service._server.clear_faults)
        await batch.retry_failed()
        return sent, counts, batch

    sent, counts, batch = run(service, body)
    assert sent == 3
    assert (counts["completed"], counts["cancelled"]) == (1, 5)
    assert [image.prompt for image in batch.images] == PROMPTS
    assert len(service.tasks) == 6


def test_cancel_before_the_first(run, service):
    """Cancelled at once, a batch sends nothing at all."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.cancel()
        await batch.ended()
        with pytest.raises(RunAPIError, match="Stopped before its turn"):
            await batch
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []


def test_cancel_while_it_is_asked_about(run, service):
    """A batch that is cancelled while a question is open ends at once, and sends nothing."""

    async def body(session):
        asked = asyncio.Event()

        async def gate(*_):
            asked.set()
            await asyncio.Event().wait()  # a click that never comes

        batch = begin_batch(session, Batch([Item(0, session.request("a boat"))]), gate=gate)
        await asked.wait()
        batch.cancel()
        await batch.ended()
        return batch

    assert run(service, body).counts["cancelled"] == 1
    assert service.requests == []


@pytest.mark.parametrize("by_name", [True, False])
def test_cancel_by_the_session(run, service, by_name):
    """Who cancels everything, or a batch by its id, is not sent the rest of the batch."""
    service.fault("status=stuck")

    async def body(session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        await asyncio.to_thread(_wait_until, lambda: len(service.tasks) == 2)
        await asyncio.to_thread(_wait_until, lambda: len(batch.task_ids) == 2)
        ids = batch.task_ids
        said = commands.cancel(session, [batch.id] if by_name else [])
        await batch.ended()
        assert commands.cancel(session, []) == "Nothing is under way."
        return batch, ids, said

    batch, ids, said = run(service, body)
    assert batch.counts["cancelled"] == 6
    assert len(service.tasks) == 2
    assert [said.count(task_id) for task_id in ids] == [1, 1]


def test_a_loop_that_ends_before_the_batch(run, service):
    """Where ``asyncio.run`` ends first, what is at the service is not called uncharged."""
    service.fault("status=stuck")

    async def body(_session):
        others = asyncio.all_tasks()
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        while len(batch.task_ids) < 2:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.02)
        ids = batch.task_ids
        for task in asyncio.all_tasks() - others:  # as asyncio.run does
            task.cancel()
        await batch.ended()
        return batch, ids

    batch, ids = run(service, body)
    said = {item.error.charged: item.error.task_id for item in batch.items}
    assert batch.counts["cancelled"] == 6
    assert len(service.tasks) == len(ids) == 2
    assert sorted(item.error.task_id for item in batch.items if item.error.task_id) == sorted(ids)
    assert set(said) == {STILL_THERE, NOT_CHARGED}
    assert said[NOT_CHARGED] is None


def test_a_cancel_between_the_look_and_the_request(run, service, monkeypatch):
    """A batch that another thread cancels while a request is made sends that one neither."""

    async def body(session):
        start = session.start

        def cancelled_meanwhile(*values, **options):
            batch.cancel()
            return start(*values, **options)

        monkeypatch.setattr(session, "start", cancelled_meanwhile)
        batch = generate_many(PROMPTS, progress=False)
        await batch.ended()
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []
