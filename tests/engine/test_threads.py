"""Requests from several threads and event loops: each one is charged once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runapi_magic.display.environment import StoppedWaiting, own_loop, run
from runapi_magic.engine import session as session_module
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import NOT_SENT
from runapi_magic.notebook.api import edit, generate, generate_many, resume, upscale
from tests.conftest import ROOT, clean_environment, serve_simulator
from tests.servers import KEY

pytestmark = pytest.mark.server

_PATIENCE = 60.0


@pytest.fixture
def script(service, monkeypatch):
    """This process as a script without a running loop, with a new session."""
    session = Session(Settings(base_url=service.url, api_key=KEY))
    monkeypatch.setitem(session_module._current, "session", session)
    yield session
    run(session.service().client.transport.close())
    session.journal.close()


def _in_threads(count, call):
    """Call a function with 0, 1, ... in concurrent threads."""
    ready = threading.Barrier(count)

    def one(number):
        ready.wait(_PATIENCE)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count), timeout=_PATIENCE))


def test_each_thread_gets_its_image(script, service):
    """Eight threads of a script get eight images, and eight are charged."""
    made = _in_threads(8, lambda number: generate(f"pool {number}"))
    assert [one.status for one in made] == ["completed"] * 8
    assert [one.image.prompt for one in made] == [f"pool {number}" for number in range(8)]
    assert len({one.image.path for one in made}) == len(service.tasks) == 8
    assert sum(one.cost for one in made) == pytest.approx(service.charged)


def test_the_first_call_of_several_threads(service, home, monkeypatch):
    """The first calls of several threads share one session and one journal."""
    monkeypatch.delitem(session_module._current, "session", raising=False)
    monkeypatch.setenv("RUNAPI_BASE_URL", service.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    made = _in_threads(6, lambda number: generate_many([f"first {number}"], progress=False))
    session = session_module._current.pop("session")
    assert [batch.counts["completed"] for batch in made] == [1] * 6
    assert len(service.tasks) == 6
    assert session.journal.unfinished() == []
    assert {one.editor for batch in made for one in batch.images} == {session}
    run(session.service().client.transport.close())
    session.journal.close()


def test_the_same_request_in_several_threads(script, service):
    """Four threads with the same request share one image, and one is charged."""
    made = _in_threads(4, lambda _: generate("the same fox"))
    assert len({one.image.path for one in made}) == 1
    assert len(service.tasks) == 1


def test_batches_and_edits_in_threads(script, service):
    """A batch, edits and upscales in threads all get their images, each charged once."""
    start = generate("a start").image

    def call(number):
        if number % 3 == 0:
            return generate_many([f"row {number} a", f"row {number} b"], progress=False).images
        if number % 3 == 1:
            return edit(start, f"make it {number}").images
        return upscale(start, 2 if number == 2 else 4).images

    made = _in_threads(6, call)
    assert [len(images) for images in made] == [2, 1, 1, 2, 1, 1]
    assert len(service.tasks) == 1 + 8


def test_a_retry_in_a_script(script, service):
    """In a script, a retry has its images when the call returns."""
    service.fault("download=404")
    batch = generate_many(["a b", "c d"], progress=False)
    assert [item.status for item in batch.items] == ["failed"] * 2
    service.clear_faults()
    assert [item.status for item in batch.retry_failed().items] == ["completed"] * 2
    assert len(service.tasks) == 2


def test_a_retry_after_its_loop_has_ended(script, service):
    """A batch of one ``asyncio.run`` can be retried in the next one."""

    async def first():
        batch = generate_many(["a b", "c d"], progress=False)
        await batch.ended()
        await script.service().client.transport.close()
        return batch

    async def second():
        await batch.retry_failed()
        await script.service().client.transport.close()

    service.fault("download=404")
    batch = asyncio.run(first())
    service.clear_faults()
    asyncio.run(second())
    assert [item.status for item in batch.items] == ["completed"] * 2
    assert len(service.tasks) == 2


_FORK = """
import os, warnings
import runapi_magic

warnings.simplefilter("ignore")  # newer Pythons advise against it
runapi_magic.generate("before the fork")
if not os.fork():
    try:
        runapi_magic.generate("after the fork")
    except runapi_magic.RunAPIError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.posix
def test_a_forked_process(service, tmp_path):
    """In a forked process a request is refused, so that it does not hang."""
    env = clean_environment(
        tmp_path, RUNAPI_BASE_URL=service.url, RUNAPI_API_KEY=KEY, PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        env=env, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "forked" in done.stdout
    assert NOT_SENT in done.stdout
    assert len(service.tasks) == 1


def test_a_failure_in_one_thread(script):
    """A request that fails in one thread does not affect the other threads."""
    with serve_simulator("--speed", "60") as server:
        server.fault("status=failed,match=doomed")
        script.settings.base_url = server.url
        made = _in_threads(3, lambda number: generate("doomed" if number == 1 else f"ok {number}"))
        run(script.service().client.transport.close())
    assert [one.status for one in made] == ["completed", "failed", "completed"]


def test_resume_in_a_thread(script, service):
    """A cancelled task is resumed in a thread, and is charged once."""
    service.fault("status=stuck,match=to be resumed")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(generate, "to be resumed")
        _until(lambda: [one for one in script._active.values() if one.task_ids])
        script.cancel()
        assert waiting.result(_PATIENCE).status == "cancelled"
        service._server.clear_faults()
        resumed = pool.submit(resume).result(_PATIENCE)
    assert resumed.status == "completed"
    assert len(service.tasks) == 1


def _until(condition):
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("the condition never held")


async def _all(session, *waits):
    try:
        return await asyncio.wait_for(asyncio.gather(*waits), _PATIENCE)
    finally:
        await session.service().client.transport.close()


def test_a_coroutine_and_threads(script, service):
    """A coroutine and threads of one script make requests at the same time."""

    async def main():
        threads = [asyncio.to_thread(generate, f"thread {number}") for number in range(3)]
        own = [generate(f"coroutine {number}").wait() for number in range(3)]
        return await _all(script, *threads, *own)

    made = asyncio.run(main())
    assert [one.status for one in made] == ["completed"] * 6
    assert len(service.tasks) == 6


def test_two_runs_in_a_row(script, service, png, home):
    """A second ``asyncio.run`` uses the same session, and each image is paid for once."""
    source = home / "start.png"
    source.write_bytes(png)

    async def main(number):
        edits = [edit(source, f"edit {number} {name}").wait() for name in "abc"]
        return await _all(script, *edits)

    made = [one for number in range(2) for one in asyncio.run(main(number))]
    assert [one.status for one in made] == ["completed"] * 6
    assert len(service.tasks) == 6


def test_ctrl_c_leaves_the_other_threads_alone(script, service):
    """Ctrl-C ends the wait of the main thread only."""
    service.fault("status=stuck,match=let go of")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(generate, "another thread's")
        presser = pool.submit(
            lambda: (
                _until(lambda: [one for one in script._active.values() if one.task_ids]),
                os.kill(os.getpid(), signal.SIGINT),
            )
        )
        with pytest.raises(StoppedWaiting) as caught:
            generate("to be let go of")
        presser.result(_PATIENCE)
        assert other.result(_PATIENCE).status == "completed"
    assert caught.value.work.status == "cancelled"
    assert len(service.tasks) == 2
    assert own_loop().is_running()
