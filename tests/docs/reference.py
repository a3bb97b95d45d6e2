"""Write docs/reference.md: ``python -m tests.docs.reference``.

The page is made from the code: the parsers of the magics, the commands of ``%runapi``, signatures,
docstrings, settings, the tree of errors and the catalog of models.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

import runapi_magic
from runapi_magic import errors
from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.batch.sweep import Sweep
from runapi_magic.core import paths
from runapi_magic.core.catalog import CATALOGUE, Model, Parameter
from runapi_magic.core.request import ImageRequest
from runapi_magic.engine import credentials
from runapi_magic.engine.generation import Generation
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.lineage import Node, Tree
from runapi_magic.engine.settings import Settings
from runapi_magic.http import certificates
from runapi_magic.journal.database import JournalError
from runapi_magic.media.comparison import Comparison
from runapi_magic.notebook.commands import COMMANDS
from runapi_magic.notebook.magics import RunAPIMagics
from runapi_magic.simulator.__main__ import _parser
from tests.conftest import ROOT
from tests.docs.docstrings import (
    arguments,
    attribute_types,
    entries,
    paragraph,
    prose,
    return_type,
    sections,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

PAGE = ROOT / "docs" / "reference.md"

FUNCTIONS = [
    getattr(runapi_magic, name)
    for name in ("generate", "edit", "upscale", "remove_background", "generate_many", "resume",
                 "forget", "resume_batch", "open_image", "compare")
]  # fmt: skip
CLASSES = [Generation, GeneratedImage, ImageRequest, Tree, Node, Comparison, Batch, Item, Sweep]
# Members that only the package uses. All other public members are on the page.
INTERNAL = {
    Generation: "tasks parts slots shown_in cell_location is_watched is_shown reservation"
    " concurrency set_tasks attach ended ready served subscribe changed put show_version wait",
    GeneratedImage: "preview prepare",
    ImageRequest: "catalogue action task_counts fingerprint body",
    Batch: "since approval_phase set_approval_phase reservation is_refused shown_in on_wait begin"
    " ended subscribe wait",
}
ENVIRONMENT = {
    "RUNAPI_API_KEY": "the key",
    "RUNAPI_BASE_URL": "the service's address; a path `/v1` or `/api/v1` is taken off",
    "RUNAPI_MAGIC_HOME": "folder of the journal; by default the platform's user data folder",
    "RUNAPI_CONFIG_DIR": "folder of the RunAPI CLI's `config.json`; by default `~/.config/runapi`",
    "XDG_CONFIG_HOME": "folder of configuration files; by default `~/.config`",
    "HERMES_HOME": "Hermes Agent's folder; by default `~/.hermes`",
    "HOME": "the home folder",
    "JPY_SESSION_NAME": "the notebook's name, as Jupyter sets it: for what a notebook has spent,"
    " and for the versions that its cells show",
}

_HEAD = """\
# Reference

Written by `make docs` from the code itself: the options of the magics, docstrings, settings and the
catalogue of models. A test fails when this page is not what the code says.

