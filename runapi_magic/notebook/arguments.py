"""The options of the picture magics, and how a line is separated into options and words.

An option is a whole word, wherever it stands on the line, with its value in the next word or after
an ``=``. There are no abbreviations, and ``-n3`` is not ``-n 3``. Any other word is text.
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
_LONG_DASHES = "\N{EN DASH}\N{EM DASH}"  # what an editor makes of two dashes
_DASHED = re.compile(rf"(?:--?|[{_LONG_DASHES}])[^\W\d_]")

_OPTIONS = (
    argument(
        "-m", "--model",
        help="RunAPI's name, by default RunAPIMagics.model; %%runapi models lists them",
    ),
    argument("--service", help="the service of a model that %%runapi models does not list"),
    argument(
        "--action", help="what that service is asked to do, for example text_to_image or edit_image"
    ),
    argument("-a", "--aspect-ratio", metavar="RATIO", help="shape, for example 16:9"),
    argument("-r", "--output-resolution", metavar="SIZE", help="1k, 2k or 4k; costs more"),
    argument(
        "-n", "--count", type=int, default=1,
        help="number of pictures, 1 (the default) or more; each is paid for",
    ),
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
    argument(
        "--sweep", action="append", default=[], metavar="NAME=V1,V2",
        help="a variable of the prompt, or a field, with all its values; may be repeated",
    ),
    argument("--dry-run", action="store_true", help="say what it would cost, and send nothing"),
    argument(
        "--max-cost", type=float, metavar="USD",
        help="USD beyond which nothing is sent; so too where the price is not known",
    ),
    argument("--yes", action="store_true", help="do not ask before many or dear pictures"),
    argument(
        "-o", "--output", metavar="VAR", help="variable that gets the Generation or Sweep, at once"
    ),
    argument(
        "--wait", action="store_true",
        help="let the cell wait for the pictures, as it does where nobody watches",
    ),
    argument(
        "--detach", action="store_true",
        help="let the cell return at once, as it does where somebody watches; not in a terminal",
    ),
    argument("--new", action="store_true", help="ask afresh, also where the same was made before"),
    argument("-q", "--quiet", action="store_true", help="show nothing"),
)  # fmt: skip


_NAMES: dict[str, argument] = {name: option for option in _OPTIONS for name in option.args}
_QUOTES = "Put words of the prompt that start with a dash in quotes, or after --."


def usage_error(what: str, todo: str, charged: str = NOT_SENT) -> UsageError:
    """Return the error for a mistake on a magic's line. IPython shows it without a traceback.

    Args:
        what: What is wrong.
        todo: What to write instead.
        charged: Whether anything was charged.
    """
    return UsageError(f"{what}\n{charged}\n{todo}")


@contextmanager
def reading_line(hint: str = "") -> Iterator[None]:
    """Raise errors in the values on a magic's line as ``UsageError``.

    Only code that reads the line may stand inside. Every other error keeps its own name.

    Args:
        hint: Another line for the message.
    """
    try:
        yield
    except InvalidRequestError as error:
        raise UsageError("\n".join(filter(None, [str(error), hint]))) from None


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all picture magics have, in the order in which help lists them."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


class Word(str):
    """A word of a line: without the quotes that hold it together, for a value of an option.

    Attributes:
        typed: The same as it was typed, for a prompt.
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
    """A magic's line, separated.

    Attributes:
        options: Each option as ``--name`` or ``--name=value``, for argparse.
        sweeps: The values of ``--sweep`` as they were typed.
        words: All other words.
        notes: What to say of words that look like options and are text.
    """

    options: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def separate(line: str, *, text_from: int | None) -> Line:
    """Separate a picture magic's line into options and words.

    Args:
        line: What stands after the magic's name.
        text_from: How many words stand before the prompt; None where there is no prompt on the
            line. A misspelt option is an error up to there, and text after it.

    Raises:
        InvalidRequestError: An option lacks its value, or a word at the beginning looks like an
            option and is none.
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
                made.notes.append(f"Note: {word} stands after -- and is part of the prompt.")
        elif word == "--":
            ended = True
            is_dash = not is_first
            if is_dash:
                made.words.append(word)
        elif name == "--sweep" and (sweep := _sweep_at(line, match.start())):
            made.sweeps.append(sweep[0])
            at = sweep[1]
        elif name in _NAMES and (name.startswith("--") or not equals):
            at = _take(made, name, value if equals else None, line, at)
        else:
            _take_text(made, word, is_first=is_first)
    return made


def _sweep_at(line: str, at: int) -> tuple[str, int] | None:
    from runapi_magic.batch.sweep import sweep_at

    return sweep_at(line, at)


def _take(made: Line, name: str, value: str | None, line: str, at: int) -> int:
    """Take an option with its value, and return where the line goes on."""
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
                f"{name} needs a value, and there is none after it.",
                todo="Write it as the next word; in quotes, if it starts with a dash.",
            )
        value, at = str(Word(match[0])), match.end()
    made.options.append(f"{full}={value}")
    return at


def _take_text(made: Line, word: Word, *, is_first: bool) -> None:
    """Take a word that looks like an option and is none."""
    meant = _meant(word)
    if word[0] in _LONG_DASHES and not meant:
        made.words.append(word)  # a dash as it is printed
        return
    proposal = f" Did you mean {' or '.join(meant)}?" if meant else ""
    if is_first:
        raise InvalidRequestError(f"There is no option {word}.{proposal}", todo=_QUOTES)
    made.words.append(word)
    made.notes.append(f"Note: {word} is not an option; it is sent as part of the prompt.{proposal}")


def _meant(word: str) -> list[str]:
    """Return the options that a word may stand for, the likeliest first."""
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
    """Return a line's words; quotes hold words together, alone or after a ``KEY=``."""
    return [Word(token) for token in _TOKEN.findall(line)]


def as_typed(words: list[Word]) -> str:
    """Return the prompt that stands on a line: quotes are part of it, but not around all of it."""
    return words[0] if len(words) == 1 else " ".join(word.typed for word in words)
