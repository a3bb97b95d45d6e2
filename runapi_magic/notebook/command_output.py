"""Show the answer of a command in its cell: at once, or when RunAPI has answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runapi_magic.core.printing import print_text
from runapi_magic.display import environment
from runapi_magic.display.gallery import Album
from runapi_magic.display.generation_view import show_drawing
from runapi_magic.engine.lineage import Tree
from runapi_magic.errors import RunAPIError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from runapi_magic.engine.image import GeneratedImage

_TICK = 0.5  # seconds
_STOPPED = "Stopped asking. Nothing was charged."


def report(answer: str | Tree[GeneratedImage] | Album | Awaitable[str]) -> Report | None:
    """Show the answer of a command and return it; return None in a terminal, so it has no Out."""
    made = Report(answer)
    return None if environment.running_loop() is None else made


class Report:
    """The answer of a command: printed at once, or shown when RunAPI has answered."""

    def __init__(self, answer: str | Tree[GeneratedImage] | Album | Awaitable[str]) -> None:
        self._task: asyncio.Task[None] | None = None
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
            self._task = home.create_task(self._show(answer))

    async def _show(self, answer: Awaitable[str]) -> None:
        self._handle.update({"text/plain": await _worded(answer)}, raw=True)

    @property
    def is_done(self) -> bool:
        """Whether the answer is shown."""
        return self._task is None or self._task.done()

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from _ended(self._task).__await__()

    def _ipython_display_(self) -> None:
        """Show nothing: the answer has its own output."""


async def _ended(task: asyncio.Task[None]) -> None:
    try:
        while not task.done():
            # The kernel notices an interrupt only when its loop wakes up, so wake it regularly.
            await asyncio.wait([task], timeout=_TICK)
        await task
    except asyncio.CancelledError as error:
        task.cancel()
        # IPython shows this instead of a traceback when the cell is interrupted.
        error._render_traceback_ = lambda: [_STOPPED]  # type: ignore[attr-defined]
        raise


async def _worded(answer: Awaitable[str]) -> str:
    try:
        return await answer
    except RunAPIError as error:
        return "\n".join(error.named_parts)
