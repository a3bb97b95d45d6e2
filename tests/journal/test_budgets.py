"""Budgets, spending and reservations of money, by several kernels."""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import runapi_magic
from runapi_magic.core.request import Attempt, ImageRequest
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import BudgetError
from runapi_magic.journal import budgets
from runapi_magic.journal.budgets import Budgets
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.tables import Billing
from runapi_magic.journal.task_log import Journal
from tests.properties import PROPERTY

HERE, REAL = "http://simulator.localhost", "https://runapi.ai"
ATTEMPT = Attempt("key-1", "namespaced", "/p", b"{}", ("/p/{id}",))
PRICE = 0.06


class Kernel:
    """The journal and the budgets of one kernel."""

    def __init__(self, folder):
        self.journal = Journal(folder)
        self.budgets = Budgets(self.journal)

    def plan(
        self, *, price=PRICE, reservation=None, notebook="", origin=REAL, prompt=None, count=1
    ):
        """Plan a task and return its ID."""
        number = secrets.token_hex(8)  # unique in all processes
        request = ImageRequest(prompt or f"fox {number}", "gpt-image-2", {}, count)
        (task,) = self.journal.allocate(
            f"g{number}", request, origin, split=lambda many: (many,), new_id=lambda: f"p{number}",
            usable=lambda *_: True, since=None,
            billing=Billing(lambda _: price, reservation, notebook),
        ).planned  # fmt: skip
        return task.id

    def send(self, task):
        """Mark a task as sent."""
        self.journal.mark_sent(task, ATTEMPT)

    def finish(self, task, cost=PRICE):
        """Save the image of a task with this cost."""
        self.journal.mark_completed(task, cost, 1.0)
        image = GeneratedImage(
            id=f"{task}-0", path=Path(f"/images/{task}.png"), width=8, height=6, task_id="tsk",
            request=ImageRequest("a fox", "gpt-image-2"), digest=f"{task:0>64}", created=5.0,
        )  # fmt: skip
        self.journal.mark_saved(task, [image])

    def make(self, cost=PRICE, **options):
        """Plan, send and finish a task."""
        task = self.plan(**options)
        self.send(task)
        self.finish(task, cost)
        return task

    def spending(self, origin=REAL, notebook=""):
        """Return what was spent."""
        return self.budgets.spending(origin, notebook)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts kernels with one data folder."""
    kernels = []

    def make():
        kernels.append(Kernel(tmp_path / "data"))
        return kernels[-1]

    yield make
    for kernel in kernels:
        kernel.journal.close()


@pytest.fixture
def kernel(start):
    """Return one kernel."""
    return start()


# What was spent


def test_a_new_journal(kernel):
    """In a new journal, nothing is spent or reserved."""
    found = kernel.spending()
    assert (found.session, found.today, found.total, found.reserved) == (0, 0, 0, 0)
    assert found.notebook is None


def test_a_task_counts_by_its_cost(kernel):
    """A task counts by its expected price until its cost is known."""
    task = kernel.plan(price=0.10)
    kernel.send(task)
    before = kernel.spending().total
    kernel.finish(task, cost=0.07)
    assert (before, kernel.spending().total) == (0.10, 0.07)


@pytest.mark.parametrize("cost", [0.0, None])
def test_zero_cost_and_unknown_cost(kernel, cost):
    """A cost of zero counts as zero. With an unknown cost, the expected price counts."""
    kernel.make(cost=cost)
    assert kernel.spending().total == (PRICE if cost is None else 0.0)


def test_unknown_cost_and_price(kernel):
    """A task without cost and price does not make the sum unknown."""
    kernel.make(cost=None, price=None)
    kernel.make()
    assert kernel.spending().total == PRICE


def test_unsuccessful_tasks_cost_nothing(kernel):
    """Planned, refused and failed tasks do not count."""
    kernel.plan()
    for refused in (True, False):
        task = kernel.plan()
        kernel.send(task)
        kernel.journal.mark_failed(task, "no", refused=refused)
    assert kernel.spending().total == 0


def test_a_released_task_counts(kernel):
    """A released task counts, because it may have been charged."""
    task = kernel.plan()
    kernel.send(task)
    kernel.journal.release_task(task, "stopped")
    assert kernel.spending().total == PRICE


def test_reused_images_cost_nothing(kernel, start):
    """A request that uses images on disk adds no spending."""
    kernel.make(prompt="a fox")
    other = start()
    found = other.journal.allocate(
        "again", ImageRequest("a fox", "gpt-image-2"), REAL, split=lambda many: (many,),
        new_id=lambda: "new", usable=lambda *_: True, billing=Billing(lambda _: PRICE, "again"),
    )  # fmt: skip
    assert len(found.finished) == 1
    assert other.spending().total == PRICE
    assert other.spending().session == 0


def test_session_notebook_and_total(kernel, start):
    """The session is one kernel, the notebook is all its kernels, the total is everything."""
    other = start()
    kernel.make(0.01, notebook="a.ipynb")
    other.make(0.02, notebook="a.ipynb")
    other.make(0.04, notebook="b.ipynb")
    found = kernel.spending(notebook="a.ipynb")
    assert (found.session, found.notebook, found.total) == (0.01, 0.03, pytest.approx(0.07))
    assert other.spending(notebook="c.ipynb").notebook == 0


def test_a_claimed_task_counts_for_its_first_kernel(kernel, start):
    """A kernel that finishes the task of an ended kernel has not spent its cost."""
    task = kernel.plan()
    kernel.send(task)
    kernel.journal.close()
    second = start()
    assert [row.id for row in second.journal.claim(lambda _: True, "second")] == [task]
    second.finish(task)
    found = second.spending()
    assert (found.session, found.today, found.total) == (0, PRICE, PRICE)


@pytest.mark.parametrize("how", ["claim", "allocate"])
def test_a_claimed_task_that_was_not_sent_counts_for_its_new_kernel(kernel, start, how):
    """A kernel that sends the planned task of an ended kernel has spent its cost."""
    task = kernel.plan(prompt="a fox", reservation="first")
    kernel.journal.close()
    second = start()
    second.budgets.set_budget(REAL, "day", 2 * PRICE)
    second.budgets.reserve("second", REAL, PRICE)
    if how == "claim":
        claimed = second.journal.claim(lambda _: True, "second", "second")
    else:
        claimed = second.journal.allocate(
            "second", ImageRequest("a fox", "gpt-image-2"), REAL, split=lambda many: (many,),
            new_id=lambda: "new", usable=lambda *_: True,
            billing=Billing(lambda _: PRICE, "second"),
        ).claimed  # fmt: skip
    assert [row.id for row in claimed] == [task]
    second.send(task)
    second.budgets.reserve("third", REAL, PRICE)  # the task is not both reserved and spent
    second.finish(task)
    found = second.spending()
    assert (found.session, found.today) == (PRICE, PRICE)


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock to a local time."""

    def set_clock(*moment, zone="Europe/Berlin"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        seconds = datetime(*moment).timestamp()  # noqa: DTZ001 (local, on purpose)
        monkeypatch.setattr("time.time", lambda: seconds)
        return seconds

    yield set_clock
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_day_begins_at_local_midnight(kernel, at, zone):
    """A task from before local midnight is not part of today."""
    at(2026, 5, 3, 23, 59, 59, zone=zone)
    kernel.make(0.01)
    at(2026, 5, 4, 0, 0, 0, zone=zone)
    kernel.make(0.02)
    assert kernel.spending().today == 0.02
    at(2026, 5, 4, 23, 59, 59, zone=zone)
    assert kernel.spending().today == 0.02
    at(2026, 5, 5, 0, 0, 0, zone=zone)
    assert kernel.spending().today == 0
    assert kernel.spending().total == 0.03


@pytest.mark.parametrize("month_and_day", [(3, 29), (10, 25)])
def test_a_day_when_the_clocks_change(kernel, at, month_and_day):
    """Days of 23 and 25 hours begin at midnight, too."""
    month, day = month_and_day
    at(2026, month, day - 1, 23, 30)
    kernel.make(0.01)
    at(2026, month, day, 0, 30)
    kernel.make(0.02)
    at(2026, month, day, 20, 0)
    assert kernel.spending().today == 0.02


def test_the_budget_of_the_next_day(kernel, at):
    """Spending of yesterday does not count against the budget of today."""
    at(2026, 5, 3, 12, 0)
    kernel.budgets.set_budget(REAL, "day", 0.10)
    kernel.make(0.10)
    with pytest.raises(BudgetError):
        kernel.budgets.reserve("a", REAL, PRICE)
    at(2026, 5, 4, 12, 0)
    assert kernel.budgets.reserve("a", REAL, PRICE) == PRICE


# Budgets and reservations


def test_set_and_remove_budgets(kernel, start):
    """The budget of a session is for one kernel, the budget of a day for all. None removes it."""
    other = start()
    kernel.budgets.set_budget(REAL, "session", 1.0)
    kernel.budgets.set_budget(REAL, "day", 5.0)
    assert kernel.budgets.budgets(REAL) == {"session": 1.0, "day": 5.0}
    assert other.budgets.budgets(REAL) == {"day": 5.0}
    other.budgets.set_budget(REAL, "day", 3.0)
    kernel.budgets.set_budget(REAL, "session", None)
    assert kernel.budgets.budgets(REAL) == {"day": 3.0}
    kernel.budgets.set_budget(REAL, "day", None)
    assert other.budgets.budgets(REAL) == {}
    assert [kernel.budgets.may_have_budget(REAL), kernel.budgets.may_have_budget(HERE)] == [
        False,
        False,
    ]


@pytest.mark.parametrize("scope", ["session", "day"])
def test_a_budget_is_exact_to_the_cent(kernel, scope):
    """A sum that equals the budget is allowed in spite of rounding errors. One cent more is not."""
    kernel.budgets.set_budget(REAL, scope, 0.30)
    kernel.budgets.reserve("a", REAL, 0.10)
    kernel.budgets.reserve("b", REAL, 0.20)
    with pytest.raises(BudgetError) as caught:
        kernel.budgets.reserve("c", REAL, 0.01)
    what, charged, todo = caught.value.parts
    assert f"This costs $0.01, but the budget of the {scope} is $0.30" in what
    assert "$0.00 spent, $0.30 reserved" in what
    assert charged == "Nothing was sent, nothing was charged."
    assert f"--{scope}" in todo
    assert kernel.spending().reserved == pytest.approx(0.30)


def test_earlier_spending_counts_against_a_new_budget(kernel):
    """Images from before the budget was set count, too."""
    kernel.make(0.25)
    kernel.budgets.set_budget(REAL, "day", 0.30)
    with pytest.raises(BudgetError, match=r"\$0\.25 spent"):
        kernel.budgets.reserve("a", REAL, 0.06)
    kernel.budgets.reserve("a", REAL, 0.05)


def test_two_budgets(kernel):
    """With a budget of the session and of the day, the smaller one decides."""
    kernel.budgets.set_budget(REAL, "session", 1.0)
    kernel.budgets.set_budget(REAL, "day", 0.05)
    with pytest.raises(BudgetError, match="budget of the day"):
        kernel.budgets.reserve("a", REAL, PRICE)
    kernel.budgets.set_budget(REAL, "day", 2.0)
    kernel.budgets.set_budget(REAL, "session", 0.05)
    with pytest.raises(BudgetError, match="budget of the session"):
        kernel.budgets.reserve("a", REAL, PRICE)


def test_a_session_does_not_count_other_kernels(kernel, start):
    """Spending and reservations of another kernel count for the day, not for this session."""
    other = start()
    other.make(0.50)
    other.budgets.set_budget(REAL, "day", 1.0)
    other.budgets.reserve("b", REAL, 0.40)
    kernel.budgets.set_budget(REAL, "session", 0.10)
    kernel.budgets.reserve("a", REAL, 0.10)
    with pytest.raises(BudgetError, match="budget of the day"):
        other.budgets.reserve("c", REAL, 0.01)


def test_released_money_can_be_reserved_again(kernel):
    """Reserved money that was not spent is available after the release."""
    kernel.budgets.set_budget(REAL, "day", 0.10)
    kernel.budgets.reserve("a", REAL, 0.10)
    kernel.budgets.release("a")
    kernel.budgets.release("a")
    kernel.budgets.reserve("b", REAL, 0.10)


def test_tasks_of_an_open_reservation_count_once(kernel):
    """Only the reservation counts, not its tasks, while it is open."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    kernel.budgets.reserve("a", REAL, 0.60)
    for _ in range(6):
        kernel.make(0.10, reservation="a")
    kernel.budgets.reserve("b", REAL, 0.40)
    with pytest.raises(BudgetError, match=r"\$0\.00 spent, \$1\.00 reserved"):
        kernel.budgets.reserve("c", REAL, 0.01)


def test_spent_and_reserved_money_do_not_overlap(kernel):
    """Of an open reservation, only the money that its tasks have not spent counts as reserved."""
    kernel.budgets.reserve("a", REAL, 3 * PRICE)
    found = []
    for _ in range(3):
        kernel.send(kernel.plan(reservation="a"))
        found.append(kernel.spending())
    assert [one.total for one in found] == pytest.approx([PRICE, 2 * PRICE, 3 * PRICE])
    assert [one.reserved for one in found] == [pytest.approx(2 * PRICE), pytest.approx(PRICE), 0]


def test_a_budget_that_is_lowered_meanwhile(kernel, start, monkeypatch):
    """A budget that another kernel lowers just before a reservation is not exceeded."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    other, begin = start(), kernel.journal.transaction

    def lower_and_begin():
        other.budgets.set_budget(REAL, "day", PRICE / 2)
        return begin()

    monkeypatch.setattr(kernel.journal, "transaction", lower_and_begin)
    with pytest.raises(BudgetError):
        kernel.budgets.reserve("a", REAL, PRICE)


def test_tasks_count_by_cost_after_the_release(kernel):
    """After the release, tasks count by their cost, which may be less or more than reserved."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    for name, usd, cost in (("a", 0.60, 0.20), ("b", 0.20, 0.50)):
        kernel.budgets.reserve(name, REAL, usd)
        kernel.make(cost, reservation=name)
        kernel.budgets.release(name)
    with pytest.raises(BudgetError, match=r"\$0\.70 spent, \$0\.00 reserved"):
        kernel.budgets.reserve("c", REAL, 0.31)
    kernel.budgets.reserve("c", REAL, 0.30)


def test_a_failed_task_is_free(kernel):
    """The money of a failed task is available after the release."""
    kernel.budgets.set_budget(REAL, "session", PRICE)
    kernel.budgets.reserve("a", REAL, PRICE)
    task = kernel.plan(reservation="a")
    kernel.send(task)
    kernel.journal.mark_failed(task, "the model was busy", refused=False)
    kernel.budgets.release("a")
    kernel.budgets.reserve("b", REAL, PRICE)


def test_reservations_of_ended_kernels_do_not_count(kernel, start):
    """When a kernel ends, its reservations end. Tasks that it sent count by their price."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    kernel.budgets.reserve("a", REAL, 1.0)
    kernel.send(kernel.plan(reservation="a", price=0.30))
    second = start()
    with pytest.raises(BudgetError):
        second.budgets.reserve("b", REAL, 0.01)
    kernel.journal.close()
    assert second.spending().reserved == 0
    second.budgets.reserve("b", REAL, 0.70)
    with pytest.raises(BudgetError, match=r"\$0\.30 spent, \$0\.70 reserved"):
        second.budgets.reserve("c", REAL, 0.01)


@pytest.mark.posix
def test_reservations_of_a_killed_process(kernel, tmp_path):
    """SIGKILL ends the reservations of a process at once."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from runapi_magic.journal.task_log import Journal\n"
        "from runapi_magic.journal.budgets import Budgets\n"
        f"budgets = Budgets(Journal(Path({str(tmp_path / 'data')!r})))\n"
        f"budgets.reserve('a', {REAL!r}, 1.0)\n"
        "print('reserved', flush=True); sys.stdin.readline()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kernel.budgets.set_budget(REAL, "day", 1.0)
    with _process(code) as process:
        assert process.stdout.readline() == "reserved\n"
        with pytest.raises(BudgetError):
            kernel.budgets.reserve("b", REAL, 1.0)
        process.communicate("\n", timeout=30)
    assert kernel.budgets.reserve("b", REAL, 1.0) == 1.0


def test_services_have_separate_money(kernel):
    """Spending, reservations and budgets of the simulator do not count for RunAPI."""
    kernel.make(5.0, origin=HERE)
    kernel.budgets.reserve("a", HERE, 5.0)
    kernel.budgets.set_budget(REAL, "session", 1.0)
    kernel.budgets.set_budget(REAL, "day", 1.0)
    assert kernel.budgets.budgets(HERE) == {}
    kernel.budgets.reserve("b", REAL, 1.0)
    found = kernel.spending()
    assert (found.total, found.today, found.session, found.reserved) == (0, 0, 0, 1.0)
    assert kernel.spending(HERE).total == 5.0


def test_a_claimed_planned_task_is_charged(kernel, start):
    """A planned task of an ended kernel was not sent, so its images are still missing."""
    kernel.plan(prompt="a fox")
    kernel.journal.close()
    second = start()
    request = ImageRequest("a fox", "gpt-image-2")
    assert second.journal.count_missing(request, REAL, usable=lambda *_: True) == 1


def test_reservations_of_ended_kernels_are_deleted(kernel, start):
    """The next reservation of any kernel deletes the reservations of ended kernels only."""
    kernel.budgets.reserve("dead", REAL, 1.0)
    kernel.budgets.reserve("dead elsewhere", HERE, 1.0)
    living, second = start(), start()
    living.budgets.reserve("living", REAL, 1.0)
    kernel.journal.close()
    second.budgets.reserve("new", REAL, 1.0)
    with second.journal.reading() as connection:
        rows = connection.execute("SELECT id FROM holds ORDER BY id").fetchall()
    assert rows == [("living",), ("new",)]


# Many kernels at the same time


def _process(code, *arguments):
    environ = {**os.environ, "PYTHONPATH": str(Path(runapi_magic.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip


_SPEND = f"""
import random, sys
from pathlib import Path
from runapi_magic.errors import BudgetError
from tests.journal.test_budgets import Kernel, REAL
kernel = Kernel(Path(sys.argv[1]))
rng = random.Random(int(sys.argv[2]))
kernel.spending()
print("ready", flush=True)
sys.stdin.readline()
accepted = 0
for number in range(15):
    name, usd = f"{{kernel.journal.owners.me}}-{{number}}", rng.choice([0.05, 0.06, 0.10])
    try:
        kernel.budgets.reserve(name, {REAL!r}, usd)
    except BudgetError:
        continue
    accepted += 1
    kernel.make(usd, price=usd, reservation=name)
    kernel.budgets.release(name)
print(accepted)
"""


def test_processes_share_a_budget(kernel, tmp_path):
    """Four processes that spend as fast as possible stay just below the budget of the day."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_process(_SPEND, tmp_path / "data", seed)) for seed in range(4)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    spent = kernel.spending().today
    assert 0.90 < spent <= 1.0 + 1e-9
    assert 10 <= sum(counts) <= 20


def test_two_kernels_at_the_same_moment(start):
    """If two kernels reserve money at the same moment and it suffices for one, one gets it."""
    kernels = [start(), start()]
    kernels[0].budgets.set_budget(REAL, "day", 0.10)
    for number in range(40):
        gate, accepted = threading.Barrier(2), []

        def reserve(kernel, number=number, gate=gate, accepted=accepted):
            gate.wait(20)
            name = f"{kernel.journal.owners.me}-{number}"
            try:
                kernel.budgets.reserve(name, REAL, PRICE)
            except BudgetError:
                return
            accepted.append((kernel, name))

        threads = [threading.Thread(target=reserve, args=(kernel,)) for kernel in kernels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        ((winner, name),) = accepted
        winner.budgets.release(name)


class Interleaving(RuleBasedStateMachine):
    """Kernels that reserve, spend, fail, release and end in any order."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=os.environ["RUNAPI_MAGIC_HOME"]))
        self.kernels = [Kernel(self.folder) for _ in range(3)]
        self.open = {}
        self.budget = 0.50
        self.kernels[0].budgets.set_budget(REAL, "day", self.budget)

    numbers = st.integers(0, 2)
    prices = st.sampled_from([0.05, 0.06, 0.10, 0.25])

    @rule(number=numbers, usd=prices)
    def reserve(self, number, usd):
        """Reserve money, or be refused."""
        name = secrets.token_hex(8)
        try:
            self.kernels[number].budgets.reserve(name, REAL, usd)
        except BudgetError:
            return
        self.open[name] = (number, usd)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), part=st.sampled_from([0.0, 0.5, 1.0]), fails=st.booleans())
    def spend_and_release(self, data, part, fails):
        """Spend all, half or none of the reserved money, and release the reservation."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        number, usd = self.open.pop(name)
        kernel = self.kernels[number]
        task = kernel.plan(price=usd, reservation=name)
        kernel.send(task)
        if fails:
            kernel.journal.mark_failed(task, "no", refused=False)
        else:
            kernel.finish(task, usd * part)
        self._check(name)
        kernel.budgets.release(name)

    @precondition(lambda self: self.open)
    @rule(number=numbers)
    def end_kernel(self, number):
        """End a kernel and start another one."""
        self.kernels[number].journal.close()
        self.kernels[number] = Kernel(self.folder)
        self.open = {
            name: reserved for name, reserved in self.open.items() if reserved[0] != number
        }

    @invariant()
    def never_exceeded(self):
        """Spent and reserved money together are within the budget."""
        self._check()

    def _check(self, *extra):
        budgets = self.kernels[0].budgets
        with self.kernels[0].journal.transaction() as connection:
            opened = budgets._open_reservations(connection, REAL)
            spent = budgets._spent(connection, REAL, opened, "TRUE")
        reserved = sum(usd for _, _, usd in opened)
        assert sorted(name for name, _, _ in opened) == sorted({*self.open, *extra})
        assert spent + reserved <= self.budget + 1e-9

    def teardown(self):
        """End all kernels."""
        for kernel in self.kernels:
            kernel.journal.close()


def test_no_interleaving_exceeds_a_budget(tmp_path):
    """Spent and reserved money stay within the budget for any order of actions."""
    (tmp_path / "data").mkdir()
    quick = settings(PROPERTY, max_examples=12, stateful_step_count=12)
    run_state_machine_as_test(Interleaving, settings=quick)


# Older files


@pytest.mark.parametrize("version", [1, 2])
def test_a_journal_from_before_budgets(kernel, monkeypatch, version):
    """An older journal without budgets keeps its tasks. Their costs count, and budgets work."""
    monkeypatch.setattr("runapi_magic.journal.database.MIGRATIONS", MIGRATIONS[:version])
    with kernel.journal.transaction():
        pass  # create the older tables
    kernel.journal.close()
    with sqlite3.connect(kernel.journal.path) as connection:
        connection.executemany(
            "INSERT INTO tasks (id, generation, origin, created, model, prompt, fields, sources,"
            " fingerprint, count, state, cost) VALUES (?, 'g', ?, ?, 'gpt-image-2', 'a fox', '{}',"
            " '[]', 'f', 1, ?, ?)",
            [
                ("a", REAL, budgets.time.time(), "saved", 0.06),
                ("b", REAL, 5.0, "saved", 0.10),
                ("c", REAL, 5.0, "running", None),
                ("d", REAL, 5.0, "failed", None),
            ],
        )
    connection.close()
    monkeypatch.undo()
    found = kernel.spending(notebook="a.ipynb")
    assert (found.session, found.notebook, found.today) == (0, 0, 0.06)
    assert found.total == pytest.approx(0.16)
    kernel.budgets.set_budget(REAL, "day", 0.10)
    kernel.budgets.reserve("a", REAL, 0.04)
    with pytest.raises(BudgetError):
        kernel.budgets.reserve("b", REAL, 0.01)
