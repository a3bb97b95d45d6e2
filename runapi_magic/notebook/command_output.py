"""A command's answer in the cell that asked: at once, or as soon as the service has given it."""

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
    """Show a command's answer and return it; None in a terminal, which has no Out for it then."""
    made = Report(answer)
    return None if environment.running_loop() is None else made


class Report:
    """A command's answer: printed, or shown as soon as the service has given it."""

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
            self._handle.display({"text/plain": "asking RunAPI …"}, raw=True)
            self._task = home.create_task(self._show(answer))

    async def _show(self, answer: Awaitable[str]) -> None:
        self._handle.update({"text/plain": await _worded(answer)}, raw=True)

    @property
    def is_done(self) -> bool:
        """Whether the answer is there."""
        return self._task is None or self._task.done()

    def __await__(self) -> Generator[Any, None, None]:
        if self._task is not None:
            yield from _ended(self._task).__await__()

    def _ipython_display_(self) -> None:
        """It has its place in the cell already."""


async def _ended(task: asyncio.Task[None]) -> None:
    try:
        while not task.done():
            # The kernel hears an interrupt when its loop wakes, and a silent service wakes nobody.
            await asyncio.wait([task], timeout=_TICK)
        await task
    except asyncio.CancelledError as error:
        task.cancel()
        # IPython shows this in place of a traceback when the cell is interrupted.
        error._render_traceback_ = lambda: [_STOPPED]  # type: ignore[attr-defined]
        raise


async def _worded(answer: Awaitable[str]) -> str:
    try:
        return await answer
    except RunAPIError as error:
        return "\n".join(error.named_parts)