- [Cells](#cells) · [`%runapi`](#runapi) · [The panel](#the-panel)
- [Functions](#functions) · [Classes](#classes) · [Data frames](#data-frames) · [Errors](#errors)
- [Settings](#settings) · [Environment](#environment) · [Models](#models)
- [The simulator as a server](#the-simulator-as-a-server)

Money is in US dollars, time in seconds, sizes in pixels, unless it says otherwise.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_magics(), *_functions(), *_classes(), *_frames(), *_errors(),
                      *_settings(), *_environment(), *_models(), *_simulator()])  # fmt: skip


def members(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield the members of a class for users: the name with its arguments, type, meaning."""
    internal = " ".join(names for kind, names in INTERNAL.items() if issubclass(cls, kind)).split()
    types = attribute_types(cls)
    for name, text in entries(sections(cls).get("Attributes", "")).items():
        if name not in internal:
            yield name, types[name], text
    for name, value in vars(cls).items():
        if name.startswith("_") or name in internal:
            continue
        if isinstance(value, property):
            yield name, return_type(value.fget), paragraph(value)
        elif inspect.isfunction(value):
            yield f"{name}{arguments(value)}", return_type(value), paragraph(value)


def error_tree(kind: type = errors.RunAPIError, depth: int = 0) -> Iterator[tuple[int, type]]:
    """Yield the errors of errors.py with their depth, each after its base class."""
    yield depth, kind
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield from error_tree(one, depth + 1)


def variables() -> set[str]:
    """Return the names of the environment variables that the package reads."""
    found = set()
    for module in (certificates, credentials, paths):
        source = inspect.getsource(module)
        found |= set(re.findall(r"environ\)?\.get\(\s*\"(\w+)\"", source))
    return found


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield "|---" * len(names) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _magics() -> Iterator[str]:
    magics = RunAPIMagics(InteractiveShell.instance())
    yield "## Cells\n"
    yield "`%%gpt_image [OPTIONS]`, the prompt below, or `%gpt_image [OPTIONS] PROMPT`.\n"
    yield f"{prose(_first(magics.gpt_image))}\n"
    yield "`%%gpt_edit SOURCE... [OPTIONS]`, the instruction below, or"
    yield "`%gpt_edit SOURCE [OPTIONS] INSTRUCTION`.\n"
    yield f"{prose(_first(magics.gpt_edit))}\n"
    yield "Both take the same options; `%%gpt_image?` shows them in the notebook.\n"
    parser = magics.gpt_image.parser
    yield from _options(parser)
    yield "## %runapi\n"
    rows = [(f"`%runapi {name}`", paragraph(command)) for name, command in COMMANDS.items()]
    yield from _table(("command", "does"), rows)
    yield "## The panel\n"
    yield f"`%gpt_panel`: {prose(magics.gpt_panel.__doc__)}\n"


def _first(magic) -> str:
    """Return the first paragraph of a magic's docstring, after the usage of magic_arguments."""
    return inspect.unwrap(magic.__func__).__doc__.split("::\n")[-1].split("\n\n")[1]


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    def names(action) -> str:
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        return ", ".join(f"`{name}{value if name[:2] == '--' else ''}`"
                         for name in action.option_strings)  # fmt: skip

    formatter = parser._get_formatter()
    rows = [
        (names(action), formatter._expand_help(action))
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    ]
    yield from _table(("option", "meaning"), rows)


def _functions() -> Iterator[str]:
    yield "## Functions\n"
    yield "All of them are in `runapi_magic`.\n"
    for function in FUNCTIONS:
        found = sections(function)
        yield f"### {function.__name__}\n"
        yield f"```text\n{_signature(function)}\n```\n"
        yield f"{found[''].replace('``', '`')}\n"
        types = inspect.signature(function).parameters
        yield from _table(
            ("argument", "type", "meaning"),
            [
                (_code(name), _code(str(types[name].annotation)), text)
                for name, text in entries(found["Args"]).items()
            ],
        )
        yield f"**Returns** {prose(found['Returns'])}\n"
        raised = entries(found.get("Raises", ""))
        yield from (f"**Raises** `{name}`: {text}\n" for name, text in raised.items())


def _signature(function) -> str:
    signature = inspect.signature(function)
    shown = [
        str(one.replace(annotation=inspect.Parameter.empty)).replace(" = ", "=")
        for one in signature.parameters.values()
    ]
    first = next((n for n, one in enumerate(signature.parameters.values())
                  if one.kind is inspect.Parameter.KEYWORD_ONLY), None)  # fmt: skip
    if first is not None:
        shown.insert(first, "*")
    head = f"{function.__name__}("
    lines = textwrap.wrap(", ".join(shown), 96 - len(head), break_on_hyphens=False)
    return head + ("\n" + " " * len(head)).join(lines) + f") -> {signature.return_annotation}"


def _classes() -> Iterator[str]:
    yield "## Classes\n"
    for cls in CLASSES:
        yield f"### {cls.__name__}\n"
        yield f"In `{cls.__module__}`. {sections(cls)[''].replace('``', '`')}\n"
        if issubclass(cls, Batch) and cls is not Batch:
            yield f"It has all that a {Batch.__name__} has, and:\n"
        rows = [(_code(name), _code(_plain(kind)), text) for name, kind, text in members(cls)]
        yield from _table(("has", "type", "meaning"), rows)


def _plain(kind: str) -> str:
    """Return a type as users know it, without protocols and type variables of the package."""
    for written, known in (("[GeneratedImage]", ""), ("[ImageT]", ""), ("ImageT", "GeneratedImage"),
                           ("Handle", "Generation")):  # fmt: skip
        kind = re.sub(rf"(?<!list){re.escape(written)}", known, kind)
    return kind


def _frames() -> Iterator[str]:
    yield "## Data frames\n"
    yield "`frame.gpt_image.generate(prompt=None, **options)` gives a pandas data frame's rows to"
    yield "`generate_many`: `{column}` works in the prompt, in the fields and in `sources`. It is"
    yield "there in cells after `%load_ext runapi_magic`.\n"


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield f"In `{errors.__name__}`. Every error says three things, as `what`, `charged` and `todo`;"
    yield "in a notebook they are shown instead of a traceback. What stands here is said where an"
    yield "error knows no better; [faults.md](faults.md) goes through what causes them.\n"
    yield "```text"
    yield from (f"{'  ' * depth}{kind.__name__}" for depth, kind in error_tree())
    yield "```\n"
    rows = [
        (
            _code(kind.__name__),
            prose(sections(kind)[""]),
            kind.default_charged or "as far as its task has come",
            " ".join(kind.default_todo.split()),
        )
        for _, kind in error_tree()
    ]
    yield from _table(("error", "when", "charged", "what to do"), rows)
    yield "Two more: `sweep.images[...]` raises `runapi_magic.batch.sweep.NoImageError`, an"
    yield "`InvalidRequestError` and a `KeyError`, where there is no picture; where the journal is"
    yield f"unusable, what reads it raises `{JournalError.__module__}.{JournalError.__name__}`.\n"
    yield "They have these attributes:\n"
    yield from _table(
        ("of", "attribute", "meaning"),
        [
            (_code(kind.__name__), _code(name), text)
            for _, kind in error_tree()
            for name, text in entries(sections(kind).get("Attributes", "")).items()
        ],
    )


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield '`%config RunAPIMagics.model = "..."` in a cell, `c.RunAPIMagics.model = "..."` in'
    yield "`ipython_config.py`. `%config RunAPIMagics` shows them with their values.\n"
    rows = []
    for name, trait in Settings.class_own_traits(config=True).items():
        least, most = getattr(trait, "min", None), getattr(trait, "max", None)
        span = ""
        if least is not None:
            span = f"{least:g} or more" if most in {None, math.inf} else f"{least:g} to {most:g}"
        values = getattr(trait, "values", None)
        kinds = {"Unicode": "text", "ImageDir": "text", "Secret": "text", "Enum": "one of"}
        kind = type(trait).__name__.removesuffix("Trait").removeprefix("C")
        kind = kinds.get(kind, {"Bool": "True or False", "Int": "whole number"}.get(kind, "number"))
        if values:
            kind += " " + ", ".join(_code(one) for one in values if one)
        default = "none" if name == "api_key" else repr(trait.default_value)
        rows.append(
            (_code(name), _code(default), ", ".join(filter(None, (kind, span))), trait.help)
        )
    yield from _table(("setting", "default", "takes", "meaning"), rows)


def _environment() -> Iterator[str]:
    yield "## Environment\n"
    yield "Variables count where they are set before the kernel starts.\n"
    rows = [(_code(name), text) for name, text in ENVIRONMENT.items()]
    yield from _table(("variable", "meaning"), rows)


def _models() -> Iterator[str]:
    yield "## Models\n"
    yield "What the catalogue knows, of RunAPI's published contracts; `%runapi models` shows it in"
    yield "a notebook. Other fields go through to the service with a warning, and so do other"
    yield "models, with their service and action named. Prices are"
    yield "indicative (mid 2026), and used where the service gives no quote.\n"
    for model in CATALOGUE:
        yield f"### {model.name}\n"
        price = "no price is known"
        if model.price is not None:
            prices = [f"{usd:.2f} {value}".strip() for value, usd in model.price.usd.items()]
            by = f" by `{model.price.by}`" if model.price.by else ""
            price = f"USD a task{by}: {', '.join(prices)}"
        yield f"{model.title}; {price}.\n"
        for verb, action in (("generate", model.text), ("edit", model.edit)):
            if action is None:
                yield f"- **{verb}**: no"
                continue
            words = [f"prompt {action.prompt}"]
            if action.source_field:
                most = action.sources[1]
                words.append("1 source" if most == 1 else f"1 to {most} sources")
            words += ["a mask"] if action.mask_field else []
            words += ["several pictures in one task"] if action.count_field else []
            yield f"- **{verb}**: {', '.join(words)}"
        yield ""
        fields = list(_fields(model))
        if not fields:
            continue
        yield from _table(
            ("field", "values", "default", "meaning"),
            [
                (
                    f"{_code(one.name)} {only}".strip(),
                    ", ".join(_code(str(value)) for value in one.choices)
                    or {bool: "true, false", str: "text", int: "whole number"}[one.kind],
                    "required"
                    if one.required
                    else _code("" if one.default is None else str(one.default)),
                    one.help,
                )
                for only, one in fields
            ],
        )


def _fields(model: Model) -> Iterator[tuple[str, Parameter]]:
    """Yield a model's fields, with "(generate)" or "(edit)" if the two actions differ."""
    actions = {"generate": model.text, "edit": model.edit}
    known = {verb: action for verb, action in actions.items() if action is not None}
    names = dict.fromkeys(one.name for action in known.values() for one in action.parameters)
    for name in names:
        found = {verb: action.parameter(name) for verb, action in known.items()}
        if len(set(found.values())) == 1:
            yield "", next(iter(found.values()))
        else:
            yield from ((f"({verb})", one) for verb, one in found.items() if one is not None)


def _simulator() -> Iterator[str]:
    yield "## The simulator as a server\n"
    yield "`python -m runapi_magic.simulator` prints `listening on http://HOST:PORT` and serves"
    yield "until it is stopped. `--help` lists the faults that it can play.\n"
    yield from _options(_parser())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
