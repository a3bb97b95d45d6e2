"""Build requests from what the user gave, the settings' defaults and the image to edit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runapi_magic.core.catalog import DEFAULT_MODEL, find_model
from runapi_magic.core.request import ImageRequest
from runapi_magic.core.validation import check_type, whole_number
from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runapi_magic.core.request import Source
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.engine.settings import Settings


def draft(
    settings: Settings,
    prompt: str,
    /,
    *,
    sources: Sequence[Source] = (),
    model: str | None = None,
    count: int = 1,
    mask: Source | None = None,
    service: str | None = None,
    action: str | None = None,
    **fields: Any,
) -> ImageRequest:
    """Return a request; the settings are the defaults of fields that are not given.

    Args:
        settings: The user's settings.
        prompt: The prompt, or the instruction of an edit.
        sources: The images to edit.
        model: RunAPI's name of the model.
        count: Number of images.
        mask: Marks the area to change.
        service: The service of a model that the catalogue does not have.
        action: The action of that service.
        fields: The fields of the model, by RunAPI's names; None is the same as not given.

    Raises:
        InvalidRequestError: The prompt, the model or the count is invalid, or the model cannot do
            this.
    """
    check_type("The instruction" if sources else "The prompt", prompt, str, 'text, such as "a fox"')
    check_type("The model", model, (str, type(None)), 'text, such as "gpt-image-2"')
    for name, value in (("service", service), ("action", action)):
        check_type(f"The {name}", value, (str, type(None)), 'text, such as "text_to_image"')
    request = ImageRequest(
        prompt=prompt.strip(),
        model=model or default_model(settings, editing=bool(sources)),
        fields={name: value for name, value in fields.items() if value is not None},
        count=whole_number("count", count),
        sources=tuple(sources),
        mask=mask,
        service=service or None,
        action_name=action or None,
    )
    fields = {name: _as_text(request, name, value) for name, value in request.fields.items()}
    defaults = {}
    for name in ("aspect_ratio", "output_resolution"):
        value = getattr(settings, name)
        known = request.action.parameter(name)
        if value and name not in request.fields and known and value in known.choices:
            defaults[name] = value
    return replace(request, fields={**defaults, **fields})


def default_model(settings: Settings, *, editing: bool) -> str:
    """Return the model for requests without a model."""
    if not editing:
        return settings.model
    if settings.edit_model:
        return settings.edit_model
    return find_model(settings.model).edits_with or DEFAULT_MODEL


def _as_text(request: ImageRequest, name: str, value: Any) -> Any:
    """Return a number as a text if the field is a text, as for ``-p watermark=2024``."""
    parameter = request.action.parameter(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if parameter and parameter.kind is str and is_number else value


def edit_fields(
    settings: Settings, image: GeneratedImage, model: str | None = None
) -> dict[str, Any]:
    """Return the model, route and fields of an edit that continues an image.

    Args:
        settings: The user's settings.
        image: The image to edit.
        model: RunAPI's name of the model; by default the image's own if it can edit.
    """
    model = model or _model_for(image, default_model(settings, editing=True))
    return {"model": model, **_route_for(image, model), **_fields_for(image, model)}


def _model_for(image: GeneratedImage, default: str) -> str:
    """Return the last model of an image's lineage that can edit, or the default."""
    for one in reversed(image.line):
        model = one.request.catalogue
        if model.edit is not None and model.edit.prompt == "unused":
            continue  # an upscale or a background removal takes no instruction
        if model.edits_with:
            return model.edits_with
    return default


def _route_for(image: GeneratedImage, model: str) -> dict[str, str]:
    """Return the service and action that the user named for a model in an image's lineage."""
    for one in reversed(image.line):
        request = one.request
        if request.model == model and request.service and request.action_name:
            return {"service": request.service, "action": request.action_name}
    return {}


def _fields_for(image: GeneratedImage, model: str) -> dict[str, Any]:
    """Return an image's fields that are also valid for an edit by a model."""
    action = find_model(model).edit
    return {
        name: value
        for name, value in image.fields.items()
        if action is not None
        and (known := action.parameter(name))
        and (not known.choices or value in known.choices)
    }


def all_at_once(image: GeneratedImage) -> str:
    """Return all instructions of an image's lineage as one instruction.

    Raises:
        InvalidRequestError: There are fewer than two.
    """
    instructions = image.instructions
    if len(instructions) < 2:  # noqa: PLR2004 (with one, the image is an edit of the first already)
        raise InvalidRequestError(
            f"from_original needs at least two edit instructions (got {len(instructions)}).",
            todo="Edit the first image: image.line[0].edit(...).",
        )
    changes = "\n".join(f"{number}. {text}" for number, text in enumerate(instructions, 1))
    return f"Make all of these changes:\n{changes}"
