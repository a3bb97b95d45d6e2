"""The journal: written ahead, shared between kernels, and without the key."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runapi_magic
from runapi_magic.core.duration_model import KEPT, Duration, Kind
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import NOT_SENT
from runapi_magic.http.client import Attempt
from runapi_magic.journal import database, task_log
from runapi_magic.journal.database import JournalBusyError, JournalError
from runapi_magic.journal.history import History
from runapi_magic.journal.matching import KEY_LIFETIME
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.task_log import Journal

ORIGIN = "https://runapi.ai"
KIND = Kind(ORIGIN, "gpt-image-2", "text_to_image", "2k")
REQUEST = ImageRequest("a fox", "gpt-image-2", {"aspect_ratio": "3:4"})
ATTEMPT = Attempt(
    "key-1", "namespaced", "/api/v1/gpt_image_2/text_to_image", b'{"model":"gpt-image-2"}',
    ("/api/v1/gpt_image_2/text_to_image/{id}",),
)  # fmt: skip


@pytest.fixture
def open_journal(tmp_path):
    """Open journals of one data folder, each as another kernel would; all are closed at the end."""
    opened = []

    def make():
        opened.append(Journal(tmp_path / "data"))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal):
    """One journal."""
    return open_journal()


_numbers = iter(range(10_000))


def _reserve(journal, request=REQUEST, *, reuse=True, origin=ORIGIN, intact=True, generation="g1"):
    return journal.allocate(
        generation, request, origin, split=lambda count: (1,) * count,
        new_id=lambda: f"part-{next(_numbers)}", usable=lambda *_: intact,
        since=0.0 if reuse else None,
    )  # fmt: skip


def _plan(journal, request=REQUEST, **options):
    (task,) = _reserve(journal, request, **options).planned
    return task.id


def _image(task, request=REQUEST, number=0):
    return GeneratedImage(
        id=f"{task}-{number}", path=Path(f"/pictures/{task}-{number}.png"), request=request,
        width=8, height=6, task_id="tsk_1", digest=f"{number:064x}", created=5.0,
    )  # fmt: skip


def _finish(journal, task, request=REQUEST, count=1):
    journal.mark_sent(task, ATTEMPT)
    journal.mark_running(task, "tsk_1", ("/p/tsk_1",))
    journal.mark_completed(task, 0.06, 12.5)
    journal.mark_saved(task, [_image(task, request, number) for number in range(count)])


def _raw(journal, query):
    with sqlite3.connect(journal.path) as connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def test_nothing_is_made_before_the_first_use(tmp_path):
    """A journal that nobody uses makes no file and no folder."""
    Journal(tmp_path / "data").close()
    assert not (tmp_path / "data").exists()


def test_the_way_of_a_task(journal):
    """A row tells at each step what is known by then, in order, and nothing of it is lost."""
    task = _plan(journal)
    states = [journal.task(task)]
    journal.mark_sent(task, ATTEMPT)
    states.append(journal.task(task))
    journal.mark_running(task, "tsk_1", ("/p/tsk_1", "/q/tsk_1"))
    states.append(journal.task(task))
    journal.mark_completed(task, 0.06, 12.5)
    states.append(journal.task(task))
    journal.mark_saved(task, [_image(task)])
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


def test_each_step_is_on_disk_at_once(journal, open_journal):
    """What one kernel wrote another one reads, before anything else happens."""
    task = _plan(journal)
    other = open_journal()
    assert other.task(task).state == "planned"
    journal.mark_sent(task, ATTEMPT)
    assert other.task(task).attempt == ATTEMPT


def test_pictures_are_found(journal):
    """A picture's row has its file, size, digest and place within its task."""
    task = _plan(journal)
    _finish(journal, task, count=2)
    first, second = journal.images(task)
    assert (first.path, first.position, second.position) == (Path(f"/pictures/{task}-0.png"), 0, 1)
    assert (first.width, first.height, first.digest) == (8, 6, "0" * 64)
    assert (first.task.id, first.seconds, first.saved) == (task, 12.5, 5.0)
    history = History(journal)
    assert history.image(second.id) == second
    assert history.image("nobody") is None
    assert journal.task("nobody") is None


