"""Many requests as one: order, limits, failures, repeats, and what the user's rows become."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pandas as pd
import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.display.batch_view import SheetView
from runapi_magic.display.environment import Audience
from runapi_magic.engine import session as session_module
from runapi_magic.errors import (
    NOT_CHARGED,
    STILL_THERE,
    InvalidRequestError,
    RunAPIError,
    TaskFailedError,
)
from runapi_magic.media.preview import Preview
from runapi_magic.notebook import commands
from runapi_magic.notebook.api import generate_many, resume_batch
from runapi_magic.widgets.sheet import SheetControls
from tests.conftest import ROOT, clean_environment, serve_simulator
from tests.servers import KEY, Service

pytestmark = pytest.mark.server

PROMPTS = [f"boat {number}" for number in range(6)]


@pytest.fixture(scope="session")
def _slow_server():
    # So slow that a task is not done at the first look, which is where tasks are told to fail.
    with serve_simulator("--speed", "20") as server:
        yield server


@pytest.fixture
def failing(_slow_server):
    """A simulator whose tasks can be told to fail."""
    return Service(_slow_server)


@pytest.fixture
def run(use, monkeypatch):
    """Run a coroutine function with a session that is the process's own, as in a new kernel."""

    def start(server, body, **settings):
        async def owned(session):
            monkeypatch.setitem(session_module._current, "session", session)
            return await body(session)

        return use(server, owned, **settings)

    return start


@pytest.fixture
def many(run, service):
    """Make a batch to its end, whatever it is, and return it."""

    def make(prompts, server=service, **options):
        async def body(_session):
            batch = generate_many(prompts, progress=False, **options)
            await batch.ended()
            return batch

        return run(server, body)

    return make


def _wait_until(condition):
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def _prompts(service):
    return sorted(task["body"]["prompt"] for task in service.tasks)


# Results


def test_results_are_in_order(many, service):
    """Whatever order the service finishes in, each item has the picture of its own prompt."""
    batch = many(PROMPTS, concurrency=3)
    assert [item.request.prompt for item in batch.items] == PROMPTS
    assert [image.prompt for image in batch.images] == PROMPTS
    assert list(batch) == batch.items
    assert [item.index for item in batch] == list(range(6))
    assert len({image.path for image in batch.images}) == 6
    assert all(image.path.exists() for image in batch.images)
    assert _prompts(service) == PROMPTS
    assert (batch.counts["completed"], len(batch), batch.is_done) == (6, 6, True)
    assert (batch.cost, batch.saved) == (pytest.approx(0.36), 0)
    assert (batch.failures, batch.errors) == ([], [])
    assert repr(batch) == f"<Batch {batch.id} 'boat 0': 6 completed, $0.36>"


def test_items_as_they_end(run, service):
    """``as_completed`` gives each item when it is done, not when its turn in the list has come."""
    service.fault("status=stuck,match=boat 0")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        seen = []
        async for item in batch.as_completed():
            seen.append((item.index, item.status))
            if len(seen) == 5:
                assert not batch.is_done
                await asyncio.to_thread(service._server.clear_faults)
        return batch, seen

    batch, seen = run(service, body)
    assert sorted(seen) == [(number, "completed") for number in range(6)]
    assert seen[-1] == (0, "completed")
    assert batch.is_done


def test_a_slow_reader_misses_nothing(run, service):
    """Who reads slowly, or begins in the middle, or afterwards, gets each item once."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        first = batch.as_completed()
        slow = [await anext(first)]
        late = batch.as_completed()
        middle = [await anext(late)]
        await batch
        slow += [item async for item in first]
        middle += [item async for item in late]
        after = [item async for item in batch.as_completed()]
        return [sorted(item.index for item in seen) for seen in (slow, middle, after)]

    assert run(service, body) == [list(range(6))] * 3


def test_waiting_on_another_threads_loop(run, service):
    """A batch is awaited, and read item by item, on a thread whose loop is not the batch's own."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)

        async def elsewhere():
            read = [item.index async for item in batch.as_completed()]
            return await batch is batch, sorted(read)

        found = await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(elsewhere(), 20)))
        return *found, batch.counts["completed"]

    assert run(service, body) == (True, [0, 1, 2, 3, 4, 5], 6)


