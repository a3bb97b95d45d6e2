"""A batch on a Dask cluster: every image is charged once, whatever happens to the workers."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.dask_driver import local_file, run_on_cluster
from runapi_magic.batch.item import Item
from runapi_magic.engine.download import DownloadOptions
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import DownloadError, InvalidRequestError, TaskFailedError
from runapi_magic.http.responses import error_from_response
from runapi_magic.journal.tables import select_tasks
from runapi_magic.media.files import SavedFile
from runapi_magic.media.limits import DEFAULT_LIMITS
from runapi_magic.media.metadata import extract
from runapi_magic.media.object_store import SaveLocation
from tests.cluster.conftest import until
from tests.conftest import KEY, ROOT, serve_simulator

PROMPTS = [f"boat {number:02} {'slow' if number == 4 else ''}" for number in range(24)]


def creates(server):
    """Return the POST requests that the server received."""
    return [request for request in server.state()["requests"] if request["method"] == "POST"]


def test_a_killed_worker_costs_nothing(on_cluster, workers, environment):
    """A worker is killed during a batch: every prompt has one task, one image and one charge."""
    environment.fault("status=stuck,match=slow")

    async def body(session, begin):
        batch = begin(PROMPTS)
        await until(lambda: any(slow.task_id for slow in rows(session, "slow")))
        (slow,) = rows(session, "slow")  # running, and charged
        (busy,) = (
            worker
            for worker, keys in workers.processing().items()
            if any(slow.id in key for key in keys)
        )
        os.kill(workers.run(os.getpid)[busy], signal.SIGKILL)
        sent = environment.state()["tasks_created"]
        environment.clear_faults()
        await batch
        paths = [image.path for image in batch.pictures]
        return batch.records(), paths, batch.cost, sent, session.journal.unfinished()

    records, paths, cost, sent, unfinished = on_cluster(body)
    state = environment.state()
    assert sent < 24
    assert [record["status"] for record in records] == ["completed"] * 24
    assert sorted(task["body"]["prompt"] for task in state["tasks"]) == sorted(
        prompt.strip() for prompt in PROMPTS
    )
    assert len(creates(environment)) > 24  # requests of the killed worker were repeated
    assert state["charged_cents"] == pytest.approx(cost * 100)
    assert len(set(paths)) == 24
    assert sorted(Path("gpt-images").absolute().iterdir()) == sorted(paths)  # no partial file
    metadata = [extract(path) for path in paths]
    assert {each["task"] for each in metadata} == {task["id"] for task in state["tasks"]}
    assert unfinished == []

    async def again(_, begin):
        batch = await begin(PROMPTS)
        return batch.cost, batch.saved, [image.path for image in batch.pictures]

    assert on_cluster(again) == (0.0, pytest.approx(cost), paths)
    assert environment.state()["tasks_created"] == 24


def test_failures_beside_successes(on_cluster, environment):
    """A failed task has its reason; the others complete. retry_failed creates one more task."""
    environment.fault("status=failed,match=dragon,message=no dragons")

    async def body(_, begin):
        batch = await begin(["a fox", "a dragon", "a cat"])
        (failed,) = batch.failures
        before, error = [item.status for item in batch.items], failed.error
        environment.clear_faults()
        await batch.retry_failed()
        return before, error, [item.status for item in batch.items]

    before, error, after = on_cluster(body)
    assert before == ["completed", "failed", "completed"]
    assert isinstance(error, TaskFailedError)
    assert "no dragons" in error.what
    assert after == ["completed"] * 3
    assert environment.state()["tasks_created"] == 4


def test_a_cancelled_batch_is_resumed(on_cluster, environment):
    """Cancelled items keep their tasks. A repeated batch gets their images without new tasks."""
    environment.fault("status=stuck")

    async def cancel(session, begin):
        batch = begin(["a fox", "a cat"])
        # The driver records task ids while the workers wait, not only at their end.
        await until(lambda: {row.state for row in rows(session)} == {"running"})
        batch.cancel()
        await ended(batch)
        environment.clear_faults()
        return [item.status for item in batch.items], session.journal.unfinished()

    async def again(session, begin):
        await begin(["a fox", "a cat"])
        return session.journal.unfinished()

    statuses, unfinished = on_cluster(cancel)
    assert statuses == ["cancelled", "cancelled"]
    tasks = environment.state()["tasks"]
    assert {task.task_id for task in unfinished} == {task["id"] for task in tasks}
    assert on_cluster(again) == []
    assert environment.state()["tasks_created"] == len(creates(environment)) == 2


def test_the_other_route_family(on_cluster):
    """If a route does not exist, workers use the other family, and one task is created."""
    with serve_simulator("--speed", "200", "--family", "guide") as guide:

        async def body(_, begin):
            return len((await begin(["a fox"])).pictures)

        assert on_cluster(body, base_url=guide.url) == 1
        paths = [request["path"] for request in creates(guide)]
        assert paths == ["/v1/text_to_image"]  # the simulator does not log unknown routes
        assert guide.state()["tasks_created"] == 1


@pytest.mark.parametrize("key", [None, "sk-test-another-account"])
def test_workers_need_the_key(on_cluster, workers, environment, key):
    """A worker without the driver's key sends nothing. The error says how to set the key."""
    workers.run(set_key, key)

    async def body(session, begin):
        batch = begin(["a fox"])
        await ended(batch)
        (failed,) = batch.failures
        error = failed.error
        (row,) = rows(session)
        sent = environment.state()["requests"]
        workers.run(set_key, KEY)
        await batch.retry_failed()
        return error, row, sent, len(batch.pictures)

    error, row, sent, images = on_cluster(body)
    assert sent == []
    # The idempotency key stays: a worker with the key might have sent the request before it died.
    (task,) = environment.state()["tasks"]
    assert task["idempotency_key"] == row.attempt.idempotency_key
    assert "worker on" in error.what
    assert "RUNAPI_API_KEY" in error.todo
    assert KEY not in str(error)
    assert images == 1


