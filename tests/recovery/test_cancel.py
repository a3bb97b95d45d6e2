"""Whenever a request is stopped, the same request afterwards gets its picture, and one task."""

from __future__ import annotations

import asyncio
import threading

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import NOT_CHARGED
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY


async def closing(session, work):
    """Await some work, then close the connections that it opened."""
    try:
        return await work
    finally:
        await session.service().client.transport.close()


MOMENTS = range(0, 60, 4)  # turns of the loop until the request is stopped


def test_a_stopped_request_can_be_asked_again(home, simulator_server):
    """A request stopped at any moment leaves nothing that the next one would wait for in vain."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def stop_and_ask_again(turns):
        first = session.generate(f"stopped after {turns}")
        for _ in range(turns):
            await asyncio.sleep(0.002)
        first.cancel()
        await first.ended()
        async with asyncio.timeout(30):
            return await session.generate(f"stopped after {turns}")

    async def main():
        return await asyncio.gather(*(stop_and_ask_again(turns) for turns in MOMENTS))

    generations = asyncio.run(closing(session, main()))
    assert [len(generation.images) for generation in generations] == [1] * len(MOMENTS)
    assert simulator_server.state()["tasks_created"] == len(MOMENTS)
    assert session.journal.unfinished() == []


def test_stopped_twice_while_the_journal_works(home, simulator_server, monkeypatch):
    """Cancelled, and then cut off by the loop's end, nothing is left that others would wait for."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))
    begun, go, reserve = threading.Event(), threading.Event(), Journal.reserve

    def slow(*values, **options):
        begun.set()
        go.wait(20)
        return reserve(*values, **options)

    async def main():
        others = asyncio.all_tasks()
        stopped = session.generate("stopped twice")
        await asyncio.to_thread(begun.wait, 20)
        stopped.cancel()
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks() - others:  # as asyncio.run does at its end
            task.cancel()
        await asyncio.sleep(0.05)
        go.set()
        await stopped.ended()
        left = session.journal.unfinished()
        async with asyncio.timeout(30):
            return left, await session.generate("stopped twice")

    monkeypatch.setattr(Journal, "reserve", slow)
    left, again = asyncio.run(closing(session, main()))
    assert left == []
    assert len(again.images) == simulator_server.state()["tasks_created"] == 1


def test_resume_in_the_same_kernel(home, simulator_server):
    """What was stopped is resumed by the kernel that stopped it: same task, no second charge."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def main():
        stopped = session.generate("a late fox", output_resolution="4k", aspect_ratio="3:2")
        known = asyncio.Event()
        stopped.subscribe(lambda: known.set() if stopped.task_ids else None)
        await known.wait()
        session.cancel(stopped.task_ids[0])
        await stopped.ended()
        resumed = await session.resume(stopped.task_ids[0])
        return stopped, resumed

    stopped, resumed = asyncio.run(closing(session, main()))
    assert stopped.status == "cancelled"
    assert "cannot cancel" in stopped.errors[0].what
    assert resumed.task_ids == stopped.task_ids
    assert resumed.image.prompt == "a late fox"
    assert resumed.image.seconds is None
    assert simulator_server.state()["tasks_created"] == 1


def test_nothing_is_sent_after_a_stop(home, simulator_server):
    """A request that is stopped while it waits to repeat its create is never sent again."""
    simulator_server.fault("create=429,retry_after=600")
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def main():
        stopped = session.generate("a patient fox")
        async with asyncio.timeout(30):
            while not simulator_server.state()["requests"]:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
            stopped.cancel()
            await stopped.ended()
        return stopped

    stopped = asyncio.run(closing(session, main()))
    state = simulator_server.state()
    assert state["tasks_created"] == 0
    assert len(state["requests"]) == 1
    assert stopped.errors[0].charged == NOT_CHARGED
    assert session.journal.unfinished() == []
