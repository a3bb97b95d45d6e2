"""The handle of a request: its status, its images, and all ways to wait for it."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.generation import Generation, GenerationTask
from runapi_magic.errors import NOT_SENT, InvalidRequestError, RunAPIError, TaskFailedError

REQUEST = ImageRequest("a fox", "gpt-image-2")


class _Image:
    """A fake image."""

    def __init__(self, name):
        self.path = self.id = name


def _task(status="pending", *images, error=None, count=1, cost=None, task_id=None):
    return GenerationTask(
        f"p-{status}", REQUEST, count, expect("1k"), status=status, images=list(images),
        error=error, cost=cost, state=TaskState(task_id=task_id),
    )  # fmt: skip


def _generation(*tasks):
    generation = Generation(REQUEST, list(tasks))
    generation.set_tasks(list(tasks))  # fills the slots with the images of the tasks
    return generation


@pytest.mark.parametrize(
    ("tasks", "status", "done"),
    [
        (["pending"], "pending", False),
        (["pending", "pending"], "pending", False),
        (["pending", "processing"], "processing", False),
        (["processing"], "processing", False),
        (["completed", "processing"], "processing", False),
        (["pending", "failed"], "processing", False),
        (["completed"], "completed", True),
        (["completed", "failed"], "completed", True),
        (["completed", "cancelled"], "completed", True),
        (["failed", "failed"], "failed", True),
        (["failed", "cancelled"], "cancelled", True),
        (["cancelled"], "cancelled", True),
    ],
)
def test_status(tasks, status, done):
    """A request runs until all its tasks have ended, and is completed if any task is."""
    generation = _generation(*map(_task, tasks))
    assert (generation.status, generation.is_done) == (status, done)


def test_images_in_order():
    """The first versions of all images come first, then the later versions."""
    a, b, c = map(_Image, "abc")
    generation = _generation(_task("completed", a, b, count=2), _task("completed", c))
    later = _Image("later")
    generation.show_version(generation.slots[0], later)
    assert generation.images == [a, b, c, later]
    assert generation.image is later
    generation.slots[0].index = 0
    assert generation.image is a


def test_an_empty_slot():
    """If the first slot is empty, ``image`` is the image of the next slot."""
    image = _Image("b")
    generation = _generation(_task("failed", error=RunAPIError("x")), _task("completed", image))
    assert generation.image is image
    assert generation.images == [image]


def test_no_image_yet():
    """While the request runs, ``image`` raises an error that says to wait."""
    with pytest.raises(InvalidRequestError) as caught:
        _ = _generation(_task("processing")).image
    assert "no image yet (processing)" in caught.value.what
    assert "The request is still running." in str(caught.value)
    assert "Await the Generation" in caught.value.todo


def test_nothing_to_resume():
    """A request without tasks does not say that it is still running."""
    with pytest.raises(InvalidRequestError) as caught:
        _ = _generation().image
    assert "nothing to resume" in caught.value.what
    assert caught.value.charged == NOT_SENT


@pytest.mark.parametrize("stage", ["planned", "known", "failed"])
def test_the_reason_of_a_stopped_task(stage):
    """A stopped task says that nothing was sent only if that is true."""
    task = _task("processing")
    if stage != "planned":
        task.state.know("tsk_1")
    if stage == "failed":
        task.state.fail()
    task.stop()
    assert task.status == "cancelled"
    assert ("before anything was sent" in task.error.what) == (stage == "planned")


def test_no_image_at_all():
    """After a failure, ``image`` raises the reason."""
    error = TaskFailedError("too dark")
    generation = _generation(_task("failed", error=error))
    with pytest.raises(TaskFailedError, match="too dark"):
        _ = generation.image
    assert generation.errors == [error]


@pytest.mark.parametrize(
    ("costs", "total"), [([None], None), ([0.06, None], 0.06), ([0.06, 0.1], 0.16), ([0.0], 0.0)]
)
def test_cost(costs, total):
    """The cost is the sum of the known costs of the tasks, None if none is known."""
    generation = _generation(*(_task("completed", cost=cost) for cost in costs))
    assert generation.cost == (total if total is None else pytest.approx(total))


def test_task_ids_and_repr():
    """The repr has the status, and the known task IDs or the files."""
    generation = _generation(_task("processing", task_id="tsk_1"), _task("pending"))
    assert generation.task_ids == ["tsk_1"]
    assert repr(generation) == "<Generation 'a fox' processing: tsk_1>"
    done = _generation(_task("completed", _Image("/x/a.png"), task_id="tsk_1"))
    assert repr(done) == "<Generation 'a fox' completed: /x/a.png>"
    cut = ImageRequest("", "recraft-remove-background", sources=(Source("a fox", ""),))
    assert repr(Generation(cut, [GenerationTask("p", cut, 1, expect("1k"))])) == (
        "<Generation 'remove background: a fox' pending>"
    )


def test_ids_are_unique():
    """Each Generation has a unique ID."""
    assert len({_generation(_task()).id for _ in range(100)}) == 100


def test_listeners_are_notified():
    """A listener is called at each change until it unsubscribes, which may be repeated."""
    generation, calls = _generation(_task("completed", _Image("a"))), []
    stop = generation.subscribe(lambda: calls.append("change"))
    generation.changed()
    generation.show_version(generation.slots[0], _Image("b"))
    stop()
    stop()
    generation.changed()
    assert calls == ["change", "change"]


def test_a_listener_that_raises(caplog):
    """An exception of a listener is logged, and the other listeners are called."""
    generation, calls = _generation(_task()), []
    generation.subscribe(lambda: 1 / 0)
    generation.subscribe(lambda: calls.append("second"))
    with caplog.at_level(logging.ERROR):
        generation.changed()
    assert calls == ["second"]
    assert "ZeroDivisionError" in caplog.text


def test_a_listener_unsubscribes_another():
    """A listener can unsubscribe another one while they are called."""
    generation, calls = _generation(_task()), []
    generation.subscribe(lambda: stop())  # noqa: PLW0108 (stop is not defined yet)
    stop = generation.subscribe(lambda: calls.append("late"))
    generation.changed()
    generation.changed()
    assert calls == ["late"]


async def _finish(generation, *images, error=None):
    task = generation.tasks[0]
    task.images, task.error = list(images), error
    task.status = "completed" if images else "failed"
    generation.set_tasks(generation.tasks)


def test_awaiting_returns_the_generation():
    """``await`` returns the Generation, and may be repeated."""

    async def main():
        generation, image = _generation(_task()), _Image("a")
        generation.attach(asyncio.create_task(_finish(generation, image)))
        found = await asyncio.gather(generation.wait(), generation.wait())
        return found == [generation, generation], await generation is generation, image

    same, again, _ = asyncio.run(main())
    assert same
    assert again


def test_awaiting_a_failure_raises_it():
    """``await`` raises the reason if there is no image at all."""

    async def main():
        generation = _generation(_task())
        generation.attach(
            asyncio.create_task(_finish(generation, error=TaskFailedError("too dark")))
        )
        await generation

    with pytest.raises(TaskFailedError, match="too dark"):
        asyncio.run(main())


def test_one_image_is_enough():
    """``await`` does not raise if there is at least one image."""

    async def main():
        generation = _generation(_task("completed", _Image("a")), _task("failed"))
        generation.tasks[1].error = TaskFailedError("too dark")
        generation.attach(asyncio.create_task(asyncio.sleep(0)))
        return await generation

    assert [error.what for error in asyncio.run(main()).errors] == ["too dark"]


def test_an_interrupted_wait_leaves_the_task_alone():
    """A cancelled wait does not cancel the request, and its message says so."""

    async def main():
        go = asyncio.Event()
        generation = _generation(_task("processing", task_id="tsk_1"))

        async def work():
            await go.wait()
            await _finish(generation, _Image("a"))

        generation.attach(asyncio.create_task(work()))
        waiting = asyncio.create_task(generation.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        go.set()
        await generation
        return caught.value._render_traceback_(), generation.status

    lines, status = asyncio.run(main())
    assert status == "completed"
    assert "tsk_1" in lines[0]
    assert any("may be charged" in line for line in lines)
    assert any("resume" in line for line in lines)


def test_waits_end_when_the_work_fails():
    """All waits end, even if the work fails in an unexpected way."""

    async def work():
        await asyncio.sleep(0)
        raise OSError

    async def main():
        generation = _generation(_task())
        generation.attach(asyncio.ensure_future(work()))
        await asyncio.wait_for(asyncio.gather(generation.ready(), generation.served()), 10)
        await generation.ended()
        return generation

    assert asyncio.run(main()).status == "cancelled"


def test_waiting_on_another_threads_loop():
    """A Generation can be awaited on the loop of another thread."""
    ready, go, found = threading.Event(), threading.Event(), []
    generation = _generation(_task())

    async def work():
        generation.attach(asyncio.current_task())
        ready.set()
        await asyncio.to_thread(go.wait, 10)
        await _finish(generation, _Image("a"))

    async def wait():
        go.set()
        found.append(await generation)

    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()
    assert ready.wait(10)
    asyncio.run(wait())
    worker.join(10)
    assert found == [generation]


@pytest.mark.parametrize("name", ["ready", "served", "ended"])
def test_all_waits_work_on_another_threads_loop(name):
    """All ways to wait work on the loop of another thread."""
    go, generation = threading.Event(), _generation(_task())
    attached = threading.Event()

    async def work():
        generation.attach(asyncio.current_task())
        attached.set()
        await asyncio.to_thread(go.wait, 10)
        await _finish(generation, _Image("a"))
        generation.changed()

    async def wait():
        waiting = asyncio.create_task(getattr(generation, name)())
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait_for(waiting, 10)

    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()
    assert attached.wait(10)
    asyncio.run(wait())
    worker.join(10)
    assert generation.status == "completed"


def test_cancelling_from_another_thread():
    """``cancel`` works from any thread."""

    async def main():
        generation, seen = _generation(_task("processing")), []

        async def work():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                generation.tasks[0].status = "cancelled"

        generation.attach(asyncio.create_task(work()))
        await asyncio.sleep(0)
        await asyncio.to_thread(generation.cancel)
        await generation.ended()
        generation.cancel()  # a second call does nothing
        return seen, generation.status

    assert asyncio.run(main()) == (["cancelled"], "cancelled")


def test_cancelling_before_the_work_starts():
    """A Generation without work can be cancelled."""
    generation = _generation(_task())
    generation.cancel()
    assert generation.status in {"pending", "cancelled"}
