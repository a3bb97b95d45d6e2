"""The kernel's loop: other threads hand over to it, nothing keeps it long; and terminal IPython."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

import pexpect
import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.heartbeat import measure

CLICK = """
import asyncio, threading
from ipywidgets import Button, Text, Widget
from ipywidgets.widgets.widget import _instances

# As in ipykernel 7.0, which alone has no answer on a thread that it did not start.
kernel = get_ipython().kernel
strict = getattr(kernel, "_shell_parent", None)
kernel.get_parent = (lambda channel=None: strict.get()) if strict else kernel.get_parent

def newest(kind, text=None):
    made = [w for w in _instances.values() if type(w) is kind]
    return [w for w in made if (w.description or "").startswith(text or "")][-1]

def watch(kind):
    # Notes whether the work for a click, which makes such a widget, is done on the kernel's thread.
    main = threading.main_thread()
    Widget.on_widget_constructed(
        lambda made: type(made) is kind and at_home.append(threading.current_thread() is main)
    )

def elsewhere(act):
    # As ipykernel 7.0 to 7.3 do: a subshell's thread with a running loop of its own.
    async def on_its_loop():
        act()
    thread = threading.Thread(target=lambda: asyncio.run(on_its_loop()))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("where", ["elsewhere", "(lambda act: act())"])
@pytest.mark.versions
def test_button_on_another_threads_loop(kernel, server, where):
    """An edit by the buttons arrives as next version in the same output, on whichever thread."""
    kernel.run_ok(CLICK)
    mark = "thread" if where == "elsewhere" else "main"
    cell = kernel.run_ok(f"%%gpt_image -o start\na hill for the {mark}")
    kernel.wait_for_images(cell)
    kernel.run_ok("_ = await start")
    first = cell.images[0]["data"]["image/jpeg"]
    kernel.run_ok("at_home = []\nwatch(Text)")
    kernel.run_ok(f"{where}(newest(Button, 'Edit').click)")
    kernel.wait(lambda: kernel.value("at_home") == [True])
    kernel.run_ok("newest(Text).value = 'make it blue'")
    kernel.run_ok(f"{where}(newest(Button, 'Go').click)")
    kernel.wait(lambda: "v1 > v2" in cell.text)
    (picture,) = cell.images
    assert picture["data"]["image/jpeg"] != first
    kernel.run_ok(f"{where}(newest(Button, '◀').click)")
    kernel.wait(lambda: "\nv1 · " in cell.text)
    assert cell.images[0]["data"]["image/jpeg"] == first
    kernel.run_ok(f"{where}(newest(Button, 'Again').click)")
    kernel.wait(lambda: "\nv3 · " in cell.text)
    assert kernel.value("len(start.images)") == 3


@pytest.mark.versions
def test_generate_from_another_thread(kernel, server):
    """``generate`` on a thread without a loop works on the kernel's loop."""
    kernel.run_ok(CLICK)
    kernel.run_ok(
        "from runapi_magic import generate\nfound = []\n"
        "thread = threading.Thread(target=lambda: found.append(generate('a hill by thread')))\n"
        "thread.start(); thread.join()"
    )
    assert kernel.value("(await found[0]).image.path.exists()")


@pytest.mark.versions
def test_a_pool_of_threads_in_a_cell(kernel, server):
    """Threads of a cell start requests at once, and await them on loops of their own."""
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
    assert kernel.value("[len(work.images) for work in ended[:4]] + [len(batch.pictures)]") == [
        1, 1, 1, 1, 3,
    ]  # fmt: skip
    cents = kernel.value("round(100 * sum(work.cost for work in ended))")
    assert server.state()["charged_cents"] - before == cents > 0


def test_long_cell_does_not_end_a_task(kernel, server):
    """A cell that blocks the kernel while a task is done does it no harm."""
    kernel.run_ok("%config RunAPIMagics.timeout = 8.0")
    cell = kernel.run_ok("%%gpt_image -o blocked\na hill behind a long cell")
    kernel.run_ok("import time\ntime.sleep(9)")
    kernel.wait_for_images(cell)
    kernel.run_ok("%config RunAPIMagics.timeout = 900.0")


