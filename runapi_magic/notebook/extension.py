"""``%load_ext``: the names of the magics and of the settings, with nothing behind them yet.

The parsers of their options, the settings and the catalogue of models take ten times as long to
import as all that is needed here. What stands in a shell's tables in their place becomes the real
thing when it is first used: called, asked for its documentation, or listed by ``%config``.
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
_PANDAS = ".gpt_image"  # a data frame's
_CALL = "_magic('"  # as IPython writes a magic
_NAMES = ("gpt_", "runapi")


class _Later:
    """Stands for something, and is taken for it: the first use of any kind makes it.

    IPython 9.18 has such a stand-in for magics, older ones have none; no version has one for
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
        self._settings: Any = _Later(lambda: self.magics)
        self._cell: str | None = None
        self._is_whole = True

    @property
    def magics(self) -> RunAPIMagics:
        """The magics, made on first use and put where their stand-ins are."""
        if self._magics is None:
            from runapi_magic.notebook.magics import RunAPIMagics

            known = self._shell.configurables
            made = self._magics = RunAPIMagics(self._shell)
            known.remove(made)  # type: ignore[arg-type]  # IPython has put it at the end
            if self._settings in known:
                # Into the same place: IPython may be going through the list just now.
                known[known.index(self._settings)] = made  # type: ignore[call-overload]
                self._shell.register_magics(made)
        return self._magics

    def add(self) -> None:
        """Put stand-ins into the shell's tables."""
        self._cell = self._header().get("msg_id")
        self._shell.configurables.append(self._settings)
        self._shell.input_transformers_cleanup.append(self.listen)
        self._shell.input_transformers_post.append(self.transform)
        question_mark.install(self._shell)
        for kind, name in _places():
            self._shell.magics_manager.magics[kind][name] = self._stand_in(name)

    def _stand_in(self, name: str) -> _Later:
        return _Later(lambda: getattr(self.magics, name))

    def remove(self) -> None:
        """Take everything away again."""
        if self._magics is not None:
            self._magics.remove()
        mine = (self._settings, self._magics)
        known = self._shell.configurables
        known[:] = [one for one in known if not any(one is other for other in mine)]
        self._shell.input_transformers_cleanup.remove(self.listen)
        self._shell.input_transformers_post.remove(self.transform)
        question_mark.remove(self._shell)
        for kind, name in _places():
            self._shell.magics_manager.magics[kind].pop(name, None)

    def _header(self) -> dict[str, Any]:
        """Return the header of the message that the kernel works on; empty outside a kernel."""
        kernel = getattr(self._shell, "kernel", None)
        try:
            parent = (kernel.get_parent("shell") or {}) if kernel else {}
        except LookupError:  # ipykernel 7.0 on a thread that it did not start
            return {}
        header: dict[str, Any] = parent.get("header", {})
        return header

    def listen(self, lines: list[str]) -> list[str]:
        """Leave a cell as it is; note whether it is a whole one, and who asks if it is complete."""
        header = self._header()
        cell = header.get("msg_id")
        # What the cell's own magics run comes here after the cell itself.
        self._is_whole = cell is None or cell != self._cell
        self._cell = cell
        if header.get("msg_type") == "is_complete_request":
            from runapi_magic.display.environment import remember_console

            remember_console(header)
        return lines

    def transform(self, lines: list[str]) -> list[str]:
        """Let the magics see a cell that may have to do with them; the usual cell costs nothing."""
        code = "".join(lines)
        is_theirs = _PANDAS in code or (_CALL in code and any(name in code for name in _NAMES))
        if is_theirs or (self._magics is not None and self._magics.is_behind):
            return self.magics.transform(lines, is_whole=self._is_whole)
        return lines


def _places() -> list[tuple[str, str]]:
    return [(kind, name) for kind, names in MAGICS.items() for name in names]


_loaded: dict[int, _Extension] = {}


def load(shell: InteractiveShell) -> None:
    """Add the magics, their settings, and the transformation that lets cells wait."""
    unload(shell)
    extension = _loaded[id(shell)] = _Extension(shell)
    extension.add()
    if shell.config.get("RunAPIMagics"):
        _ = extension.magics  # a mistake in ipython_config.py is told here
    with suppress(OSError):  # whatever is wrong with the folders, the magics are there
        _mention_the_past()


def unload(shell: InteractiveShell) -> None:
    """Take everything away again that ``load`` added."""
    extension = _loaded.pop(id(shell), None)
    if extension is not None:
        extension.remove()


def _mention_the_past() -> None:
    """Print what an earlier kernel left; what cannot be read is no matter here."""
    folder = data_home()
    if not is_usable(folder):
        print_text(
            f"The folder {folder} cannot be written to, so there is no journal: images are made,"
            " but after a restart they are not found again, and a budget of the day does not hold."
            "\nSet RUNAPI_MAGIC_HOME to a folder of yours before you start Jupyter."
        )
        return
    from runapi_magic.journal.startup_check import check_journal

    found = check_journal(folder)
    if "newer" in found:
        _mention_newer(folder)
    if "unfinished" in found:
        _mention_unfinished(folder)
    if "unseen" in found:
        _mention_unseen(folder)


def _mention_newer(folder: Path) -> None:
    from runapi_magic.journal.database import JournalVersionError

    error = JournalVersionError(folder / "journal.sqlite")
    print_text(
        f"{error.what} Images are still generated, unless a budget may be set, but they are not"
        f" recorded and cannot be found again after a restart.\n{error.todo}"
    )


def _mention_unfinished(folder: Path) -> None:
    import time

    from runapi_magic.journal.startup_check import unfinished_tasks

    waiting = unfinished_tasks(folder)
    if waiting:
        count = sum(task.count for task in waiting)
        made = time.strftime("%H:%M", time.localtime(waiting[0].created))
        what = f"1 picture from {made} is" if count == 1 else f"{count} pictures from {made} are"
        print_text(f"{what} unfinished: %runapi resume")


def _mention_unseen(folder: Path) -> None:
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
