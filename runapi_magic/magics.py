"""The magics: a cell's line and text become a request.

``UsageError`` is raised here and nowhere else; IPython shows it without a traceback.
"""

from __future__ import annotations

import re
import time
from functools import reduce
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from IPython.core.magic_arguments import argument, magic_arguments

from runapi_magic import loop
from runapi_magic.errors import InvalidRequestError, RunAPIError
from runapi_magic.loop import Audience
from runapi_magic.settings import Settings, data_home

if TYPE_CHECKING:
    import argparse
    import asyncio
    from collections.abc import Awaitable, Callable, Generator

    from IPython.core.interactiveshell import InteractiveShell

    from runapi_magic.generation import Generation
    from runapi_magic.requests import ImageRequest
    from runapi_magic.session import Session
    from runapi_magic.tree import Tree

_TOKEN = re.compile(r"""(?:[^\s"']|(?<=[^\s=])["'])*(?:"[^"]*"|'[^']*')(?=\s|$)|\S+""")
_QUOTED = re.compile(r"""^([^"']*)(["'])(.*)\2$""", re.DOTALL)

_OPTIONS = (
    argument("-m", "--model", help="RunAPI's name of the model; %%runapi models lists them"),
    argument("-a", "--aspect-ratio", metavar="RATIO", help="shape, for example 16:9"),
    argument("-r", "--output-resolution", metavar="SIZE", help="1k, 2k or 4k; costs more"),
    argument("-n", "--count", type=int, default=1, help="number of pictures; each is paid for"),
    argument(
        "-i", "--source", action="append", default=[], metavar="SOURCE",
        help="a picture to start from: URL, path or variable; may be repeated",
    ),
    argument("--mask", metavar="SOURCE", help="the part to change, for models that take a mask"),
    argument(
        "-p", "--param", action="append", default=[], metavar="KEY=VALUE",
        help="another field of the model; may be repeated",
    ),
    argument(
        "--then", action="append", default=[], metavar="STEP",
        help='what to do with the picture next: "upscale 4", "remove background",'
        ' "refine: INSTRUCTION" or an instruction; may be repeated',
    ),
    argument("-o", "--output", metavar="VAR", help="variable that gets the Generation, at once"),
    argument("--wait", action="store_true", help="let the cell wait for the pictures"),
    argument("--detach", action="store_true", help="let the cell return at once"),
    argument("--new", action="store_true", help="ask afresh, also where the same was made before"),
    argument("-q", "--quiet", action="store_true", help="show nothing"),
)  # fmt: skip


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all picture magics have, in the order in which help lists them."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


