"""The results of a batch: their order, and waiting for them on any loop."""

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
    """Items are in the order of the prompts, whatever order the tasks end in."""
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
    """``pictures``, the name in version 0.1.0, is the same list as ``images``."""
    batch = many(PROMPTS[:2])
    assert batch.pictures == batch.images
    assert len(batch.images) == 2


def test_items_as_they_end(run, service):
    """``as_completed`` yields an item as soon as it ends, not in the order of the list."""
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
    """A slow reader of ``as_completed``, or a late one, gets each item once."""

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


def test_await_on_another_loop(run, service):
    """A batch can be awaited, and read item by item, on the loop of another thread."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)

        async def elsewhere():
            read = [item.index async for item in batch.as_completed()]
            return await batch is batch, sorted(read)

        found = await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(elsewhere(), 20)))
        return *found, batch.counts["completed"]

    assert run(service, body) == (True, [0, 1, 2, 3, 4, 5], 6)


def test_on_wait_runs_on_the_loop_of_the_batch(run, service):
    """``on_wait`` runs on the loop of the batch, whichever loop waits."""

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


def test_an_interrupted_wait_does_not_stop_the_batch(run, service):
    """Interrupting a wait shows a message, and the batch continues."""
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


def test_an_error_in_a_listener(run, service):
    """An exception in a listener does not stop the batch."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.subscribe(lambda: 1 / 0)
        return await batch

    assert len(run(service, body).images) == 6


def test_without_a_journal(run, service, tmp_path):
    """If the journal cannot be created, a batch makes its images and leaves one notice."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        batch = await generate_many(PROMPTS, progress=False)
        return batch, session.take_notices()

    batch, notices = run(service, body)
    assert len(batch.images) == 6
    assert "The journal cannot be used" in notices[0]


def test_no_image_stays_in_memory(run, service):
    """Previews are freed when items end, and images with their batch; the files are on disk."""

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
