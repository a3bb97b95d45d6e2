"""Ctrl-C where the loop runs only as long as something is waited for."""

from __future__ import annotations

import asyncio
import signal

import pytest

from runapi_magic.loop import run


def test_ctrl_c_strikes_no_task():
    """Ctrl-C in the middle of a task's step ends the waiting, and the step goes on to its end."""
    own, ended = asyncio.new_event_loop(), []

    async def part():
        signal.raise_signal(signal.SIGINT)
        ended.append("step")
        await asyncio.Event().wait()

    async def work():
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    with pytest.raises(KeyboardInterrupt):
        run(own, work())
    assert ended == ["step"]
    assert asyncio.all_tasks(own) == set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    own.close()


def test_what_comes_is_returned():
    """Without Ctrl-C the result comes back, and a cancelled coroutine stays one."""
    own = asyncio.new_event_loop()

    async def cancelled():
        raise asyncio.CancelledError

    assert run(own, asyncio.sleep(0, "a fox")) == "a fox"
    with pytest.raises(asyncio.CancelledError):
        run(own, cancelled())
    own.close()