@magics_class
class RunAPIMagics(Magics, Settings):
    """Cells that make and edit images with RunAPI."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._open: Session | None = None

    @property
    def session(self) -> Session:
        """The process's session, opened on first use."""
        if self._open is None:
            from runapi_magic.api import open_session

            self._open = open_session(self)
        return self._open

    @no_var_expand
    @line_cell_magic
    @magic_arguments()
    @_options
    @argument("prompt", nargs="*", help="the prompt; in a %%%%gpt_image cell it stands below")
    def gpt_image(self, line: str, cell: str | None = None) -> Generation:
        """Make pictures from a prompt. {name} stands for a variable of yours."""
        options = self._parse(self.gpt_image, line)
        words = " ".join(options.prompt)
        if cell is not None and words:
            raise UsageError(
                f"What is {words!r} on the %%gpt_image line?\nNothing was sent, nothing was"
                " charged.\nThe prompt stands below the line; options start with a dash."
            )
        return self._run(options, words if cell is None else cell, options.source)

    @no_var_expand
    @line_cell_magic
    @magic_arguments()
    @_options
    @argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="what to edit: variable, URL or path; %%gpt_edit takes one, then the instruction",
    )
    def gpt_edit(self, line: str, cell: str | None = None) -> Generation:
        """Edit pictures by an instruction. {name} stands for a variable of yours."""
        options = self._parse(self.gpt_edit, line)
        named = options.sources if cell is not None else options.sources[:1]
        instruction = cell if cell is not None else " ".join(options.sources[1:])
        sources = [*named, *options.source]
        if not sources:
            raise UsageError(
                "There is no picture to edit.\nNothing was sent, nothing was charged.\n"
                "Name one: %%gpt_edit SOURCE, a variable, a path or a URL."
            )
        return self._run(options, instruction, sources)

    def _parse(self, magic: Any, line: str) -> argparse.Namespace:
        try:
            tokens = [_unquote(token) for token in _TOKEN.findall(line)]
            options: argparse.Namespace = magic.parser.parse_intermixed_args(tokens)
        except UsageError as error:
            raise UsageError(
                f"{error}\nNothing was sent, nothing was charged.\n"
                f"%{magic.__name__}? lists the options."
            ) from None
        if options.wait and options.detach:
            raise UsageError(
                "--wait and --detach exclude each other.\nNothing was sent, nothing was charged.\n"
                "Leave out one of them."
            )
        if options.output is not None and not options.output.isidentifier():
            raise UsageError(
                f"-o {options.output} is no name of a variable.\nNothing was sent, nothing was"
                " charged.\nWrite for example -o cat."
            )
        return options

    def _run(self, options: argparse.Namespace, text: str, sources: list[str]) -> Generation:
        from runapi_magic.api import show
        from runapi_magic.namespace import interpolate
        from runapi_magic.sources import find_source

        names = self.shell.user_ns
        try:
            request = self.session.request(
                interpolate(text, names),
                sources=[find_source(source, names) for source in sources],
                mask=find_source(options.mask, names) if options.mask else None,
                count=options.count,
                **self._fields(options),
            )
            chain = self._start_chain(request, options)
        except RunAPIError as error:
            raise UsageError(str(error)) from None
        if options.output:
            self.shell.push({options.output: chain[-1]})
        for generation in chain:
            if options.quiet:
                generation.shown_in = loop.current_cell()
            else:
                show(generation, self.session)
        return chain[-1]

    def _start_chain(self, request: ImageRequest, options: argparse.Namespace) -> list[Generation]:
        """Start a request and the steps after it; each step waits for the picture before it."""
        from runapi_magic.namespace import interpolate
        from runapi_magic.requests import Source, validate
        from runapi_magic.sources import as_source
        from runapi_magic.steps import parse_step

        steps = [parse_step(interpolate(step, self.shell.user_ns)) for step in options.then]
        if steps and request.count > 1:
            raise InvalidRequestError(
                "--then goes on with one picture, and -n asks for more.",
                todo="Leave out -n, or edit the pictures one by one.",
            )
        # All steps are checked before the first is sent.
        source = Source("the picture before", "")
        for step in steps:
            validate(self.session.request(step.instruction, sources=[source], **step.fields))
        chain = [self.session.launch(request, new=options.new)]
        for step in steps:
            before = as_source(chain[-1])
            after = self.session.request(step.instruction, sources=[before], **step.fields)
            chain.append(self.session.launch(after, new=options.new))
        return chain

    def _fields(self, options: argparse.Namespace) -> dict[str, Any]:
        from runapi_magic.namespace import interpolate
        from runapi_magic.requests import parse_param

        def known(text: str | None) -> str | None:
            return text if text is None else interpolate(text, self.shell.user_ns)

        fields = dict(parse_param(known(param) or "") for param in options.param)
        for name in ("model", "aspect_ratio", "output_resolution"):
            value = known(getattr(options, name))
            if value is not None:
                fields[name] = value
        return fields

    @line_magic
    def gpt_panel(self, line: str) -> None:
        """Show the panel: a form, what is under way, and the pictures that were made before."""
        if line.strip():
            raise UsageError(
                f"%gpt_panel takes no {line.strip()!r}.\nNothing was sent, nothing was charged.\n"
                "Everything is chosen in the panel."
            )
        if loop.audience() is not Audience.LIVE:
            print(  # noqa: T201 (a line for the user)
                "The panel needs a notebook with somebody in front of it;"
                " %%gpt_image does the same from a cell."
            )
            return
        from runapi_magic.widgets.panel import Panel

        Panel(self.session).show()

    @no_var_expand
    @line_magic
    def runapi(self, line: str) -> _Report | Generation:
        """Look after RunAPI: status, models, balance, history, show, and more; README."""
        from runapi_magic import commands
        from runapi_magic.api import show
        from runapi_magic.generation import Generation
        from runapi_magic.journal import JournalError

        try:
            command, arguments = commands.find(line)
            answer = command(self.session, arguments)
        except RunAPIError as error:
            raise UsageError(str(error)) from None
        except StdinNotImplementedError:
            raise UsageError(
                "Nobody can type a key here.\nNothing was changed.\n"
                "Set RUNAPI_API_KEY before you start Jupyter."
            ) from None
        except JournalError as error:
            raise UsageError(
                f"The journal cannot be read ({error}).\nNothing was sent, nothing was charged.\n"
                "Check the folder that %runapi status names."
            ) from None
        if isinstance(answer, Generation):
            show(answer, self.session)
            return answer
        return _Report(answer)

    def waits(self, name: str, line: str) -> bool:
        """Whether a call of a magic in the cell that runs now is to be waited for."""
        if name == "runapi":
            return True
        if name not in {"gpt_image", "gpt_edit"}:
            return False
        words = line.split()
        if "--detach" in words:
            return False
        return "--wait" in words or loop.audience() is Audience.UNATTENDED

    def transform(self, lines: list[str]) -> list[str]:
        """Put ``await`` where a cell is to wait; IPython calls this with every cell."""
        if getattr(self.shell, "kernel", None) is None or not self.shell.autoawait:
            return lines
        code = "".join(lines)
        if "_magic('" not in code:  # the usual cell, untouched and at no cost
            return lines
        from runapi_magic.waiting import await_magics

        return await_magics(code, self.waits).splitlines(keepends=True)