def test_sources_are_kept(journal):
    """Sources come back with label, digest, and where they are; the mask is told from them."""
    request = ImageRequest(
        "brighter", "gpt-4o-image", {"aspect_ratio": "1:1"},
        sources=(Source("cat", "d1", url="https://x"), Source("dog", "d2", path=Path("d.png"))),
        mask=Source("mask", "d3", content=b"secret bytes"),
    )  # fmt: skip
    cat, dog, mask = journal.task(_plan(journal, request)).sources
    assert (cat["label"], cat["digest"], cat["url"], cat["mask"]) == (
        "cat", "d1", "https://x", False,
    )  # fmt: skip
    assert Path(dog["path"]) == Path("d.png").absolute()
    assert (mask["digest"], mask["mask"]) == ("d3", True)


@pytest.mark.parametrize(("refused", "state"), [(True, "refused"), (False, "failed")])
def test_failures(journal, refused, state):
    """A task that will bring no picture says why, and is not asked for again on its own."""
    task = _plan(journal)
    journal.mark_failed(task, "too dark", refused=refused)
    row = journal.task(task)
    assert (row.state, row.error, row.owner) == (state, "too dark", None)
    assert journal.unfinished() == []
    assert len(_reserve(journal).planned) == 1


def test_run_all_is_free(journal):
    """An identical request is met from what is on disk, and nothing new is planned."""
    task = _plan(journal)
    _finish(journal, task)
    again = _reserve(journal)
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
def test_what_is_not_reused(journal, options):
    """Another request, another service, a changed file, or ``--new`` each ask afresh."""
    _finish(journal, _plan(journal))
    again = _reserve(journal, **options)
    assert again.finished == []
    assert len(again.planned) == 1


def test_more_pictures_of_the_same(journal):
    """A request for three takes the one that is there and plans two."""
    _finish(journal, _plan(journal))
    more = _reserve(journal, ImageRequest("a fox", "gpt-image-2", {"aspect_ratio": "3:4"}, count=3))
    assert (len(more.finished), len(more.planned)) == (1, 2)


def test_fewer_pictures_of_the_same(journal):
    """A request for one of several that are there shows one."""
    _finish(journal, _plan(journal), count=2)
    assert len(_reserve(journal).finished) == 1


def test_a_living_kernels_task_is_joined(journal, open_journal):
    """What another living kernel works on is waited for, not asked for twice."""
    task = _plan(journal)
    found = _reserve(open_journal())
    assert [row.id for row in found.joined] == [task]
    assert (found.planned, found.claimed) == ([], [])


def test_the_same_kernels_task_is_joined(journal):
    """Two cells of one kernel that ask for the same share one task."""
    task = _plan(journal)
    assert [row.id for row in _reserve(journal).joined] == [task]


def test_a_dead_kernels_task_is_taken(journal, open_journal):
    """What a dead kernel left is taken over under its own key, once."""
    task = _plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.close()
    heir, late = open_journal(), open_journal()
    (taken,) = _reserve(heir).claimed
    assert (taken.id, taken.attempt) == (task, ATTEMPT)
    assert heir.task(task).owner == heir.owners.me
    assert [row.id for row in _reserve(late).joined] == [task]


@pytest.mark.posix
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_process_that_ends_lets_go(journal, tmp_path, end):
    """However a kernel's process ends, its tasks are free the moment it is gone."""
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


def test_letting_go(journal, open_journal):
    """A task that nobody waits for any more is free for every kernel, and says why."""
    task = _plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.release_task(task, "stopped")
    other = open_journal()
    assert [(row.id, row.error) for row in other.unfinished()] == [(task, "stopped")]
    assert [row.id for row in other.claim(lambda _: True, "heir")] == [task]
    assert journal.unfinished() == []
    assert journal.claim(lambda _: True, "heir") == []


def test_taking_only_what_is_wanted(journal, open_journal):
    """Only wanted tasks change hands, oldest first."""
    tasks = [_plan(journal, ImageRequest(f"fox {number}", "gpt-image-2")) for number in range(3)]
    journal.close()
    heir = open_journal()
    taken = heir.claim(lambda row: row.prompt != "fox 1", "heir")
    assert [row.id for row in taken] == [tasks[0], tasks[2]]
    assert [row.id for row in heir.unfinished()] == [tasks[1]]


