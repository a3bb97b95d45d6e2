"""The models of the simulated service, the fields that each model accepts, and the prices.

The values and limits come from RunAPI's published contracts (guide page and SDK packages, mid
2026). The prices are indicative, in US cents; only the real service's price endpoint is binding.
The simulator keeps its own table: a table shared with the client would hide a mistake in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Rule = Callable[[Any], str | None]
    """A function that checks a field's value: returns the service's error message, or None."""

WIDE_RATIOS: Final = (
    "auto 1:1 3:2 2:3 4:3 3:4 5:4 4:5 16:9 9:16 2:1 1:2 3:1 1:3 21:9 9:21".split()  # noqa: SIM905 - a list of quoted pairs is harder to read
)
LONG_SIDES: Final = {"1k": 1024, "2k": 2048, "4k": 4096}
"""Long side of the image in pixels for each ``output_resolution``."""

MEDIAN_SECONDS: Final = {"1k": 12.0, "2k": 18.0, "4k": 27.0}
"""Median duration of a task. The guide says 10 to 30 seconds, depending on the resolution."""

_NOT_IN_LIST = "is not included in the list"
_MAX_PROMPT = 32_000


def one_of(*allowed: object) -> Rule:
    """Make a rule: the value is one of these. ``True`` does not count as 1."""

    def check(value: Any) -> str | None:
        same = any(value == item and type(value) is type(item) for item in allowed)
        return None if same else _NOT_IN_LIST

    return check


def text(value: Any) -> str | None:
    """Rule: a string that is not blank and not too long."""
    if not isinstance(value, str):
        return "must be a string"
    if not value.strip():
        return "can't be blank"
    return "is too long" if len(value) > _MAX_PROMPT else None


def boolean(value: Any) -> str | None:
    """Rule: true or false."""
    return None if isinstance(value, bool) else "must be true or false"


def integer(low: int, high: int) -> Rule:
    """Make a rule: an integer from ``low`` to ``high``, both included."""

    def check(value: Any) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return "is not a number"
        return None if low <= value <= high else f"must be in {low}..{high}"

    return check


def url(value: Any) -> str | None:
    """Rule: an http or https URL."""
    if not isinstance(value, str):
        return "must be a string"
    try:
        parts = urlsplit(value)
        # Reading the port raises ValueError if the port is invalid.
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    return None if valid else "is not a valid URL"


def urls(most: int) -> Rule:
    """Make a rule: a list of one to ``most`` URLs."""

    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return "must be an array"
        if not value:
            return "can't be blank"
        if len(value) > most:
            return f"is too long (maximum is {most} items)"
        return next((problem for item in value if (problem := url(item))), None)

    return check


@dataclass(frozen=True)
class Contract:
    """One model at one route: its fields and their rules."""

    service: str
    action: str
    model: str
    rules: Mapping[str, Rule]
    required: tuple[str, ...] = ()
    conflicts: Mapping[str, tuple[str, ...]] | None = None
    """Resolution -> aspect ratios that this resolution does not allow."""

    def source_fields(self, *, flat: bool = False) -> tuple[str, ...]:
        """Return the fields that can contain source images. The guide's routes have one more."""
        fields = tuple(name for name in _SOURCE_FIELDS if name in self.rules)
        # The guide page calls flux-kontext's source image_url.
        return (*fields, "image_url") if flat and self.service == "flux_kontext" else fields

    def problems(
        self, body: Mapping[str, Any], *, strict: bool = False, flat: bool = False
    ) -> dict[str, list[str]]:
        """Return field -> error messages in the service's words; empty if the request is valid.

        Args:
            body: The request. Unknown fields and null values are ignored.
            strict: Also refuse 4k with 1:1 or auto and 2k with auto for gpt-image-2.
            flat: Whether the request came through the guide's routes.
        """
        given = {name: value for name, value in body.items() if value is not None}
        found = {name: ["is required"] for name in self.required if name not in given}
        if self.model == "gpt-4o-image" and not {"prompt", "source_image_urls"} & given.keys():
            found["prompt"] = ["is required"]
        for name, rule in self.rules.items():
            if name in given and (problem := rule(given[name])):
                found[name] = [problem]
        if (
            self.service == "flux_kontext"
            and given.keys() & {*self.source_fields(flat=flat)}
            and integer(3, 6)(given.get("safety_tolerance")) is None
        ):
            found["safety_tolerance"] = ["must be in 0..2 for an edit"]
        conflicts = self.conflicts or (
            _STRICT_CONFLICTS if strict and self.model == "gpt-image-2" else {}
        )
        resolution, ratio = given.get("output_resolution", "1k"), given.get("aspect_ratio", "auto")
        if not found and ratio in conflicts.get(resolution, ()):
            found["output_resolution"] = [f"{resolution} is not available with {ratio}"]
        return found


