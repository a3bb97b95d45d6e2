"""The results of a batch as a table: the user's columns, then the columns of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.batch.item import Item

_PREFIX = "gpt_"


def records(items: Sequence[Item], *, images: bool = False) -> list[dict[str, Any]]:
    """Return one dict for each item, with its variables, status, cost, file and error.

    The user's columns keep their names. A column of the batch that has the same name as one of them
    gets the prefix ``gpt_``.

    Args:
        items: The items of the batch.
        images: Whether to add a last column with the first image of each item.
    """
    results = [
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
    names = {name: _free_name(name, items) for name in results[0]} if results else {}
    return [
        {**item.variables, **{names[name]: value for name, value in result.items()}}
        for item, result in zip(items, results, strict=True)
    ]


def _free_name(name: str, items: Sequence[Item]) -> str:
    """Return a name that the user's columns do not have, unless both columns have equal values."""
    used = {str(known) for item in items for known in item.variables}
    if all(_is_same(name, item) for item in items):
        return name
    while name in used:
        name = f"{_PREFIX}{name}"
    return name


def _is_same(name: str, item: Item) -> bool:
    """Whether a user's column has the prompt or the model of the request as its value."""
    value = item.variables.get(name)
    requested = {"prompt": item.request.prompt, "model": item.request.model}
    return isinstance(value, str) and value.strip() == requested.get(name)
