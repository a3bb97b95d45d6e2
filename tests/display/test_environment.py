"""The loop of scripts and terminal IPython runs in a thread, and Ctrl-C ends only the wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading

import pytest

from runapi_magic.display.environment import own_loop, run


def _main_thread_waits():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code is not concurrent.futures.wait.__code__:
        frame = frame.f_back
    return frame is not None


def test_ctrl_c_ends_the_wait():
    """Ctrl-C in the middle of a task's step ends the wait, and the step continues to its end."""
    pressed, gone, ended = threading.Event(), threading.Event(), []

    async def task():
        while not _main_thread_waits():
            pressed.wait(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        pressed.wait(10)  # in the middle of its step
        ended.append("step")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
            gone.set()

    async def work():
        async with asyncio.TaskGroup() as group:
            group.create_task(task())

    with pytest.raises(KeyboardInterrupt):
        run(work())
    pressed.set()
    assert gone.wait(10)
    assert ended == ["step", "cancelled"]


def test_results_and_exceptions():
    """The result or the exception of a coroutine is passed to the calling thread."""

    async def fail():
        raise ZeroDivisionError

    assert run(asyncio.sleep(0, "a fox")) == "a fox"
    with pytest.raises(ZeroDivisionError):
        run(fail())


def test_threads_share_one_loop():
    """All threads of a script use the same loop, which runs on another thread."""
    loops, ready = [], threading.Barrier(4)

    async def here():
        loops.append((asyncio.get_running_loop(), threading.get_ident()))

    def ask():
        ready.wait(10)
        run(here())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [loop for loop, _ in loops] == [own_loop()] * 4
    assert {ident for _, ident in loops}.isdisjoint(thread.ident for thread in threads)
