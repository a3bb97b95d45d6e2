"""A service with a rate limit: all requests slow down together, and recover."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.core.access import Access, Secret
from runapi_magic.core.status import Phase
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import NOT_SENT, RateLimitError
from tests.conftest import ROOT, clean_environment, serve_simulator
from tests.servers import KEY

pytestmark = pytest.mark.server

CREATE = "/v1/text_to_image"
SDK = "/api/v1/gpt_image_2/text_to_image"
LIMIT = 5


@pytest.fixture
def limited():
    """A simulator that accepts five POSTs a second from each key."""
    with serve_simulator("--speed", "200", "--rate", str(LIMIT)) as server:
        yield server


def _refusals(server):
    """Return how many POSTs the server refused; each other POST made a task."""
    state = server.state()
    creates = [each for each in state["requests"] if each["path"].endswith("text_to_image")]
    posts = [each for each in creates if each["method"] == "POST"]
    return len(posts) - state["tasks_created"]


def _rows(folder):
    connection = sqlite3.connect(folder / "journal.sqlite")
    rows = connection.execute("SELECT account, spacing FROM rates").fetchall()
    connection.close()
    return rows


async def _batch(session, prompts):
    items = [Item(number, session.request(prompt)) for number, prompt in enumerate(prompts)]
    batch = begin_batch(session, Batch(items, concurrency=8))
    async for _ in batch.as_completed():
        pass
    return batch


def test_a_batch_slows_down_and_recovers(limited, use, tmp_path):
    """40 prompts, eight at a time, all get one image, and few POSTs are refused."""
    prompts = [f"prompt {number}" for number in range(40)]

    async def body(session):
        batch = await _batch(session, prompts)
        limiter = session.service().client.transport.limiter
        slowed = limiter.rate.spacing
        _, rate = limiter.rate.claim_turn(limiter.rate.next + 70)
        return batch, slowed, rate.spacing

    batch, slowed, recovered = use(limited, body)
    assert batch.counts["completed"] == 40
    made = sorted(task["body"]["prompt"] for task in limited.state()["tasks"])
    assert made == sorted(prompts)
    # Three of the first eight, then one for each time that the limit is probed. If each request
    # acted alone, about 50 would be refused.
    assert 1 <= _refusals(limited) <= 20
    assert slowed > 0
    assert recovered == 0
    ((account, shared),) = _rows(tmp_path / "data")
    assert account == Access(limited.url, Secret(KEY), "", "").account
    assert shared > 0


def test_a_damaged_journal(limited, use, tmp_path):
    """Without a journal, a kernel uses its own knowledge, and all images come once."""
    (tmp_path / "data").write_text("a file where the folder should be")
    prompts = [f"prompt {number}" for number in range(12)]

    async def body(session):
        return [await each.wait() for each in [session.generate(prompt) for prompt in prompts]]

    generations = use(limited, body)
    assert [len(generation.images) for generation in generations] == [1] * 12
    made = [task["body"]["prompt"] for task in limited.state()["tasks"]]
    assert sorted(made) == sorted(prompts)
    assert 1 <= _refusals(limited) <= 10  # at most seven of the twelve that are sent together


_KERNEL = """
import asyncio, sys
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings

async def main(url, key, name):
    session = Session(Settings(base_url=url, api_key=key))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    generations = [session.generate(f"{name} {number}") for number in range(10)]
    print(*[(await each.wait()).image.path.name for each in generations], sep="\\n")
    await session.service().client.transport.close()
    session.journal.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_two_kernels_on_one_key(limited, tmp_path):
    """Two kernels share the rate limit through the journal, and few POSTs are refused."""
    environment = clean_environment(tmp_path, PYTHONPATH=str(ROOT), PYTHONWARNINGS="error")
    with ExitStack() as stack:
        kernels = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _KERNEL, limited.url, KEY, name],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True, cwd=tmp_path, env=environment,
                )
            )
            for name in ("ann", "bob")
        ]  # fmt: skip
        for kernel in kernels:
            assert kernel.stdout.readline() == "ready\n"
        for kernel in kernels:
            kernel.stdin.write("go\n")
            kernel.stdin.flush()
        ended = [kernel.communicate(timeout=60) for kernel in kernels]
    assert [error for _, error in ended] == ["", ""]
    assert [len(output.split("\n")) - 1 for output, _ in ended] == [10, 10]
    made = sorted(task["body"]["prompt"] for task in limited.state()["tasks"])
    assert made == sorted(f"{name} {number}" for name in ("ann", "bob") for number in range(10))
    # At most fifteen of the twenty that are sent together, and a few more.
    assert 1 <= _refusals(limited) <= 22
    ((_, spacing),) = _rows(tmp_path / "data")
    assert spacing > 0


