"""The options of the picture magics, and how a line is split into them."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING, Any

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
        help="let the cell return at once, as it does where somebody watches",
    ),
    argument("--new", action="store_true", help="ask afresh, also where the same was made before"),
    argument("-q", "--quiet", action="store_true", help="show nothing"),
)  # fmt: skip


def picture_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all picture magics have, in the order in which help lists them."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), function)


def split_line(line: str) -> list[str]:
    """Return a line's words; quotes hold words together, alone or after a ``KEY=``."""
    return [_unquote(token) for token in _TOKEN.findall(line)]


def _unquote(token: str) -> str:
    match = _QUOTED.match(token)
    return match.group(1) + match.group(3) if match else token
