"""Kill a kernel at a random moment, resume in a new kernel, and compare counts.

``python -m tests.recovery.kill 200`` runs 200 rounds. Each round sends four requests for 1 to 4
images each: two prompts, a model that makes several images in one task, and an edit of a local file
that must be uploaded. At a random moment the kernel is killed (SIGKILL). In half the rounds
everything is cancelled twice shortly before. A new kernel resumes and runs the same cell again.
Afterwards the images and tasks on the server must match the requests, and the reported cost must
match the charge.
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

MAX_IMAGES = 4  # maximum number of images of one request
MAX_DELAY = 2.0  # maximum seconds until the kernel is stopped; a round's images take about 2
_CANCELS = 0.5  # share of the rounds with cancellation
_REQUESTS = """
from runapi_magic import generate, edit
generations = [
    generate("round {number}: a boat", count={counts[0]}),
    generate("round {number}: a pro boat", model="flux-kontext-pro", count={counts[1]}),
    generate(
        "round {number}: a fleet", model="gpt-4o-image", aspect_ratio="1:1", count={counts[2]}
    ),
    edit("source.png", "round {number}: invert", count={counts[3]}),
]
"""
_CANCEL = """
for generation in generations + generations:
    generation.cancel()
"""
_FINISH = """
for generation in generations:
    await generation
images = {image.id: image for generation in generations for image in generation.images}
for generation in generations:
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
spent = session.budgets.spending(session.service().access.base_url, "")
print("spent", round(100 * spent.total, 3))
"""
# Tasks for each count, and the prices of gpt-4o-image in the simulator.
_SHARES = {1: (1,), 2: (2,), 3: (2, 1), 4: (4,)}
_CENTS_OF_4O = {1: 6, 2: 7, 4: 8}


@dataclass
class Totals:
    """Totals over all rounds. ``damaged`` and ``partial_files`` are numbers of files."""

    rounds: int = 0
    cancelled: int = 0
    requested_images: int = 0
    images: int = 0
    expected_tasks: int = 0
    tasks: int = 0
    charged_cents: int = 0
    expected_cents: int = 0
    reported_cents: float = 0.0
    spent_cents: float = 0.0
    damaged: int = 0
    partial_files: int = 0
    journal: str = ""
    killed_at: Counter = field(default_factory=Counter)


class Kernel:
    """A kernel in a process of its own, in a folder, with some environment variables."""

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
        """Run code without waiting for it."""
        self.client.execute(code, allow_stdin=True)

    def run(self, code: str) -> str:
        """Run code to its end and return what it prints."""
        lines: list[str] = []

        def collect(message) -> None:
            content = message["content"]
            lines.append(content.get("text", "") + "\n".join(content.get("traceback", [])))

        reply = self.client.execute_interactive(
            code, allow_stdin=False, timeout=120, output_hook=collect
        )
        assert reply["content"]["status"] == "ok", "".join(lines)
        return "".join(lines)

    def kill(self) -> None:
        """Kill the kernel, as the operating system does when memory runs out."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self._sockets.cleanup()


def states(journal: Path) -> list[str]:
    """Return the state of every task in the journal; empty if the journal has no tables yet."""
    if not journal.exists():
        return []
    with sqlite3.connect(journal, timeout=30) as connection:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'tasks'"
        if connection.execute(tables).fetchone() == (0,):
            return []
        return [state for (state,) in connection.execute("SELECT state FROM tasks ORDER BY rowid")]


def run_rounds(rounds: int, seed: int, folder: Path, *, report=None) -> Totals:
    """Kill and resume ``rounds`` times. Return the totals."""
    rng = random.Random(seed)
    totals = Totals()
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
            counts = [rng.randint(1, MAX_IMAGES) for _ in range(4)]
            requests = _REQUESTS.format(number=number, counts=counts)
            before = len(states(journal))
            kernel.run("import runapi_magic.notebook.api, PIL.Image")
            kernel.start(requests)
            # Any moment must work: before the first row is written, after the last, or between.
            time.sleep(rng.uniform(0, MAX_DELAY))
            if rng.random() < _CANCELS:
                kernel.start(_CANCEL)
                totals.cancelled += 1
                time.sleep(rng.uniform(0, MAX_DELAY / 4))
            kernel.kill()
            found = Counter(states(journal)[before:])
            totals.killed_at.update(found or {"nothing written": 1})
            kernel = Kernel(work, environment)
            kernel.run(_RESUME)
            output = kernel.run(requests + _FINISH)
            images, cents = output.split()[-2:]
            assert int(images) == sum(counts), f"round {number + 1}, {counts}: {output}"
            totals.rounds += 1
            totals.requested_images += sum(counts)
            totals.expected_tasks += counts[0] + counts[1] + len(_SHARES[counts[2]]) + counts[3]
            totals.expected_cents += 6 * counts[0] + 5 * counts[1] + 6 * counts[3]
            totals.expected_cents += sum(_CENTS_OF_4O[share] for share in _SHARES[counts[2]])
            totals.reported_cents += float(cents)
            report and report(f"round {number + 1}: {dict(found)}")
        totals.spent_cents = float(kernel.run(_SPENT).split()[-1])
        kernel.kill()
        _audit(totals, work, journal, server.state())
    return totals


def _audit(totals: Totals, work: Path, journal: Path, state: dict) -> None:
    with sqlite3.connect(journal) as connection:
        totals.journal = connection.execute("PRAGMA integrity_check").fetchone()[0]
        rows = connection.execute("SELECT path, digest FROM images").fetchall()
    for path, digest in rows:
        content = Path(path).read_bytes()
        with Image.open(path) as image:
            image.load()
        totals.damaged += hashlib.sha256(content).hexdigest() != digest
    files = list((work / "gpt-images").iterdir())
    totals.images = sum(not file.name.startswith(".") for file in files)
    totals.partial_files = sum(file.name.startswith(".") for file in files)
    totals.tasks = state["tasks_created"]
    totals.charged_cents = state["charged_cents"]


def main() -> int:
    """Run the rounds from the command line and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        totals = run_rounds(options.rounds, options.seed, Path(folder), report=print)
    print(totals)  # noqa: T201 (the result of the command)
    good = (
        totals.images == totals.requested_images
        and totals.tasks == totals.expected_tasks
        and totals.charged_cents == totals.expected_cents
        and totals.charged_cents == round(totals.reported_cents) == round(totals.spent_cents)
        and totals.damaged == totals.partial_files == 0
        and totals.journal == "ok"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
