"""Money in the journal: what was spent, what is set aside, and what no two kernels may cross."""

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
    """What one kernel does with its journal and its budgets."""

    def __init__(self, folder):
        self.journal = Journal(folder)
        self.budgets = Budgets(self.journal)

    def plan(self, *, price=PRICE, hold=None, notebook="", origin=REAL, prompt=None, count=1):
        """Write down one task that is not sent yet; return its id."""
        number = secrets.token_hex(8)  # no other process has it
        request = ImageRequest(prompt or f"fox {number}", "gpt-image-2", {}, count)
        (task,) = self.journal.allocate(
            f"g{number}", request, origin, split=lambda many: (many,), new_id=lambda: f"p{number}",
            usable=lambda *_: True, since=None, billing=Billing(lambda _: price, hold, notebook),
        ).planned  # fmt: skip
        return task.id

    def send(self, task):
        """Write down that a task is under way."""
        self.journal.mark_sent(task, ATTEMPT)

    def finish(self, task, cost=PRICE):
        """Write down that a task is done and costs so much."""
        self.journal.mark_completed(task, cost, 1.0)
        image = GeneratedImage(
            id=f"{task}-0", path=Path(f"/pictures/{task}.png"), width=8, height=6, task_id="tsk",
            request=ImageRequest("a fox", "gpt-image-2"), digest=f"{task:0>64}", created=5.0,
        )  # fmt: skip
        self.journal.mark_saved(task, [image])

    def make(self, cost=PRICE, **terms):
        """Do all of it."""
        task = self.plan(**terms)
        self.send(task)
        self.finish(task, cost)
        return task

    def spending(self, origin=REAL, notebook=""):
        """What was spent."""
        return self.budgets.spending(origin, notebook)


@pytest.fixture
def start(tmp_path):
    """Start kernels on one data folder; all end with the test."""
    kernels = []

    def make():
        kernels.append(Kernel(tmp_path / "data"))
        return kernels[-1]

    yield make
    for kernel in kernels:
        kernel.journal.close()


@pytest.fixture
def kernel(start):
    """One kernel."""
    return start()


# What was spent


def test_nothing_is_spent_at_first(kernel):
    """A new journal knows of no spending, and of no notebook whose name is not known."""
    found = kernel.spending()
    assert (found.session, found.today, found.total, found.reserved) == (0, 0, 0, 0)
    assert found.notebook is None


def test_the_cost_counts_where_it_is_known(kernel):
    """A task counts by its expected price until its cost is known, then by that."""
    task = kernel.plan(price=0.10)
    kernel.send(task)
    before = kernel.spending().total
    kernel.finish(task, cost=0.07)
    assert (before, kernel.spending().total) == (0.10, 0.07)


@pytest.mark.parametrize("cost", [0.0, None])
def test_no_cost_and_an_unknown_cost(kernel, cost):
    """A cost of nothing is a cost; where the service says none the expected price stays."""
    kernel.make(cost=cost)
    assert kernel.spending().total == (PRICE if cost is None else 0.0)


def test_neither_cost_nor_price(kernel):
    """What nobody knows a price of does not make the sum unknown."""
    kernel.make(cost=None, price=None)
    kernel.make()
    assert kernel.spending().total == PRICE


def test_what_was_not_made_costs_nothing(kernel):
    """Planned, refused and failed tasks count nothing."""
    kernel.plan()
    for refused in (True, False):
        task = kernel.plan()
        kernel.send(task)
        kernel.journal.mark_failed(task, "no", refused=refused)
    assert kernel.spending().total == 0


def test_what_was_let_go_of_still_counts(kernel):
    """A task that nobody waits for any more may have been charged, and counts."""
    task = kernel.plan()
    kernel.send(task)
    kernel.journal.release_task(task, "stopped")
    assert kernel.spending().total == PRICE


def test_reused_pictures_cost_nothing(kernel, start):
    """A request that is met from disk adds nothing, in this kernel or the next."""
    kernel.make(prompt="a fox")
    other = start()
    found = other.journal.allocate(
        "again", ImageRequest("a fox", "gpt-image-2"), REAL, split=lambda many: (many,),
        new_id=lambda: "new", usable=lambda *_: True, billing=Billing(lambda _: PRICE, "again"),
    )  # fmt: skip
    assert len(found.finished) == 1
    assert other.spending().total == PRICE
    assert other.spending().session == 0


