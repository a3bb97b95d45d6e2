"""What became of a batch's requests as a table: the user's columns, then ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.batch.item import Item

_PREFIX = "gpt_"


def records(items: Sequence[Item], *, images: bool = False) -> list[dict[str, Any]]:
    """Return one dict a request, with its variables, status, cost, file and error.

    A column of the user's stays as it is: where it has a name of ours, ours begins with ``gpt_``.

    Args:
        items: The requests.
        images: Whether the last column is the first picture of each.
    """
    ours = [
        {
            "prompt": item.request.prompt,
            "model": item.request.model,
            "status": item.status,
            "cost": item.cost,
            "path": item.images[0].location if item.images else None,
            "error": item.error.what if item.error else None,
            **({"image": item.images[0] if item.images else None} if images else {}),
        }
        for item in items
    ]
    names = {name: _free_name(name, items) for name in ours[0]} if ours else {}
    return [
        {**item.variables, **{names[name]: value for name, value in made.items()}}
        for item, made in zip(items, ours, strict=True)
    ]


def _free_name(name: str, items: Sequence[Item]) -> str:
    """Return a name of ours that is no column of the user's, unless both say the same."""
    taken = {str(known) for item in items for known in item.variables}
    if all(_is_same(name, item) for item in items):
        return name
    while name in taken:
        name = f"{_PREFIX}{name}"
    return name


def _is_same(name: str, item: Item) -> bool:
    """Whether a column of the user's is the prompt or the model that was asked for."""
    given = item.variables.get(name)
    asked = {"prompt": item.request.prompt, "model": item.request.model}
    return isinstance(given, str) and given.strip() == asked.get(name)
