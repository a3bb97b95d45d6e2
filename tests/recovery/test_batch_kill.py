"""A batch continues after its kernel was killed, and nothing is charged twice."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest

from tests.conftest import KEY, ROOT, serve_simulator
from tests.recovery.kill import Kernel, states

PROMPTS = 16
TIMEOUT = 60  # seconds
_START = """
from runapi_magic import generate_many
batch = generate_many(
    [f"boat {{number}} of many" for number in range({prompts})], concurrency=4{options}
)
"""
_FINISH = """
await batch
print("images", len({image.path for image in batch.pictures}), "failures", len(batch.failures))
print("charged", sum(not image.reused for image in batch.pictures), "under", batch.id)
"""
_PRINT_STATUSES = """
async for item in batch.as_completed():
    print(item.status)
"""
_RESUME = """
from runapi_magic import resume_batch
batch = resume_batch({batch!r})
"""

pytestmark = pytest.mark.kernel


@pytest.fixture
def server():
    """Run a simulator on which a batch takes some seconds, and a create request 50 ms."""
    with serve_simulator("--speed", "50", "--fault", "create=slow,seconds=0.05") as server:
        yield server


@pytest.fixture
def start(home, server):
    """Return a function that starts kernels; they are killed after the test."""
    kernels = []
    environment = {
        "RUNAPI_BASE_URL": server.url,
        "RUNAPI_API_KEY": KEY,
        "RUNAPI_MAGIC_HOME": str(home.parent / "data"),
        "PYTHONPATH": str(ROOT),
    }

    def make():
        kernels.append(Kernel(home.parent / "work", environment))
        return kernels[-1]

    yield make
    for kernel in kernels:
        kernel.kill()


def _kill_in_the_middle(home, kernel, options="", *, prompts=PROMPTS, done=5):
    """Start a batch and kill its kernel after ``done`` images. Return the journal's states."""
    kernel.start(_START.format(prompts=prompts, options=options) + _PRINT_STATUSES)
    seen = 0
    while seen < done:
        message = kernel.client.get_iopub_msg(timeout=TIMEOUT)
        seen += message["content"].get("text", "").count("completed")
    kernel.kill()
    states_left = Counter(states(home.parent / "data" / "journal.sqlite"))
    assert done <= states_left["saved"] < prompts
    return states_left


def _check(server, home, prompts=PROMPTS):
    """Check that each prompt has one task, one charge and one file."""
    state = server.state()
    prompts_sent = Counter(task["body"]["prompt"] for task in state["tasks"])
    assert prompts_sent == {f"boat {number} of many": 1 for number in range(prompts)}
    assert state["charged_cents"] == 6 * prompts
    assert state["max_concurrent"] <= 8  # four of the killed kernel, four of the new one
    files = [file.name for file in (home.parent / "work" / "gpt-images").iterdir()]
    assert len([name for name in files if not name.startswith(".")]) == prompts


def test_the_same_cell_again(home, server, start):
    """After SIGKILL, the same cell in a new kernel makes the missing images without extra tasks."""
    _kill_in_the_middle(home, start(), prompts=200, done=60)
    output = start().run(_START.format(prompts=200, options="") + _FINISH)
    assert "images 200 failures 0" in output
    _check(server, home, 200)


@pytest.mark.parametrize("options", ["", ", new=True"])
def test_resume_by_id(home, server, start, options):
    """A new kernel resumes a killed batch by its id, also a batch with new=True."""
    _kill_in_the_middle(home, start(), options)
    second = start()
    with sqlite3.connect(home.parent / "data" / "journal.sqlite") as connection:
        ((batch, size),) = connection.execute("SELECT id, json_array_length(items) FROM batches")
    connection.close()
    assert size == PROMPTS
    output = second.run(_RESUME.format(batch=batch) + _FINISH)
    assert f"images {PROMPTS} failures 0" in output
    assert f"under {batch}" in output
    _check(server, home)


def test_killed_twice(home, server, start):
    """A batch whose second kernel is also killed charges each prompt once."""
    _kill_in_the_middle(home, start(), done=3)
    _kill_in_the_middle(home, start(), done=8)
    output = start().run(_START.format(prompts=PROMPTS, options="") + _FINISH)
    assert f"images {PROMPTS} failures 0" in output
    _check(server, home)


def test_a_budget_survives_the_kernel(home, server, start):
    """The charges of a killed kernel count against the budget of the day. Reservations do not."""
    first = start()
    first.run(
        "get_ipython().run_line_magic('load_ext', 'runapi_magic')\n"
        f"get_ipython().run_line_magic('runapi', 'budget {0.06 * PROMPTS:.2f} --day')"
    )
    _kill_in_the_middle(home, first)
    second = start()
    output = second.run(_START.format(prompts=PROMPTS, options="") + _FINISH)
    assert f"images {PROMPTS} failures 0" in output
    output = second.run(
        "from runapi_magic import generate\n"
        "generation = generate('one boat more')\n"
        "await generation.ended()\n"
        "print(generation.errors[0])"
    )
    assert "the budget of the day is $0.96 ($0.96 spent, $0.00 reserved" in output
    _check(server, home)