def test_session_notebook_total(kernel, start):
    """A session is this kernel, a notebook all its kernels, the total everything."""
    other = start()
    kernel.make(0.01, notebook="a.ipynb")
    other.make(0.02, notebook="a.ipynb")
    other.make(0.04, notebook="b.ipynb")
    found = kernel.spending(notebook="a.ipynb")
    assert (found.session, found.notebook, found.total) == (0.01, 0.03, pytest.approx(0.07))
    assert other.spending(notebook="c.ipynb").notebook == 0


def test_a_task_that_was_taken_over_is_its_first_kernels(kernel, start):
    """Who finishes what a dead kernel paid for has not spent it; today and total have."""
    task = kernel.plan()
    kernel.send(task)
    kernel.journal.close()
    heir = start()
    assert [row.id for row in heir.journal.claim(lambda _: True, "heir")] == [task]
    heir.finish(task)
    found = heir.spending()
    assert (found.session, found.today, found.total) == (0, PRICE, PRICE)


@pytest.fixture
def at(monkeypatch):
    """Let it be a moment of local time, in a zone where the clocks change."""

    def travel(*moment, zone="Europe/Berlin"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        seconds = datetime(*moment).timestamp()  # noqa: DTZ001 (local, on purpose)
        monkeypatch.setattr("time.time", lambda: seconds)
        return seconds

    yield travel
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_day_begins_at_local_midnight(kernel, at, zone):
    """What was asked for before midnight, as the wall clock shows it, is not today's."""
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
def test_a_day_on_which_the_clocks_change(kernel, at, month_and_day):
    """Midnight is midnight also on the days of 23 and of 25 hours."""
    month, day = month_and_day
    at(2026, month, day - 1, 23, 30)
    kernel.make(0.01)
    at(2026, month, day, 0, 30)
    kernel.make(0.02)
    at(2026, month, day, 20, 0)
    assert kernel.spending().today == 0.02


def test_a_budget_of_the_day_is_new_at_midnight(kernel, at):
    """What was spent yesterday is not in the way of today's budget."""
    at(2026, 5, 3, 12, 0)
    kernel.budgets.set_budget(REAL, "day", 0.10)
    kernel.make(0.10)
    with pytest.raises(BudgetError):
        kernel.budgets.reserve("a", REAL, PRICE)
    at(2026, 5, 4, 12, 0)
    assert kernel.budgets.reserve("a", REAL, PRICE) == PRICE


# Budgets and holds


def test_budgets_are_set_and_taken_away(kernel, start):
    """A session's budget is this kernel's, a day's everybody's; None takes one away."""
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
def test_a_budget_is_kept_to_the_cent(kernel, scope):
    """What just fits is let through, also where cents do not sum exactly; one cent more is not."""
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


def test_what_is_spent_counts_against_the_budget(kernel):
    """Pictures that were paid before there was a budget count as well."""
    kernel.make(0.25)
    kernel.budgets.set_budget(REAL, "day", 0.30)
    with pytest.raises(BudgetError, match=r"\$0\.25 spent"):
        kernel.budgets.reserve("a", REAL, 0.06)
    kernel.budgets.reserve("a", REAL, 0.05)


def test_both_budgets_are_kept(kernel):
    """Where a session and a day have budgets, the one that is tighter decides."""
    kernel.budgets.set_budget(REAL, "session", 1.0)
    kernel.budgets.set_budget(REAL, "day", 0.05)
    with pytest.raises(BudgetError, match="budget of the day"):
        kernel.budgets.reserve("a", REAL, PRICE)
    kernel.budgets.set_budget(REAL, "day", 2.0)
    kernel.budgets.set_budget(REAL, "session", 0.05)
    with pytest.raises(BudgetError, match="budget of the session"):
        kernel.budgets.reserve("a", REAL, PRICE)


def test_a_session_does_not_count_other_kernels(kernel, start):
    """Another kernel's spending and holds are not this session's, but the day's."""
    other = start()
    other.make(0.50)
    other.budgets.set_budget(REAL, "day", 1.0)
    other.budgets.reserve("b", REAL, 0.40)
    kernel.budgets.set_budget(REAL, "session", 0.10)
    kernel.budgets.reserve("a", REAL, 0.10)
    with pytest.raises(BudgetError, match="budget of the day"):
        other.budgets.reserve("c", REAL, 0.01)


def test_a_hold_that_is_let_go_of_is_free_again(kernel):
    """What was set aside and not used can be spent by the next one."""
    kernel.budgets.set_budget(REAL, "day", 0.10)
    kernel.budgets.reserve("a", REAL, 0.10)
    kernel.budgets.release("a")
    kernel.budgets.release("a")
    kernel.budgets.reserve("b", REAL, 0.10)


def test_tasks_of_an_open_hold_are_counted_once(kernel):
    """What was asked for under an open hold is counted by the hold, not a second time."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    kernel.budgets.reserve("a", REAL, 0.60)
    for _ in range(6):
        kernel.make(0.10, hold="a")
    kernel.budgets.reserve("b", REAL, 0.40)
    with pytest.raises(BudgetError, match=r"\$0\.00 spent, \$1\.00 reserved"):
        kernel.budgets.reserve("c", REAL, 0.01)


def test_tasks_count_by_cost_after_their_hold(kernel):
    """After the release the tasks count by what they cost: less, or more, than was set aside."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    for name, held, cost in (("a", 0.60, 0.20), ("b", 0.20, 0.50)):
        kernel.budgets.reserve(name, REAL, held)
        kernel.make(cost, hold=name)
        kernel.budgets.release(name)
    with pytest.raises(BudgetError, match=r"\$0\.70 spent, \$0\.00 reserved"):
        kernel.budgets.reserve("c", REAL, 0.31)
    kernel.budgets.reserve("c", REAL, 0.30)


def test_a_failed_task_gives_its_money_back(kernel):
    """What failed is free for the next one, once its hold is let go of."""
    kernel.budgets.set_budget(REAL, "session", PRICE)
    kernel.budgets.reserve("a", REAL, PRICE)
    task = kernel.plan(hold="a")
    kernel.send(task)
    kernel.journal.mark_failed(task, "asleep", refused=False)
    kernel.budgets.release("a")
    kernel.budgets.reserve("b", REAL, PRICE)


def test_holds_of_dead_kernels_do_not_count(kernel, start):
    """What a kernel had set aside is free when it is gone; what it had sent counts by price."""
    kernel.budgets.set_budget(REAL, "day", 1.0)
    kernel.budgets.reserve("a", REAL, 1.0)
    kernel.send(kernel.plan(hold="a", price=0.30))
    heir = start()
    with pytest.raises(BudgetError):
        heir.budgets.reserve("b", REAL, 0.01)
    kernel.journal.close()
    assert heir.spending().reserved == 0
    heir.budgets.reserve("b", REAL, 0.70)
    with pytest.raises(BudgetError, match=r"\$0\.30 spent, \$0\.70 reserved"):
        heir.budgets.reserve("c", REAL, 0.01)


@pytest.mark.posix
def test_a_killed_process_lets_go_of_its_holds(kernel, tmp_path):
    """SIGKILL frees what a process had set aside, at once."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from runapi_magic.journal.task_log import Journal\n"
        "from runapi_magic.journal.budgets import Budgets\n"
        f"budgets = Budgets(Journal(Path({str(tmp_path / 'data')!r})))\n"
        f"budgets.reserve('a', {REAL!r}, 1.0)\n"
        "print('held', flush=True); sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kernel.budgets.set_budget(REAL, "day", 1.0)
    with _process(code) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BudgetError):
            kernel.budgets.reserve("b", REAL, 1.0)
        process.communicate("\n", timeout=30)
    assert kernel.budgets.reserve("b", REAL, 1.0) == 1.0


def test_origins_are_apart(kernel):
    """Simulated money is no money: neither spent, nor set aside, nor limited, elsewhere."""
    kernel.make(5.0, origin=HERE)
    kernel.budgets.reserve("a", HERE, 5.0)
    kernel.budgets.set_budget(REAL, "session", 1.0)
    kernel.budgets.set_budget(REAL, "day", 1.0)
    assert kernel.budgets.budgets(HERE) == {}
    kernel.budgets.reserve("b", REAL, 1.0)
    found = kernel.spending()
    assert (found.total, found.today, found.session, found.reserved) == (0, 0, 0, 1.0)
    assert kernel.spending(HERE).total == 5.0


def test_what_a_dead_kernel_only_planned_is_paid_by_the_heir(kernel, start):
    """A task that was never sent is free to nobody: who takes it over has its price to pay."""
    kernel.plan(prompt="a fox")
    kernel.journal.close()
    heir = start()
    request = ImageRequest("a fox", "gpt-image-2")
    assert heir.journal.count_missing(request, REAL, usable=lambda *_: True) == 1


def test_holds_of_dead_kernels_are_deleted(kernel, start):
    """The next kernel that sets money aside deletes what dead ones had set aside, and only that."""
    kernel.budgets.reserve("dead", REAL, 1.0)
    kernel.budgets.reserve("dead elsewhere", HERE, 1.0)
    living, heir = start(), start()
    living.budgets.reserve("living", REAL, 1.0)
    kernel.journal.close()
    heir.budgets.reserve("new", REAL, 1.0)
    with heir.journal.reading() as connection:
        rows = connection.execute("SELECT id FROM holds ORDER BY id").fetchall()
    assert rows == [("living",), ("new",)]


# Many at once


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
chance = random.Random(int(sys.argv[2]))
kernel.spending()
print("ready", flush=True)
sys.stdin.readline()
let_through = 0
for number in range(15):
    name, usd = f"{{kernel.journal.owners.me}}-{{number}}", chance.choice([0.05, 0.06, 0.10])
    try:
        kernel.budgets.reserve(name, {REAL!r}, usd)
    except BudgetError:
        continue
    let_through += 1
    kernel.make(usd, price=usd, hold=name)
    kernel.budgets.release(name)
print(let_through)
"""


def test_processes_cannot_cross_a_budget_together(kernel, tmp_path):
    """Four processes that spend as fast as they can end just below the budget of the day."""
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


def test_the_same_moment_many_times(start):
    """Two kernels that ask at the same moment for what fits once: it is one of them, each time."""
    kernels = [start(), start()]
    kernels[0].budgets.set_budget(REAL, "day", 0.10)
    for number in range(40):
        gate, through = threading.Barrier(2), []

        def ask(kernel, number=number, gate=gate, through=through):
            gate.wait(20)
            name = f"{kernel.journal.owners.me}-{number}"
            try:
                kernel.budgets.reserve(name, REAL, PRICE)
            except BudgetError:
                return
            through.append((kernel, name))

        threads = [threading.Thread(target=ask, args=(kernel,)) for kernel in kernels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        ((winner, name),) = through
        winner.budgets.release(name)


class Interleaving(RuleBasedStateMachine):
    """Kernels that set aside, spend, fail, let go and die in any order."""

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
    def hold(self, number, usd):
        """Set something aside, or be refused."""
        name = secrets.token_hex(8)
        try:
            self.kernels[number].budgets.reserve(name, REAL, usd)
        except BudgetError:
            return
        self.open[name] = (number, usd)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), part=st.sampled_from([0.0, 0.5, 1.0]), fails=st.booleans())
    def spend_and_release(self, data, part, fails):
        """Spend what was set aside, some of it or nothing, and let go of the rest."""
        name = data.draw(st.sampled_from(sorted(self.open)))
        number, usd = self.open.pop(name)
        kernel = self.kernels[number]
        task = kernel.plan(price=usd, hold=name)
        kernel.send(task)
        if fails:
            kernel.journal.mark_failed(task, "no", refused=False)
        else:
            kernel.finish(task, usd * part)
        self._check(name)
        kernel.budgets.release(name)

    @precondition(lambda self: self.open)
    @rule(number=numbers)
    def die(self, number):
        """End a kernel in the middle; another one takes its place."""
        self.kernels[number].journal.close()
        self.kernels[number] = Kernel(self.folder)
        self.open = {name: held for name, held in self.open.items() if held[0] != number}

    @invariant()
    def never_crossed(self):
        """Spent and set aside together are within the budget, whatever came before."""
        self._check()

    def _check(self, *extra):
        budgets = self.kernels[0].budgets
        with self.kernels[0].journal.transaction() as connection:
            opened = budgets._open_reservations(connection, REAL)
            spent = budgets._spent(connection, REAL, opened, "TRUE")
        held = sum(usd for _, _, usd in opened)
        assert sorted(name for name, _, _ in opened) == sorted({*self.open, *extra})
        assert spent + held <= self.budget + 1e-9

    def teardown(self):
        """End all kernels."""
        for kernel in self.kernels:
            kernel.journal.close()


def test_no_interleaving_crosses_a_budget(tmp_path):
    """Whatever kernels do in whatever order, spent and set aside stay within the budget."""
    (tmp_path / "data").mkdir()
    quick = settings(PROPERTY, max_examples=12, stateful_step_count=12)
    run_state_machine_as_test(Interleaving, settings=quick)


# Older files


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_journal_gets_its_money_side(kernel, monkeypatch, version):
    """A journal from before budgets keeps its tasks; their costs count, and budgets work."""
    monkeypatch.setattr("runapi_magic.journal.database.MIGRATIONS", MIGRATIONS[:version])
    with kernel.journal.transaction():
        pass  # the tables as they were then
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
