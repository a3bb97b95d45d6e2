"""The magics: a cell's line and text become a request.

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
    picture_options,
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


_WAITING = {Audience.UNATTENDED, Audience.CONSOLE}  # a cell stays until its pictures are there


@magics_class
class RunAPIMagics(Magics, Settings):
    """Cells that make and edit images with RunAPI."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._open: Session | None = None
        self._settles: Any = await_transform.SettlesFirst()

    @property
    def session(self) -> Session:
        """The process's session, opened on first use."""
        if self._open is None:
            from runapi_magic.notebook.api import open_session

            self._open = open_session(self)
        return self._open

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    @magic_arguments()
    @picture_options
    @argument("prompt", nargs="*", help="the prompt; in a %%%%gpt_image cell it stands below")
    def gpt_image(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Generation | Sweep | Report | None:
        """Make pictures from a prompt. {name} stands for a variable of yours."""
        options = self._parse(self.gpt_image, line, text_from=0 if cell is None else None)
        options.names = names_in_reach(local_ns, self.shell.user_ns)
        words = as_typed(options.words)
        if cell is not None and words:
            raise usage_error(
                f"What is {words!r} on the %%gpt_image line?",
                "The prompt stands below the line; options start with a dash.",
            )
        return self._run(options, words if cell is None else cell, options.source)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    @magic_arguments()
    @picture_options
    @argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="what to edit: variable, URL or path; %%gpt_edit takes one, then the instruction",
    )
    def gpt_edit(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Generation | Sweep | Report | None:
        """Edit pictures by an instruction. {name} stands for a variable of yours."""
        options = self._parse(self.gpt_edit, line, text_from=1 if cell is None else None)
        options.names = names_in_reach(local_ns, self.shell.user_ns)
        named = options.words if cell is not None else options.words[:1]
        instruction = cell if cell is not None else as_typed(options.words[1:])
        sources = [*named, *options.source]
        if not sources:
            raise usage_error(
                "There is no picture to edit.",
                "Name one: %%gpt_edit SOURCE, a variable, a path or a URL.",
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
            raise usage_error("--wait and --detach exclude each other.", "Leave out one of them.")
        if options.max_cost is not None and not options.max_cost >= 0:
            raise usage_error(
                f"--max-cost {options.max_cost:g} is no amount of USD.",
                "Write for example --max-cost 0.50.",
            )
        if options.output is not None and not is_name(options.output):
            raise usage_error(
                f"-o {options.output} is no name of a variable.", "Write for example -o cat."
            )
        return options

    def _run(
        self, options: argparse.Namespace, text: str, sources: list[str]
    ) -> Generation | Sweep | Report | None:
        from runapi_magic.notebook.image_cell import ImageCell

        if not options.quiet:
            for note in options.notes:
                print_text(note)
            self._mention_unknown([text, *options.then], options)
            if options.detach and environment.running_loop() is None:
                print_text("Note: --detach is for notebooks; a terminal waits for its pictures.")
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
        """Bind the variable of ``-o``: before anything is shown, which may fail."""
        if options.output:
            self.shell.push({options.output: made})

    def _mention_unknown(self, texts: list[str], options: argparse.Namespace) -> None:
        """Say which names in braces stand for nothing: a slip of the pen is paid for, too."""
        from runapi_magic.core.templates import unknown_names

        swept = dict.fromkeys(sweep.partition("=")[0].strip() for sweep in options.sweep)
        for name in unknown_names(" ".join(texts), options.names.new_child(swept)):
            print_text(f"Note: {{{name}}} is no variable of yours; it is sent as typed.")

    def _note(self, made: Generation | Sweep | Report | None) -> None:
        """Note what the cell is to wait for: it may stand where no ``await`` could be put."""
        if made is not None and environment.audience() in _WAITING:
            from runapi_magic.notebook import pending

            pending.note(made)

    @line_magic
    def gpt_panel(self, line: str) -> None:
        """Show the panel: a form, what is under way, and the pictures that were made before."""
        if line.strip():
            raise usage_error(
                f"%gpt_panel takes no {line.strip()!r}.", "Everything is chosen in the panel."
            )
        if environment.audience() is not Audience.LIVE:
            print_text(
                "The panel needs a notebook with somebody in front of it;"
                " %%gpt_image does the same from a cell."
            )
            return
        from runapi_magic.widgets import availability

        missing = availability.lack()
        if missing is not None:
            print_text(f"No panel: {missing}\nUntil then %%gpt_image does the same from a cell.")
            return
        from runapi_magic.widgets.panel import Panel

        Panel(self.session).show()

    @no_var_expand
    @needs_local_scope
    @line_magic
    def runapi(
        self, line: str, local_ns: Mapping[str, Any] | None = None
    ) -> Report | Generation | None:
        """Look after RunAPI: %runapi status, models, balance, history, show and more."""
        from runapi_magic.engine.generation import Generation
        from runapi_magic.notebook import commands
        from runapi_magic.notebook.command_output import report
        from runapi_magic.notebook.display_hooks import show

        try:
            command, arguments = commands.find(line)
            if command is commands.show:  # it takes variables
                names = names_in_reach(local_ns, self.shell.user_ns)
                answer: Any = commands.show(self.session, arguments, names)
            else:
                answer = command(self.session, arguments)
        except StdinNotImplementedError:
            raise ConfigurationError(
                "Nobody can type a key here.",
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
        """Whether a call of a magic in the cell that runs now is to be waited for."""
        if name == "runapi":
            return True
        if name not in {"gpt_image", "gpt_edit"}:
            return False
        words = [word.typed for word in split_line(line)]  # what is in quotes is text, too
        if "--" in words:  # what comes after it is text
            words = words[: words.index("--")]
        if "--detach" in words:
            return False
        return "--wait" in words or environment.audience() in _WAITING

    def transform(self, lines: list[str], *, is_whole: bool) -> list[str]:
        """Put ``await`` where a cell is to wait; IPython calls this with every cell.

        Args:
            lines: The cell's, as IPython's own transformations leave them.
            is_whole: Whether they are not just a part that another magic runs, which cannot wait.
        """
        code = "".join(lines)
        if ".gpt_image" in code:  # a data frame's
            from runapi_magic.notebook.api import add_frame_accessor

            add_frame_accessor()
        code = pass_on_names(code)
        has_loop = getattr(self.shell, "kernel", None) is not None and self.shell.autoawait
        if not has_loop or not is_whole:
            return code.splitlines(keepends=True)
        code = await_transform.await_magics(
            code, self.waits, settles=environment.audience() in _WAITING
        )
        if self.is_behind:
            if self._settles not in self.shell.ast_transformers:
                self.shell.ast_transformers.append(self._settles)
            code = await_transform.settle_first(code)
        return code.splitlines(keepends=True)

    def remove(self) -> None:
        """Take away what cells have added to the shell."""
        if self._settles in self.shell.ast_transformers:
            self.shell.ast_transformers.remove(self._settles)

    @property
    def is_behind(self) -> bool:
        """Whether something is under way that an earlier cell was to wait for."""
        pending = sys.modules.get("runapi_magic.notebook.pending")
        return pending is not None and pending.is_any()
