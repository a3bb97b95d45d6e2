"""Whenever a request is stopped, the same request afterwards gets its picture, and one task."""

from __future__ import annotations

import asyncio

from runapi_magic.session import Session
from runapi_magic.settings import Settings
from tests.conftest import KEY

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

    generations = asyncio.run(main())
    assert [len(generation.images) for generation in generations] == [1] * len(MOMENTS)
    assert simulator_server.state()["tasks_created"] == len(MOMENTS)
    assert session.journal.unfinished() == []


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

    stopped, resumed = asyncio.run(main())
    assert stopped.status == "cancelled"
    assert "knows no cancel" in stopped.errors[0].what
    assert resumed.task_ids == stopped.task_ids
    assert resumed.image.prompt == "a late fox"
    assert resumed.image.seconds is None
    assert simulator_server.state()["tasks_created"] == 1
