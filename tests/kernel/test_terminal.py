"""Terminal IPython: a script and a session wait for their images and print the paths."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

import pexpect
import pytest

from tests.conftest import KEY, clean_environment, serve_simulator

SCRIPT = """
get_ipython().run_line_magic('load_ext', 'runapi_magic')
get_ipython().run_line_magic('runapi', 'simulator on --speed 60')
made = get_ipython().run_line_magic('gpt_image', '-o cat a cat in a terminal')
print(made.status, cat.image.path.exists())
"""


@pytest.mark.versions
def test_script(tmp_path):
    """A script in IPython waits for its image and prints its path."""
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", SCRIPT],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (image,) = (tmp_path / "gpt-images").iterdir()
    assert f"gpt-images/{image.name}" in done.stdout
    assert "completed True" in done.stdout
    assert done.stderr == ""
    assert done.returncode == 0


@contextmanager
def terminal(folder, **environment):
    """Start IPython in a terminal and wait for its first prompt."""
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
def test_session(tmp_path):
    """In an interactive terminal ``%gpt_image`` waits, prints the path and returns the result."""
    with terminal(tmp_path) as child:
        child.sendline("%load_ext runapi_magic")
        child.expect_exact("In [2]: ")
        child.sendline("%runapi simulator on --speed 60")
        child.expect_exact("In [3]: ")
        child.sendline("%gpt_image -a 3:4 -o cat a cat in a terminal")
        child.expect_exact("In [4]: ")
        output = child.before
        child.sendline("cat.image.size")
        child.expect_exact("(768, 1024)")
        child.expect_exact("In [5]: ")
        child.sendline("%gpt_image -a 5:9 a cat")
        child.expect_exact("In [6]: ")
        error = child.before
        child.sendline("%runapi status")
        child.expect_exact("In [7]: ")
        status = child.before
        child.sendline("%gpt_image --sweep a=fox,owl a {a} in a terminal")
        child.expect_exact("In [8]: ")
        sweep = child.before
        child.sendline("%gpt_image --detach a hen in a terminal")
        child.expect_exact("In [9]: ")
        detached = child.before
        child.sendline("exit")
        child.expect(pexpect.EOF)
    assert "gpt-images/a-cat-in-a-terminal-" in output
    assert "Traceback" not in output
    assert "InvalidRequestError: '5:9'" in error
    assert "Traceback" not in error
    assert "simulator in this kernel" in status
    assert "Out[" not in status
    assert sweep.count("gpt-images/a-owl-in-a-terminal-") == 1
    assert "<Sweep " in sweep
    assert "--detach is for notebooks; a terminal waits" in detached
    assert "gpt-images/a-hen-in-a-terminal-" in detached


def _polled_paths(server):
    return {one["path"] for one in server.state()["requests"] if one["method"] == "GET"}


def test_interrupt(tmp_path):
    """Ctrl-C stops waiting with a message, and ``-o`` has bound the Generation."""
    with serve_simulator("--speed", "60") as server:
        server.fault("status=stuck,match=let go of")
        with terminal(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY) as child:
            child.sendline("%load_ext runapi_magic")
            child.expect_exact("In [2]: ")
            child.sendline("%gpt_image -n 2 -o kept a cat to be let go of")
            deadline = time.monotonic() + 60
            while len(_polled_paths(server)) < 2:
                assert time.monotonic() < deadline
            child.sendintr()
            child.expect_exact("In [3]: ")
            output = child.before
            child.sendline("print(kept.status, len(kept.task_ids))")
            child.expect_exact("cancelled 2")
    assert "Traceback" not in output
    assert "%runapi resume" in output
