"""The options of the picture magics, and how a line is split into them."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

from IPython.core.magic_arguments import argument

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(r"""(?:[^\s"']|(?<=[^\s=])["'])*(?:"[^"]*"|'[^']*')(?=\s|$)|\S+""")
_QUOTED = re.compile(r"""^([^"']*)(["'])(.*)\2$""", re.DOTALL)

_OPTIONS = (
    argument(
        "-m", "--model",
        help="RunAPI's name, by default RunAPIMagics.model; %%runapi models lists them",
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
        # argparse leaves out a lone --, which is a word of a prompt as any other.
        bare = "—" if typed == "--" else typed
        word = super().__new__(cls, match.group(1) + match.group(3) if match else bare)
        word.typed = typed
        return word


def split_line(line: str) -> list[Word]:
    """Return a line's words; quotes hold words together, alone or after a ``KEY=``."""
    return [Word(token) for token in _TOKEN.findall(line)]


def as_typed(words: list[Word]) -> str:
    """Return the prompt that stands on a line: quotes are part of it, but not around all of it."""
    return words[0] if len(words) == 1 else " ".join(word.typed for word in words)
