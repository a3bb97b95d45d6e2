"""Time that passes only where the code under test sleeps, and then at once."""

from __future__ import annotations

import asyncio
import time

import tenacity

from runapi_magic.engine import image_store as shelf
from runapi_magic.http import rate_limit as rates
from runapi_magic.http import retry as retrying
from runapi_magic.http import transport
from runapi_magic.http import wait_for_task as following


class Clock:
    """Stands in for ``time`` and ``asyncio`` in the modules that wait.

    Attributes:
        now: Seconds that were slept so far.
        naps: Each of them.
    """

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.naps = []
        for module in (tenacity, transport, following, shelf):
            monkeypatch.setattr(module, "time", _Instead(time, monotonic=lambda: self.now))
        instead = _Instead(time, monotonic=lambda: self.now, time=lambda: self.now)
        monkeypatch.setattr(rates, "time", instead)
        for module in (rates, retrying, following, shelf):
            monkeypatch.setattr(module, "asyncio", _Instead(asyncio, sleep=self.sleep))

    def reset(self):
        """Begin again."""
        self.now, self.naps = 0.0, []

    async def sleep(self, seconds):
        """Let the time pass, and others have their turn."""
        self.naps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class _Instead:
    """A module with some of its names replaced."""

    def __init__(self, module, **names):
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name):
        return getattr(self._module, name)