def test_an_old_key_is_not_trusted(journal, open_journal, monkeypatch):
    """A request whose answer was lost more than a day ago is not repeated under its old key."""
    task = _plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.close()
    now = task_log.time.time()
    monkeypatch.setattr(task_log.time, "time", lambda: now + KEY_LIFETIME + 1)
    found = _reserve(open_journal())
    assert found.claimed == []
    assert len(found.planned) == 1


def test_an_old_task_with_an_id_is_still_looked_at(journal, open_journal, monkeypatch):
    """A task whose id is known is gone on with, however old it is: looking costs nothing."""
    task = _plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.mark_running(task, "tsk_1", ("/p/tsk_1",))
    journal.close()
    now = task_log.time.time()
    monkeypatch.setattr(task_log.time, "time", lambda: now + KEY_LIFETIME + 1)
    assert [row.id for row in _reserve(open_journal()).claimed] == [task]


def test_two_kernels_never_plan_the_same_twice(open_journal):
    """Kernels that ask for the same at the same moment plan it once."""
    journals = [open_journal() for _ in range(4)]
    found, gate = [], threading.Barrier(4)

    def ask(journal):
        gate.wait(20)
        found.append(_reserve(journal))

    threads = [threading.Thread(target=ask, args=(journal,)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(len(one.planned) for one in found) == [0, 0, 0, 1]
    assert sorted(len(one.joined) for one in found) == [0, 1, 1, 1]


def test_a_file_that_another_kernel_begins(journal, monkeypatch):
    """Who opens a new file while another kernel makes it waits for that, and both go on."""
    journal.path.parent.mkdir()
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    naps = []
    monkeypatch.setattr(
        "tenacity.nap.time.sleep", lambda seconds: (naps.append(seconds), other.rollback())
    )
    assert journal.task(_plan(journal)).state == "planned"
    assert len(naps) == 1
    other.close()


def test_many_threads_write(journal):
    """Calls from many threads are all written."""
    tasks = [_plan(journal, ImageRequest(f"fox {number}", "gpt-image-2")) for number in range(8)]
    threads = [threading.Thread(target=_finish, args=(journal, task)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {journal.task(task).state for task in tasks} == {"saved"}


@pytest.mark.posix
def test_the_file_is_private(journal):
    """Folder and file are for their owner alone."""
    _plan(journal)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_migrations(journal):
    """A new file has the newest version of the tables; opening it again changes nothing."""
    task = _plan(journal)
    journal.close()
    before = _raw(journal, "SELECT sql FROM sqlite_master ORDER BY name")
    assert _raw(journal, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert journal.task(task).state == "planned"
    journal.close()
    assert _raw(journal, "SELECT sql FROM sqlite_master ORDER BY name") == before


def test_an_older_file_is_migrated(journal, monkeypatch):
    """A file of an older version gets what is new, and keeps its rows."""
    task = _plan(journal)
    journal.close()

    def add_a_column(connection):
        connection.execute("ALTER TABLE tasks ADD COLUMN star INTEGER")

    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, add_a_column))
    assert journal.task(task).prompt == "a fox"
    assert _raw(journal, "SELECT star FROM tasks") == [(None,)]
    assert _raw(journal, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


def test_a_half_done_migration_leaves_nothing(journal, monkeypatch):
    """A migration that fails changes nothing, so that the next start can try again."""

    def fail(connection):
        connection.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("no luck")

    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, fail))
    with pytest.raises(JournalError, match="no luck"):
        journal.unfinished()
    monkeypatch.undo()
    assert journal.unfinished() == []
    assert _raw(journal, "SELECT name FROM sqlite_master WHERE name = 'half'") == []


@pytest.mark.parametrize("content", [b"this is no database, not at all" * 50, b"\x00" * 5000])
def test_a_damaged_file_is_set_aside(journal, content):
    """A file that is no database is kept under another name, and a new one begun."""
    journal.path.parent.mkdir(parents=True)
    journal.path.write_bytes(content)
    assert _plan(journal)
    assert journal.damaged_file.read_bytes() == content


@pytest.mark.parametrize("ask", ["reserve", "missing"])
def test_no_file_is_read_inside_a_transaction(journal, ask):
    """While pictures' files are checked, another program can write to the journal."""
    task = _plan(journal)
    _finish(journal, task)
    checked = []

    def usable(path, _digest):
        with sqlite3.connect(journal.path, timeout=0, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
        checked.append(path)
        return True

    if ask == "missing":
        assert journal.count_missing(REQUEST, ORIGIN, usable=usable) == 0
    else:
        reserved = journal.allocate(
            "g2", REQUEST, ORIGIN, split=lambda count: (1,) * count, new_id=lambda: "part-new",
            usable=usable,
        )  # fmt: skip
        assert [image.task.id for image in reserved.finished] == [task]
        assert reserved.planned == []
    assert checked == [Path(f"/pictures/{task}-0.png")]


def test_only_what_is_needed_is_checked(journal):
    """Of many pictures of one request only as many are checked as are asked for, and gone ones."""
    for number in range(5):
        _finish(journal, _plan(journal, reuse=False, generation=f"g{number}"))
    answers, checked = iter([False, True]), []

    def usable(path, _digest):
        checked.append(path)
        return next(answers)

    assert journal.count_missing(REQUEST, ORIGIN, usable=usable) == 0
    assert len(checked) == 2


def _hold(path):
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.fixture
def _impatient(monkeypatch):
    """Calls wait for another program for a blink only."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 0.1)


@pytest.mark.usefixtures("_impatient")
def test_busy_is_not_unusable(journal):
    """Where another program writes, writing says that the journal is busy; reading goes on."""
    task = _plan(journal)
    other = _hold(journal.path)
    with pytest.raises(JournalBusyError, match="another program has locked") as caught:
        journal.mark_failed(task, "no", refused=False)
    assert journal.task(task).state == "planned"
    other.close()
    journal.mark_failed(task, "no", refused=False)
    assert journal.task(task).state == "failed"
    assert caught.value.charged == NOT_SENT


@pytest.mark.usefixtures("_impatient")
def test_opening_a_busy_journal(journal, open_journal):
    """A kernel that starts while another program writes can read the journal all the same."""
    task = _plan(journal)
    other = _hold(journal.path)
    assert open_journal().task(task).id == task
    other.close()


@pytest.mark.usefixtures("_impatient")
def test_a_new_version_of_a_busy_journal(journal, monkeypatch):
    """New tables wait for the other program, and are made when it lets go."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:-1])
    with journal.transaction():
        pass  # the tables of the version before
    journal.close()
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS)
    other = _hold(journal.path)
    with pytest.raises(JournalBusyError):
        journal.unfinished()
    other.close()
    assert journal.unfinished() == []
    assert _raw(journal, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_who_waits_does_not_hold_up_who_reads(journal):
    """While one thread waits for another program, another thread of this kernel reads."""
    task = _plan(journal)
    other = _hold(journal.path)
    writing = threading.Thread(
        target=journal.mark_failed, args=(task, "no"), kwargs={"refused": False}
    )
    writing.start()
    assert journal.task(task).state == "planned"
    other.close()
    writing.join(30)
    assert journal.task(task).state == "failed"


def test_a_call_on_a_loop_waits_for_a_moment_only(journal, monkeypatch):
    """On a loop's thread a call gives up soon, since all on the loop waits with it."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 1e6)
    monkeypatch.setattr(database, "_SHORT_TIMEOUT", 0.1)
    task = _plan(journal)
    other = _hold(journal.path)

    async def call():
        journal.mark_failed(task, "no", refused=False)

    with pytest.raises(JournalBusyError):
        asyncio.run(call())
    other.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    """Where there can be no journal the error names the file and the reason."""
    (tmp_path / "data").write_text("in the way")
    journal = Journal(tmp_path / "data")
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        journal.unfinished()


def test_closing_and_going_on(journal):
    """A closed journal opens itself again; closing twice does no harm."""
    task = _plan(journal)
    journal.close()
    journal.close()
    assert journal.task(task).id == task


def test_fields_that_are_no_json(journal):
    """A field that is no JSON never gets into a row: nothing is half written."""
    with pytest.raises((TypeError, ValueError)):
        _reserve(journal, ImageRequest("a fox", "other-model", {"x": object()}))
    assert journal.unfinished() == []


def test_durations_are_kept(journal, open_journal):
    """How long tasks took is there for the next kernel, oldest first, failures marked."""
    task = _plan(journal)
    journal.mark_sent(task, ATTEMPT)
    journal.mark_completed(task, 0.06, 14.0, (KIND, Duration(12.5)))
    journal.add_duration(KIND, Duration(3.0, failed=True))
    assert open_journal().durations(KIND) == [Duration(12.5), Duration(3.0, failed=True)]
    assert (journal.task(task).state, journal.task(task).cost) == ("completed", 0.06)


@pytest.mark.parametrize(
    "other",
    [
        Kind("http://simulator.localhost", KIND.model, KIND.action, KIND.resolution),
        Kind(ORIGIN, "gpt-4o-image", KIND.action, KIND.resolution),
        Kind(ORIGIN, KIND.model, "edit_image", KIND.resolution),
        Kind(ORIGIN, KIND.model, KIND.action, ""),
    ],
)
def test_durations_of_other_kinds(journal, other):
    """Another service, model, action or resolution has durations of its own."""
    journal.add_duration(KIND, Duration(12.5))
    assert journal.durations(other) == []
    assert journal.durations(KIND) == [Duration(12.5)]


def test_durations_are_bounded(journal):
    """Of each kind the last ones stay, and only they."""
    other = Kind(ORIGIN, "gpt-image-2", "text_to_image", "4k")
    journal.add_duration(other, Duration(1.0))
    for number in range(KEPT + 5):
        journal.add_duration(KIND, Duration(float(number)))
    assert [took.seconds for took in journal.durations(KIND)] == list(range(5, KEPT + 5))
    assert journal.durations(other) == [Duration(1.0)]
    assert _raw(journal, "SELECT count(*) FROM durations") == [(KEPT + 1,)]


def test_durations_are_found_by_their_index(journal):
    """Reading the durations of one kind does not go through the others, however many there are."""
    _plan(journal)
    plan = _raw(
        journal,
        "EXPLAIN QUERY PLAN SELECT seconds FROM durations WHERE origin = 'a' AND model = 'b'"
        " AND action = 'c' AND resolution = 'd' ORDER BY rowid DESC LIMIT 64",
    )
    (step,) = (row[3] for row in plan)
    assert step.startswith("SEARCH durations USING INDEX durations_by_kind (origin=? AND model=?")


def _old_row(journal, model="gpt-image-2", path="/api/v1/gpt_image_2/text_to_image"):
    """Write the row of a running task as the first version did; return its id."""
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO tasks (id, generation, origin, created, model, prompt, fields, sources,"
            " fingerprint, count, state, idempotency_key, family, path, body, status_paths,"
            " task_id)"
            " VALUES ('old', 'g', 'https://runapi.ai', 1.0, ?, 'a fox', '{}', '[]', 'f', 1,"
            " 'running', 'key', 'namespaced', ?, X'7B7D', ?, 'tsk_1')",
            (model, path, json.dumps([f"{path}/{{id}}"])),
        )
    return "old"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/v1/nano_banana_pro/edit_image", ("nano_banana_pro", "edit_image")),
        ("/v1/text_to_image", (None, None)),
    ],
)
def test_an_older_journals_unknown_model(journal, monkeypatch, path, route):
    """A task of a model that the catalogue lacks goes on at its stored path, which is its route."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:7])
    task = _old_row(journal, "nano-banana-pro", path)
    journal.close()
    monkeypatch.undo()
    stored = journal.task(task)
    assert (stored.route, stored.task_id) == (route, "tsk_1")
    assert stored.attempt.paths_of("tsk_1") == (f"{path}/tsk_1",)
    assert [one.id for one in journal.unfinished()] == [task]


def test_a_journal_without_durations_gets_them(journal, monkeypatch):
    """A file of the version before durations were kept keeps its rows and learns from then on."""
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:4])
    task = _old_row(journal)
    journal.close()
    monkeypatch.undo()
    assert journal.durations(KIND) == []
    journal.add_duration(KIND, Duration(12.5))
    assert journal.durations(KIND) == [Duration(12.5)]
    assert journal.task(task).prompt == "a fox"
