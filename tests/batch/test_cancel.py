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
    STILL_RUNNING,
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
    """A cancelled batch sends nothing more, keeps its images, and can be retried."""
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


def test_cancel_at_once(run, service):
    """A batch that is cancelled at once sends nothing."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.cancel()
        await batch.ended()
        with pytest.raises(RunAPIError, match="Stopped before the request was sent"):
            await batch
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []


def test_cancel_during_the_confirmation(run, service):
    """A batch that is cancelled while it waits for a confirmation ends and sends nothing."""

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
def test_cancel_command(run, service, by_name):
    """``%runapi cancel``, with the ID of the batch or without, stops the rest of the batch."""
    service.fault("status=stuck")

    async def body(session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        await asyncio.to_thread(_wait_until, lambda: len(service.tasks) == 2)
        await asyncio.to_thread(_wait_until, lambda: len(batch.task_ids) == 2)
        ids = batch.task_ids
        said = commands.cancel(session, [batch.id] if by_name else [])
        await batch.ended()
        assert commands.cancel(session, []) == "Nothing is running."
        return batch, ids, said

    batch, ids, said = run(service, body)
    assert batch.counts["cancelled"] == 6
    assert len(service.tasks) == 2
    assert [said.count(task_id) for task_id in ids] == [1, 1]


def test_cancel_command_in_the_same_cell(run, service):
    """``%runapi cancel`` right after the call or a retry stops the batch; nothing is sent."""

    async def body(session):
        batch = generate_many(PROMPTS, progress=False)
        assert commands.cancel(session, []).startswith("Stopped waiting")
        await batch.ended()
        assert commands.cancel(session, []) == "Nothing is running."
        batch.retry_failed()
        assert commands.cancel(session, [batch.id]).startswith("Stopped waiting")
        await batch.ended()
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []


def test_the_loop_ends_at_once(run, service):
    """If ``asyncio.run`` ends before the batch has begun, the batch ends and can be retried."""

    async def body(session):
        others = asyncio.all_tasks()
        batch = generate_many(PROMPTS, progress=False)
        for task in asyncio.all_tasks() - others:  # as asyncio.run does
            task.cancel()
        async with asyncio.timeout(10):
            await batch.ended()
        assert batch.counts["cancelled"] == 6
        assert commands.cancel(session, []) == "Nothing is running."
        return await batch.retry_failed()

    assert len(run(service, body).images) == 6


def test_cancel_after_the_end(run, service):
    """A batch that has ended can be cancelled without effect, also after its loop is closed."""

    async def body(_session):
        return await generate_many(PROMPTS[:1], progress=False)

    batch = run(service, body)
    batch.cancel()
    assert batch.counts["completed"] == 1


def test_items_of_a_cancelled_batch(run, service):
    """``as_completed`` also yields the items that end before they are sent."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.cancel()
        return [(item.index, item.status) async for item in batch.as_completed()]

    assert run(service, body) == [(number, "cancelled") for number in range(6)]


def test_the_loop_ends_first(run, service):
    """If ``asyncio.run`` ends before the batch, running tasks are not called "not charged"."""
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
    assert set(said) == {STILL_RUNNING, NOT_CHARGED}
    assert said[NOT_CHARGED] is None


def test_cancel_while_a_request_starts(run, service, monkeypatch):
    """A request that starts while another thread cancels the batch is not sent."""

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
