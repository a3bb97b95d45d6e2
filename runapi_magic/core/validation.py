"""Check requests against the catalogue, and check values from the user. Pure."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from runapi_magic.core.catalog import Action, Model, Parameter
    from runapi_magic.core.request import ImageRequest

# Fields that -p cannot set, and what to use instead.
_OWN_FIELDS = {
    "prompt": "write the prompt in the cell",
    "model": "use -m",
    "source_image_urls": "use -i",
    "source_image_url": "use -i",
    "output_count": "use -n",
    "mask_url": "use --mask",
    "mask": "use --mask",
    "count": "use -n",
    "sources": "use -i",
    "new": "use --new",
    "service": "use --service",
    "action": "use --action",
}
_ANY_MODEL = ("callback_url",)  # fields of all models
_MOST = 10_000  # images; a larger number must be a mistake


def validate(request: ImageRequest) -> list[str]:
    """Check a request against the catalogue.

    Returns:
        Warnings about values that are not in the catalogue. They are sent, and the service decides.

    Raises:
        InvalidRequestError: A value is not allowed. The message names the allowed values.
    """
    if request.count < 1:
        raise InvalidRequestError(
            f"count must be at least 1 (got {request.count}).", todo="Give 1 or more."
        )
    model, action = request.catalogue, request.action
    _ = request.route  # raises an error if it is not known
    warnings = []
    if not model.known:
        warnings.append(
            f"{model.name} is not in the catalogue (%runapi models); it is sent as given."
        )
    if action.prompt == "required" and not request.prompt.strip():
        wanted = "what to change" if request.sources else "what you want to see"
        raise InvalidRequestError("The prompt is empty.", todo=f"Write {wanted}.")
    if action.prompt == "unused" and request.prompt.strip():
        warnings.append(f"{model.name} does not use a prompt; the prompt is not sent.")
    _check_sources(request, action)
    given = (*request.sources, *([request.mask] if request.mask else []))
    warnings += dict.fromkeys(source.note for source in given if source.note)
    for known in action.parameters:
        if known.required and known.name not in request.fields:
            raise InvalidRequestError(f"{model.name} needs {known.name}.", todo=_allowed(known))
    _check_json(request)
    return warnings + _check_fields(request) + _check_resolution(request)


def _check_fields(request: ImageRequest) -> list[str]:
    model, action = request.catalogue, request.action
    warnings = []
    for name, value in request.fields.items():
        parameter = action.parameter(name)
        if parameter is not None:
            _check_value(model, parameter, value)
        elif name in {"aspect_ratio", "output_resolution"} and model.known:
            accepted = ", ".join(known.name for known in action.parameters) or "no fields"
            raise InvalidRequestError(
                f"{model.name} does not accept {name}.", todo=f"It accepts {accepted}."
            )
        elif model.known and name not in _ANY_MODEL:
            warnings.append(f"{model.name} is not known to accept {name}; it is sent as given.")
    return warnings


def _check_json(request: ImageRequest) -> None:
    try:
        text = json.dumps(
            [request.prompt, dict(request.fields)], allow_nan=False, ensure_ascii=False
        )
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequestError(
            "The prompt or a field has a value that cannot be sent as JSON.",
            todo="Use text, numbers, true or false.",
        ) from None


def _check_sources(request: ImageRequest, action: Action) -> None:
    fewest, most = action.sources
    if not fewest <= len(request.sources) <= most:
        allowed = str(most) if fewest == most else f"{fewest} to {most}"
        images = "image" if most == 1 else "images"
        raise InvalidRequestError(
            f"{request.model} accepts {allowed} source {images} (got {len(request.sources)}).",
            todo="Leave some out, or edit in several steps.",
        )
    if request.mask is not None and action.mask_field is None:
        raise InvalidRequestError(
            f"{request.model} does not accept a mask here.",
            todo="gpt-4o-image accepts a mask, together with a source.",
        )


def _check_value(model: Model, parameter: Parameter, value: Any) -> None:
    wanted = {str: "text", int: "a whole number", bool: "true or false"}[parameter.kind]
    fits = isinstance(value, parameter.kind) and (
        parameter.kind is bool or not isinstance(value, bool)
    )
    if parameter.choices:
        fits = fits and value in parameter.choices
    if not fits:
        raise InvalidRequestError(
            f"{value!r} is not a value of {parameter.name} for {model.name}.",
            todo=_allowed(parameter) if parameter.choices else f"It must be {wanted}.",
        )


def _check_resolution(request: ImageRequest) -> list[str]:
    ratio = request.aspect_ratio or "auto"
    resolution = request.output_resolution or "1k"
    square_4k = resolution == "4k" and ratio == "1:1"
    large_auto = resolution in {"2k", "4k"} and ratio == "auto"
    if not (square_4k or large_auto):
        return []
    if request.catalogue.service == "gpt_image_2_5":
        raise InvalidRequestError(
            f"{request.model} cannot make a {resolution} image with the ratio {ratio}.",
            todo="Choose another ratio, such as 3:2, or a smaller resolution.",
        )
    if request.catalogue.service == "gpt_image_2":
        return [
            (
                f"The service may refuse {resolution} with the ratio {ratio} (not charged); a ratio"
                " such as 3:2 works."
            )
        ]
    return []


def _allowed(parameter: Parameter) -> str:
    return f"Allowed: {', '.join(map(str, parameter.choices))}."


def whole_number(name: str, value: Any, most: int = _MOST) -> int:
    """Return a number of images or requests that the user gave.

    Args:
        name: The user's name for the number, as the first word of a message.
        value: The number.
        most: The largest allowed number.

    Raises:
        InvalidRequestError: It is not a whole number, or it is too large.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidRequestError(
            f"{name} must be a whole number (got {value!r:.60}).", todo="Give 1 or more."
        ) from None
    if number > most:
        raise InvalidRequestError(
            f"{name} must be at most {most:,} (got {number:,}).", todo="Use several requests."
        )
    return number


def parse_param(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``. VALUE is JSON (``2``, ``true``), or else text.

    Raises:
        InvalidRequestError: There is no ``=`` or no key, or the key has its own option.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isidentifier():
        raise InvalidRequestError(
            f"-p {text} is not KEY=VALUE.", todo="Write for example -p safety_tolerance=2."
        )
    if key in _OWN_FIELDS:
        raise InvalidRequestError(f"-p cannot set {key}.", todo=f"Instead, {_OWN_FIELDS[key]}.")
    try:
        return key, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return key, value


def _no_constant(word: str) -> Any:
    """Refuse NaN and Infinity: Python reads them, but they are not JSON."""
    raise ValueError(word)


def check_type(name: str, value: object, kind: type | tuple[type, ...], wanted: str) -> None:
    """Check the type of a value.

    Args:
        name: A name for the value, as the beginning of a sentence.
        value: The value.
        kind: The allowed types.
        wanted: A description of these, with an example.

    Raises:
        InvalidRequestError: The value has another type.
    """
    if not isinstance(value, kind):
        raise InvalidRequestError(
            f"{name} is of type {type(value).__name__}.", todo=f"It must be {wanted}."
        )
