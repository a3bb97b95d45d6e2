"""A batch whose kernel is killed in the middle goes on where it was, and nothing is paid twice."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pytest

from tests.conftest import KEY, ROOT, serve_simulator
from tests.recovery.kill import Kernel, states

PROMPTS = 16
PATIENCE = 60  # seconds
_ASK = """
from runapi_magic import generate_many
batch = generate_many(
    [f"boat {{number}} of many" for number in range({prompts})], concurrency=4{options}
)
"""
_FINISH = """
await batch
print("pictures", len({image.path for image in batch.pictures}), "failures", len(batch.failures))
print("paid", sum(not image.reused for image in batch.pictures), "under", batch.id)
"""
_TELL = """
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
    """A simulator on which a batch takes some seconds, and creates a moment."""
    with serve_simulator("--speed", "50", "--fault", "create=slow,seconds=0.05") as server:
        yield server


@pytest.fixture
def start(home, server):
    """Start kernels in one folder; none outlives the test."""
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
    """Start a batch and kill its kernel when so many pictures are there; return what it left."""
    kernel.start(_ASK.format(prompts=prompts, options=options) + _TELL)
    seen = 0
    while seen < done:
        message = kernel.client.get_iopub_msg(timeout=PATIENCE)
        seen += message["content"].get("text", "").count("completed")
    kernel.kill()
    left = Counter(states(home.parent / "data" / "journal.sqlite"))
    assert done <= left["saved"] < prompts
    return left


def _check(server, home, prompts=PROMPTS):
    """Assert that each prompt has one task, one payment and one file."""
    state = server.state()
    asked = Counter(task["body"]["prompt"] for task in state["tasks"])
    assert asked == {f"boat {number} of many": 1 for number in range(prompts)}
    assert state["charged_cents"] == 6 * prompts
    assert state["max_concurrent"] <= 8  # four of the dead kernel's, four of the living one's
    files = [file.name for file in (home.parent / "work" / "gpt-images").iterdir()]
    assert len([name for name in files if not name.startswith(".")]) == prompts


def test_the_same_cell_again(home, server, start):
    """After SIGKILL the same cell in a new kernel makes the rest: as many tasks as prompts."""
    _kill_in_the_middle(home, start(), prompts=200, done=60)
    said = start().run(_ASK.format(prompts=200, options="") + _FINISH)
    assert "pictures 200 failures 0" in said
    _check(server, home, 200)


@pytest.mark.parametrize("options", ["", ", new=True"])
def test_by_its_id(home, server, start, options):
    """A new kernel goes on with a killed batch by its id, also with one that was asked afresh."""
    _kill_in_the_middle(home, start(), options)
    heir = start()
    with sqlite3.connect(home.parent / "data" / "journal.sqlite") as connection:
        ((batch, size),) = connection.execute("SELECT id, json_array_length(items) FROM batches")
    connection.close()
    assert size == PROMPTS
    said = heir.run(_RESUME.format(batch=batch) + _FINISH)
    assert f"pictures {PROMPTS} failures 0" in said
    assert f"under {batch}" in said
    _check(server, home)


def test_killed_twice(home, server, start):
    """A batch whose second kernel is killed as well still pays for each prompt once."""
    _kill_in_the_middle(home, start(), done=3)
    _kill_in_the_middle(home, start(), done=8)
    said = start().run(_ASK.format(prompts=PROMPTS, options="") + _FINISH)
    assert f"pictures {PROMPTS} failures 0" in said
    _check(server, home)


def test_a_budget_outlives_the_kernel(home, server, start):
    """What a dead kernel paid counts against the day's budget; what it only held does not."""
    first = start()
    first.run(
        "get_ipython().run_line_magic('load_ext', 'runapi_magic')\n"
        f"get_ipython().run_line_magic('runapi', 'budget {0.06 * PROMPTS:.2f} --day')"
    )
    _kill_in_the_middle(home, first)
    heir = start()
    said = heir.run(_ASK.format(prompts=PROMPTS, options="") + _FINISH)
    assert f"pictures {PROMPTS} failures 0" in said
    said = heir.run(
        "from runapi_magic import generate\n"
        "crossing = generate('one boat more')\n"
        "await crossing.ended()\n"
        "print(crossing.errors[0])"
    )
    assert "the budget of the day is $0.96: $0.96 are spent, $0.00 are set aside" in said
    _check(server, home)
