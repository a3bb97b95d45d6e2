"""Sessions learn how long tasks take, and the next kernel knows it."""

from __future__ import annotations

import asyncio

import pytest

from runapi_magic.core.duration_model import Duration, Kind
from runapi_magic.core.polling import expect
from runapi_magic.core.status import Phase
from runapi_magic.engine.backend import SIMULATOR_URL
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import TaskFailedError
from tests.conftest import serve_simulator
from tests.servers import Service

pytestmark = pytest.mark.server

SPEED = 200  # of the servers in tests/servers.py: a median of 12 s takes 0.06 s


@pytest.fixture
def slow():
    """A simulator whose tasks are not finished at the first poll, so that a test can fail them."""
    with serve_simulator("--speed", "10") as server:
        yield Service(server)


def _kind(origin):
    return Kind(origin, "gpt-image-2", "text_to_image", "")


async def _make(session, count, word="fox"):
    return [await session.generate(f"{word} number {number}") for number in range(count)]


def _known(session, origin):
    return session.journal.durations(_kind(origin))


def test_the_next_kernel_expects_what_this_one_saw(use, service):
    """A second kernel expects the durations of the first kernel's tasks."""

    async def first(session):
        made = await _make(session, 8)
        return made[0].tasks[0].expectation, _known(session, service.url)

    async def second(session):
        return (await session.generate("a hen")).tasks[0].expectation

    cold, took = use(service, first)
    learned = use(service, second)
    assert cold == expect(None)
    assert len(took) == 8
    assert all(0 < each.seconds < 5 for each in took)
    assert learned.median < 1
    assert learned.low < learned.median < learned.high < 3


def test_running_tasks_share_what_is_learned(use, service):
    """The next cell of a kernel expects the durations of the earlier tasks."""

    async def body(session):
        made = await _make(session, 8)
        return [one.tasks[0].expectation.median for one in made]

    medians = use(service, body)
    assert medians[0] == 12
    assert medians[-1] < medians[1] < 12


def test_images_from_disk_are_not_learned(use, service):
    """A reused image has no duration, so nothing is learned from it."""

    async def body(session):
        await _make(session, 1)
        await _make(session, 1)
        return _known(session, service.url)

    assert len(use(service, body)) == 1


def test_resumed_tasks_are_not_learned(use, service):
    """The duration of a task of another kernel is unknown, so it is not learned."""
    service.fault("status=stuck,times=3")

    async def first(session):
        generation = session.generate("a fox")
        await _until(generation, lambda: generation.task_ids)
        generation.cancel()
        await generation.ended()

    async def second(session):
        resumed = await resume_tasks(session)
        return resumed.images, _known(session, service.url)

    use(service, first)
    images, known = use(service, second)
    assert len(images) == 1
    assert known == []


async def _until(generation, is_so):
    """Wait until a condition is true; check it at each change of a generation."""
    changed = asyncio.Event()
    stop = generation.subscribe(changed.set)
    while not is_so():
        changed.clear()
        await asyncio.wait_for(changed.wait(), 20)
    stop()


def test_failures_are_marked(use, slow):
    """The durations of failed tasks are stored separately."""
    slow.fault("status=failed,times=1,message=no dragons")

    async def body(session):
        with pytest.raises(TaskFailedError):
            await session.generate("a dragon")
        return _known(session, slow.url), session.pipeline.timing

    known, timing = use(slow, body)
    assert [took.failed for took in known] == [True]
    (learned,) = timing._known.values()
    assert learned.expectation.median == 12
    assert learned.expectation.failing > expect(None).failing


def test_durations_do_not_depend_on_the_speed(use, service):
    """The simulator's durations are stored as at normal speed."""

    async def body(session):
        session.connection.simulator_on(SPEED)
        await _make(session, 6)
        fast = session.pipeline.timing.expected(session.request("x"), session.service())
        session.connection.simulator_on(SPEED / 10)
        slow = session.pipeline.timing.expected(session.request("x"), session.service())
        return _known(session, SIMULATOR_URL), _known(session, service.url), fast, slow

    known, others, fast, slow = use(service, body)
    assert others == []
    assert len(known) > 0
    assert all(2 < took.seconds < 300 for took in known)
    assert slow.median == pytest.approx(fast.median * 10)


def test_learning_without_a_journal(use, service, tmp_path):
    """Without a journal, a kernel starts with the guide's durations and learns its own."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        made = await _make(session, 6)
        return made[0].tasks[0].expectation, made[-1].tasks[0].expectation

    first, last = use(service, body)
    assert first == expect(None)
    assert last.median < first.median / 2


def test_stored_durations_are_used_at_once(use, service):
    """The first placeholder of a kernel uses the durations in the journal."""

    async def teach(session):
        for _ in range(20):
            session.journal.add_duration(_kind(service.url), Duration(40.0))

    async def body(session):
        generation = session.generate("a hen")
        await _until(generation, lambda: generation.tasks[0].expectation.median > 12)
        planned = generation.tasks[0].expectation, generation.tasks[0].phase
        await generation
        return planned

    use(service, teach)
    expectation, phase = use(service, body)
    assert expectation.median == pytest.approx(40, rel=0.2)
    assert phase in {Phase.PREPARING, Phase.SENDING}
