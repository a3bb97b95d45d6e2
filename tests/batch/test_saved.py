"""Batches in the journal: resuming them by ID, and what is charged again."""

from __future__ import annotations

import pytest

from runapi_magic.errors import (
    InvalidRequestError,
)
from runapi_magic.notebook.api import generate_many, resume_batch
from tests.batch.conftest import PROMPTS

pytestmark = pytest.mark.server


def test_resume_by_id(run, slow):
    """Another kernel resumes a batch by its ID: variables, order and images are the same."""
    rows = [{"animal": "fox", "n": 1}, {"animal": "owl", "n": 2}, {"animal": "cat", "n": 3}]
    slow.fault("status=failed,match=owl,times=1")

    async def first(_session):
        return await generate_many(rows, prompt="An {animal} at night", progress=False)

    async def second(_session):
        return await resume_batch(before.id, progress=False)

    before = run(slow, first)
    after = run(slow, second)
    assert [item.variables for item in after.items] == rows
    assert [item.status for item in after.items] == ["completed"] * 3
    assert after.items[0].images[0].path == before.items[0].images[0].path
    assert (after.id, after.title) == (before.id, before.title)
    assert len(slow.tasks) == 4


def test_resume_edits_of_a_file(run, service, png, home):
    """A batch that edits a local file can be resumed: the file is found again."""
    (home.parent / "work" / "fox.png").write_bytes(png)

    async def first(_session):
        return await generate_many(["blue", "red"], sources=["fox.png"], progress=False)

    async def second(_session):
        return await resume_batch(before.id, progress=False)

    before = run(service, first)
    after = run(service, second)
    assert [image.path for image in after.images] == [image.path for image in before.images]
    assert len(service.tasks) == 2


def test_resume_keeps_the_count(run, service):
    """The same prompts with another count are another batch, which resumes with its own count."""

    async def body(_session):
        one = await generate_many(["a boat"], progress=False)
        three = await generate_many(["a boat"], count=3, progress=False)
        again = await resume_batch(three.id, progress=False)
        return one.id, three.id, len(again.images)

    one, three, images = run(service, body)
    assert one != three
    assert images == 3
    assert len(service.tasks) == 3


def test_resume_reuses_in_any_case(run, service):
    """Resuming a batch is not charged again, even if ``reuse`` is off."""

    async def body(session):
        batch = await generate_many(["a boat", "a tree"], progress=False)
        session.settings.reuse = False
        return await resume_batch(batch.id, progress=False)

    assert [image.reused for image in run(service, body).images] == [True] * 2
    assert len(service.tasks) == 2


def test_a_simulated_batch_is_never_charged(run, service):
    """A batch that began on the simulator ends there, and cannot be resumed on another service."""

    async def body(session):
        session.connection.simulator_on(100)
        batch = generate_many(PROMPTS, progress=False, concurrency=1)
        async for _ in batch.as_completed():
            break
        session.connection.simulator_off()
        batch.cancel()
        await batch.ended()
        assert batch.failures
        with pytest.raises(InvalidRequestError, match=r"belongs to http://simulator\.localhost"):
            resume_batch(batch.id, progress=False)
        return await batch.retry_failed()

    batch = run(service, body)
    assert [image.simulated for image in batch.images] == [True] * 6
    assert repr(batch).endswith("6 completed, $0.36 simulated>")
    assert service.requests == []


def test_a_batch_belongs_to_its_last_service(run, service):
    """A batch that ran on the simulator first and then on RunAPI can be resumed on RunAPI."""

    async def body(session):
        session.connection.simulator_on(100)
        await generate_many(["a boat"], progress=False)
        session.connection.simulator_off()
        batch = await generate_many(["a boat"], progress=False)
        return await resume_batch(batch.id, progress=False)

    assert not run(service, body).images[0].simulated
    assert len(service.tasks) == 1


def test_resume_of_an_unknown_id(run, service):
    """An unknown ID is refused in three parts."""

    async def body(_session):
        with pytest.raises(InvalidRequestError, match="no batch with the ID nobody") as caught:
            resume_batch("nobody", progress=False)
        return caught.value.parts

    assert len(run(service, body)) == 3


def test_new(run, service):
    """``new=True`` is charged again each time; resuming that batch is not."""
    ids = []

    async def fresh(_session):
        batch = await generate_many(PROMPTS[:2], new=True, progress=False)
        ids.append(batch.id)
        return batch

    async def again(_session):
        return await resume_batch(ids[-1], progress=False)

    first = run(service, fresh)
    resumed = run(service, again)
    assert len(service.tasks) == 2
    assert [image.path for image in resumed.images] == [image.path for image in first.images]
    second = run(service, fresh)
    assert len(service.tasks) == 4
    assert {image.path for image in second.images}.isdisjoint(image.path for image in first.images)
    assert ids[0] != ids[1]


def test_reuse_is_off(run, service):
    """With ``reuse`` off, each run is charged, and resuming it is not."""

    async def fresh(_session):
        return await generate_many(PROMPTS[:2], progress=False)

    async def again(_session):
        return await resume_batch(first.id, progress=False)

    run(service, fresh, reuse=False)
    first = run(service, fresh, reuse=False)
    assert len(service.tasks) == 4
    run(service, again, reuse=False)
    assert len(service.tasks) == 4
