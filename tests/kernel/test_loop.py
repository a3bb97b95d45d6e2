"""The kernel's event loop: requests from other threads, blocking cells, and delays."""

from __future__ import annotations

import pytest

from tests.kernel.heartbeat import measure
from tests.kernel.kernels import FIND_WIDGETS

CLICK = """
import asyncio, threading
from ipywidgets import Widget

# As in ipykernel 7.0, whose get_parent fails in a thread that the kernel did not start.
kernel = get_ipython().kernel
strict = getattr(kernel, "_shell_parent", None)
kernel.get_parent = (lambda channel=None: strict.get()) if strict else kernel.get_parent

def watch(kind):
    # Records for each new widget of a kind whether it is created on the kernel's thread.
    main = threading.main_thread()
    Widget.on_widget_constructed(
        lambda made: type(made) is kind and on_main.append(threading.current_thread() is main)
    )

def in_thread(act):
    # As in ipykernel 7.0 to 7.3: the thread of a subshell, with a running loop of its own.
    async def run():
        act()
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("run", ["in_thread", "(lambda act: act())"])
@pytest.mark.versions
def test_click_on_any_thread(kernel, server, run):
    """Buttons make new versions in the same output, on whichever thread their clicks arrive."""
    kernel.run_ok(FIND_WIDGETS + CLICK)
    name = "thread" if run == "in_thread" else "main"
    cell = kernel.run_ok(f"%%gpt_image -o start\na hill for the {name}")
    kernel.wait_for_images(cell)
    kernel.run_ok("_ = await start")
    first = cell.images[0]["data"]["image/jpeg"]
    kernel.run_ok("on_main = []\nwatch(Text)")
    kernel.run_ok(f"{run}(newest(Button, 'Edit').click)")
    kernel.wait(lambda: kernel.value("on_main") == [True])
    kernel.run_ok("newest(Text).value = 'make it blue'")
    kernel.run_ok(f"{run}(newest(Button, 'Go').click)")
    kernel.wait(lambda: "v1 > v2" in cell.text)
    (image,) = cell.images
    assert image["data"]["image/jpeg"] != first
    kernel.run_ok(f"{run}(newest(Button, '◀').click)")
    kernel.wait(lambda: "\nv1 · " in cell.text)
    assert cell.images[0]["data"]["image/jpeg"] == first
    kernel.run_ok(f"{run}(newest(Button, 'Again').click)")
    kernel.wait(lambda: "\nv3 · " in cell.text)
    assert kernel.value("len(start.images)") == 3


@pytest.mark.versions
def test_generate_from_another_thread(kernel, server):
    """``generate`` in a thread without an event loop runs its task on the kernel's loop."""
    kernel.run_ok(CLICK)
    kernel.run_ok(
        "from runapi_magic import generate\nresults = []\n"
        "thread = threading.Thread(target=lambda: results.append(generate('a hill by thread')))\n"
        "thread.start(); thread.join()"
    )
    assert kernel.value("(await results[0]).image.path.exists()")


@pytest.mark.versions
def test_thread_pool_in_a_cell(kernel, server):
    """Threads of a cell start requests at the same time and wait for them on their own loops."""
    before = server.state()["charged_cents"]
    kernel.run_ok(
        "from concurrent.futures import ThreadPoolExecutor\nimport asyncio\n"
        "from runapi_magic import generate, generate_many\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    made = list(pool.map(generate, [f'a hill of pool {n}' for n in range(4)]))\n"
        "    rows = [f'a row of pool {n}' for n in range(3)]\n"
        "    batch = pool.submit(generate_many, rows, progress=False).result()"
    )
    kernel.run_ok(
        "def wait(work):\n    return asyncio.run(work.wait())\n"
        "ended = [await asyncio.to_thread(wait, work) for work in [*made, batch]]"
    )
    assert kernel.value("[len(work.images) for work in ended[:4]] + [len(batch.images)]") == [
        1, 1, 1, 1, 3,
    ]  # fmt: skip
    cents = kernel.value("round(100 * sum(work.cost for work in ended))")
    assert server.state()["charged_cents"] - before == cents > 0


def test_blocking_cell_causes_no_timeout(kernel, server):
    """A cell that blocks the kernel longer than the timeout does not stop a task."""
    kernel.run_ok("%config RunAPIMagics.timeout = 8.0")
    cell = kernel.run_ok("%%gpt_image -o blocked\na hill behind a long cell")
    kernel.run_ok("import time\ntime.sleep(9)")
    kernel.wait_for_images(cell)
    kernel.run_ok("%config RunAPIMagics.timeout = 900.0")


def test_loop_delays_while_images_arrive(tmp_path, record_property, capsys):
    """Eight large images arrive. The test prints the longest delays of the kernel's loop."""
    pauses = measure(tmp_path, 8, "4k")
    record_property("pauses", str(pauses))
    with capsys.disabled():
        print(f"\n{pauses}")  # noqa: T201 (the measurement)
    assert pauses.images == 8
