"""The options of the image magics, and how a line is separated into options and words.

An option is a whole word anywhere on the line. Its value is the next word, or follows an ``=``.
There are no abbreviations, and ``-n3`` is not ``-n 3``. All other words are text.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

from runapi_magic.errors import NOT_SENT, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TOKEN = re.compile(r"""(?:[^\s"']|(?<=[^\s=])["'])*(?:"[^"]*"|'[^']*')(?=\s|$)|\S+""")
_QUOTED = re.compile(r"""^([^"']*)(["'])(.*)\2$""", re.DOTALL)
_LONG_DASHES = "\N{EN DASH}\N{EM DASH}"  # some editors replace two dashes with one of these
_DASHED = re.compile(rf"(?:--?|[{_LONG_DASHES}])[^\W\d_]")

_OPTIONS = (
    argument(
        "-m", "--model",
        help="RunAPI's name of the model, by default RunAPIMagics.model; %%runapi models lists"
        " the models",
    ),
    argument("--service", help="service of a model that %%runapi models does not list"),
    argument("--action", help="action of that service, for example text_to_image or edit_image"),
    argument("-a", "--aspect-ratio", metavar="RATIO", help="aspect ratio, for example 16:9"),
    argument(
        "-r", "--output-resolution", metavar="SIZE",
        help="size: 1k, 2k or 4k; larger images cost more",
    ),
    argument(
        "-n", "--count", type=int, default=1,
        help="number of images, 1 (the default) or more; each is charged",
    ),
    argument(
        "-i", "--source", action="append", default=[], metavar="SOURCE",
        help="source image: URL, path or variable; may be repeated",
    ),
    argument(
        "--mask", metavar="SOURCE", help="mask of the area to change, for models that take one"
    ),
    argument(
        "-p", "--param", action="append", default=[], metavar="KEY=VALUE",
        help="another field of the model; may be repeated",
    ),
    argument(
        "--then", action="append", default=[], metavar="STEP",
        help='next step with the image: "upscale 4", "remove background",'
        ' "refine: INSTRUCTION" or an instruction; may be repeated',
    ),
    argument(
        "--sweep", action="append", default=[], metavar="NAME=V1,V2",
        help="variable of the prompt, or field, with all its values; may be repeated",
    ),
    argument("--dry-run", action="store_true", help="show the price, and send nothing"),
    argument(
        "--max-cost", type=float, metavar="USD",
        help="highest price in USD; nothing is sent if the price is higher or unknown",
    ),
    argument(
        "--yes", action="store_true",
        help="do not ask for confirmation before many or expensive images",
    ),
    argument(
        "-o", "--output", metavar="VAR",
        help="variable for the Generation or Sweep; it is set at once",
    ),
    argument(
        "--wait", action="store_true",
        help="let the cell wait for the images, as it does without a person at the notebook",
    ),
    argument(
        "--detach", action="store_true",
        help="let the cell return at once, as it does with a person at the notebook; not in a"
        " terminal",
    ),
    argument(
        "--new", action="store_true", help="generate a new image, even if the same one is on disk"
    ),
    argument("-q", "--quiet", action="store_true", help="show nothing"),
)  # fmt: skip


_NAMES: dict[str, argument] = {name: option for option in _OPTIONS for name in option.args}
_QUOTES = "If a word of the prompt starts with a dash, put it in quotes or after --."


def usage_error(what: str, todo: str, charged: str = NOT_SENT) -> UsageError:
    """Return the error for a mistake on a line. IPython shows it without a traceback.

    Args:
        what: What is wrong.
        todo: What to write instead.
        charged: Whether anything was charged.
    """
    return UsageError(f"{what}\n{charged}\n{todo}")


@contextmanager
def reading_line(hint: str = "") -> Iterator[None]:
    """Raise errors in the values on a line as ``UsageError``.

    Put only code that reads the line inside. Every other error keeps its own name.

    Args:
        hint: A last line for the message.
    """
    try:
        yield
    except InvalidRequestError as error:
        raise UsageError("\n".join(filter(None, [str(error), hint]))) from None


def image_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all image magics, in the order in which the help lists them."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


class Word(str):
    """A word of a line, without the quotes around it; the value of an option.

    Attributes:
        typed: The word with its quotes as typed, for a prompt.
    """

    __slots__ = ("typed",)
    typed: str

    def __new__(cls, typed: str) -> Self:
        """Read a word as it was typed."""
        match = _QUOTED.match(typed)
        word = super().__new__(cls, match.group(1) + match.group(3) if match else typed)
        word.typed = typed
        return word


@dataclass(slots=True)
class Line:
    """The line of an image magic, separated into options and words.

    Attributes:
        options: Each option as ``--name`` or ``--name=value``, for argparse.
        sweeps: The values of ``--sweep`` as typed.
        words: All other words.
        notes: Messages about words that look like options and are text.
    """

    options: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def separate(line: str, *, text_from: int | None) -> Line:
    """Separate the line of an image magic into options and words.

    Args:
        line: The text after the name of the magic.
        text_from: Number of words before the prompt; None if the line has no prompt. A misspelt
            option is an error before the prompt, and text inside it.

    Raises:
        InvalidRequestError: An option has no value, or a word before the prompt looks like an
            option but is not one.
    """
    made = Line()
    at, ended, is_dash = 0, False, False
    while match := _TOKEN.search(line, at):
        word, at = Word(match[0]), match.end()
        is_first = text_from is None or len(made.words) <= text_from
        name, equals, value = word.partition("=")
        if ended or word.typed[0] in "\"'" or not (_DASHED.match(word) or word == "--"):
            made.words.append(word)
            if is_dash and name in _NAMES:
                made.notes.append(f"Note: {word} comes after -- and is part of the prompt.")
        elif word == "--":
            ended = True
            is_dash = not is_first
            if is_dash:
                made.words.append(word)
        elif name == "--sweep" and (sweep := _sweep_at(line, match.start())):
            made.sweeps.append(sweep[0])
            at = sweep[1]
        elif name in _NAMES and (name.startswith("--") or not equals):
            at = _add_option(made, name, value if equals else None, line, at)
        else:
            _add_text(made, word, is_first=is_first)
    return made


def _sweep_at(line: str, at: int) -> tuple[str, int] | None:
    from runapi_magic.batch.sweep import sweep_at

    return sweep_at(line, at)


def _add_option(made: Line, name: str, value: str | None, line: str, at: int) -> int:
    """Add an option with its value, and return the position after it."""
    option = _NAMES[name]
    full = option.args[-1]
    if option.kwds.get("action") == "store_true":
        if value is not None:
            raise InvalidRequestError(f"{name} takes no value.", todo=f"Write {name} alone.")
        made.options.append(full)
        return at
    if value is None:
        match = _TOKEN.search(line, at)
        if match is None or match[0] == "--" or _DASHED.match(match[0]):
            raise InvalidRequestError(
                f"{name} needs a value after it.",
                todo="Write the value as the next word, in quotes if it starts with a dash.",
            )
        value, at = str(Word(match[0])), match.end()
    made.options.append(f"{full}={value}")
    return at


def _add_text(made: Line, word: Word, *, is_first: bool) -> None:
    """Add a word that looks like an option but is not one."""
    similar = _similar_options(word)
    if word[0] in _LONG_DASHES and not similar:
        made.words.append(word)  # a dash in a text
        return
    proposal = f" Did you mean {' or '.join(similar)}?" if similar else ""
    if is_first:
        raise InvalidRequestError(f"There is no option {word}.{proposal}", todo=_QUOTES)
    made.words.append(word)
    made.notes.append(f"Note: {word} is not an option; it is sent as part of the prompt.{proposal}")


def _similar_options(word: str) -> list[str]:
    """Return the options that a word may be meant for, the likeliest first."""
    name, _, value = word.partition("=")
    bare = name.lstrip(f"-{_LONG_DASHES}").lower()
    if word[0] in _LONG_DASHES:
        return [f"--{bare}"] if f"--{bare}" in _NAMES else []
    if word[:2] in _NAMES:  # -n3, -n=3
        glued = word[2:].removeprefix("=")
        is_flag = _NAMES[word[:2]].kwds.get("action") == "store_true"
        return [word[:2] if is_flag else f"{word[:2]} {glued}"]
    long = {known[2:]: known for known in _NAMES if known.startswith("--")}
    found = [f"-{bare}"] if f"-{bare}" in _NAMES else []
    found += [known for text, known in long.items() if text.startswith(bare)]
    found += [long[text] for text in get_close_matches(bare, long, n=1)]
    shown = list(dict.fromkeys(found))[:3]
    return [f"{known} {value}" if value else known for known in shown]


def split_line(line: str) -> list[Word]:
    """Return the words of a line. Quotes, also after ``KEY=``, make several words one."""
    return [Word(token) for token in _TOKEN.findall(line)]


def as_typed(words: list[Word]) -> str:
    """Return the prompt on a line. Quotes are part of it, except around the whole prompt."""
    return words[0] if len(words) == 1 else " ".join(word.typed for word in words)
