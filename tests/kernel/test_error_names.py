"""Errors are shown under their own names and without a traceback, in kernels and in terminals."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment, serve_simulator
from tests.kernel.kernels import error_message, start_kernel
from tests.kernel.test_terminal import terminal

MISSING_KEY = "MissingKeyError: There is no RunAPI key."
FAILED = "TaskFailedError: The service could not make the image: the dragon was asleep"
DRAGON = "status=failed,match=dragon,message=the dragon was asleep"
LIVE = pytest.mark.parametrize("live", [True, False], ids=["live", "unattended"])


@pytest.fixture(scope="module")
def keyless(tmp_path_factory):
    """Start a kernel without a key."""
    folder = tmp_path_factory.mktemp("keyless")
    with start_kernel(folder, clean_environment(folder), "%load_ext runapi_magic") as kernel:
        yield kernel


@LIVE
@pytest.mark.parametrize(
    "code",
    [
        "%%gpt_image\na cat",
        "%gpt_image a cat",
        "%%gpt_image --wait\na cat",
        "%%gpt_image --detach\na cat",
        "%gpt_image --sweep animal=cat,dog a {animal}",
        "from runapi_magic import generate\nawait generate('a cat')",
        "%runapi balance",
    ],
)
def test_missing_key(keyless, code, live):
    """Without a key, each kind of request gives the same error with three ways to continue."""
    cell = keyless.run(code, live=live)
    assert cell.reply["ename"] == "MissingKeyError"
    message = error_message(cell)
    assert message.startswith(f"{MISSING_KEY}\nNothing was sent, nothing was charged.\n")
    for way in ("RUNAPI_API_KEY", "%runapi login", "%runapi simulator on"):
        assert way in message


@pytest.mark.parametrize(("options", "live"), [("", False), ("--wait", True), ("-q --wait", True)])
def test_failed_task_of_a_cell_that_waits(kernel, server, options, live):
    """The error of a failed task ends a cell that waits, under its own name."""
    server.fault(DRAGON)
    cell = kernel.run(f"%%gpt_image --new {options}\na dragon", live=live)
    assert cell.reply["ename"] == "TaskFailedError"
    assert FAILED in error_message(cell)
    assert "Failed tasks are not charged." in cell.text
    assert cell.outputs[-1]["output_type"] == "error"


def test_failed_task_of_a_cell_that_does_not_wait(kernel, server):
    """The cell succeeds, and its output shows the error with the same words."""
    server.fault(DRAGON)
    cell = kernel.run_ok("%%gpt_image --new\na dragon")
    kernel.wait(lambda: FAILED in cell.text)
    assert "Failed tasks are not charged." in error_message(cell)


@LIVE
def test_error_of_a_command(kernel, server, live):
    """The error of the service is shown in place of the answer, under its own name."""
    server.fault("balance=403,message=not for you")
    cell = kernel.run_ok("%runapi balance", live=live)
    kernel.wait(lambda: "PermissionDeniedError: " in cell.text)
    assert "not for you" in error_message(cell)


@LIVE
def test_error_of_a_journal_command(kernel, server, live):
    """A command that asks for an unknown task ends with the name of the error."""
    cell = kernel.run("%runapi forget no-such-task", live=live)
    assert cell.reply["ename"] == "InvalidRequestError"
    message = error_message(cell)
    assert message.startswith("InvalidRequestError: No unfinished task has the ID no-such-task")


def _answer(child, number, line):
    child.sendline(line)
    child.expect_exact(f"In [{number + 1}]: ")
    assert "Traceback" not in child.before
    return child.before


def test_missing_key_in_a_terminal(tmp_path):
    """Terminal IPython shows the name of the error, and no traceback."""
    with terminal(tmp_path) as child:
        _answer(child, 1, "%load_ext runapi_magic")
        assert MISSING_KEY in _answer(child, 2, "%gpt_image a cat")
        assert MISSING_KEY in _answer(child, 3, "%runapi balance")
        assert "UsageError: %runapi has no command 'fly'." in _answer(child, 4, "%runapi fly")


def test_failed_task_in_a_terminal(tmp_path):
    """Terminal IPython shows why a task failed and why a command failed, under their names."""
    with serve_simulator("--speed", "60") as server:
        server.fault(DRAGON)
        server.fault("balance=403,message=not for you")
        access = {"RUNAPI_BASE_URL": server.url, "RUNAPI_API_KEY": KEY}
        with terminal(tmp_path, **access) as child:
            _answer(child, 1, "%load_ext runapi_magic")
            assert FAILED in _answer(child, 2, "%gpt_image a dragon")
            assert "PermissionDeniedError: " in _answer(child, 3, "%runapi balance")