_SOURCE_FIELDS: Final = ("source_image_urls", "source_image_url")
_STRICT_CONFLICTS: Final = {"2k": ("auto",), "4k": ("auto", "1:1")}
_COMMON: Final[dict[str, Rule]] = {"callback_url": url}
_GPT_IMAGE: Final[dict[str, Rule]] = {
    "prompt": text,
    "aspect_ratio": one_of(*WIDE_RATIOS),
    "output_resolution": one_of(*LONG_SIDES),
    **_COMMON,
}
_SOURCES: Final[dict[str, Rule]] = {"source_image_urls": urls(16)}
_GPT_IMAGE_15: Final[dict[str, Rule]] = {
    "prompt": text,
    "aspect_ratio": one_of("1:1", "2:3", "3:2"),
    "quality": one_of("medium", "high"),
    **_COMMON,
}
_GPT_4O: Final[dict[str, Rule]] = {
    "prompt": text,
    "aspect_ratio": one_of("1:1", "3:2", "2:3"),
    "source_image_urls": urls(5),
    "mask_url": url,
    "output_count": one_of(1, 2, 4),
    "enable_prompt_expansion": boolean,
    **_COMMON,
}
_FLUX: Final[dict[str, Rule]] = {
    "prompt": text,
    "aspect_ratio": one_of("21:9", "16:9", "4:3", "1:1", "3:4", "9:16"),
    "output_format": one_of("jpeg", "png"),
    "source_image_url": url,
    "enable_translation": boolean,
    "enable_prompt_expansion": boolean,
    "safety_tolerance": integer(0, 6),
    "watermark": text,
    **_COMMON,
}
_TOPAZ: Final[dict[str, Rule]] = {
    "source_image_url": url,
    "upscale_factor": one_of(1, 2, 4),
    **_COMMON,
}
_RECRAFT: Final[dict[str, Rule]] = {"source_image_url": url, **_COMMON}


def _contracts() -> list[Contract]:
    text_to_image, edit_image = "text_to_image", "edit_image"
    contracts = [
        Contract("gpt_4o_image", text_to_image, "gpt-4o-image", _GPT_4O, ("aspect_ratio",))
    ]
    for service, model, conflicts in (
        ("gpt_image_2", "gpt-image-2", None),
        ("gpt_image_2_5", "gpt-image-2.5-flare", _STRICT_CONFLICTS),
        ("gpt_image_2_5", "gpt-image-2.5-sunburst", _STRICT_CONFLICTS),
    ):
        contracts.append(
            Contract(service, text_to_image, model, _GPT_IMAGE, ("prompt",), conflicts)
        )
        needed = ("prompt", "source_image_urls")
        contracts.append(
            Contract(service, edit_image, model, {**_GPT_IMAGE, **_SOURCES}, needed, conflicts)
        )
    needs = ("prompt", "aspect_ratio", "quality")
    contracts += [
        Contract("gpt_image", text_to_image, "gpt-image-1.5", _GPT_IMAGE_15, needs),
        Contract(
            "gpt_image",
            edit_image,
            "gpt-image-1.5",
            {**_GPT_IMAGE_15, **_SOURCES},
            (*needs, "source_image_urls"),
        ),
    ]
    contracts += [
        Contract("flux_kontext", text_to_image, model, _FLUX, ("prompt",))
        for model in ("flux-kontext-pro", "flux-kontext-max")
    ]
    source = ("source_image_url",)
    contracts += [
        Contract(
            "topaz", "upscale_image", "topaz-upscale-image", _TOPAZ, (*source, "upscale_factor")
        ),
        Contract("recraft", "remove_background", "recraft-remove-background", _RECRAFT, source),
        Contract("recraft", "upscale_image", "recraft-crisp-upscale", _RECRAFT, source),
    ]
    return contracts