def test_the_end_is_shown_on_the_batchs_loop(run, service):
    """Whichever loop waits, what shows the end runs on the loop that the batch works on."""

    async def body(_session):
        home, shown = asyncio.get_running_loop(), []
        batch = generate_many(PROMPTS[:1], progress=False)

        async def show():
            shown.append(asyncio.get_running_loop() is home)

        batch.on_wait = show
        await asyncio.to_thread(lambda: asyncio.run(asyncio.wait_for(batch.wait(), 20)))
        await batch
        return shown

    assert run(service, body) == [True, True]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_so_many_at_a_time(run, concurrency):
    """No more tasks than were allowed are under way at the service at any moment, and as many."""

    async def body(_session):
        prompts = [f"boat {number}" for number in range(12)]
        return await generate_many(prompts, progress=False, concurrency=concurrency)

    with serve_simulator("--speed", "60") as server:
        run(server, body)
        assert server.state()["max_concurrent"] == concurrency


def test_the_setting_says_how_many(run):
    """Without an argument ``RunAPIMagics.concurrency`` counts."""

    async def body(_session):
        return await generate_many(PROMPTS, progress=False)

    with serve_simulator("--speed", "60") as server:
        assert run(server, body, concurrency=2).concurrency == 2
        assert server.state()["max_concurrent"] == 2


def test_identical_prompts_wait_their_turn(run):
    """The limit is one of tasks: it holds for many pictures of one prompt too."""

    async def body(_session):
        return await generate_many(["a boat"] * 8, progress=False, concurrency=2)

    with serve_simulator("--speed", "60") as server:
        run(server, body)
        assert server.state()["max_concurrent"] == 2


def test_the_former_name_of_images(many):
    """``pictures``, as version 0.1.0 calls the images, is the same list."""
    batch = many(PROMPTS[:2])
    assert batch.pictures == batch.images
    assert len(batch.images) == 2


# Failures


def test_failures_beside_successes(many, failing):
    """A failed request is in its place with its reason; the others are there all the same."""
    failing.fault("status=failed,match=boat 2,message=the dragon was asleep")
    batch = many(PROMPTS, failing)
    assert [item.status == "completed" for item in batch.items] == [True] * 2 + [False] + [True] * 3
    (failed,) = batch.failures
    assert "the dragon was asleep" in failed.error.what
    assert (failed.status, failed.images, failed.cost) == ("failed", [], None)
    assert batch.cost == pytest.approx(0.30)
    assert [record["error"] is None for record in batch.records()].count(False) == 1
    assert "1 failed" in repr(batch)


def test_awaiting_a_batch_with_failures(run, failing):
    """``await`` returns the batch where there is any picture, and raises where there is none."""
    failing.fault("status=failed,match=bad")

    async def body(_session):
        some = generate_many(["a good one", "a bad one"], progress=False)
        assert await some is some
        none = generate_many(["a bad one", "another bad one"], progress=False)
        with pytest.raises(TaskFailedError):
            await none
        return none

    assert [item.status for item in run(failing, body).items] == ["failed", "failed"]


def test_retry_failed_sends_exactly_those(run, failing):
    """``retry_failed`` asks for what has no picture, and leaves alone what has one."""
    failing.fault("status=failed,match=boat 2,times=1", "status=failed,match=boat 4,times=1")

    async def body(_session):
        batch = await generate_many(PROMPTS, progress=False)
        before = {item.index: item.images[0].path for item in batch.items if item.images}
        assert len(before) == 4
        sent = len(failing.tasks)
        assert await batch.retry_failed() is batch
        again = sorted(task["body"]["prompt"] for task in failing.tasks[sent:])
        assert {index: batch.items[index].images[0].path for index in before} == before
        return batch, again

    batch, again = run(failing, body)
    assert again == ["boat 2", "boat 4"]
    assert [item.error for item in batch.items] == [None] * 6
    assert [image.prompt for image in batch.images] == PROMPTS
    assert batch.cost == pytest.approx(0.36)


def test_retry_that_fails_again(run, failing):
    """What fails once more says so once more, and can be asked for once more."""
    failing.fault("status=failed,match=boat 2,times=2")

    async def body(_session):
        batch = await generate_many(PROMPTS, progress=False)
        await batch.retry_failed()
        middle = [item.index for item in batch.failures]
        await batch.retry_failed()
        sent = len(failing.tasks)
        await batch.retry_failed()
        return middle, batch.failures, sent, len(failing.tasks)

    assert run(failing, body) == ([2], [], 8, 8)


