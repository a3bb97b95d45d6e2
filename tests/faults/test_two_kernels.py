"""Two kernels run the same notebook at the same time, on one journal."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.conftest import ROOT, clean_environment
from tests.faults.fast_simulators import fast_simulators
from tests.faults.kernel_process import PROMPTS


def _start(stack, url, folder, environment):
    return stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.kernel_process", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
    )


def _run_at_once(server, tmp_path, count):
    """Start ``count`` processes, run them at the same time, and return what each printed."""
    environment = clean_environment(tmp_path, PYTHONPATH=str(ROOT), PYTHONWARNINGS="error")
    with ExitStack() as stack:
        processes = [_start(stack, server.url, tmp_path, environment) for _ in range(count)]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=90) for process in processes]
    assert [error for _, error in ended] == [""] * count
    return [output.splitlines() for output, _ in ended]


@pytest.mark.parametrize("count", [2, 4])
def test_same_notebook_at_once(tmp_path, count):
    """Several kernels on one journal: every image is requested once, and all kernels show it."""
    with fast_simulators(1) as (server,):
        outputs = _run_at_once(server, tmp_path, count)
        state = server.state()
    assert state["tasks_created"] == len(PROMPTS)
    asked = Counter(task["body"]["prompt"] for task in state["tasks"])
    assert asked == dict.fromkeys(PROMPTS, 1)
    assert state["charged_cents"] == 6 * len(PROMPTS)
    assert [len(output) for output in outputs] == [len(PROMPTS)] * count
    assert outputs == [outputs[0]] * count
    files = [path.name for path in (tmp_path / "gpt-images").iterdir()]
    assert len(files) == len(PROMPTS)


def test_nothing_is_locked(tmp_path):
    """Several kernels on one journal: no notice says that it is locked."""
    with fast_simulators(1) as (server,):
        outputs = _run_at_once(server, tmp_path, 2)
    assert [line for output in outputs for line in output if line.startswith("notice")] == []
