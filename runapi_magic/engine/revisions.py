"""What an edit of a picture asks for: its model, the fields that still apply, its instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runapi_magic.core.catalog import find_model
from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from runapi_magic.engine.image import GeneratedImage


def model_for(image: GeneratedImage, default: str) -> str:
    """Return the model that goes on with a picture: its own, or the one that began its line.

    Args:
        image: The picture.
        default: The model where none of its line edits.
    """
    for one in reversed(image.line):
        model = one.request.catalogue
        if model.edit is not None and model.edit.prompt == "unused":
            continue  # enlarging and the like take no instruction
        if model.edits_with:
            return model.edits_with
    return default


def route_for(image: GeneratedImage, model: str) -> dict[str, str]:
    """Return service and action of a model as they were named where a picture's line used it."""
    for one in reversed(image.line):
        request = one.request
        if request.model == model and request.service and request.action_name:
            return {"service": request.service, "action": request.action_name}
    return {}


def fields_for(image: GeneratedImage, model: str) -> dict[str, Any]:
    """Return those of a picture's fields that an edit by a model takes as well."""
    action = find_model(model).edit
    return {
        name: value
        for name, value in image.fields.items()
        if action is not None
        and (known := action.parameter(name))
        and (not known.choices or value in known.choices)
    }


def all_at_once(image: GeneratedImage) -> str:
    """Return the instructions of a picture's line as one.

    Raises:
        InvalidRequestError: There are fewer than two.
    """
    told = image.instructions
    if len(told) < 2:  # noqa: PLR2004 (one is an edit of the first already)
        raise InvalidRequestError(
            "The picture is less than two instructions away from the first one.",
            todo="Edit the first one: image.line[0].edit(...).",
        )
    steps = "\n".join(f"{number}. {text}" for number, text in enumerate(told, 1))
    return f"Make all of these changes:\n{steps}"
