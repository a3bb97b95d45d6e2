"""How long tasks take, learned by real sessions from a real server, for the next kernel too."""

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

SPEED = 200  # of the servers in conftest.py: their median of 12 s passes in 0.06 s


@pytest.fixture
def slow():
    """A simulator so slow that a task is not done at the first look, where it is told to fail."""
    with serve_simulator("--speed", "10") as server:
        yield Service(server)


def _kind(origin):
    return Kind(origin, "gpt-image-2", "text_to_image", "")


async def _make(session, count, word="fox"):
    return [await session.generate(f"{word} number {number}") for number in range(count)]


def _known(session, origin):
    return session.journal.durations(_kind(origin))


def test_the_next_kernel_expects_what_this_one_saw(use, service):
    """The first picture of a second kernel is expected after what the first one's tasks took."""

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


def test_tasks_under_way_share_what_is_learned(use, service):
    """Within one kernel, the next cell already expects what the tasks before it took."""

    async def body(session):
        made = await _make(session, 8)
        return [one.tasks[0].expectation.median for one in made]

    medians = use(service, body)
    assert medians[0] == 12
    assert medians[-1] < medians[1] < 12


def test_pictures_from_disk_teach_nothing(use, service):
    """A picture that was there already took no time; what was made once is learned once."""

    async def body(session):
        await _make(session, 1)
        await _make(session, 1)
        return _known(session, service.url)

    assert len(use(service, body)) == 1


def test_resumed_tasks_teach_nothing(use, service):
    """Of a task that another kernel began nobody knows how long it took."""
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
    """Wait until something is so, at each change of a generation."""
    changed = asyncio.Event()
    stop = generation.subscribe(changed.set)
    while not is_so():
        changed.clear()
        await asyncio.wait_for(changed.wait(), 20)
    stop()


def test_failures_are_marked(use, slow):
    """How soon a task failed is kept, apart from how long pictures take."""
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


def test_a_hurried_simulators_time_is_the_services(use, service):
    """The simulator in the kernel teaches in its own seconds: another speed spoils nothing."""

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


def test_without_a_journal_it_is_learned_all_the_same(use, service, tmp_path):
    """Where no journal can be kept, the guide's figures count first and this kernel's own after."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        made = await _make(session, 6)
        return made[0].tasks[0].expectation, made[-1].tasks[0].expectation

    first, last = use(service, body)
    assert first == expect(None)
    assert last.median < first.median / 2


def test_what_the_journal_knows_counts_from_the_first_look_on(use, service):
    """A kernel whose journal knows how long tasks take shows that with its first placeholder."""

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
