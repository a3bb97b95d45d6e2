"""Which event loop requests run on, and who sees the outputs.

In a kernel, requests run on the kernel's own event loop, which is stored when the first cell runs.
Calls from other threads are passed to this loop. A widget callback may come on a thread with its
own loop: ipykernel 7.0 to 7.3 run callbacks in a subshell.

A script and terminal IPython have no loop that runs between two calls. There a daemon thread runs
one loop, and the calling thread waits for the end of its request.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from IPython.core.getipython import get_ipython

from runapi_magic.core.paths import notebook_name
from runapi_magic.errors import ConfigurationError, RunAPIError, encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.engine.generation import CellLocation


class Audience(Enum):
    """Who sees the output of a cell."""

    LIVE = auto()  # a person in a front end that shows updates
    UNATTENDED = auto()  # no person: nbclient, nbconvert, papermill, nbval
    CONSOLE = auto()  # a person in a front end without updates, such as `jupyter console`
    TERMINAL = auto()  # terminal IPython
    NONE = auto()  # plain Python


_VS_CODE = "vscode-notebook-cell:"
_TICK = 0.5  # seconds between two checks for Ctrl-C
_kernel_loop: asyncio.AbstractEventLoop | None = None
_consoles: set[str] = set()  # the sessions of consoles, as their messages name them
_first_context = contextvars.Context()  # the context in which the kernel's loop was stored
_own: asyncio.AbstractEventLoop | None = None  # the loop of scripts and terminal IPython
_owner = 0  # the ID of the process that started this loop
_starting = threading.Lock()


def parent_message() -> dict[str, Any]:
    """Return the message that the kernel is handling; empty outside a kernel."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return {}
    try:
        parent: dict[str, Any] = kernel.get_parent("shell") or {}
    except LookupError:  # ipykernel 7.0 on a thread that it did not start
        return {}
    return parent


def _context() -> contextvars.Context:
    """Return the context for work on the loop.

    In ipykernel 7.0, widgets fail in a context without a message of the front end, for example on a
    thread that ipykernel did not start. Then the context of the first cell is used.
    """
    here = contextvars.copy_context()
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return here
    try:
        here.run(kernel.get_parent, "shell")
    except LookupError:
        return _first_context.copy()
    return here


def current_cell() -> str | None:
    """Return the ID of this run of a cell; None outside a kernel."""
    message_id: str | None = parent_message().get("header", {}).get("msg_id")
    return message_id


def current_cell_location() -> CellLocation | None:
    """Return where the current cell is, for later kernels; None if no cell runs."""
    from runapi_magic.engine.generation import CellLocation

    parent = parent_message()
    if parent.get("header", {}).get("msg_type") != "execute_request":
        return None
    given = (parent.get("metadata") or {}).get("cellId")
    cell = given if isinstance(given, str) else ""
    if cell.startswith(_VS_CODE):
        # The ID names the notebook. The part after the # changes when the notebook is opened again.
        return CellLocation(cell.partition("#")[0], "")
    return CellLocation(notebook_name(), cell)


def user_variables() -> dict[str, Any]:
    """Return the user's variables; none in plain Python."""
    shell = get_ipython()
    return {} if shell is None else shell.user_ns


def audience() -> Audience:
    """Return who sees the output of the current cell.

    If the execute request does not allow input from the user, there is no person.
    """
    shell = get_ipython()
    if shell is None:
        return Audience.NONE
    if getattr(shell, "kernel", None) is None:
        return Audience.TERMINAL
    parent = parent_message()
    if not parent.get("content", {}).get("allow_stdin", True):
        return Audience.UNATTENDED
    is_console = parent.get("header", {}).get("session") in _consoles
    return Audience.CONSOLE if is_console else Audience.LIVE


def remember_console(header: dict[str, Any]) -> None:
    """Store the session of a console, which cannot show updates.

    A console asks whether a cell is complete before it runs the cell. JupyterLab's console asks,
    too, but shows updates. The IDs of messages contain the name of the session in a console that
    uses jupyter_client, but not in JupyterLab.

    Args:
        header: The header of the message that asks.
    """
    session = header["session"]
    if header["msg_id"].startswith(f"{session}_"):
        _consoles.add(session)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop for requests; None if no loop is running.

    In a kernel this is the kernel's own loop, also for a call from another thread.
    """
    global _kernel_loop, _first_context  # noqa: PLW0603 (one kernel, one loop)
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if getattr(get_ipython(), "kernel", None) is None:
        return here
    if _kernel_loop is None or not _kernel_loop.is_running():
        # A loop that ran a line of ipython_config.py before the kernel started is not running.
        _kernel_loop = here
        _first_context = contextvars.copy_context()
    return _kernel_loop


def hand_over(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function on a loop soon; any thread may call this."""
    loop.call_soon_threadsafe(function, context=_context())


class Work(Protocol):
    """A generation or a batch."""

    async def ended(self) -> None:
        """Wait for the end, also if it is an error."""

    def cancel(self) -> None:
        """Stop waiting."""

    @property
    def errors(self) -> list[RunAPIError]:
        """Why images are missing."""


Started = TypeVar("Started", bound=Work)
Result = TypeVar("Result")


class StoppedWaiting(KeyboardInterrupt):
    """Ctrl-C in a script or terminal: the request was cancelled and can be resumed.

    Attributes:
        work: The request that was running.
    """

    def __init__(self, work: Work) -> None:
        super().__init__("\n".join(dict.fromkeys(map(str, work.errors))))
        self.work = work

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback."""
        return [encodable(str(self))]


def own_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of scripts and terminal IPython.

    It runs in its own thread, so any number of threads can start requests on it. Ctrl-C interrupts
    only the main thread, so it never stops a task in the middle of a step.

    Raises:
        ConfigurationError: The process was forked from one that had started this loop. A fork does
            not have the thread, and must not use the same journal.
    """
    global _own, _owner
    if _own is not None and _owner != os.getpid():
        raise ConfigurationError(
            "This process was forked from a process that already used runapi_magic.",
            todo="Use multiprocessing.get_context('spawn'), or threads.",
        )
    with _starting:
        if _own is None:
            _own, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_own.run_forever, name="runapi_magic", daemon=True).start()
        return _own


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop of scripts, wait for it on this thread, and return its result.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the coroutine is cancelled.
    """
    running = asyncio.run_coroutine_threadsafe(work, own_loop())
    try:
        while not running.done():
            # Windows does not notice Ctrl-C during a wait without a timeout.
            concurrent.futures.wait([running], timeout=_TICK)
    except KeyboardInterrupt:
        running.cancel()
        raise
    return running.result()


def launch(start: Callable[[asyncio.AbstractEventLoop], Started]) -> Started:
    """Start a request from a cell, a callback or a script, and return its handle.

    In a kernel, and inside any coroutine, this returns at once. If no loop is running (terminal
    IPython, a script), it waits for the end; any number of threads can do this at the same time.
    A KeyboardInterrupt ends the wait. A task that was sent may still finish at RunAPI, and can be
    resumed from the journal.

    Args:
        start: Starts the request on the loop that it gets.

    Raises:
        StoppedWaiting: Ctrl-C was pressed while it waited.
    """
    loop = running_loop()
    if loop is not None:
        return _context().run(start, loop)
    work = start(own_loop())
    try:
        run(work.ended())
    except KeyboardInterrupt:
        work.cancel()
        run(work.ended())
        raise StoppedWaiting(work) from None
    return work