def test_the_key_is_not_sent_to_the_cluster(on_cluster, workers, monkeypatch):
    """No submitted job, worker log or event contains the key."""
    sent = []
    submit = workers.submit

    def record(*args, **options):
        sent.append(cloudpickle.dumps((args, options)))
        return submit(*args, **options)

    monkeypatch.setattr(workers, "submit", record)

    async def body(_, begin):
        return len((await begin(["a fox"])).pictures)

    assert on_cluster(body) == 1
    texts = [*sent, str(workers.get_worker_logs()).encode(), str(workers.get_events()).encode()]
    assert len(sent) == 1
    assert b"a fox" in sent[0]
    assert [text for text in texts if KEY.encode() in text] == []


def test_a_store_instead_of_a_shared_folder(on_cluster, environment, tmp_path):
    """Workers save images in the store. The driver downloads an image on first use."""
    store = f"file://{tmp_path}/store"

    async def body(_, begin):
        batch = await begin(["a fox"])
        (image,) = batch.pictures
        image.path.unlink()  # the worker's copy, here on the same machine
        return image.location, image.pil().size, (image.width, image.height)

    location, seen, size = on_cluster(body, image_dir=store)
    (stored,) = (tmp_path / "store").iterdir()
    assert location == f"{store}/{stored.name}"
    assert seen == size


def test_a_folder_that_is_not_shared(on_cluster, workers, environment):
    """If the driver cannot see a worker's file, the error says so and the task can be resumed."""
    workers.run(hide_images)

    async def body(session, begin):
        batch = begin(["a fox"])
        await ended(batch)
        return batch.failures[0].error, session.journal.unfinished()

    error, unfinished = on_cluster(body)
    assert isinstance(error, DownloadError)
    assert "cannot see it" in error.what
    assert [task.state for task in unfinished] == ["completed"]


def test_a_lost_cluster(on_cluster, workers, environment):
    """If the cluster is lost, the batch ends and its tasks can be resumed."""
    environment.fault("status=stuck")

    async def body(session, begin):
        batch = begin(["a fox"])
        await until(lambda: {row.state for row in rows(session)} == {"running"})
        await asyncio.to_thread(workers.cluster.close)
        await ended(batch)
        environment.clear_faults()
        images = (await resume_tasks(session)).images
        return batch.failures[0].error, images

    error, images = on_cluster(body)
    assert "Dask cluster" in error.what
    assert len(images) == environment.state()["tasks_created"] == 1


def test_an_invalid_cluster_is_refused(on_cluster, workers):
    """A value that is not a client, and the simulator in process, raise InvalidRequestError."""

    async def body(session, begin):
        with pytest.raises(InvalidRequestError, match=r"distributed\.Client"):
            run_on_cluster(Batch([Item(0, session.request("a fox"))]), session, "10.0.0.1:8786")
        session.connection.simulator_on()
        with pytest.raises(InvalidRequestError, match="simulator") as caught:
            begin(["a fox"])
        session.connection.simulator_off()
        return caught.value.todo

    assert "python -m runapi_magic.simulator" in on_cluster(body)


def test_workers_need_no_front_end():
    """A worker does not import IPython or widgets, and imports Dask only when needed."""
    code = "import sys, runapi_magic.batch.dask_worker; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = set(subprocess.check_output(command, text=True, cwd=ROOT).split())
    assert loaded & {"IPython", "ipywidgets", "distributed", "dask", "fsspec"} == set()


def test_errors_can_be_pickled():
    """An error of any class is the same after its way from a worker."""
    raised = error_from_response(
        402, {"x-request-id": "req_1"}, b'{"error": {"message": "no credit"}}'
    )
    raised.task_id = "tsk_1"
    back = pickle.loads(pickle.dumps(raised))
    assert type(back) is type(raised)
    assert vars(back) == vars(raised)
    assert str(back) == str(raised)
    assert back.args == raised.args


def test_partial_files_of_a_dead_worker(tmp_path):
    """A saved image removes the partial files of its own task, but not those of others."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in (".part1-0-aaaa.part", ".part2-0-bbbb.part", "fox.png"):
        (folder / name).touch()
    options = DownloadOptions(
        local_id="part1", title="", location=SaveLocation(folder), note=None,
        limits=DEFAULT_LIMITS, max_megabytes=1,
    )  # fmt: skip
    saved = SavedFile(Path("/worker/fox.png"), 8, 6, "", None)
    assert local_file(saved, options).path == folder / "fox.png"
    assert {path.name for path in folder.iterdir()} == {".part2-0-bbbb.part", "fox.png"}


# Helpers for workers and the driver


def set_key(key):
    """Set or remove a worker's key."""
    os.environ.pop("RUNAPI_API_KEY", None)
    os.environ |= {"RUNAPI_API_KEY": key} if key else {}


def hide_images():
    """Make a worker save images in its own folder, as without a shared folder."""
    from runapi_magic.batch import dask_worker

    dask_worker.save_location = lambda *_: SaveLocation(Path("elsewhere").absolute())


def rows(session, word=""):
    """Return the journal's tasks whose prompt contains a word."""
    with session.journal.transaction() as connection:
        return [task for task in select_tasks(connection, "TRUE") if word in task.prompt]


async def ended(batch):
    """Wait until a batch has ended, in any way."""
    async for _ in batch.as_completed():
        pass
