"""Coroutines on any event loop wait for events and values from other threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runapi_magic.core.events import Feed, ThreadsafeEvent

_TIMEOUT = 20.0


async def _in_time(waiting):
    return await asyncio.wait_for(waiting, _TIMEOUT)


def _in_thread(coroutine_function, *arguments):
    """Run a coroutine function on its own loop in a thread, and return the thread."""
    thread = threading.Thread(target=lambda: asyncio.run(coroutine_function(*arguments)))
    thread.start()
    return thread


def test_an_event_wakes_every_loop():
    """Coroutines on the loops of three threads continue when a fourth thread sets the event."""
    event, woken = ThreadsafeEvent(), []
    ready = threading.Barrier(4)

    async def wait():
        waiting = asyncio.create_task(_in_time(event.wait()))
        await asyncio.sleep(0)
        ready.wait(_TIMEOUT)
        await waiting
        woken.append(threading.get_ident())

    threads = [_in_thread(wait) for _ in range(3)]
    ready.wait(_TIMEOUT)
    event.set()
    for thread in threads:
        thread.join(_TIMEOUT)
    assert len(set(woken)) == 3


def test_a_set_event_does_not_block():
    """After an event was set, once or twice, no coroutine on any loop waits for it."""
    event = ThreadsafeEvent()
    event.set()
    event.set()
    asyncio.run(_in_time(event.wait()))
    asyncio.run(_in_time(event.wait()))


def test_cancelled_waits_are_forgotten():
    """A cancelled wait leaves nothing behind, and a closed loop causes no error."""
    event = ThreadsafeEvent()

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(event.wait(), 0.01)

    asyncio.run(give_up())
    assert event._waiters == set()
    loop = asyncio.new_event_loop()
    left = loop.create_task(event.wait())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    event.set()
    asyncio.run(_in_time(event.wait()))
    assert not left.done()
    left._log_destroy_pending = False


def test_a_feed_is_read_on_another_loop():
    """Readers on two loops get every value in order, whenever they begin, until the feed ends."""
    feed, seen = Feed([0]), {}
    begun = threading.Barrier(3)

    async def read(name):
        values = feed.read()
        seen[name] = [await _in_time(anext(values))]
        begun.wait(_TIMEOUT)
        seen[name] += [value async for value in values]

    threads = [_in_thread(read, name) for name in "ab"]
    begun.wait(_TIMEOUT)
    for value in range(1, 200):
        feed.put(value)
    feed.close()
    for thread in threads:
        thread.join(_TIMEOUT)
    assert seen == {"a": [*range(200)], "b": [*range(200)]}