def test_retry_while_under_way(run, service):
    """A batch that is not over cannot be retried: it says that it goes on, and does."""
    service.fault("create=slow,seconds=0.1")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        with pytest.raises(InvalidRequestError, match="still under way") as caught:
            batch.retry_failed()
        assert len(caught.value.parts) == 3
        return await batch

    assert len(run(service, body).images) == 6


def test_a_refused_request_is_one_items_failure(many, service):
    """A request that the service does not take costs nothing and stops nothing."""
    service.fault("create=422,match=boat 1,message=not this one")
    batch = many(PROMPTS)
    assert [item.index for item in batch.failures] == [1]
    assert len(service.tasks) == 5


def test_a_listeners_mistake_stops_nothing(run, service):
    """Whoever watches a batch and stumbles does not take the batch along."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.subscribe(lambda: 1 / 0)
        return await batch

    assert len(run(service, body).images) == 6


# Identical prompts


def test_identical_prompts_are_pictures_of_their_own(many, service):
    """Two rows of one prompt are two tasks and two pictures; asked for again both are there."""
    prompts = ["a boat", "a tree", "a boat"]
    first = many(prompts)
    paths = [item.images[0].path for item in first.items]
    assert len(set(paths)) == 3
    assert _prompts(service) == ["a boat", "a boat", "a tree"]
    again = many(prompts)
    assert {item.images[0].path for item in again.items} == set(paths)
    assert [item.images[0].prompt for item in again.items] == prompts
    assert len(service.tasks) == 3
    assert (again.cost, again.saved) == (0, pytest.approx(0.18))


def test_a_failed_twin_gets_a_picture_of_its_own(run, failing):
    """A retry of one of two identical rows makes a new picture, and leaves the other its own."""
    failing.fault("status=failed,match=a boat,times=1")

    async def body(_session):
        batch = await generate_many(["a boat", "a boat", "a tree"], progress=False)
        (before,) = [item.images[0].path for item in batch.items[:2] if item.images]
        await batch.retry_failed()
        return before, [item.images[0].path for item in batch.items], len(failing.tasks)

    before, paths, sent = run(failing, body)
    assert before in paths[:2]
    assert len(set(paths)) == 3
    assert sent == 4


def test_the_price_of_a_failed_twin(run, failing):
    """The button says what a retry of one of two identical rows costs: the other keeps its own."""
    failing.fault("status=failed,match=a boat,times=1")

    async def body(session):
        batch = await generate_many(["a boat", "a boat"], progress=False)
        controls = []
        SheetView(batch, session, Audience.LIVE, lambda view: controls.append(SheetControls(view)))
        async with asyncio.timeout(20):
            while "$" not in controls[0].retry.description:  # noqa: ASYNC110 (widgets tell nobody)
                await asyncio.sleep(0.01)
        return controls[0].retry.description

    assert run(failing, body) == "Retry failed (1): $0.06"


def test_a_longer_list_pays_for_what_is_new(many, service):
    """More rows than before pay for the new ones alone."""
    many(PROMPTS[:4])
    batch = many(PROMPTS)
    assert len(service.tasks) == 6
    assert batch.cost == pytest.approx(0.12)
    assert [item.images[0].reused for item in batch.items] == [True] * 4 + [False] * 2


# Stopping and going on


def test_cancel(run, service):
    """A cancelled batch sends nothing more, keeps what it has, and can go on."""
    service.fault("status=stuck,match=boat 1", "status=stuck,match=boat 2")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        async for _ in batch.as_completed():
            break
        await asyncio.to_thread(_wait_until, lambda: len(service.tasks) == 3)
        batch.cancel()
        await batch.ended()
        sent = len(service.tasks)
        counts = dict(batch.counts)
        assert all(item.error.parts[0].startswith("Stopped") for item in batch.failures)
        await asyncio.to_thread(service._server.clear_faults)
        await batch.retry_failed()
        return sent, counts, batch

    sent, counts, batch = run(service, body)
    assert sent == 3
    assert (counts["completed"], counts["cancelled"]) == (1, 5)
    assert [image.prompt for image in batch.images] == PROMPTS
    assert len(service.tasks) == 6


def test_cancel_before_the_first(run, service):
    """Cancelled at once, a batch sends nothing at all."""

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        batch.cancel()
        await batch.ended()
        with pytest.raises(RunAPIError, match="Stopped before its turn"):
            await batch
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []


def test_cancel_while_it_is_asked_about(run, service):
    """A batch that is cancelled while a question is open ends at once, and sends nothing."""

    async def body(session):
        asked = asyncio.Event()

        async def gate(*_):
            asked.set()
            await asyncio.Event().wait()  # a click that never comes

        batch = begin_batch(session, Batch([Item(0, session.request("a boat"))]), gate=gate)
        await asked.wait()
        batch.cancel()
        await batch.ended()
        return batch

    assert run(service, body).counts["cancelled"] == 1
    assert service.requests == []


@pytest.mark.parametrize("by_name", [True, False])
def test_cancel_by_the_session(run, service, by_name):
    """Who cancels everything, or a batch by its id, is not sent the rest of the batch."""
    service.fault("status=stuck")

    async def body(session):
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        await asyncio.to_thread(_wait_until, lambda: len(service.tasks) == 2)
        await asyncio.to_thread(_wait_until, lambda: len(batch.task_ids) == 2)
        ids = batch.task_ids
        said = commands.cancel(session, [batch.id] if by_name else [])
        await batch.ended()
        assert commands.cancel(session, []) == "Nothing is under way."
        return batch, ids, said

    batch, ids, said = run(service, body)
    assert batch.counts["cancelled"] == 6
    assert len(service.tasks) == 2
    assert [said.count(task_id) for task_id in ids] == [1, 1]


def test_an_interrupted_wait_leaves_it_under_way(run, service):
    """Who stops waiting gets the words for it, and the batch goes on."""
    service.fault("create=slow,seconds=0.2")

    async def body(_session):
        batch = generate_many(PROMPTS, progress=False)
        waiting = asyncio.ensure_future(batch.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        first, *_ = caught.value._render_traceback_()
        assert first == f"Stopped waiting for the batch {batch.id}."
        return await batch

    assert len(run(service, body).images) == 6


def test_a_loop_that_ends_before_the_batch(run, service):
    """Where ``asyncio.run`` ends first, what is at the service is not called uncharged."""
    service.fault("status=stuck")

    async def body(_session):
        others = asyncio.all_tasks()
        batch = generate_many(PROMPTS, progress=False, concurrency=2)
        while len(batch.task_ids) < 2:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.02)
        ids = batch.task_ids
        for task in asyncio.all_tasks() - others:  # as asyncio.run does
            task.cancel()
        await batch.ended()
        return batch, ids

    batch, ids = run(service, body)
    said = {item.error.charged: item.error.task_id for item in batch.items}
    assert batch.counts["cancelled"] == 6
    assert len(service.tasks) == len(ids) == 2
    assert sorted(item.error.task_id for item in batch.items if item.error.task_id) == sorted(ids)
    assert set(said) == {STILL_THERE, NOT_CHARGED}
    assert said[NOT_CHARGED] is None


def test_a_cancel_between_the_look_and_the_request(run, service, monkeypatch):
    """A batch that another thread cancels while a request is made sends that one neither."""

    async def body(session):
        start = session.start

        def cancelled_meanwhile(*values, **options):
            batch.cancel()
            return start(*values, **options)

        monkeypatch.setattr(session, "start", cancelled_meanwhile)
        batch = generate_many(PROMPTS, progress=False)
        await batch.ended()
        return batch

    assert run(service, body).counts["cancelled"] == 6
    assert service.tasks == []


def test_resume_by_its_id(run, failing):
    """Another kernel goes on with a batch by its id: variables, order and pictures are the same."""
    rows = [{"animal": "fox", "n": 1}, {"animal": "owl", "n": 2}, {"animal": "cat", "n": 3}]
    failing.fault("status=failed,match=owl,times=1")

    async def first(_session):
        return await generate_many(rows, prompt="An {animal} at night", progress=False)

    async def second(_session):
        return await resume_batch(before.id, progress=False)

    before = run(failing, first)
    after = run(failing, second)
    assert [item.variables for item in after.items] == rows
    assert [item.status for item in after.items] == ["completed"] * 3
    assert after.items[0].images[0].path == before.items[0].images[0].path
    assert (after.id, after.title) == (before.id, before.title)
    assert len(failing.tasks) == 4


def test_resume_edits_of_a_file(run, service, png, home):
    """A batch of edits of a local file can be resumed: the file is found again."""
    (home.parent / "work" / "fox.png").write_bytes(png)

    async def first(_session):
        return await generate_many(["blue", "red"], sources=["fox.png"], progress=False)

    async def second(_session):
        return await resume_batch(before.id, progress=False)

    before = run(service, first)
    after = run(service, second)
    assert [image.path for image in after.images] == [image.path for image in before.pictures]
    assert len(service.tasks) == 2


def test_resume_makes_as_many_as_were_asked_for(run, service):
    """The same prompts with another count are another batch, and go on with their own count."""

    async def body(_session):
        one = await generate_many(["a boat"], progress=False)
        three = await generate_many(["a boat"], count=3, progress=False)
        again = await resume_batch(three.id, progress=False)
        return one.id, three.id, len(again.images)

    one, three, pictures = run(service, body)
    assert one != three
    assert pictures == 3
    assert len(service.tasks) == 3


def test_resume_where_reuse_is_off(run, service):
    """What a batch has made is not paid for again by its resume, also where nothing is reused."""

    async def body(session):
        batch = await generate_many(["a boat", "a tree"], progress=False)
        session.settings.reuse = False
        return await resume_batch(batch.id, progress=False)

    assert [image.reused for image in run(service, body).images] == [True] * 2
    assert len(service.tasks) == 2


def test_a_simulated_batch_is_never_paid_for(run, service):
    """A batch that began on the simulator ends on it, and is resumed and retried nowhere else."""

    async def body(session):
        session.connection.simulator_on(100)
        batch = generate_many(PROMPTS, progress=False, concurrency=1)
        async for _ in batch.as_completed():
            break
        session.connection.simulator_off()
        batch.cancel()
        await batch.ended()
        assert batch.failures
        with pytest.raises(InvalidRequestError, match=r"was asked of http://simulator\.localhost"):
            resume_batch(batch.id, progress=False)
        return await batch.retry_failed()

    batch = run(service, body)
    assert [image.simulated for image in batch.images] == [True] * 6
    assert repr(batch).endswith("6 completed, $0.36 simulated>")
    assert service.requests == []


def test_a_batch_is_resumed_where_it_was_asked_for_last(run, service):
    """A batch that was tried on the simulator and then asked for in earnest can be resumed."""

    async def body(session):
        session.connection.simulator_on(100)
        await generate_many(["a boat"], progress=False)
        session.connection.simulator_off()
        batch = await generate_many(["a boat"], progress=False)
        return await resume_batch(batch.id, progress=False)

    assert not run(service, body).images[0].simulated
    assert len(service.tasks) == 1


def test_resume_of_nothing(run, service):
    """An id that nobody knows is refused in three parts."""

    async def body(_session):
        with pytest.raises(InvalidRequestError, match="no batch nobody") as caught:
            resume_batch("nobody", progress=False)
        return caught.value.parts

    assert len(run(service, body)) == 3


def test_afresh(run, service):
    """``new=True`` pays again, once: resumed by its id it does not; asked afresh again it does."""
    ids = []

    async def fresh(_session):
        batch = await generate_many(PROMPTS[:2], new=True, progress=False)
        ids.append(batch.id)
        return batch

    async def again(_session):
        return await resume_batch(ids[-1], progress=False)

    first = run(service, fresh)
    resumed = run(service, again)
    assert len(service.tasks) == 2
    assert [image.path for image in resumed.images] == [image.path for image in first.pictures]
    second = run(service, fresh)
    assert len(service.tasks) == 4
    assert {image.path for image in second.images}.isdisjoint(image.path for image in first.images)
    assert ids[0] != ids[1]


def test_reuse_is_off(run, service):
    """Where nothing is reused a batch pays once and goes on by its id without paying again."""

    async def fresh(_session):
        return await generate_many(PROMPTS[:2], progress=False)

    async def again(_session):
        return await resume_batch(first.id, progress=False)

    run(service, fresh, reuse=False)
    first = run(service, fresh, reuse=False)
    assert len(service.tasks) == 4
    run(service, again, reuse=False)
    assert len(service.tasks) == 4


def test_without_a_journal(run, service, tmp_path):
    """Where there can be no journal a batch is made all the same, with one notice."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        batch = await generate_many(PROMPTS, progress=False)
        return batch, session.take_notices()

    batch, notices = run(service, body)
    assert len(batch.images) == 6
    assert "The journal cannot be used" in notices[0]