CONTRACTS: Final = tuple(_contracts())

MODEL_ALIASES: Final = {
    "gpt-image-2-text-to-image": "gpt-image-2",
    "gpt-image-2-image-to-image": "gpt-image-2",
}
"""The guide page's model names. Both mean the same model; the action differs."""


def find(action: str, model: object, *, service: str | None = None) -> Contract | None:
    """Return the contract for a request, or None if the route does not have this model.

    Args:
        action: Last part of the route, such as ``text_to_image``.
        model: The body's ``model``: a current name or a name from the guide. It can be omitted if
            the route has only one model.
        service: First part of a namespaced route. None (the guide's routes) means any service;
            then ``edit_image`` also finds models that edit at ``text_to_image``.
    """
    name = MODEL_ALIASES.get(model, model) if isinstance(model, str) else model
    at_route = [c for c in CONTRACTS if c.action == action and service in {None, c.service}]
    if service is None and action == "edit_image":
        at_route += [c for c in CONTRACTS if c.model.startswith(("gpt-4o", "flux"))]
    if name is None and len(at_route) == 1:
        return at_route[0]
    return next((c for c in at_route if c.model == name), None)


def route_exists(service: str, action: str) -> bool:
    """Return whether this route has any model."""
    return any((c.service, c.action) == (service, action) for c in CONTRACTS)


def image_count(contract: Contract, body: Mapping[str, Any]) -> int:
    """Return the number of images that a request makes. Only gpt-4o-image makes more than one."""
    return int(body.get("output_count") or 1) if contract.model == "gpt-4o-image" else 1


def price_cents(contract: Contract, body: Mapping[str, Any]) -> int:
    """Return the price of a task in US cents, for all its images; indicative, as of mid 2026."""
    if contract.model in _FLAT_CENTS:
        return _FLAT_CENTS[contract.model]
    field, cents = _CENTS_BY_FIELD.get(contract.model, _GPT_IMAGE_2_CENTS)
    return cents.get(body.get(field), min(cents.values()))


_FLAT_CENTS: Final = {
    "flux-kontext-pro": 5,
    "flux-kontext-max": 10,
    "recraft-remove-background": 1,
    "recraft-crisp-upscale": 1,
}
_GPT_IMAGE_2_CENTS: Final[tuple[str, dict[Any, int]]] = (
    "output_resolution",
    {"1k": 6, "2k": 10, "4k": 16},
)
_CENTS_BY_FIELD: Final[dict[str, tuple[str, dict[Any, int]]]] = {
    "gpt-4o-image": ("output_count", {1: 6, 2: 7, 4: 8}),
    "gpt-image-1.5": ("quality", {"medium": 4, "high": 22}),
    "topaz-upscale-image": ("upscale_factor", {1: 10, 2: 10, 4: 20}),
}
"""Model -> the field that sets the price, and the price per value. The default is the lowest."""


def price_table(contract: Contract) -> tuple[str, dict[Any, int]] | None:
    """Return the field that sets the price and the price in cents per value, or None if flat."""
    if contract.model in _FLAT_CENTS:
        return None
    by_field: tuple[str, dict[Any, int]] = _CENTS_BY_FIELD.get(contract.model, _GPT_IMAGE_2_CENTS)
    return by_field
