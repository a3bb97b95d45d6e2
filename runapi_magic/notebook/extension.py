"""``%load_ext``: add placeholders for the magics and the settings to a shell.

Importing the option parsers, the settings and the model catalogue takes ten times as long as
everything here. So the shell gets placeholders. A placeholder creates the real object when you
first use it: when you call it, ask for its documentation, or list it with ``%config``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runapi_magic.core.paths import data_home, is_usable
from runapi_magic.core.printing import print_text
from runapi_magic.notebook import question_mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from runapi_magic.notebook.magics import RunAPIMagics

MAGICS = {
    "line": ("gpt_edit", "gpt_image", "gpt_panel", "runapi"),
    "cell": ("gpt_edit", "gpt_image"),
}
_PANDAS = ".gpt_image"  # of a data frame
_CALL = "_magic('"  # part of each call of a magic in IPython's code
_NAMES = ("gpt_", "runapi")


class _Placeholder:
    """A placeholder for an object that is created when the placeholder is first used.

    IPython 9.18 has placeholders for magics; older versions do not. No version has placeholders for
    settings.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @property  # type: ignore[misc]  # read-only
    def __class__(self) -> type:
        return type(self._make())

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        doc: str | None = self._make().__doc__
        return doc

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._make()(*arguments, **named)


class _Extension:
    """The extension in one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._magics: RunAPIMagics | None = None
        self._settings: Any = _Placeholder(lambda: self.magics)
        self._cell: str | None = None
        self._is_whole = True

    @property
    def magics(self) -> RunAPIMagics:
        """The magics, created on first use. They replace their placeholders."""
        if self._magics is None:
            from runapi_magic.notebook.magics import RunAPIMagics

            known = self._shell.configurables
            made = self._magics = RunAPIMagics(self._shell)
            known.remove(made)  # type: ignore[arg-type]  # IPython has appended it
            if self._settings in known:
                # At the same index: IPython may be iterating over the list.
                known[known.index(self._settings)] = made  # type: ignore[call-overload]
                self._shell.register_magics(made)
        return self._magics

    def add(self) -> None:
        """Add the placeholders to the shell."""
        self._cell = self._header().get("msg_id")
        self._shell.configurables.append(self._settings)
        self._shell.input_transformers_cleanup.append(self.listen)
        self._shell.input_transformers_post.append(self.transform)
        question_mark.install(self._shell)
        for kind, name in _kinds_and_names():
            self._shell.magics_manager.magics[kind][name] = self._placeholder(name)

    def _placeholder(self, name: str) -> _Placeholder:
        return _Placeholder(lambda: getattr(self.magics, name))

    def remove(self) -> None:
        """Remove everything from the shell."""
        if self._magics is not None:
            self._magics.remove()
        mine = (self._settings, self._magics)
        known = self._shell.configurables
        known[:] = [one for one in known if not any(one is other for other in mine)]
        self._shell.input_transformers_cleanup.remove(self.listen)
        self._shell.input_transformers_post.remove(self.transform)
        question_mark.remove(self._shell)
        for kind, name in _kinds_and_names():
            self._shell.magics_manager.magics[kind].pop(name, None)

    def _header(self) -> dict[str, Any]:
        """Return the header of the message that the kernel is handling; empty outside a kernel.

        ``display.environment`` has the same, but ``%load_ext`` does not import it, to be fast.
        """
        kernel = getattr(self._shell, "kernel", None)
        try:
            parent = (kernel.get_parent("shell") or {}) if kernel else {}
        except LookupError:  # ipykernel 7.0 on a thread that it did not start
            return {}
        header: dict[str, Any] = parent.get("header", {})
        return header

    def listen(self, lines: list[str]) -> list[str]:
        """Return a cell unchanged. Store whether it is a whole cell and whether a console asks."""
        header = self._header()
        cell = header.get("msg_id")
        # Code that a magic of a cell runs comes here after the cell itself.
        self._is_whole = cell is None or cell != self._cell
        self._cell = cell
        if header.get("msg_type") == "is_complete_request":
            from runapi_magic.display.environment import remember_console

            remember_console(header)
        return lines

    def transform(self, lines: list[str]) -> list[str]:
        """Let the magics transform a cell that may use them; other cells cost no time."""
        code = "".join(lines)
        is_theirs = _PANDAS in code or (_CALL in code and any(name in code for name in _NAMES))
        if is_theirs or (self._magics is not None and self._magics.has_pending):
            return self.magics.transform(lines, is_whole=self._is_whole)
        return lines


def _kinds_and_names() -> list[tuple[str, str]]:
    return [(kind, name) for kind, names in MAGICS.items() for name in names]


_loaded: dict[int, _Extension] = {}


def load(shell: InteractiveShell) -> None:
    """Add the magics, their settings, and the transformation that lets cells wait."""
    unload(shell)
    extension = _loaded[id(shell)] = _Extension(shell)
    extension.add()
    if shell.config.get("RunAPIMagics"):
        _ = extension.magics  # so that a mistake in ipython_config.py is reported here
    with suppress(OSError):  # a problem with the folders must not prevent loading
        _print_unfinished_and_unseen()


def unload(shell: InteractiveShell) -> None:
    """Undo ``load``."""
    extension = _loaded.pop(id(shell), None)
    if extension is not None:
        extension.remove()


def _print_unfinished_and_unseen() -> None:
    """Print what an earlier kernel left unfinished or unseen. A broken journal is not an error."""
    folder = data_home()
    if not is_usable(folder):
        print_text(
            f"The folder {folder} cannot be written to, so there is no journal. Images are still"
            " generated, but they cannot be found again after a restart, and a day budget is not"
            " kept.\nSet RUNAPI_MAGIC_HOME to a folder of yours before you start Jupyter."
        )
        return
    from runapi_magic.journal.startup_check import check_journal

    found = check_journal(folder)
    if "newer" in found:
        _print_newer(folder)
    if "unfinished" in found:
        _print_unfinished(folder)
    if "unseen" in found:
        _print_unseen(folder)


def _print_newer(folder: Path) -> None:
    from runapi_magic.journal.database import JournalVersionError

    error = JournalVersionError(folder / "journal.sqlite")
    print_text(
        f"{error.what} Images are still generated, unless there is or may be a budget. They are not"
        f" recorded, so they cannot be found again after a restart.\n{error.todo}"
    )


def _print_unfinished(folder: Path) -> None:
    import time

    from runapi_magic.journal.startup_check import unfinished_tasks

    waiting = unfinished_tasks(folder)
    if waiting:
        count = sum(task.count for task in waiting)
        made = time.strftime("%H:%M", time.localtime(waiting[0].created))
        what = f"1 image from {made} is" if count == 1 else f"{count} images from {made} are"
        print_text(f"{what} unfinished. To finish: %runapi resume")


def _print_unseen(folder: Path) -> None:
    from runapi_magic.display.unseen import unseen_message
    from runapi_magic.journal.database import JournalError
    from runapi_magic.journal.history import History
    from runapi_magic.journal.task_log import Journal
    from runapi_magic.media.files import short_path

    journal = Journal(folder)
    try:
        unseen = History(journal).pop_unseen()
    except JournalError:
        return
    finally:
        journal.close()
    if unseen:
        paths = [short_path(image.location or image.path) for image in unseen]
        print_text(unseen_message(paths))