# Memory


def test_nothing_of_a_picture_stays_in_memory(run, service):
    """Previews are let go of as items end, and pictures with their batch: they are on disk."""

    def previews():
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, Preview)]

    async def body(_session):
        others = previews()  # of tests that ran before
        batch = await generate_many(PROMPTS, progress=False)
        assert [image._preview for image in batch.images] == [None] * 6
        assert len(previews()) == len(others)
        kept = weakref.ref(batch.items[0].images[0])
        assert batch.items[0].images[0].preview.data
        del batch
        await asyncio.sleep(0)
        gc.collect()
        return kept()

    assert run(service, body) is None


# Rows


def test_columns_in_prompt_and_fields(many, service):
    """``{column}`` is filled in the prompt and in fields; doubled braces stand for braces."""
    frame = pd.DataFrame(
        {"colour": ["red", "blue"], "n": [3, 4], "ratio": ["1:1", "16:9"]}, index=["x", "y"]
    )
    batch = many(frame, prompt="{n} {colour} boats {{as typed}}", aspect_ratio="{ratio}")
    assert [item.request.prompt for item in batch.items] == [
        "3 red boats {as typed}",
        "4 blue boats {as typed}",
    ]
    assert [item.request.aspect_ratio for item in batch.items] == ["1:1", "16:9"]
    assert sorted(task["body"]["aspect_ratio"] for task in service.tasks) == ["16:9", "1:1"]
    assert batch.items[1].variables == {"colour": "blue", "n": 4, "ratio": "16:9"}


