"""Stop a kernel at a random moment, resume in a new one, count.

``python -m tests.recovery.kill 200`` does 200 rounds. Each round asks for 1 to 4 images of each of
four requests: of two prompts, of a model that makes several in one task, and of an edit of a local
file that has to be uploaded. At a random moment the kernel is killed (SIGKILL), or all is cancelled
twice and the kernel is killed later. A new one resumes and runs the same cell again, as a person
does after a crash. Afterwards there must be as many images and tasks on the server as were asked
for, and the user must be told just what was charged, whatever the moment was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tests.conftest import KEY, ROOT, serve_simulator
from tests.kernel.kernels import manage_kernel

MOST = 4  # images of one request
LONGEST = 2.0  # seconds until the kernel is stopped, at most; a round's images take about 2
_CANCELS = 0.5  # share of the rounds that are cancelled twice before the kernel is killed
_ASK = """
from runapi_magic import generate, edit
asked = [
    generate("round {number}: a boat", count={counts[0]}),
    generate("round {number}: a pro boat", model="flux-kontext-pro", count={counts[1]}),
    generate(
        "round {number}: a fleet", model="gpt-4o-image", aspect_ratio="1:1", count={counts[2]}
    ),
    edit("source.png", "round {number}: invert", count={counts[3]}),
]
"""
_CANCEL = """
for generation in asked + asked:
    generation.cancel()
"""
_FINISH = """
for generation in asked:
    await generation
images = {image.id: image for generation in asked for image in generation.images}
for generation in asked:
    for error in generation.errors:
        print(generation.request.title, error, error.__cause__, sep="; ")
print("finished", len(images), round(100 * sum(image.cost for image in images.values()), 3))
"""
_RESUME = """
from runapi_magic import resume
print("resumed", len((await resume()).images))
"""
_SPENT = """
from runapi_magic.notebook.api import open_session
session = open_session()
spent = session.ledger.spending(session.service().access.base_url, "")
print("spent", round(100 * spent.total, 3))
"""
# What each request makes of a count: tasks and cents, as the simulator's price list has it.
_SHARES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,)}
_CENTS_OF_4O = {1: 6, 2: 7, 4: 8}


@dataclass
class Count:
    """What the rounds showed."""

    rounds: int = 0
    cancelled: int = 0
    asked: int = 0
    pictures: int = 0
    asked_tasks: int = 0
    tasks: int = 0
    charged_cents: int = 0
    expected_cents: int = 0
    told_cents: float = 0.0
    spent_cents: float = 0.0
    damaged: int = 0
    left_over: int = 0
    journal: str = ""
    killed_at: Counter = field(default_factory=Counter)


class Kernel:
    """A real kernel in which a person works."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._sockets = tempfile.TemporaryDirectory()
        self.manager = manage_kernel(self._sockets.name)
        with (folder / "stderr").open("a") as stderr:
            self.manager.start_kernel(
                cwd=str(folder), env={**os.environ, **environment}, stderr=stderr
            )
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, code: str) -> None:
        """Run code and do not wait for it."""
        self.client.execute(code, allow_stdin=True)

    def run(self, code: str) -> str:
        """Run code to its end and return what it printed."""
        lines: list[str] = []

        def take(message) -> None:
            content = message["content"]
            lines.append(content.get("text", "") + "\n".join(content.get("traceback", [])))

        reply = self.client.execute_interactive(
            code, allow_stdin=False, timeout=120, output_hook=take
        )
        assert reply["content"]["status"] == "ok", "".join(lines)
        return "".join(lines)

    def kill(self) -> None:
        """End it as the operating system does when memory runs out."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self._sockets.cleanup()


def states(journal: Path) -> list[str]:
    """Return the state of every task in the journal; none if the kernel died before its tables."""
    if not journal.exists():
        return []
    with sqlite3.connect(journal, timeout=30) as connection:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'tasks'"
        if connection.execute(tables).fetchone() == (0,):
            return []
        return [state for (state,) in connection.execute("SELECT state FROM tasks ORDER BY rowid")]


def run_rounds(rounds: int, seed: int, folder: Path, *, say=None) -> Count:
    """Kill and resume so many times; return the counts."""
    chance = random.Random(seed)
    count = Count()
    work, data = folder / "work", folder / "data"
    work.mkdir(parents=True)
    Image.radial_gradient("L").save(work / "source.png")
    faults = ["--fault", "create=slow,seconds=0.15", "--fault", "download=slow,seconds=0.1"]
    with serve_simulator("--speed", "40", "--balance-cents", "1000000", *faults) as server:
        environment = {
            "RUNAPI_BASE_URL": server.url,
            "RUNAPI_API_KEY": KEY,
            "RUNAPI_MAGIC_HOME": str(data),
            "PYTHONPATH": str(ROOT),
        }
        kernel = Kernel(work, environment)
        journal = data / "journal.sqlite"
        for number in range(rounds):
            counts = [chance.randint(1, MOST) for _ in range(4)]
            ask = _ASK.format(number=number, counts=counts)
            before = len(states(journal))
            kernel.run("import runapi_magic.notebook.api, PIL.Image")
            kernel.start(ask)
            # The moment is the thing under test: any, from before the first row to after the last.
            time.sleep(chance.uniform(0, LONGEST))
            if chance.random() < _CANCELS:
                kernel.start(_CANCEL)
                count.cancelled += 1
                time.sleep(chance.uniform(0, LONGEST / 4))
            kernel.kill()
            found = Counter(states(journal)[before:])
            count.killed_at.update(found or {"nothing written": 1})
            kernel = Kernel(work, environment)
            kernel.run(_RESUME)
            said = kernel.run(ask + _FINISH)
            images, cents = said.split()[-2:]
            assert int(images) == sum(counts), f"round {number + 1}, {counts}: {said}"
            count.rounds += 1
            count.asked += sum(counts)
            count.asked_tasks += counts[0] + counts[1] + len(_SHARES[counts[2]]) + counts[3]
            count.expected_cents += 6 * counts[0] + 5 * counts[1] + 6 * counts[3]
            count.expected_cents += sum(_CENTS_OF_4O[share] for share in _SHARES[counts[2]])
            count.told_cents += float(cents)
            say and say(f"round {number + 1}: {dict(found)}")
        count.spent_cents = float(kernel.run(_SPENT).split()[-1])
        kernel.kill()
        _audit(count, work, journal, server.state())
    return count


def _audit(count: Count, work: Path, journal: Path, state: dict) -> None:
    with sqlite3.connect(journal) as connection:
        count.journal = connection.execute("PRAGMA integrity_check").fetchone()[0]
        rows = connection.execute("SELECT path, digest FROM images").fetchall()
    for path, digest in rows:
        content = Path(path).read_bytes()
        with Image.open(path) as image:
            image.load()
        count.damaged += hashlib.sha256(content).hexdigest() != digest
    files = list((work / "gpt-images").iterdir())
    count.pictures = sum(not file.name.startswith(".") for file in files)
    count.left_over = sum(file.name.startswith(".") for file in files)
    count.tasks = state["tasks_created"]
    count.charged_cents = state["charged_cents"]


def main() -> int:
    """Run from the command line and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = run_rounds(options.rounds, options.seed, Path(folder), say=print)
    print(count)  # noqa: T201 (a report)
    good = (
        count.pictures == count.asked
        and count.tasks == count.asked_tasks
        and count.charged_cents == count.expected_cents
        and count.charged_cents == round(count.told_cents) == round(count.spent_cents)
        and count.damaged == count.left_over == 0
        and count.journal == "ok"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
