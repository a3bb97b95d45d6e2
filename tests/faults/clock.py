"""A clock for tests: only the sleeps of the code under test move it, and they take no time."""

from __future__ import annotations

import asyncio
import time

import tenacity

from runapi_magic.engine import image_store as shelf
from runapi_magic.http import rate_limit as rates
from runapi_magic.http import retry as retrying
from runapi_magic.http import transport
from runapi_magic.http import wait_for_task as following
from runapi_magic.journal import rate_store


class Clock:
    """Replaces ``time`` and ``asyncio`` in the modules that wait.

    Attributes:
        now: Total of all sleeps in seconds.
        sleeps: The sleeps in seconds.
    """

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.sleeps = []
        for module in (tenacity, transport, following, shelf):
            monkeypatch.setattr(module, "time", _Instead(time, monotonic=lambda: self.now))
        instead = _Instead(time, monotonic=lambda: self.now, time=lambda: self.now)
        for module in (rates, rate_store):
            monkeypatch.setattr(module, "time", instead)
        for module in (rates, retrying, following, shelf):
            monkeypatch.setattr(module, "asyncio", _Instead(asyncio, sleep=self.sleep))

    def reset(self):
        """Start again at 0."""
        self.now, self.sleeps = 0.0, []

    async def sleep(self, seconds):
        """Move the clock, and let other tasks run."""
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class _Instead:
    """A module in which some names are replaced."""

    def __init__(self, module, **names):
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name):
        return getattr(self._module, name)
