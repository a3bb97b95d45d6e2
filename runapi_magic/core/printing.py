"""Print text for the user without ever failing."""

from __future__ import annotations

import sys

_SIMPLE = {
    ord(sign): plain
    for sign, plain in {
        "·": "-",
        "…": "...",
        "\u00d7": "x",
        "\u2013": "-",
        "→": "->",
        "█": "#",
    }.items()
}


def print_text(thing: object) -> None:
    """Print something for the user. Replace characters that the encoding cannot show.

    If the output is closed, print nothing: work that follows, such as for images that were paid
    for, must not fail because a text cannot be shown.
    """
    try:
        print(encodable(str(thing)))  # noqa: T201 (the only place that prints)
    except (OSError, ValueError):  # the output is closed, or is a pipe without a reader
        return


def encodable(text: str) -> str:
    """Return a text in which every character exists in the encoding of the standard output."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        simple = text.translate(_SIMPLE)
        return simple.encode(encoding, "replace").decode(encoding)
    except LookupError:  # Python does not know the encoding
        return text.translate(_SIMPLE).encode("ascii", "replace").decode("ascii")
    return text
