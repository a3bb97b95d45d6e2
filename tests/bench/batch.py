"""A batch of 1,000 prompts in a kernel: its time, its memory and the pauses of the kernel's loop.

The simulator runs in another process, 50 times faster than RunAPI. The ideal time is the sum of the
tasks' durations divided by the number of parallel tasks.

``python -m tests.bench.batch [N] [CONCURRENCY]``
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.heartbeat import _BEAT
from tests.kernel.kernels import start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY, PARALLEL, SPEED = 1000, 8, 50

_MEMORY = """
def resident():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmRSS"))
    return int(line.split()[1]) / 1000
"""
_RUN = """
import time
from runapi_magic import generate_many
before, started = resident(), time.perf_counter()
batch = generate_many([f"cat number {{n}}" for n in range({count})], concurrency={parallel},
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
wall = time.perf_counter() - started
"""


def report(count: int = MANY, parallel: int = PARALLEL) -> Iterator[str]:
    """Yield the lines of the table."""
    with (
        tempfile.TemporaryDirectory() as path,
        serve_simulator("--speed", str(SPEED), "--balance-cents", "1000000") as server,
    ):
        folder = Path(path)
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("%gpt_image --wait a hill that loads everything")
            warm = len(server.state()["tasks"])
            kernel.run_ok(_BEAT + _MEMORY)
            kernel.run_ok(_RUN.format(count=count, parallel=parallel))
            kernel.run_ok(_WATCH)
            value = kernel.value("20 + 22")  # another cell at the same time
            was_running = kernel.value("not batch.is_done")
            ended = kernel.start(_END)
            kernel.wait(lambda: ended.is_done, seconds=900)
            kernel.run_ok("pauses = sorted(gap for at, gap in gaps if at >= started)")
            wall, peak, before, longest, p99 = kernel.value(
                "(wall, peak, before, pauses[-1], pauses[int(len(pauses) * 0.99)])"
            )
            done, cost = kernel.value("(batch.counts['completed'], round(batch.cost, 2))")
        state = server.state()
        tasks = state["tasks"][warm:]
        ideal = sum(task["ends"] - task["created"] for task in tasks) / parallel
    yield f"{done} of {count} images, {len(tasks)} tasks, ${cost:.2f}, {parallel} in parallel"
    yield f"another cell returned {value} while the batch was running: {was_running}"
    yield f"maximum of parallel tasks at the service: {state['max_concurrent']}"
    yield f"time {wall:.1f} s, ideal {ideal:.1f} s, ratio {wall / ideal:.2f}"
    yield f"memory {before:.0f} MB before, at most {peak - before:.0f} MB more"
    yield f"longest pause of the loop {longest * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


if __name__ == "__main__":
    for row in report(*map(int, sys.argv[1:])):
        print(row)  # noqa: T201 (the result of the command)
