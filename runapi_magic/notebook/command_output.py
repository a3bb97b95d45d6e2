"""Show the answer of a command in its cell: at once, or when RunAPI has answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runapi_magic.core.printing import print_text
from runapi_magic.core.task_state import TaskState
from runapi_magic.display import environment
from runapi_magic.display.gallery import Album
from runapi_magic.display.generation_view import show_drawing
from runapi_magic.engine.lineage import Tree
from runapi_magic.errors import RunAPIError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from concurrent.futures import Future

    from runapi_magic.engine.image import GeneratedImage

_TICK = 0.5  # seconds between two wake-ups of the loop
_STOPPED = "Stopped asking. Nothing was charged."


def report(answer: str | Tree[GeneratedImage] | Album | Awaitable[str]) -> Report | None:
    """Show the answer of a command and return it; return None in a terminal, so it has no Out."""
    made = Report(answer)
    return None if environment.running_loop() is None else made


class Report:
    """The answer of a command: printed at once, or shown when RunAPI has answered."""

    def __init__(self, answer: str | Tree[GeneratedImage] | Album | Awaitable[str]) -> None:
        self._shown: Future[None] | None = None
        home = environment.running_loop()
        if isinstance(answer, str):
            print_text(answer)
        elif isinstance(answer, Tree | Album):
            show_drawing(answer)
        elif home is None:
            try:
                answered = environment.run(_worded(answer))
            except KeyboardInterrupt:
                answered = _STOPPED
            print_text(answered)
        else:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()
            self._handle.display({"text/plain": "Asking RunAPI …"}, raw=True)
            # Threadsafe, because the cell may run in a subshell on another thread.
            self._shown = asyncio.run_coroutine_threadsafe(self._show(answer), home)

    async def _show(self, answer: Awaitable[str]) -> None:
        self._handle.update({"text/plain": await _worded(answer)}, raw=True)

    @property
    def is_done(self) -> bool:
        """Whether the answer is shown."""
        return self._shown is None or self._shown.done()

    def __await__(self) -> Generator[Any, None, None]:
        if self._shown is not None:
            yield from _wait_for(asyncio.wrap_future(self._shown)).__await__()

    def _ipython_display_(self) -> None:
        """Show nothing: the answer has its own output."""


async def _wait_for(shown: asyncio.Future[None]) -> None:
    try:
        while not shown.done():
            # The kernel notices an interrupt only when its loop wakes up, so wake it regularly.
            await asyncio.wait([shown], timeout=_TICK)
        await shown
    except asyncio.CancelledError as error:
        shown.cancel()
        # IPython shows this instead of a traceback when the cell is interrupted.
        error._render_traceback_ = lambda: [_STOPPED]  # type: ignore[attr-defined]
        raise


async def _worded(answer: Awaitable[str]) -> str:
    try:
        return await answer
    except RunAPIError as error:
        return "\n".join(error.named_parts)
    except Exception as error:  # noqa: BLE001 (asking costs nothing; the error is the answer)
        return "\n".join(TaskState().as_runapi_error(error).named_parts)
