"""What cells were to wait for and could not; the next cell does.

A magic is awaited where it stands in the cell itself (``waiting``). It cannot be where a function
or another magic runs it, or where its cell is also the one that loads the extension.
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
    """What a magic returns."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""

    def __await__(self) -> Generator[Any, None, object]:
        """Wait for it."""


_started: list[Awaited] = []


def note(work: Awaited) -> None:
    """Note what its cell is to wait for."""
    shell: Any = get_ipython()
    if _on_end not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _on_end)
    _started.append(work)


def is_any() -> bool:
    """Whether something is under way that a cell was to wait for."""
    return any(not work.is_done for work in _started)


async def settle(value: Value) -> Value:
    """Wait for all of it, and return a value.

    Raises:
        RunAPIError: There is no picture at all.
    """
    while _started:
        await _started.pop(0)
    return value


def _on_end(result: Any) -> None:
    """Forget what is done, and say of what is not that the cell has not waited for it."""
    if isinstance(result.error_in_exec, KeyboardInterrupt | asyncio.CancelledError):
        _started.clear()  # somebody wants to wait no more
    _started[:] = [work for work in _started if not work.is_done]
    is_whole = result.info.raw_cell == parent_message().get("content", {}).get("code")
    if _started and is_whole:  # not just a part that another magic runs
        print_text(
            "This cell did not wait for all that it asked for; the next one does.\nA cell waits for"
            " a magic that no function calls, if %load_ext stood in an earlier cell."
        )
