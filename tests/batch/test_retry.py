"""Failed items of a batch, and retrying them."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.display.batch_view import SheetView
from runapi_magic.display.environment import Audience
from runapi_magic.errors import (
    InvalidRequestError,
    TaskFailedError,
)
from runapi_magic.notebook.api import generate_many
from runapi_magic.widgets.sheet import SheetControls
from tests.batch.conftest import PROMPTS

pytestmark = pytest.mark.server


def test_failures_beside_successes(many, slow):
    """A failed item stays in its position with its error; the other items have their images."""
    slow.fault("status=failed,match=boat 2,message=the dragon was asleep")
    batch = many(PROMPTS, slow)
    assert [item.status == "completed" for item in batch.items] == [True] * 2 + [False] + [True] * 3
    (failed,) = batch.failures
    assert "the dragon was asleep" in failed.error.what
    assert (failed.status, failed.images, failed.cost) == ("failed", [], None)
    assert batch.cost == pytest.approx(0.30)
    assert [record["error"] is None for record in batch.records()].count(False) == 1
    assert "1 failed" in repr(batch)


def test_awaiting_a_batch_with_failures(run, slow):
    """``await`` returns the batch if it has any image, and raises an error if it has none."""
    slow.fault("status=failed,match=bad")

    async def body(_session):
        some = generate_many(["a good one", "a bad one"], progress=False)
        assert await some is some
        none = generate_many(["a bad one", "another bad one"], progress=False)
        with pytest.raises(TaskFailedError):
            await none
        return none

    assert [item.status for item in run(slow, body).items] == ["failed", "failed"]


def test_retry_failed(run, slow):
    """``retry_failed`` requests the missing images and leaves the others alone."""
    slow.fault("status=failed,match=boat 2,times=1", "status=failed,match=boat 4,times=1")

    async def body(_session):
        batch = await generate_many(PROMPTS, progress=False)
        before = {item.index: item.images[0].path for item in batch.items if item.images}
        assert len(before) == 4
        sent = len(slow.tasks)
        assert await batch.retry_failed() is batch
        again = sorted(task["body"]["prompt"] for task in slow.tasks[sent:])
        assert {index: batch.items[index].images[0].path for index in before} == before
        return batch, again

    batch, again = run(slow, body)
    assert again == ["boat 2", "boat 4"]
    assert [item.error for item in batch.items] == [None] * 6
    assert [image.prompt for image in batch.images] == PROMPTS
    assert batch.cost == pytest.approx(0.36)


def test_retry_that_fails_again(run, slow):
    """An item that fails again can be retried again."""
    slow.fault("status=failed,match=boat 2,times=2")

    async def body(_session):
        batch = await generate_many(PROMPTS, progress=False)
        await batch.retry_failed()
        middle = [item.index for item in batch.failures]
        await batch.retry_failed()
        sent = len(slow.tasks)
        await batch.retry_failed()
        return middle, batch.failures, sent, len(slow.tasks)

    assert run(slow, body) == ([2], [], 8, 8)


def test_retry_while_running(run, service):
    """A running batch cannot be retried; the message says so, and the batch continues."""
    service.fault("create=slow,seconds=0.1")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        with pytest.raises(InvalidRequestError, match="still running") as caught:
            batch.retry_failed()
        assert len(caught.value.parts) == 3
        return await batch

    assert len(run(service, body).images) == 6


def test_retry_of_one_of_two_identical_rows(run, slow):
    """A retry of one of two identical rows makes a new image; the other row keeps its own."""
    slow.fault("status=failed,match=a boat,times=1")

    async def body(_session):
        batch = await generate_many(["a boat", "a boat", "a tree"], progress=False)
        (before,) = [item.images[0].path for item in batch.items[:2] if item.images]
        await batch.retry_failed()
        return before, [item.images[0].path for item in batch.items], len(slow.tasks)

    before, paths, sent = run(slow, body)
    assert before in paths[:2]
    assert len(set(paths)) == 3
    assert sent == 4


def test_price_of_that_retry(run, slow):
    """The button shows the price of one image for that retry."""
    slow.fault("status=failed,match=a boat,times=1")

    async def body(session):
        batch = await generate_many(["a boat", "a boat"], progress=False)
        controls = []
        SheetView(batch, session, Audience.LIVE, lambda view: controls.append(SheetControls(view)))
        async with asyncio.timeout(20):
            while "$" not in controls[0].retry.description:  # noqa: ASYNC110 (a button has no event)
                await asyncio.sleep(0.01)
        return controls[0].retry.description

    assert run(slow, body) == "Retry failed (1): $0.06"
