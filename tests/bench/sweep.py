"""Growing sweeps in a kernel: the kernel's CPU time per image, with its contact sheet.

The images come from a simulator in another process, 50 times faster than RunAPI. The contact sheet
is updated for each image. The CPU time per image should not grow with the size of the sweep.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = 12, 48, 192
_SECONDS = 300  # maximum wait for a sweep
_SWEEP = """%%gpt_image --sweep number={{numbers}} --yes --wait -o swept
a hill with {{number}} trees, {size} in all"""


def report() -> Iterator[str]:
    """Yield the lines of the table, in milliseconds."""
    yield f"{'images of the sweep':>22}{'CPU per image':>16}{'to the smallest':>18}"
    with (
        tempfile.TemporaryDirectory() as path,
        serve_simulator("--speed", "50", "--balance-cents", "1000000") as server,
    ):
        folder = Path(path)
        environment = clean_environment(folder, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
        with start_kernel(folder, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("import time\nnumbers = [1, 2]")
            kernel.run_ok(_SWEEP.format(size=2))  # imports all modules
            first = None
            for size in SIZES:
                kernel.run_ok(f"numbers, cpu = list(range({size})), time.process_time()")
                swept = kernel.start(_SWEEP.format(size=size))
                kernel.wait(lambda cell=swept: cell.is_done, seconds=_SECONDS)
                cpu = kernel.value("time.process_time() - cpu")
                done = kernel.value("swept.counts['completed']")
                each = cpu / done * 1000
                first = first or each
                yield f"{done:>22}{each:>13.1f} ms{each / first:>18.2f}"
