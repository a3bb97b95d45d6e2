"""Measure how long the kernel's event loop is blocked while images arrive.

``python -m tests.kernel.heartbeat`` requests 20 images in 4k from a simulator in another process. A
coroutine in the kernel runs every 5 ms; the command prints its longest delays.
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
    """Delays of the coroutine, in seconds, in the two phases of a run.

    Attributes:
        images: Number of images that arrived.
        sending: Delays while the cells run and the requests are sent.
        arriving: Delays after that, while the images arrive.
    """

    images: int
    sending: list[float]
    arriving: list[float]

    def __str__(self) -> str:
        phases = [("sending", self.sending), ("arriving", self.arriving)]
        return f"{self.images} images; " + "; ".join(
            f"while {name}: longest {max(pauses) * 1000:.0f} ms, 99th percentile"
            f" {sorted(pauses)[int(len(pauses) * 0.99)] * 1000:.0f} ms"
            for name, pauses in phases
        )


def measure(folder: Path, count: int, resolution: str) -> Pauses:
    """Generate one image in each of several cells and measure the delays of the kernel's loop.

    Args:
        folder: Where the home folder, the journal and the images go.
        count: Number of cells.
        resolution: ``1k``, ``2k`` or ``4k``.
    """
    with serve_simulator("--speed", "10") as server:
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            first = kernel.run_ok("%gpt_image a hill that loads everything")
            kernel.wait_for_images(first)
            kernel.run_ok(_BEAT)
            cells = [
                kernel.run_ok(f"%gpt_image -a 16:9 -r {resolution} hill number {n} by the sea")
                for n in range(count)
            ]
            kernel.run_ok("returned = time.perf_counter()")
            kernel.wait(lambda: all(cell.images for cell in cells), seconds=180)
            sending = kernel.value("[round(p, 5) for at, p in gaps if at < returned]")
            arriving = kernel.value("[round(p, 5) for at, p in gaps if at >= returned]")
            return Pauses(sum(len(cell.images) for cell in cells), sending, arriving)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder), 20, "4k"))  # noqa: T201 (the result)
