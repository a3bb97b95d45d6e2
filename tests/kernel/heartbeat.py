"""How long pictures that arrive keep the kernel from doing anything else.

``python -m tests.kernel.heartbeat`` asks for 20 pictures in 4k from a simulator in another process
and prints the longest pauses of a coroutine that wants to run every 5 ms in the kernel.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

_BEAT = """
import asyncio, time
gaps = []
async def beat():
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        gaps.append((last, now - last - 0.005))
        last = now
heart = asyncio.get_running_loop().create_task(beat())
"""


@dataclass(frozen=True)
class Pauses:
    """Pauses in seconds, in two parts of the run.

    Attributes:
        pictures: How many pictures came.
        asking: While the cells run and the requests go out.
        arriving: After that, while pictures arrive.
    """

    pictures: int
    asking: list[float]
    arriving: list[float]

    def __str__(self) -> str:
        parts = [("asking", self.asking), ("arriving", self.arriving)]
        return f"{self.pictures} pictures; " + "; ".join(
            f"while {name}: longest {max(pauses) * 1000:.0f} ms, 99th percentile"
            f" {sorted(pauses)[int(len(pauses) * 0.99)] * 1000:.0f} ms"
            for name, pauses in parts
        )


def measure(folder: Path, count: int, resolution: str) -> Pauses:
    """Ask for pictures in so many cells of one kernel and watch its loop.

    Args:
        folder: Where home, journal and pictures go.
        count: Number of cells, each with one picture.
        resolution: ``1k``, ``2k`` or ``4k``.
    """
    with serve_simulator("--speed", "10") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            first = kernel.run_well("%gpt_image a hill that loads everything")
            kernel.wait_pictures(first)
            kernel.run_well(_BEAT)
            cells = [
                kernel.run_well(f"%gpt_image -a 16:9 -r {resolution} hill number {n} by the sea")
                for n in range(count)
            ]
            kernel.run_well("returned = time.perf_counter()")
            kernel.wait(lambda: all(cell.pictures for cell in cells), seconds=180)
            asking = kernel.value("[round(p, 5) for at, p in gaps if at < returned]")
            arriving = kernel.value("[round(p, 5) for at, p in gaps if at >= returned]")
            return Pauses(sum(len(cell.pictures) for cell in cells), asking, arriving)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(measure(Path(place), 20, "4k"))  # noqa: T201 (the answer)