def test_a_number_by_column(many, service):
    """A column fills a field that takes a number or yes and no, too."""
    frame = pd.DataFrame({"n": np.array([2, 0]), "more": [True, False]})
    many(
        frame, prompt="boat {n}", model="flux-kontext-pro", safety_tolerance="{n}",
        enable_prompt_expansion="{more}",
    )  # fmt: skip
    bodies = [task["body"] for task in service.tasks]
    given = {(body["safety_tolerance"], body["enable_prompt_expansion"]) for body in bodies}
    assert given == {(2, True), (0, False)}


def test_a_source_by_column(many, service, png, home):
    """A source may be named by a column: each row edits its own file."""
    work = home.parent / "work"
    for name in ("fox.png", "owl.png"):
        (work / name).write_bytes(png + name.encode())
    batch = many(pd.DataFrame({"file": ["fox.png", "owl.png"]}), prompt="blue", sources=["{file}"])
    assert [item.request.sources[0].path.name for item in batch.items] == ["fox.png", "owl.png"]
    assert len(batch.images) == 2


@pytest.mark.parametrize(
    "prompts",
    [
        ["a boat", "a tree"],
        ("a boat", "a tree"),
        pd.Series(["a boat", "a tree"]),
        pd.DataFrame({"prompt": ["a boat", "a tree"], "x": [1, 2]}),
        [{"prompt": "a boat"}, {"prompt": "a tree"}],
        iter(["a boat", "a tree"]),
    ],
    ids=["list", "tuple", "series", "frame", "dicts", "iterator"],
)
def test_what_can_be_given(many, prompts):
    """Texts, dicts and frames, also from a generator that can be read only once."""
    assert [image.prompt for image in many(prompts).images] == ["a boat", "a tree"]


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ("a boat", {}, "one str"),
        (b"a boat", {}, "one bytes"),
        ({"prompt": "a boat"}, {}, "one dict"),
        (7, {}, "one int"),
        (None, {}, "one NoneType"),
        ([], {}, "There is nothing to make"),
        (pd.DataFrame({"prompt": []}), {}, "There is nothing to make"),
        (["a boat", "  "], {}, "Row 1: The prompt is empty"),
        (["a boat", None], {}, "Row 1: There is no prompt"),
        (pd.Series(["a boat", float("nan")]), {}, "Row 1: There is no prompt"),
        ([{"prompt": "a boat"}, {"text": "a tree"}], {}, "Row 1: There is no prompt, and no col"),
        (
            [{"c": "red"}, {"c": None}],
            {"prompt": "a {c} boat"},
            "Row 1: There is no value in column c.",
        ),
        (
            pd.DataFrame({"c": pd.array(["red", None], dtype="string")}),
            {"prompt": "a {c} boat"},
            "Row 1: There is no value in column c.",
        ),
        (
            pd.DataFrame([["red", "blue"]], columns=["c", "c"]),
            {"prompt": "a {c} boat"},
            "There are two columns c",
        ),
        (["a boat", ["a tree"]], {}, "Row 1: The prompt is of type list"),
        (np.array([["a boat", "a tree"]]), {}, "Row 0: The prompt is of type ndarray"),
        (["a boat"], {"sources": ["nowhere.png"]}, "Row 0: "),
        (
            [{"prompt": "a boat", "r": "1:1"}, {"prompt": "a tree", "r": "7:5"}],
            {"aspect_ratio": "{r}"},
            "Row 1: ",
        ),
    ],
    ids=[
        "text", "bytes", "dict", "number", "none", "empty", "empty frame", "blank", "no text",
        "nan", "no column", "no value", "missing value", "twice", "nested", "table", "no file",
        "ratio",
    ],
)  # fmt: skip
def test_rows_that_cannot_be_right(run, service, prompts, options, words):
    """What cannot be right is named, with its row, and nothing of the batch is sent."""

    async def body(_session):
        with pytest.raises(InvalidRequestError) as caught:
            generate_many(prompts, progress=False, **options)
        return caught.value.parts

    what, charged, todo = run(service, body)
    assert what.startswith(words) or words in what
    assert charged == "Nothing was sent, nothing was charged."
    assert todo
    assert service.requests == []


