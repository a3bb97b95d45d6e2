"""Print text for the user without ever failing."""

from __future__ import annotations


def print_text(thing: object) -> None:
    """Print something for the user. Replace characters that the encoding cannot show.

    If the output is closed, print nothing: work that follows, such as for images that were paid
    for, must not fail because a text cannot be shown.
    """
    from runapi_magic.errors import encodable  # late, because %load_ext seldom prints

    try:
        print(encodable(str(thing)))  # noqa: T201 (the only place that prints)
    except (OSError, ValueError):  # the output is closed, or is a pipe without a reader
        return
