"""Results of a batch: their order, waiting for them, and who may read them when."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from runapi_magic.media.preview import Preview
from runapi_magic.notebook.api import generate_many
from tests.batch.conftest import PROMPTS, sent_prompts

pytestmark = pytest.mark.server


def test_results_are_in_order(many, service):
    """Whatever order the service finishes in, each item has the picture of its own prompt."""
    batch = many(PROMPTS, concurrency=3)
    assert [item.request.prompt for item in batch.items] == PROMPTS
    assert [image.prompt for image in batch.images] == PROMPTS
    assert list(batch) == batch.items
    assert [item.index for item in batch] == list(range(6))
    assert len({image.path for image in batch.images}) == 6
    assert all(image.path.exists() for image in batch.images)
    assert sent_prompts(service) == PROMPTS
    assert (batch.counts["completed"], len(batch), batch.is_done) == (6, 6, True)
    assert (batch.cost, batch.saved) == (pytest.approx(0.36), 0)
    assert (batch.failures, batch.errors) == ([], [])
    assert repr(batch) == f"<Batch {batch.id} 'boat 0': 6 completed, $0.36>"


def test_the_former_name_of_images(many):
    """``pictures``, as version 0.1.0 calls the images, is the same list."""
    batch = many(PROMPTS[:2])
    assert batch.pictures == batch.images
    assert len(batch.images) == 2


def test_items_as_they_end(run, service):
    """``as_completed`` gives each item when it is done, not when its turn in the list has come."""
    service.fault("status=stuck,match=boat 0")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        seen = []
        async for item in batch.as_completed():
            seen.append((item.index, item.status))
            if len(seen) == 5:
                assert not batch.is_done
                await asyncio.to_thread(service._server.clear_faults)
        return batch, seen

    batch, seen = run(service, body)
    assert sorted(seen) == [(number, "completed") for number in range(6)]
    assert seen[-1] == (0, "completed")
    assert batch.is_done


def test_a_slow_reader_misses_nothing(run, service):
    """Who reads slowly, or begins in the middle, or afterwards, gets each item once."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        first = batch.as_completed()
        slow = [await anext(first)]
        late = batch.as_completed()
        middle = [await anext(late)]
        await batch
        slow += [item async for item in first]
        middle += [item async for item in late]
        after = [item async for item in batch.as_completed()]
        return [sorted(item.index for item in seen) for seen in (slow, middle, after)]

    assert run(service, body) == [list(range(6))] * 3


def test_waiting_on_another_threads_loop(run, service):
    """A batch is awaited, and read item by item, on a thread whose loop is not the batch's own."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)

        async def elsewhere():
            read = [item.index async for item in batch.as_completed()]
            return await batch is batch, sorted(read)

        found = await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(elsewhere(), 20)))
        return *found, batch.counts["completed"]

    assert run(service, body) == (True, [0, 1, 2, 3, 4, 5], 6)


def test_the_end_is_shown_on_the_batchs_loop(run, service):
    """Whichever loop waits, what shows the end runs on the loop that the batch works on."""

    async def body(_session):
        home, shown = asyncio.get_running_loop(), []
        batch = generate_many(PROMPTS[:1], progress=False)

        async def show():
            shown.append(asyncio.get_running_loop() is home)

        batch.on_wait = show
        await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(batch.wait(), 20)))
        await batch
        return shown

    assert run(service, body) == [True, True]


def test_an_interrupted_wait_leaves_it_under_way(run, service):
    """Who stops waiting gets the words for it, and the batch goes on."""
    service.fault("create=slow,seconds=0.2")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        waiting = asyncio.ensure_future(batch.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        first, *_ = caught.value._render_traceback_()
        assert first == f"Stopped waiting for the batch {batch.id}."
        return await batch

    assert len(run(service, body).images) == 6


def test_a_listeners_mistake_stops_nothing(run, service):
    """Whoever watches a batch and stumbles does not take the batch along."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.subscribe(lambda: 1 / 0)
        return await batch

    assert len(run(service, body).images) == 6


def test_without_a_journal(run, service, tmp_path):
    """Where there can be no journal a batch is made all the same, with one notice."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        batch = await generate_many(PROMPTS, progress=False)
        return batch, session.take_notices()

    batch, notices = run(service, body)
    assert len(batch.images) == 6
    assert "The journal cannot be used" in notices[0]


def test_nothing_of_a_picture_stays_in_memory(run, service):
    """Previews are let go of as items end, and pictures with their batch: they are on disk."""

    def previews():
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, Preview)]

    async def body(_session):
        others = previews()  # of tests that ran before
        batch = await generate_many(PROMPTS, progress=False)
        assert [image._preview for image in batch.images] == [None] * 6
        assert len(previews()) == len(others)
        kept = weakref.ref(batch.items[0].images[0])
        assert batch.items[0].images[0].preview.data
        del batch
        await asyncio.sleep(0)
        gc.collect()
        return kept()

    assert run(service, body) is None