def test_to_frame(many, failing):
    """The table has a row a request: variables, status, cost, file, error and the picture."""
    failing.fault("status=failed,match=owl,message=not tonight")
    batch = many(
        pd.DataFrame({"animal": ["fox", "owl"], "n": [1, 2]}), failing, prompt="An {animal}"
    )
    frame = batch.to_frame()
    assert list(frame["animal"]) == ["fox", "owl"]
    assert list(frame["prompt"]) == ["An fox", "An owl"]
    assert list(frame["status"]) == ["completed", "failed"]
    assert frame["cost"][0] == pytest.approx(0.06)
    assert frame["path"][0] == str(batch.items[0].images[0].path)
    assert "not tonight" in frame["error"][1]
    assert frame["image"][0] is batch.items[0].images[0]
    assert pd.isna(frame["path"][1])


def test_to_frame_keeps_the_index(many):
    """Each picture stands beside the row that it was made of, also of a part of a data frame."""
    frame = pd.DataFrame({"animal": ["fox", "owl", "cat"]}, index=["f", "o", "c"])
    batch = many(frame[frame.animal != "owl"], prompt="One {animal}")
    pictures = frame.join(batch.to_frame()["image"])["image"]
    assert (pictures["f"].prompt, pictures["c"].prompt) == ("One fox", "One cat")
    assert pd.isna(pictures["o"])


