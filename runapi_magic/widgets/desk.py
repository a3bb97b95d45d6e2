"""Where widgets' callbacks become work on the kernel's loop, and where errors are told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from runapi_magic.display.environment import hand_over, running_loop
from runapi_magic.errors import RunAPIError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

_log = logging.getLogger(__name__)


class Desk:
    """Works for one set of widgets, in the kernel that runs the cell now.

    Args:
        tell: Called on the loop with an error's lines: what happened, whether it was charged, and
            what to do.

    Attributes:
        loop: The kernel's own.
    """

    def __init__(self, tell: Callable[[tuple[str, ...]], None]) -> None:
        loop = running_loop()
        assert loop is not None, "widgets need a kernel"
        self.loop: asyncio.AbstractEventLoop = loop
        self._tell = tell
        self._working: set[asyncio.Task[None]] = set()

    def run(self, act: Callable[[], object]) -> None:
        """Call a function on the loop soon, from whatever thread a callback comes on."""
        hand_over(self.loop, lambda: self._try(act))

    def work(self, job: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine, on the loop."""
        task = self.loop.create_task(self._watch(job))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def fail(self, error: Exception) -> None:
        """Tell an error, whatever it is, on the loop."""
        if isinstance(error, RunAPIError):
            self._tell(error.parts)
        else:
            _log.error("a widget's work failed", exc_info=error)
            what = f"Something unexpected happened ({type(error).__name__}: {error})."
            doubt = "If something was sent, it may have been charged."
            todo = "%runapi resume looks for what is unfinished. Please report this."
            self._tell((what, doubt, todo))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
            self.fail(error)

    async def _watch(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
            self.fail(error)
