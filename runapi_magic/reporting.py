"""A command's answer in the cell that asked: at once, or as soon as the service has given it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic import loop
from runapi_magic.album import Album
from runapi_magic.display import show_drawn
from runapi_magic.errors import RunAPIError
from runapi_magic.tree import Tree

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Generator


class Report:
    """A command's answer: printed, or shown as soon as the service has given it."""

    def __init__(self, answer: str | Tree | Album | Awaitable[str]) -> None:
        self._task: asyncio.Task[None] | None = None
        home = loop.running_loop()
        if isinstance(answer, str):
            print(answer)  # noqa: T201 (a command's answer)
        elif isinstance(answer, Tree | Album):
            show_drawn(answer)
        elif home is None:
            from IPython.core.async_helpers import get_asyncio_loop

            print(get_asyncio_loop().run_until_complete(_worded(answer)))  # noqa: T201 (an answer)
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
            yield from self._task

    def _ipython_display_(self) -> None:
        """It has its place in the cell already."""


async def _worded(answer: Awaitable[str]) -> str:
    try:
        return await answer
    except RunAPIError as error:
        return str(error)
