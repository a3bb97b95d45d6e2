"""The answer of a command, asked on any thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from runapi_magic.display import environment
from runapi_magic.errors import RunAPIError
from runapi_magic.notebook.command_output import Report


class _Handle:
    """A display that stores what it shows."""

    texts: list[str]

    def display(self, data, **_options):
        self.texts = [data["text/plain"]]

    def update(self, data, **_options):
        self.texts.append(data["text/plain"])


@pytest.fixture
def idle_loop(monkeypatch):
    """The loop of a kernel that runs on another thread and has nothing to do."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    monkeypatch.setattr(environment, "running_loop", lambda: loop)
    monkeypatch.setattr("IPython.display.DisplayHandle", _Handle)
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def _wait_until_done(report):
    pause, deadline = threading.Event(), time.monotonic() + 10
    while not report.is_done:
        assert time.monotonic() < deadline
        pause.wait(0.01)


@pytest.mark.usefixtures("idle_loop")
def test_asked_on_another_thread():
    """The loop of the kernel answers at once, and another loop can wait for the answer."""

    async def answer():
        return "Balance $1.00"

    report = Report(answer())
    _wait_until_done(report)
    assert report._handle.texts == ["Asking RunAPI …", "Balance $1.00"]

    async def wait_for(report):
        await report

    asyncio.run(wait_for(Report(answer())))


@pytest.mark.usefixtures("idle_loop")
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RunAPIError("No balance."), "RunAPIError: No balance."),
        (ZeroDivisionError("oh"), "An unexpected error occurred (ZeroDivisionError: oh)"),
    ],
)
def test_an_error_is_the_answer(error, shown):
    """An error is shown instead of the answer, also if no cell waits for it."""

    async def answer():
        raise error

    report = Report(answer())
    _wait_until_done(report)
    assert shown in report._handle.texts[-1]
