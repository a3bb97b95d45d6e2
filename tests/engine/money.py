"""Helpers for tests of budgets."""

from __future__ import annotations

import threading
import time

import pytest

from runapi_magic.errors import BudgetError

PRICE = 0.06  # USD of an image by the default model
NOT_SENT = "Nothing was sent, nothing was charged."


def set_budget(session, usd, scope="session"):
    """Set a budget for the session's service."""
    session.budgets.set_budget(session.service().access.base_url, scope, usd)


def spending(session):
    """Return what was spent at the session's service."""
    return session.budgets.spending(session.service().access.base_url, "")


async def refused(work):
    """Return the message of a request that a budget or a limit refuses."""
    with pytest.raises(BudgetError) as caught:
        await work
    what, charged, todo = caught.value.parts
    assert charged == NOT_SENT
    assert todo
    return what


def wait_until(condition):
    """Wait until a condition is true; fail after 20 seconds."""
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)