class _Report:
    """A command's answer: printed, or shown as soon as the service has given it."""

    def __init__(self, answer: str | Tree | Awaitable[str]) -> None:
        from runapi_magic.display import show_tree
        from runapi_magic.tree import Tree

        self._task: asyncio.Task[None] | None = None
        home = loop.running_loop()
        if isinstance(answer, str):
            print(answer)  # noqa: T201 (a command's answer)
        elif isinstance(answer, Tree):
            show_tree(answer)
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


def _unquote(token: str) -> str:
    match = _QUOTED.match(token)
    return match.group(1) + match.group(3) if match else token


_loaded: dict[int, tuple[RunAPIMagics, Callable[[list[str]], list[str]]]] = {}


def load(shell: InteractiveShell) -> None:
    """Register the magics, their settings, and the transformation that lets cells wait."""
    unload(shell)
    magics = RunAPIMagics(shell)
    shell.register_magics(magics)
    shell.configurables.append(magics)  # type: ignore[arg-type]
    shell.input_transformers_post.append(magics.transform)
    _loaded[id(shell)] = magics, magics.transform
    _mention_unfinished()


def _mention_unfinished() -> None:
    """Print one line if an earlier kernel left something; what cannot be read is no matter here."""
    folder = data_home()
    from runapi_magic.glance import is_anything_unfinished

    if not is_anything_unfinished(folder):
        return
    from runapi_magic.journal import peek

    waiting = peek(folder)
    if waiting:
        count = sum(task.count for task in waiting)
        made = time.strftime("%H:%M", time.localtime(waiting[0].created))
        what = f"1 picture from {made} is" if count == 1 else f"{count} pictures from {made} are"
        print(f"{what} unfinished: %runapi resume")  # noqa: T201 (a line for the user)


def unload(shell: InteractiveShell) -> None:
    """Take everything away again that ``load`` added."""
    magics, transform = _loaded.pop(id(shell), (None, None))
    if magics is None:
        return
    shell.configurables.remove(magics)  # type: ignore[arg-type]
    shell.input_transformers_post.remove(transform)
    for kind in ("line", "cell"):
        for name in ("gpt_image", "gpt_edit", "gpt_panel", "runapi"):
            shell.magics_manager.magics[kind].pop(name, None)
