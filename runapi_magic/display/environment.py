"""The loop that tasks run on, and who is there to see them.

Tasks run on the kernel's own asyncio loop, captured when the first cell runs, never in a thread of
ours. Other threads hand over to it: a widget's callback may come on a thread with a loop of its
own (ipykernel 7.0 to 7.3 runs it in a subshell). A script and terminal IPython have no loop that
goes on between two calls: there a thread runs one, and whichever thread asks waits for the end.
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
from runapi_magic.core.printing import encodable
from runapi_magic.errors import ConfigurationError, RunAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.engine.generation import CellLocation


class Audience(Enum):
    """Who is there while a cell runs."""

    LIVE = auto()  # a front end with a person
    UNATTENDED = auto()  # nbclient, nbconvert, papermill, nbval: nobody can answer
    CONSOLE = auto()  # `jupyter console` and its like: a person, but no update is shown
    TERMINAL = auto()  # terminal IPython
    NONE = auto()  # plain Python


_VS_CODE = "vscode-notebook-cell:"
_TICK = 0.5  # seconds between two looks at whether Ctrl-C was pressed
_kernel_loop: asyncio.AbstractEventLoop | None = None
_consoles: set[str] = set()  # by the session that their messages belong to
_first_context = contextvars.Context()  # the one in which that loop was captured
_own: asyncio.AbstractEventLoop | None = None  # of scripts and terminal IPython
_owner = 0  # the process that started it
_starting = threading.Lock()


def parent_message() -> dict[str, Any]:
    """Return the message that the kernel is working on; empty outside a kernel."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return {}
    try:
        parent: dict[str, Any] = kernel.get_parent("shell") or {}
    except LookupError:  # ipykernel 7.0 on a thread that it did not start
        return {}
    return parent


def _context() -> contextvars.Context:
    """Return the context to work in.

    In ipykernel 7.0 widgets fail where the context knows no message of the front end, as on a
    thread that it did not start: the first cell's context stands in for that one.
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
    """Return what tells this run of a cell from others, None outside a kernel."""
    message_id: str | None = parent_message().get("header", {}).get("msg_id")
    return message_id


def current_cell_location() -> CellLocation | None:
    """Return the cell that runs now, by what outlives its kernel; None where no cell runs."""
    from runapi_magic.engine.generation import CellLocation

    parent = parent_message()
    if parent.get("header", {}).get("msg_type") != "execute_request":
        return None
    told = (parent.get("metadata") or {}).get("cellId")
    cell = told if isinstance(told, str) else ""
    if cell.startswith(_VS_CODE):
        # Its ids name the notebook; what follows the # numbers cells anew each time it is opened.
        return CellLocation(cell.partition("#")[0], "")
    return CellLocation(notebook_name(), cell)


def user_variables() -> dict[str, Any]:
    """Return the variables of the user's cells; none in plain Python."""
    shell = get_ipython()
    return {} if shell is None else shell.user_ns


def audience() -> Audience:
    """Say who is there. Nobody is, where the execute request allows no question."""
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
    """Note who asks whether a cell is complete, as a console does before it runs one.

    Args:
        header: Of the message that asks. JupyterLab's own console asks, too, but shows updates;
            what is written with jupyter_client has the session's name in its messages' ids.
    """
    session = header["session"]
    if header["msg_id"].startswith(f"{session}_"):
        _consoles.add(session)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop to work on, or None where none is running.

    In a kernel this is the kernel's own, also for a call from another thread.
    """
    global _kernel_loop, _first_context  # noqa: PLW0603 (one kernel, one loop)
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if getattr(get_ipython(), "kernel", None) is None:
        return here
    if _kernel_loop is None or not _kernel_loop.is_running():
        # One that ran a line of ipython_config.py, before the kernel's own, runs no more.
        _kernel_loop = here
        _first_context = contextvars.copy_context()
    return _kernel_loop


def hand_over(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function on a loop soon, from whatever thread this is."""
    loop.call_soon_threadsafe(function, context=_context())


class Work(Protocol):
    """What is under way: a generation, or a batch of them."""

    async def ended(self) -> None:
        """Wait for the end, whatever it is."""

    def cancel(self) -> None:
        """Stop waiting."""

    @property
    def errors(self) -> list[RunAPIError]:
        """Why pictures are missing."""


Started = TypeVar("Started", bound=Work)
Result = TypeVar("Result")


class LetGo(KeyboardInterrupt):
    """Ctrl-C where nothing goes on without a running loop: it was let go of, to be resumed.

    Attributes:
        work: What was under way.
    """

    def __init__(self, work: Work) -> None:
        super().__init__("\n".join(dict.fromkeys(map(str, work.errors))))
        self.work = work

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback."""
        return [encodable(str(self))]


def own_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that works where no other one runs: in scripts and in terminal IPython.

    It runs in a thread of its own, so that any number of threads can start requests on it, and so
    that Ctrl-C, which strikes the main thread, interrupts no task in the middle of its step.

    Raises:
        ConfigurationError: The process is a copy of one that had it: the thread is not in a copy,
            and the journal must not be used by both.
    """
    global _own, _owner
    if _own is not None and _owner != os.getpid():
        raise ConfigurationError(
            "This process was forked from one that has used runapi_magic already.",
            todo="Start it with spawn: multiprocessing.get_context('spawn'); or use threads.",
        )
    with _starting:
        if _own is None:
            _own, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_own.run_forever, name="runapi_magic", daemon=True).start()
        return _own


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop of scripts, wait for its end on this thread, return its result.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the coroutine is cancelled.
    """
    running = asyncio.run_coroutine_threadsafe(work, own_loop())
    try:
        while not running.done():
            # Windows hears no Ctrl-C during a wait without an end.
            concurrent.futures.wait([running], timeout=_TICK)
    except KeyboardInterrupt:
        running.cancel()
        raise
    return running.result()


def launch(start: Callable[[asyncio.AbstractEventLoop], Started]) -> Started:
    """Start something from a cell, a callback or a script, and return its handle.

    In a kernel, and inside any coroutine, it returns at once. Where no loop is running (terminal
    IPython, a script) it stays until the end, on any number of threads at the same time; a
    KeyboardInterrupt leaves the task at the service, and it in the journal.

    Args:
        start: Starts it on the loop that it is given.
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
        raise LetGo(work) from None
    return work
