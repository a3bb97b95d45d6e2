"""A clock for tests: only the sleeps of the code under test move it, and they take no time."""

from __future__ import annotations

import asyncio
import time

import tenacity

from runapi_magic.engine import image_store
from runapi_magic.http import rate_limit, retry, transport, wait_for_task
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
        for module in (tenacity, transport, wait_for_task, image_store):
            monkeypatch.setattr(module, "time", _Instead(time, monotonic=lambda: self.now))
        instead = _Instead(time, monotonic=lambda: self.now, time=lambda: self.now)
        for module in (rate_limit, rate_store):
            monkeypatch.setattr(module, "time", instead)
        for module in (rate_limit, retry, wait_for_task, image_store):
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
