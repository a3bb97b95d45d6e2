"""Requests for several images of which some are missing: their cost, error and retry."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.display.batch_view import reasons
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import CHARGED, FAILED_IS_FREE
from runapi_magic.notebook.api import generate_many

pytestmark = pytest.mark.server

PRICE = 0.06


def _creates(server):
    return len(server.tasks)


@pytest.fixture
def three(run, service):
    """Request three images of one prompt with faults, then retry without them."""

    def start(*faults, **options):
        async def body(session):
            service.fault(*faults)
            batch = generate_many(["a fox"], count=3, progress=False, **options)
            await batch.ended()
            first = {
                "status": batch.items[0].status,
                "images": len(batch.images),
                "cost": batch.cost,
                "charged": service.charged,
                "failures": len(batch.failures),
                "error": batch.items[0].error,
                "counts": dict(batch.counts),
                "reasons": reasons(batch),
                "row": batch.records()[0],
            }
            service.clear_faults()
            price = await session.cost([batch.items[0].request], since=batch.since)
            tasks = _creates(service)
            await batch.retry_failed().ended()
            second = {
                "status": batch.items[0].status,
                "images": len({image.id for image in batch.images}),
                "paths": len({image.path for image in batch.images}),
                "cost": batch.cost,
                "charged": service.charged,
                "new": _creates(service) - tasks,
                "price": price,
            }
            return first, second

        return run(service, body)

    return start


@pytest.mark.parametrize("new", [False, True], ids=["reuse", "new"])
def test_charged_and_not_downloaded(three, new):
    """If two of three charged images cannot be downloaded, a retry downloads them."""
    first, second = three("download=404,skip=1", new=new)
    assert (first["status"], first["images"], first["failures"]) == ("partial", 1, 1)
    assert first["cost"] == pytest.approx(3 * PRICE)
    assert first["cost"] == pytest.approx(first["charged"])
    assert first["error"].charged == CHARGED
    assert first["counts"]["partial"] == 1
    assert first["row"]["status"] == "partial"
    assert first["row"]["error"] == first["error"].what
    assert first["reasons"][0][1][1] == CHARGED
    assert (second["price"].new, second["price"].usd) == (0, 0)
    assert (second["status"], second["images"], second["paths"]) == ("completed", 3, 3)
    assert second["new"] == 0
    assert second["cost"] == pytest.approx(second["charged"])
    assert second["cost"] == pytest.approx(3 * PRICE)


def test_failed_at_the_service(three):
    """If two of three tasks fail, one is charged, and a retry requests the other two."""
    first, second = three("status=failed,skip=1,times=2")
    assert (first["status"], first["images"]) == ("partial", 1)
    assert first["cost"] == pytest.approx(PRICE)
    assert first["cost"] == pytest.approx(first["charged"])
    assert first["error"].charged == FAILED_IS_FREE
    assert (second["price"].new, second["price"].usd) == (2, pytest.approx(2 * PRICE))
    assert (second["status"], second["images"], second["new"]) == ("completed", 3, 2)
    assert second["cost"] == pytest.approx(second["charged"])


def test_one_of_each(three):
    """One image exists, one is charged but not downloaded, one failed: a retry costs one image."""
    first, second = three("status=failed,times=1", "download=503,skip=1")
    assert (first["status"], first["images"]) == ("partial", 1)
    assert first["cost"] == pytest.approx(2 * PRICE)
    assert first["cost"] == pytest.approx(first["charged"])
    assert (second["price"].new, second["new"]) == (1, 1)
    assert (second["status"], second["images"]) == ("completed", 3)
    assert second["cost"] == pytest.approx(second["charged"])


def test_identical_prompts(run, service):
    """If two of three identical items have no image, each item has its own cost and error."""

    async def body(_session):
        service.fault("download=404,skip=1")
        batch = generate_many(["a fox"] * 3, progress=False)
        await batch.ended()
        found = sorted(item.status for item in batch.items), [item.cost for item in batch.items]
        service.clear_faults()
        tasks = _creates(service)
        await batch.retry_failed()
        return batch, found, _creates(service) - tasks

    batch, (statuses, costs), new = run(service, body)
    assert statuses == ["completed", "failed", "failed"]
    assert costs == [pytest.approx(PRICE)] * 3
    assert new == 0
    assert len({image.id for image in batch.images}) == 3
    assert batch.cost == pytest.approx(3 * PRICE)


@pytest.mark.parametrize(
    "fields",
    [{"count": 3}, {"count": 2, "model": "gpt-4o-image", "aspect_ratio": "1:1"}],
    ids=["a task each", "one task"],
)
def test_resumed_before_the_retry(run, service, fields):
    """Images that ``resume`` downloaded before the retry keep their cost."""

    async def body(session):
        service.fault("download=404,skip=1")
        batch = generate_many(["a fox"], progress=False, **fields)
        await batch.ended()
        first = batch.cost
        service.clear_faults()
        await resume_tasks(session)
        await batch.retry_failed()
        return batch, first

    batch, first = run(service, body)
    assert batch.items[0].status == "completed"
    assert batch.cost == pytest.approx(first)
    assert batch.cost == pytest.approx(service.charged)
    assert batch.saved == 0


def test_one_task_for_two_items(run, service):
    """If one task makes the images of identical items, the items share its cost."""

    async def body(_session):
        fields = {"model": "gpt-4o-image", "aspect_ratio": "1:1"}
        batch = generate_many(["a fox"] * 2, progress=False, **fields)
        await batch
        return batch

    batch = run(service, body)
    assert [task["body"]["output_count"] for task in service.tasks] == [2]
    assert batch.cost == pytest.approx(service.charged)
    assert batch.items[0].cost == pytest.approx(batch.items[1].cost)


def test_one_task_for_two_items_of_which_one_is_missing(run, service):
    """If one task made one of two identical images, each is paid once, also after a retry."""

    async def body(_session):
        service.fault("download=404,skip=1")
        fields = {"model": "gpt-4o-image", "aspect_ratio": "1:1"}
        batch = generate_many(["a fox"] * 2, progress=False, **fields)
        await batch.ended()
        first = [item.status for item in batch.items]
        service.clear_faults()
        service.fault("download=404")
        await batch.retry_failed().ended()
        return first, batch

    first, batch = run(service, body)
    assert first == [item.status for item in batch.items] == ["completed", "failed"]
    assert [task["body"]["output_count"] for task in service.tasks] == [2]
    assert [item.cost for item in batch.items] == [pytest.approx(service.charged / 2)] * 2
    assert batch.cost == pytest.approx(service.charged)


def test_cancelled_twice(run, service):
    """After two cancels, no task that RunAPI has is called "not charged"."""
    service.fault("status=stuck")

    async def body(session):
        batch = generate_many([f"fox {n}" for n in range(4)], count=2, progress=False)
        async with asyncio.timeout(30):
            while _creates(service) < 8:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
        batch.cancel()
        await asyncio.sleep(0)
        session.cancel()
        batch.cancel()
        await batch.ended()
        return [item.error.charged for item in batch.items]

    charged = run(service, body, concurrency=8)
    assert [text for text in charged if "may" not in text] == []
