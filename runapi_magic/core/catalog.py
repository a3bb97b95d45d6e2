"""The catalogue of models: services, actions, parameters, limits and approximate prices.

Validation, ``%runapi models``, the help of the magics and the menus of the panel all read it, so
each fact is in one place. The facts are from the contracts that RunAPI has published. The service
decides: a parameter that is not in the catalogue is sent, with a warning. A model that is not in
the catalogue can be used if the user gives its service and action. Paths are never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal

Family = Literal["namespaced", "flat"]

RATIOS: Final = (
    "auto", "1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16",
    "2:1", "1:2", "3:1", "1:3", "21:9", "9:21",
)  # fmt: skip
RESOLUTIONS: Final = ("1k", "2k", "4k")

TEXT_TO_IMAGE: Final = "text_to_image"
EDIT_IMAGE: Final = "edit_image"

_DEFAULT_RESOLUTION: Final = "1k"
_MOST_SOURCES: Final = 16

_SDK_NAME: Final = "gpt-image-2"
_GUIDE_TEXT: Final = "gpt-image-2-text-to-image"
_GUIDE_EDIT: Final = "gpt-image-2-image-to-image"


@dataclass(frozen=True)
class Parameter:
    """One field of a model's JSON body.

    Attributes:
        name: RunAPI's name of the field.
        kind: The type of the value: ``str``, ``int`` or ``bool``.
        choices: The allowed values. Empty if any value of the type is allowed.
        required: Whether the service refuses a body without the field.
        default: The value that the service uses without the field. It is shown, but not sent.
        help: One line for the user.
    """

    name: str
    kind: type = str
    choices: tuple[str | int, ...] = ()
    required: bool = False
    default: str | int | bool | None = None
    help: str = ""


@dataclass(frozen=True)
class Action:
    """One action of a model, with its fields.

    Attributes:
        name: RunAPI's name, the last part of the path.
        parameters: The fields other than the prompt and the sources.
        prompt: Whether the prompt is ``required``, ``optional`` or ``unused``.
        source_field: The field for the URLs of the sources; None if the action has no sources.
        flat_source_field: The name of that field on the guide's routes, if it differs.
        sources: The smallest and the largest number of sources.
        mask_field: The field for the URL of a mask; None if the action has no mask.
        count_field: The field for the number of images in one task; None if a task has one image.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    prompt: Literal["required", "optional", "unused"] = "required"
    source_field: str | None = None
    flat_source_field: str | None = None
    sources: tuple[int, int] = (0, 0)
    mask_field: str | None = None
    count_field: str | None = None

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter with this name, or None."""
        return next((known for known in self.parameters if known.name == name), None)

    def source_field_in(self, family: Family) -> str | None:
        """Return the field for the URLs of the sources in a route family, or None."""
        other = self.flat_source_field if family == "flat" else None
        return other or self.source_field


@dataclass(frozen=True)
class Price:
    """Approximate prices of one task, from mid 2026. A quote or ``usage.cost`` is exact.

    Attributes:
        usd: Prices in USD, by the value of a field.
        by: That field. Empty if there is only one price.
        default: The value that is used without the field.
    """

    usd: dict[str, float]
    by: str = ""
    default: str = ""


@dataclass(frozen=True)
class Model:
    """A model of RunAPI.

    Attributes:
        name: RunAPI's name, for ``-m``.
        title: The name that the user reads.
        service: The part of the namespaced path before the action. Empty if it is not known.
        text: The action without sources; None if the model needs a source.
        edit: The action with sources; None if the model accepts no source.
        family: The route family that this name belongs to.
        aliases: The name of the same model in the other family, by action.
        price: Approximate price of one task; None if it is not known.
        known: Whether the model is in the catalogue.
    """

    name: str
    title: str
    service: str
    text: Action | None = None
    edit: Action | None = None
    family: Family = "namespaced"
    aliases: tuple[tuple[str, str], ...] = ()
    price: Price | None = None
    known: bool = True

    def action(self, *, with_sources: bool) -> Action | None:
        """Return the action with or without sources, or None if the model has no such action."""
        return self.edit if with_sources else self.text

    @property
    def edits_with(self) -> str:
        """The model that edits an image of this one: itself or its sibling. Empty if none does."""
        if not self.service:
            return ""
        if self.edit is not None:
            return self.name
        return _GUIDE_EDIT if self.name == _GUIDE_TEXT else ""

    def name_in(self, family: Family, action: str) -> str:
        """Return the name of the model in a route family."""
        return self.name if family == self.family else dict(self.aliases).get(action, self.name)

    def estimate(self, fields: dict[str, Any]) -> float | None:
        """Return the approximate price in USD of one task with these fields; None if unknown."""
        if self.price is None:
            return None
        value = str(fields.get(self.price.by) or self.price.default)
        return self.price.usd.get(value)


_RATIO = Parameter(
    "aspect_ratio",
    choices=RATIOS,
    default="auto",
    help="output aspect ratio; auto lets the model decide",
)
_RESOLUTION = Parameter(
    "output_resolution",
    choices=RESOLUTIONS,
    default=_DEFAULT_RESOLUTION,
    help="output resolution tier; a higher one costs more",
)
_GPT_TEXT = Action(TEXT_TO_IMAGE, (_RATIO, _RESOLUTION))
_GPT_EDIT = Action(
    EDIT_IMAGE, (_RATIO, _RESOLUTION), source_field="source_image_urls", sources=(1, 16)
)
_GPT_PRICE = Price({"1k": 0.06, "2k": 0.10, "4k": 0.16}, "output_resolution", _DEFAULT_RESOLUTION)

_OLD_RATIO = Parameter(
    "aspect_ratio", choices=("1:1", "2:3", "3:2"), required=True, help="output aspect ratio"
)
_QUALITY = Parameter(
    "quality", choices=("medium", "high"), required=True, help="quality preset; high costs more"
)

COUNTS_IN_ONE_TASK: Final = (1, 2, 4)  # gpt-4o-image's output_count
_4O_PARAMETERS = (
    _OLD_RATIO,
    Parameter(
        "enable_prompt_expansion",
        bool,
        help="let the model expand short prompts with additional detail",
    ),
)

_FLUX_PARAMETERS = (
    Parameter(
        "aspect_ratio",
        choices=("21:9", "16:9", "4:3", "1:1", "3:4", "9:16"),
        default="16:9",
        help="output aspect ratio",
    ),
    Parameter(
        "output_format", choices=("jpeg", "png"), default="jpeg", help="image encoding format"
    ),
    Parameter(
        "enable_translation",
        bool,
        default=True,
        help="translate a prompt that is not in English first",
    ),
    Parameter(
        "enable_prompt_expansion",
        bool,
        default=False,
        help="expand the prompt with additional detail for richer output",
    ),
    Parameter("watermark", help="watermark identifier to embed in the output"),
)


def _flux(name: str, title: str, usd: float) -> Model:
    def tolerance(most: int) -> Parameter:
        return Parameter(
            "safety_tolerance",
            int,
            tuple(range(most + 1)),
            default=2,
            help="content filter tolerance; 0 is the strictest",
        )

    return Model(
        name,
        title,
        "flux_kontext",
        text=Action(TEXT_TO_IMAGE, (*_FLUX_PARAMETERS, tolerance(6))),
        edit=Action(
            TEXT_TO_IMAGE,  # with a source, it is an edit
            (*_FLUX_PARAMETERS, tolerance(2)),
            source_field="source_image_url",
            # Inferred: the guide's page about the model has this name, and the SDK has the other.
            flat_source_field="image_url",
            sources=(1, 1),
        ),
        price=Price({"": usd}),
    )


def _one_source(action: str, *parameters: Parameter) -> Action:
    return Action(
        action, parameters, prompt="unused", source_field="source_image_url", sources=(1, 1)
    )


CATALOGUE: Final[tuple[Model, ...]] = (
    Model(
        _SDK_NAME,
        "GPT Image 2",
        "gpt_image_2",
        text=_GPT_TEXT,
        edit=_GPT_EDIT,
        aliases=((TEXT_TO_IMAGE, _GUIDE_TEXT), (EDIT_IMAGE, _GUIDE_EDIT)),
        price=_GPT_PRICE,
    ),
    Model(
        _GUIDE_TEXT,
        "GPT Image 2 (guide's name, generation)",
        "gpt_image_2",
        text=_GPT_TEXT,
        family="flat",
        aliases=((TEXT_TO_IMAGE, _SDK_NAME),),
        price=_GPT_PRICE,
    ),
    Model(
        _GUIDE_EDIT,
        "GPT Image 2 (guide's name, editing)",
        "gpt_image_2",
        edit=_GPT_EDIT,
        family="flat",
        aliases=((EDIT_IMAGE, _SDK_NAME),),
        price=_GPT_PRICE,
    ),
    Model("gpt-image-2.5-flare", "GPT Image 2.5 Flare", "gpt_image_2_5", _GPT_TEXT, _GPT_EDIT),
    Model(
        "gpt-image-2.5-sunburst", "GPT Image 2.5 Sunburst", "gpt_image_2_5", _GPT_TEXT, _GPT_EDIT
    ),
    Model(
        "gpt-image-1.5",
        "GPT Image 1.5",
        "gpt_image",
        text=Action(TEXT_TO_IMAGE, (_OLD_RATIO, _QUALITY)),
        edit=Action(
            EDIT_IMAGE, (_OLD_RATIO, _QUALITY), source_field="source_image_urls", sources=(1, 16)
        ),
        price=Price({"medium": 0.04, "high": 0.22}, "quality"),
    ),
    Model(
        "gpt-4o-image",
        "GPT-4o Image",
        "gpt_4o_image",
        text=Action(TEXT_TO_IMAGE, _4O_PARAMETERS, count_field="output_count"),
        edit=Action(
            TEXT_TO_IMAGE,  # with sources, it is an edit
            _4O_PARAMETERS,
            prompt="optional",
            source_field="source_image_urls",
            sources=(1, 5),
            mask_field="mask_url",
            count_field="output_count",
        ),
        price=Price({"1": 0.06, "2": 0.07, "4": 0.08}, "output_count", "1"),
    ),
    _flux("flux-kontext-pro", "Flux Kontext Pro", 0.05),
    _flux("flux-kontext-max", "Flux Kontext Max", 0.10),
    Model(
        "topaz-upscale-image",
        "Topaz upscale",
        "topaz",
        edit=_one_source(
            "upscale_image",
            Parameter(
                "upscale_factor", int, (1, 2, 4), required=True, help="how many times larger"
            ),
        ),
        price=Price({"1": 0.10, "2": 0.10, "4": 0.20}, "upscale_factor"),
    ),
    Model(
        "recraft-remove-background",
        "Recraft remove background",
        "recraft",
        edit=_one_source("remove_background"),
        price=Price({"": 0.01}),
    ),
    Model(
        "recraft-crisp-upscale",
        "Recraft crisp upscale",
        "recraft",
        edit=_one_source("upscale_image"),
        price=Price({"": 0.01}),
    ),
)

DEFAULT_MODEL: Final = _SDK_NAME

_BY_NAME = {model.name: model for model in CATALOGUE}


def find_model(name: str, service: str | None = None, action: str | None = None) -> Model:
    """Return the model with this name.

    If the catalogue does not have it, return a model with ``known`` false. It accepts any field,
    and up to 16 sources as ``source_image_urls``. Requests for it go to the given service and
    action. Without both, no request can be sent.

    Args:
        name: RunAPI's name of the model.
        service: The service of a model that is not in the catalogue.
        action: The action of a model that is not in the catalogue.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if service and action:
        text = edit = Action(
            action, prompt="optional", source_field="source_image_urls", sources=(0, _MOST_SOURCES)
        )
    else:
        text = Action(TEXT_TO_IMAGE, prompt="optional")
        edit = Action(
            EDIT_IMAGE, prompt="optional", source_field="source_image_urls",
            sources=(1, _MOST_SOURCES),
        )  # fmt: skip
        service = ""
    return Model(name, name, service, text, edit, known=False)


def similar_models(name: str) -> list[str]:
    """Return the names in the catalogue that are most similar to a name, the most similar first."""
    return get_close_matches(name.lower(), _BY_NAME, n=3)
