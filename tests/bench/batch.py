"""A batch of 1,000 prompts in a kernel: its time against the ideal, its memory, the kernel's pulse.

A simulator in another process answers, 50 times as fast as life; the ideal is the sum of the tasks'
durations at the service over the number of tasks at a time.

``python -m tests.bench.batch [N] [CONCURRENCY]``
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import KEY, apart, serve_simulator
from tests.kernel.heartbeat import _BEAT
from tests.kernel.kernels import start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY, AT_ONCE, SPEED = 1000, 8, 50

_MEMORY = """
def resident():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmRSS"))
    return int(line.split()[1]) / 1000
"""
_RUN = """
import time
from runapi_magic import generate_many
before, begun = resident(), time.perf_counter()
batch = generate_many([f"cat number {{n}}" for n in range({count})], concurrency={at_once},
                      progress=False)
"""
_WATCH = """
async def watch():
    peak = 0
    async for _ in batch.as_completed():
        peak = max(peak, resident())
    return peak
watching = asyncio.get_running_loop().create_task(watch())
"""
_END = """
peak = await watching
wall = time.perf_counter() - begun
"""


def report(count: int = MANY, at_once: int = AT_ONCE) -> Iterator[str]:
    """Yield the lines of the table."""
    with (
        tempfile.TemporaryDirectory() as place,
        serve_simulator("--speed", str(SPEED), "--balance-cents", "1000000") as server,
    ):
        folder = Path(place)
        environment = apart(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_well("%gpt_image --wait a hill that loads everything")
            warm = len(server.state()["tasks"])
            kernel.run_well(_BEAT + _MEMORY)
            kernel.run_well(_RUN.format(count=count, at_once=at_once))
            kernel.run_well(_WATCH)
            answer = kernel.value("20 + 22")  # another cell, meanwhile
            under_way = kernel.value("not batch.is_done")
            ended = kernel.start(_END)
            kernel.wait(lambda: ended.is_done, seconds=900)
            kernel.run_well("pauses = sorted(gap for at, gap in gaps if at >= begun)")
            wall, peak, before, longest, p99 = kernel.value(
                "(wall, peak, before, pauses[-1], pauses[int(len(pauses) * 0.99)])"
            )
            done, cost = kernel.value("(batch.counts['completed'], round(batch.cost, 2))")
        state = server.state()
        tasks = state["tasks"][warm:]
        ideal = sum(task["ends"] - task["created"] for task in tasks) / at_once
    yield f"{done} of {count} pictures, {len(tasks)} tasks, ${cost:.2f}, {at_once} at a time"
    yield f"another cell answered {answer} while the batch was under way: {under_way}"
    yield f"most tasks at the service at a time: {state['max_concurrent']}"
    yield f"time {wall:.1f} s, ideal {ideal:.1f} s, ratio {wall / ideal:.2f}"
    yield f"memory {before:.0f} MB before, {peak - before:.0f} MB more at most"
    yield f"longest pause of the loop {longest * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


if __name__ == "__main__":
    for row in report(*map(int, sys.argv[1:])):
        print(row)  # noqa: T201 (a report)
