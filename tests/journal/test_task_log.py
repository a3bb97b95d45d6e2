"""The log of tasks: states, reuse, and tasks that pass from kernel to kernel."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runapi_magic
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.journal import task_log
from runapi_magic.journal.history import History
from runapi_magic.journal.matching import KEY_LIFETIME
from tests.journal.tasks import ATTEMPT, ORIGIN, REQUEST, allocate, finish, image, plan


def test_states_of_a_task(journal):
    """In each state, the row has everything that is known so far."""
    task = plan(journal)
    states = [journal.task(task)]
    journal.mark_sent(task, ATTEMPT)
    states.append(journal.task(task))
    journal.mark_running(task, "tsk_1", ("/p/tsk_1", "/q/tsk_1"))
    states.append(journal.task(task))
    journal.mark_completed(task, 0.06, 12.5)
    states.append(journal.task(task))
    journal.mark_saved(task, [image(task)])
    states.append(journal.task(task))
    assert [row.state for row in states] == ["planned", "sent", "running", "completed", "saved"]
    assert [row.attempt and row.attempt.idempotency_key for row in states] == [None] + ["key-1"] * 4
    assert [row.task_id for row in states] == [None, None, "tsk_1", "tsk_1", "tsk_1"]
    assert [row.cost for row in states] == [None, None, None, 0.06, 0.06]
    assert states[1].attempt == ATTEMPT
    assert states[2].attempt.status_paths == ("/p/tsk_1", "/q/tsk_1")
    assert states[4].attempt.body == ATTEMPT.body
    assert (states[0].prompt, states[0].model, states[0].fields) == (
        "a fox", "gpt-image-2", {"aspect_ratio": "3:4"},
    )  # fmt: skip
    assert states[0].owner == journal.owners.me
    assert states[4].owner is None


def test_each_state_is_on_disk_at_once(journal, open_journal):
    """Another kernel reads a new state at once."""
    task = plan(journal)
    other = open_journal()
    assert other.task(task).state == "planned"
    journal.mark_sent(task, ATTEMPT)
    assert other.task(task).attempt == ATTEMPT


def test_images_of_a_task(journal):
    """The row of an image has its file, size, digest and position in its task."""
    task = plan(journal)
    finish(journal, task, count=2)
    first, second = journal.images(task)
    assert (first.path, first.position, second.position) == (Path(f"/images/{task}-0.png"), 0, 1)
    assert (first.width, first.height, first.digest) == (8, 6, "0" * 64)
    assert (first.task.id, first.seconds, first.saved) == (task, 12.5, 5.0)
    history = History(journal)
    assert history.image(second.id) == second
    assert history.image("unknown") is None
    assert journal.task("unknown") is None


def test_sources_of_a_task(journal):
    """Sources are stored with label, digest, URL and path. The mask is marked."""
    request = ImageRequest(
        "brighter", "gpt-4o-image", {"aspect_ratio": "1:1"},
        sources=(Source("cat", "d1", url="https://x"), Source("dog", "d2", path=Path("d.png"))),
        mask=Source("mask", "d3", content=b"secret bytes"),
    )  # fmt: skip
    cat, dog, mask = journal.task(plan(journal, request)).sources
    assert (cat["label"], cat["digest"], cat["url"], cat["mask"]) == (
        "cat", "d1", "https://x", False,
    )  # fmt: skip
    assert Path(dog["path"]) == Path("d.png").absolute()
    assert (mask["digest"], mask["mask"]) == ("d3", True)


@pytest.mark.parametrize(("refused", "state"), [(True, "refused"), (False, "failed")])
def test_failures(journal, refused, state):
    """A failed task has its reason, is not unfinished and is not reused."""
    task = plan(journal)
    journal.mark_failed(task, "too dark", refused=refused)
    row = journal.task(task)
    assert (row.state, row.error, row.owner) == (state, "too dark", None)
    assert journal.unfinished() == []
    assert len(allocate(journal).planned) == 1


def test_an_identical_request_is_free(journal):
    """An identical request uses the images on disk. No task is planned."""
    task = plan(journal)
    finish(journal, task)
    again = allocate(journal)
    assert [image.id for image in again.finished] == [f"{task}-0"]
    assert (again.planned, again.joined, again.claimed) == ([], [], [])


@pytest.mark.parametrize(
    "options",
    [
        {"reuse": False},
        {"origin": "http://127.0.0.1:8000"},
        {"intact": False},
        {"request": ImageRequest("a dog", "gpt-image-2", {"aspect_ratio": "3:4"})},
        {"request": ImageRequest("a fox", "gpt-image-2", {"aspect_ratio": "4:3"})},
    ],
)
def test_requests_that_are_not_identical(journal, options):
    """Another request, another service, a changed file and ``--new`` each plan a task."""
    finish(journal, plan(journal))
    again = allocate(journal, **options)
    assert again.finished == []
    assert len(again.planned) == 1


def test_more_images_than_exist(journal):
    """A request for three images uses the existing one and plans two."""
    finish(journal, plan(journal))
    more = allocate(journal, ImageRequest("a fox", "gpt-image-2", {"aspect_ratio": "3:4"}, count=3))
    assert (len(more.finished), len(more.planned)) == (1, 2)


def test_fewer_images_than_exist(journal):
    """A request for one of two existing images uses one."""
    finish(journal, plan(journal), count=2)
    assert len(allocate(journal).finished) == 1


def test_a_task_of_another_kernel_is_joined(journal, open_journal):
    """A request waits for the identical task of another running kernel."""
    task = plan(journal)
    found = allocate(open_journal())
    assert [row.id for row in found.joined] == [task]
    assert (found.planned, found.claimed) == ([], [])


def test_a_task_of_the_same_kernel_is_joined(journal):
    """Two cells of one kernel with the same request share one task."""
    task = plan(journal)
    assert [row.id for row in allocate(journal).joined] == [task]


def test_a_task_of_an_ended_kernel_is_claimed(journal, open_journal):
    """One kernel claims the task of an ended kernel, with its idempotency key."""
    task = plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.close()
    second, third = open_journal(), open_journal()
    (claimed,) = allocate(second).claimed
    assert (claimed.id, claimed.attempt) == (task, ATTEMPT)
    assert second.task(task).owner == second.owners.me
    assert [row.id for row in allocate(third).joined] == [task]


@pytest.mark.posix
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_the_end_of_a_process_releases_its_tasks(journal, tmp_path, end):
    """Tasks are abandoned as soon as the process of their kernel has ended or was killed."""
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from runapi_magic.journal.task_log import Journal\n"
        "from runapi_magic.core.request import ImageRequest\n"
        f"journal = Journal(Path({str(tmp_path / 'data')!r}))\n"
        "journal.allocate('g', ImageRequest('a fox', 'gpt-image-2'), 'o', since=0.0,\n"
        "  split=lambda n: (1,) * n, new_id=lambda: 'other', usable=lambda path, digest: True)\n"
        "print('planned', flush=True); sys.stdin.readline()\n"
        f"{ {'exit': 'sys.exit()', 'kill': 'os.kill(os.getpid(), signal.SIGKILL)'}[end] }\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(runapi_magic.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environ,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "planned\n"
        assert journal.unfinished() == []
        process.communicate("\n", timeout=30)
    assert [row.id for row in journal.unfinished()] == ["other"]


def test_release_task(journal, open_journal):
    """Any kernel can claim a released task. The task has the reason."""
    task = plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.release_task(task, "stopped")
    other = open_journal()
    assert [(row.id, row.error) for row in other.unfinished()] == [(task, "stopped")]
    assert [row.id for row in other.claim(lambda _: True, "second")] == [task]
    assert journal.unfinished() == []
    assert journal.claim(lambda _: True, "second") == []


def test_claim_some_tasks(journal, open_journal):
    """Only wanted tasks are claimed, oldest first."""
    tasks = [plan(journal, ImageRequest(f"fox {number}", "gpt-image-2")) for number in range(3)]
    journal.close()
    second = open_journal()
    claimed = second.claim(lambda row: row.prompt != "fox 1", "second")
    assert [row.id for row in claimed] == [tasks[0], tasks[2]]
    assert [row.id for row in second.unfinished()] == [tasks[1]]


def test_an_old_key_is_not_reused(journal, open_journal, monkeypatch):
    """A POST without an answer is not repeated with its key after a day."""
    task = plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.close()
    now = task_log.time.time()
    monkeypatch.setattr(task_log.time, "time", lambda: now + KEY_LIFETIME + 1)
    found = allocate(open_journal())
    assert found.claimed == []
    assert len(found.planned) == 1


def test_an_old_task_with_an_id_is_polled(journal, open_journal, monkeypatch):
    """A task with a known ID is claimed at any age, because polling costs nothing."""
    task = plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.mark_running(task, "tsk_1", ("/p/tsk_1",))
    journal.close()
    now = task_log.time.time()
    monkeypatch.setattr(task_log.time, "time", lambda: now + KEY_LIFETIME + 1)
    assert [row.id for row in allocate(open_journal()).claimed] == [task]


def test_kernels_plan_an_image_once(open_journal):
    """Four kernels that request the same image at the same time plan one task."""
    journals = [open_journal() for _ in range(4)]
    found, gate = [], threading.Barrier(4)

    def request(journal):
        gate.wait(20)
        found.append(allocate(journal))

    threads = [threading.Thread(target=request, args=(journal,)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(len(one.planned) for one in found) == [0, 0, 0, 1]
    assert sorted(len(one.joined) for one in found) == [0, 1, 1, 1]


@pytest.mark.parametrize("call", ["allocate", "count_missing"])
def test_files_are_checked_outside_of_transactions(journal, call):
    """Another program can write to the journal while image files are checked."""
    task = plan(journal)
    finish(journal, task)
    checked = []

    def usable(path, _digest):
        with sqlite3.connect(journal.path, timeout=0, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
        checked.append(path)
        return True

    if call == "count_missing":
        assert journal.count_missing(REQUEST, ORIGIN, usable=usable) == 0
    else:
        allocation = journal.allocate(
            "g2", REQUEST, ORIGIN, split=lambda count: (1,) * count, new_id=lambda: "task-new",
            usable=usable,
        )  # fmt: skip
        assert [image.task.id for image in allocation.finished] == [task]
        assert allocation.planned == []
    assert checked == [Path(f"/images/{task}-0.png")]


def test_only_necessary_files_are_checked(journal):
    """Of five images of a request for one, files are checked until one exists."""
    for number in range(5):
        finish(journal, plan(journal, reuse=False, generation=f"g{number}"))
    answers, checked = iter([False, True]), []

    def usable(path, _digest):
        checked.append(path)
        return next(answers)

    assert journal.count_missing(REQUEST, ORIGIN, usable=usable) == 0
    assert len(checked) == 2


def test_fields_that_are_not_json(journal):
    """A request with a field that is not JSON writes no row."""
    with pytest.raises((TypeError, ValueError)):
        allocate(journal, ImageRequest("a fox", "other-model", {"x": object()}))
    assert journal.unfinished() == []
