"""Text for a terminal or a log, printed so that it never fails."""

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
    """Print something for the user: what the encoding lacks is replaced, a closed output ignored.

    Images that were paid for are saved by then, and nothing after it may be left undone because
    a caption cannot be shown.
    """
    try:
        print(encodable(str(thing)))  # noqa: T201 (the one place that prints)
    except (OSError, ValueError):  # closed, or a pipe that nothing reads
        return


def encodable(text: str) -> str:
    """Return a text with what the standard output's encoding lacks replaced."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        simple = text.translate(_SIMPLE)
        return simple.encode(encoding, "replace").decode(encoding)
    except LookupError:  # an encoding that Python does not have
        return text.translate(_SIMPLE).encode("ascii", "replace").decode("ascii")
    return text