def test_kernel_stays_awake_while_pictures_arrive(tmp_path, record_property, capsys):
    """Eight large pictures arrive; the figure printed is how long the kernel was ever kept."""
    pauses = measure(tmp_path, 8, "4k")
    record_property("pauses", str(pauses))
    with capsys.disabled():
        print(f"\n{pauses}")  # noqa: T201 (the figure)
    assert pauses.images == 8


TERMINAL = """
get_ipython().run_line_magic('load_ext', 'runapi_magic')
get_ipython().run_line_magic('runapi', 'simulator on --speed 60')
made = get_ipython().run_line_magic('gpt_image', '-o cat a cat in a terminal')
print(made.status, cat.image.path.exists())
"""


@pytest.mark.versions
def test_terminal_script(tmp_path):
    """IPython without a front end runs a picture to its end and prints where it is."""
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", TERMINAL],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (picture,) = (tmp_path / "gpt-images").iterdir()
    assert f"gpt-images/{picture.name}" in done.stdout
    assert "completed True" in done.stdout
    assert done.stderr == ""
    assert done.returncode == 0


@contextmanager
def terminal(folder, **environment):
    """IPython in a terminal, at its first prompt."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--no-banner", "--colors=NoColor", "--simple-prompt"],
        cwd=str(folder),
        env=clean_environment(folder, TERM="dumb", **environment),
        timeout=60,
        encoding="utf-8",
    )
    try:
        child.expect_exact("In [1]: ")
        yield child
    finally:
        child.close(force=True)


@pytest.mark.versions
def test_terminal_session(tmp_path):
    """In an interactive terminal ``%gpt_image`` waits, prints the path, and gives the result."""
    with terminal(tmp_path) as child:
        child.sendline("%load_ext runapi_magic")
        child.expect_exact("In [2]: ")
        child.sendline("%runapi simulator on --speed 60")
        child.expect_exact("In [3]: ")
        child.sendline("%gpt_image -a 3:4 -o cat a cat in a terminal")
        child.expect_exact("In [4]: ")
        said = child.before
        child.sendline("cat.image.size")
        child.expect_exact("(768, 1024)")
        child.expect_exact("In [5]: ")
        child.sendline("%gpt_image -a 5:9 a cat")
        child.expect_exact("In [6]: ")
        refused = child.before
        child.sendline("%runapi status")
        child.expect_exact("In [7]: ")
        told = child.before
        child.sendline("%gpt_image --sweep a=fox,owl a {a} in a terminal")
        child.expect_exact("In [8]: ")
        swept = child.before
        child.sendline("%gpt_image --detach a hen in a terminal")
        child.expect_exact("In [9]: ")
        detached = child.before
        child.sendline("exit")
        child.expect(pexpect.EOF)
    assert "gpt-images/a-cat-in-a-terminal-" in said
    assert "Traceback" not in said
    assert "UsageError: '5:9'" in refused
    assert "Traceback" not in refused
    assert "simulator in this kernel" in told
    assert "Out[" not in told
    assert swept.count("gpt-images/a-owl-in-a-terminal-") == 1
    assert "<Sweep " in swept
    assert "--detach is for notebooks; a terminal waits" in detached
    assert "gpt-images/a-hen-in-a-terminal-" in detached


def _looked_at(server):
    return {one["path"] for one in server.state()["requests"] if one["method"] == "GET"}


def test_interrupting_a_terminal(tmp_path):
    """Ctrl-C in a terminal lets go in words, and ``-o`` has bound what was under way."""
    with serve_simulator("--speed", "60") as server:
        server.fault("status=stuck,match=let go of")
        with terminal(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY) as child:
            child.sendline("%load_ext runapi_magic")
            child.expect_exact("In [2]: ")
            child.sendline("%gpt_image -n 2 -o kept a cat to be let go of")
            deadline = time.monotonic() + 60
            while len(_looked_at(server)) < 2:
                assert time.monotonic() < deadline
            child.sendintr()
            child.expect_exact("In [3]: ")
            said = child.before
            child.sendline("print(kept.status, len(kept.task_ids))")
            child.expect_exact("cancelled 2")
    assert "Traceback" not in said
    assert "%runapi resume" in said
