"""The magics: ``%%gpt_image``, ``%%gpt_edit``, ``%gpt_panel`` and ``%runapi``.

A mistake on the line is a ``UsageError``. Every other error keeps its own name. IPython shows both
without a traceback; see ``RunAPIError._render_traceback_``.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.core.magic_arguments import argument, magic_arguments

from runapi_magic.core.printing import print_text
from runapi_magic.core.templates import is_name
from runapi_magic.display import environment
from runapi_magic.display.environment import Audience
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import ConfigurationError
from runapi_magic.notebook import await_transform
from runapi_magic.notebook.arguments import (
    as_typed,
    image_options,
    reading_line,
    separate,
    split_line,
    usage_error,
)
from runapi_magic.notebook.scope import names_in_reach, pass_on_names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from runapi_magic.batch.sweep import Sweep
    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.session import Session
    from runapi_magic.notebook.command_output import Report


_WAITING = {Audience.UNATTENDED, Audience.CONSOLE}  # cells wait for their images


@magics_class
class RunAPIMagics(Magics, Settings):
    """Cells that make and edit images with RunAPI."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._open: Session | None = None
        self._wait_first: Any = await_transform.WaitFirst()

    @property
    def session(self) -> Session:
        """The session of the process, opened on first use."""
        if self._open is None:
            from runapi_magic.notebook.api import open_session

            self._open = open_session(self)
        return self._open

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    @magic_arguments()
    @image_options
    @argument("prompt", nargs="*", help="the prompt; in a %%%%gpt_image cell it is below the line")
    def gpt_image(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Generation | Sweep | Report | None:
        """Make images from a prompt. {name} inserts the value of a variable."""
        options = self._parse(self.gpt_image, line, text_from=0 if cell is None else None)
        options.names = names_in_reach(local_ns, self.shell.user_ns)
        words = as_typed(options.words)
        if cell is not None and words:
            raise usage_error(
                f"{words!r} on the %%gpt_image line is not an option.",
                "Write the prompt below the line. Options start with a dash.",
            )
        return self._run(options, words if cell is None else cell, options.source)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    @magic_arguments()
    @image_options
    @argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="image to edit: variable, URL or path; %%gpt_edit takes one, then the instruction",
    )
    def gpt_edit(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Generation | Sweep | Report | None:
        """Edit images by an instruction. {name} inserts the value of a variable."""
        options = self._parse(self.gpt_edit, line, text_from=1 if cell is None else None)
        options.names = names_in_reach(local_ns, self.shell.user_ns)
        named = options.words if cell is not None else options.words[:1]
        instruction = cell if cell is not None else as_typed(options.words[1:])
        sources = [*named, *options.source]
        if not sources:
            raise usage_error(
                "There is no image to edit.",
                "Give one: %%gpt_edit SOURCE, where SOURCE is a variable, a path or a URL.",
            )
        return self._run(options, instruction, sources)

    def _parse(self, magic: Any, line: str, *, text_from: int | None) -> argparse.Namespace:
        help_hint = f"%{magic.__name__}? lists the options."
        with reading_line(help_hint):
            separated = separate(line, text_from=text_from)
        try:
            options: argparse.Namespace = magic.parser.parse_args(separated.options)
        except UsageError as error:
            raise usage_error(str(error), help_hint) from None
        options.sweep = separated.sweeps + options.sweep
        options.words, options.notes = separated.words, separated.notes
        if options.wait and options.detach:
            raise usage_error("--wait and --detach cannot be combined.", "Remove one of them.")
        if options.max_cost is not None and not options.max_cost >= 0:
            raise usage_error(
                f"--max-cost must be 0 or more USD (got {options.max_cost:g}).",
                "For example: --max-cost 0.50",
            )
        if options.output is not None and not is_name(options.output):
            raise usage_error(
                f'-o needs the name of a variable (got "{options.output}").',
                "For example: -o cat",
            )
        return options

    def _run(
        self, options: argparse.Namespace, text: str, sources: list[str]
    ) -> Generation | Sweep | Report | None:
        from runapi_magic.notebook.image_cell import ImageCell

        if not options.quiet:
            for note in options.notes:
                print_text(note)
            self._print_unknown_names([text, *options.then], options)
            if options.detach and environment.running_loop() is None:
                print_text("Note: --detach is for notebooks; a terminal waits for its images.")
        try:
            bind = partial(self._bind, options)
            made = ImageCell(self.session, options, text, sources, bind).run()
        except environment.StoppedWaiting as interrupt:
            self._bind(options, interrupt.work)
            raise
        if not options.detach:
            self._note(made)
        return made

    def _bind(self, options: argparse.Namespace, made: object) -> None:
        """Set the variable of ``-o``."""
        if options.output:
            self.shell.push({options.output: made})

    def _print_unknown_names(self, texts: list[str], options: argparse.Namespace) -> None:
        """Print the names in braces that are not variables: a typing mistake would be charged."""
        from runapi_magic.core.templates import unknown_names

        swept = dict.fromkeys(sweep.partition("=")[0].strip() for sweep in options.sweep)
        for name in unknown_names(" ".join(texts), options.names.new_child(swept)):
            print_text(f"Note: there is no variable {name}; {{{name}}} is sent as typed.")

    def _note(self, made: Generation | Sweep | Report | None) -> None:
        """Store what the cell waits for, in case no ``await`` could be put before the magic."""
        if made is not None and environment.audience() in _WAITING:
            from runapi_magic.notebook import pending

            pending.add(made)

    @line_magic
    def gpt_panel(self, line: str) -> None:
        """Show the panel: a form, the running requests, and the earlier images."""
        if line.strip():
            raise usage_error(
                f"%gpt_panel takes no arguments (got {line.strip()!r}).",
                "Run %gpt_panel alone, and choose everything in the panel.",
            )
        if environment.audience() is not Audience.LIVE:
            print_text(
                "The panel needs a notebook with a person in front of it."
                " %%gpt_image does the same in a cell."
            )
            return
        from runapi_magic.widgets import availability

        missing = availability.lack()
        if missing is not None:
            print_text(f"No panel: {missing}\nUntil then, %%gpt_image does the same in a cell.")
            return
        from runapi_magic.widgets.panel import Panel

        Panel(self.session).show()

    @no_var_expand
    @needs_local_scope
    @line_magic
    def runapi(
        self, line: str, local_ns: Mapping[str, Any] | None = None
    ) -> Report | Generation | None:
        """Manage RunAPI: %runapi status, models, balance, history, show and more."""
        from runapi_magic.engine.generation import Generation
        from runapi_magic.notebook import commands
        from runapi_magic.notebook.command_output import report
        from runapi_magic.notebook.display_hooks import show

        try:
            command, arguments = commands.find(line)
            if command is commands.show:  # its argument can be a variable
                names = names_in_reach(local_ns, self.shell.user_ns)
                answer: Any = commands.show(self.session, arguments, names)
            else:
                answer = command(self.session, arguments)
        except StdinNotImplementedError:
            raise ConfigurationError(
                "This front end cannot ask for a key.",
                charged="Nothing was changed.",
                todo="Set RUNAPI_API_KEY before you start Jupyter.",
            ) from None
        if isinstance(answer, Generation):
            show(answer, self.session)
            self._note(answer)
            return answer
        answered = report(answer)
        self._note(answered)
        return answered

    def waits(self, name: str, line: str) -> bool:
        """Whether the current cell waits for a call of a magic."""
        if name == "runapi":
            return True
        if name not in {"gpt_image", "gpt_edit"}:
            return False
        words = [word.typed for word in split_line(line)]  # words in quotes are text
        if "--" in words:  # words after it are text
            words = words[: words.index("--")]
        if "--detach" in words:
            return False
        return "--wait" in words or environment.audience() in _WAITING

    def transform(self, lines: list[str], *, is_whole: bool) -> list[str]:
        """Put ``await`` before the magics that a cell waits for; IPython calls this for each cell.

        Args:
            lines: The lines of the cell after IPython's own transformations.
            is_whole: Whether this is a whole cell, not a part that another magic runs. A part
                cannot wait.
        """
        code = "".join(lines)
        if ".gpt_image" in code:  # of a data frame
            from runapi_magic.notebook.api import add_frame_accessor

            add_frame_accessor()
        code = pass_on_names(code)
        has_loop = getattr(self.shell, "kernel", None) is not None and self.shell.autoawait
        if not has_loop or not is_whole:
            return code.splitlines(keepends=True)
        code = await_transform.await_magics(
            code, self.waits, after_others=environment.audience() in _WAITING
        )
        if self.has_pending:
            if self._wait_first not in self.shell.ast_transformers:
                self.shell.ast_transformers.append(self._wait_first)
            code = await_transform.wait_first(code)
        return code.splitlines(keepends=True)

    def remove(self) -> None:
        """Remove what cells have added to the shell."""
        if self._wait_first in self.shell.ast_transformers:
            self.shell.ast_transformers.remove(self._wait_first)

    @property
    def has_pending(self) -> bool:
        """Whether an earlier cell has started something that it could not wait for."""
        pending = sys.modules.get("runapi_magic.notebook.pending")
        return pending is not None and pending.is_any()