def test_the_user_sees_the_wait(service, use):
    """The placeholder shows how long a request waits."""
    service.fault("create=429,retry_after=2,times=1")

    async def body(session):
        seen = set()

        async def ask(prompt):
            generation = session.generate(prompt)
            (task,) = generation.tasks
            generation.subscribe(lambda: seen.add((prompt, generation.tasks[0].phase_text)))
            return generation, task

        first, _ = await ask("first")
        while Phase.THROTTLED not in {task.phase for task in first.tasks}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second, _ = await ask("second")
        await asyncio.gather(first.wait(), second.wait())
        return seen

    seen = use(service, body)
    assert ("first", "Waiting for the rate limit (2 s)") in seen
    assert {prompt for prompt, words in seen if words.startswith("Waiting for the rate limit")} == {
        "first",
        "second",
    }
    assert ("second", "The service is drawing") in seen


def test_a_request_that_is_cancelled_while_it_waits(service, use):
    """A request that is cancelled while it waits was not sent, and its error says so."""
    service.fault("create=429,retry_after=600,times=1")

    async def body(session):
        first = session.generate("first")
        while Phase.THROTTLED not in {task.phase for task in first.tasks}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second = session.generate("second")
        while Phase.THROTTLED not in {task.phase for task in second.tasks}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second.cancel()
        await second.ended()
        row = session.journal.task(second.tasks[0].id)
        first.cancel()
        await first.ended()
        return second, row, session.journal.unfinished()

    second, row, unfinished = use(service, body)
    assert second.status == "cancelled"
    assert "before anything was sent" in second.errors[0].what
    assert row.state == "refused"
    assert unfinished == []
    assert len(service.paths()) == 1


def test_a_resumed_request_that_is_cancelled_while_it_waits(service, use, tmp_path):
    """A resumed request that is cancelled while it waits can be resumed again."""
    service.fault("create=drop_after,times=5")

    async def body(session):
        lost = session.generate("lost")
        await lost.ended()
        limiter = session.service().client.transport.limiter
        await limiter.refused(time.time(), 600.0)
        resumed = resume_tasks(session)
        while Phase.THROTTLED not in {task.phase for task in resumed.tasks}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        resumed.cancel()
        await resumed.ended()
        return [task.state for task in session.journal.unfinished()]

    assert use(service, body) == ["sent"]
    assert len(service.tasks) == 1


def test_a_pause_beyond_the_timeout(service, use):
    """During a pause that is longer than its timeout, a request fails at once, unsent."""
    service.fault("create=429,retry_after=1000,times=1")

    async def body(session):
        errors = []
        for prompt in ("first", "second"):
            generation = session.generate(prompt)
            await generation.ended()
            errors += generation.errors
        return errors

    first, second = use(service, body)
    assert isinstance(second, RateLimitError)
    assert "asks to wait" in second.what
    assert second.charged == NOT_SENT
    assert first.retry_after == 1000
    assert len(service.paths()) == 1


def test_a_pause_delays_polls(service, use):
    """Polls wait during a pause, and the image comes."""
    service.fault("status=429,retry_after=1,times=1")

    async def body(session):
        generations = [session.generate(f"prompt {number}") for number in range(2)]
        return [await generation.wait() for generation in generations]

    assert [len(generation.images) for generation in use(service, body)] == [1, 1]
    assert Path(service.paths("GET")[0]).name.startswith("tsk_")
