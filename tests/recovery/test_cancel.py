"""After a cancellation at any time, the same request gets its image, with one task in total."""

from __future__ import annotations

import asyncio
import threading

from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import NOT_CHARGED
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY
from tests.recovery.run import run

SLEEPS = range(0, 60, 4)  # number of short sleeps before the request is cancelled


def test_a_cancelled_request_can_be_repeated(home, simulator_server):
    """A request that is cancelled at any time leaves nothing that blocks the next one."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def cancel_and_repeat(sleeps):
        first = session.generate(f"cancelled after {sleeps}")
        for _ in range(sleeps):
            await asyncio.sleep(0.002)
        first.cancel()
        await first.ended()
        async with asyncio.timeout(30):
            return await session.generate(f"cancelled after {sleeps}")

    async def main():
        return await asyncio.gather(*(cancel_and_repeat(sleeps) for sleeps in SLEEPS))

    generations = run(session, main())
    assert [len(generation.images) for generation in generations] == [1] * len(SLEEPS)
    assert simulator_server.state()["tasks_created"] == len(SLEEPS)
    assert session.journal.unfinished() == []


def test_cancelled_twice_during_a_write(home, simulator_server, monkeypatch):
    """A request that is cancelled twice during a write to the journal leaves no unfinished task."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))
    started, go, allocate = threading.Event(), threading.Event(), Journal.allocate

    def slow(*values, **options):
        started.set()
        go.wait(20)
        return allocate(*values, **options)

    async def main():
        others = asyncio.all_tasks()
        cancelled = session.generate("cancelled twice")
        await asyncio.to_thread(started.wait, 20)
        cancelled.cancel()
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks() - others:  # asyncio.run does the same at its end
            task.cancel()
        await asyncio.sleep(0.05)
        go.set()
        await cancelled.ended()
        left = session.journal.unfinished()
        async with asyncio.timeout(30):
            return left, await session.generate("cancelled twice")

    monkeypatch.setattr(Journal, "allocate", slow)
    left, again = run(session, main())
    assert left == []
    assert len(again.images) == simulator_server.state()["tasks_created"] == 1


def test_resume_in_the_same_kernel(home, simulator_server):
    """The kernel that cancelled a request can resume it: same task, no second charge."""
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def main():
        cancelled = session.generate("a late fox", output_resolution="4k", aspect_ratio="3:2")
        known = asyncio.Event()
        cancelled.subscribe(lambda: known.set() if cancelled.task_ids else None)
        await known.wait()
        session.cancel(cancelled.task_ids[0])
        await cancelled.ended()
        resumed = await resume_tasks(session, cancelled.task_ids[0])
        return cancelled, resumed

    cancelled, resumed = run(session, main())
    assert cancelled.status == "cancelled"
    assert "cannot cancel" in cancelled.errors[0].what
    assert resumed.task_ids == cancelled.task_ids
    assert resumed.image.prompt == "a late fox"
    assert resumed.image.seconds is None
    assert simulator_server.state()["tasks_created"] == 1


def test_nothing_is_sent_after_a_cancellation(home, simulator_server):
    """A request that is cancelled between two attempts is not sent again."""
    simulator_server.fault("create=429,retry_after=600")
    session = Session(Settings(base_url=simulator_server.url, api_key=KEY))

    async def main():
        cancelled = session.generate("a patient fox")
        async with asyncio.timeout(30):
            while not simulator_server.state()["requests"]:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
            cancelled.cancel()
            await cancelled.ended()
        return cancelled

    cancelled = run(session, main())
    state = simulator_server.state()
    assert state["tasks_created"] == 0
    assert len(state["requests"]) == 1
    assert cancelled.errors[0].charged == NOT_CHARGED
    assert session.journal.unfinished() == []