def test_to_frame_without_pandas(many, monkeypatch):
    """Without pandas ``records`` has the table, and ``to_frame`` says what to install."""
    batch = many(PROMPTS[:1])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidRequestError) as caught:
        batch.to_frame()
    assert "pip install pandas" in caught.value.parts
    assert batch.records()[0]["status"] == "completed"


# In a script

_SCRIPT = """
from runapi_magic import generate_many
batch = generate_many(["a boat", "a tree", "a bad tree"], title="trees"{options})
print(batch.counts["completed"], batch.counts["failed"], batch.is_done)
"""


def _script(service, folder, options=""):
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(options=options)],
        cwd=folder,
        env=clean_environment(
            folder, RUNAPI_BASE_URL=service.url, RUNAPI_API_KEY=KEY, PYTHONPATH=str(ROOT)
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_script_waits_and_shows_a_bar(failing, tmp_path):
    """In a script the call returns at the end; the bar is on stderr, stdout is the script's."""
    failing.fault("status=failed,match=a bad tree")
    said, bar = _script(failing, tmp_path)
    assert said == "2 1 True\n"
    assert "trees: 100%" in bar
    assert "3/3" in bar
    assert "1 failed" in bar
    assert bar.endswith("\n")


def test_a_script_without_a_bar(service, tmp_path):
    """``progress=False`` shows nothing."""
    said, bar = _script(service, tmp_path, ", progress=False")
    assert (said, bar) == ("3 0 True\n", "")
