"""Requests that a cell could not wait for; the next cell waits for them.

A cell can await a magic that is called in the cell itself (see ``await_transform``). It cannot
await a magic that a function or another magic runs, or a magic in the cell that loads the
extension.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from IPython.core.getipython import get_ipython

from runapi_magic.core.printing import print_text
from runapi_magic.display.environment import parent_message

if TYPE_CHECKING:
    from collections.abc import Generator

Value = TypeVar("Value")


class Awaited(Protocol):
    """The result of a magic."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""

    def __await__(self) -> Generator[Any, None, object]:
        """Wait for the end."""


_started: list[Awaited] = []


def add(work: Awaited) -> None:
    """Add something that a cell waits for."""
    shell: Any = get_ipython()
    if _on_end not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _on_end)
    _started.append(work)


def is_any() -> bool:
    """Whether something is running that a cell could not wait for."""
    return any(not work.is_done for work in _started)


async def wait_for_all(value: Value) -> Value:
    """Wait for everything that was added, and return a value.

    Raises:
        RunAPIError: A request ended without any image.
    """
    while _started:
        await _started.pop(0)
    return value


def _on_end(result: Any) -> None:
    """Forget what has ended. Print a message if the cell has not waited for something."""
    if isinstance(result.error_in_exec, KeyboardInterrupt | asyncio.CancelledError):
        _started.clear()  # the user does not want to wait
    _started[:] = [work for work in _started if not work.is_done]
    is_whole = result.info.raw_cell == parent_message().get("content", {}).get("code")
    if _started and is_whole:  # not a part of a cell that another magic runs
        print_text(
            "Images from this cell are still being generated; the next cell will wait for them.\n"
            "To wait in the cell itself, load the extension in an earlier cell and call the magic"
            " outside of functions."
        )
