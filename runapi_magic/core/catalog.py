"""The catalogue: each model's service, actions, parameters, limits and indicative price.

One place for each fact: validation, ``%runapi models``, the magics' help and the panel's menus
all read it. The facts are RunAPI's published contracts; the service has the last word, so a
parameter that is not here still goes through, with a warning, and so does a model whose service and
action the user names: a path is never guessed.
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
        kind: The JSON type that the field takes.
        choices: Allowed values; empty where any value of the type is allowed.
        required: Whether the service refuses a body without it.
        default: What the service uses where the field is absent. Shown, never sent.
        help: One line for people.
    """

    name: str
    kind: type = str
    choices: tuple[str | int, ...] = ()
    required: bool = False
    default: str | int | bool | None = None
    help: str = ""


@dataclass(frozen=True)
class Action:
    """What a model does, with the fields that it takes for it.

    Attributes:
        name: RunAPI's name, the last part of the path.
        parameters: The fields beside prompt and sources.
        prompt: Whether the prompt is ``required``, ``optional`` or ``unused``.
        source_field: The field that takes the sources' addresses; None where there are none.
        flat_source_field: That field on the guide's routes, where it has another name there.
        sources: Fewest and most sources.
        mask_field: The field that takes a mask's address, where there is one.
        count_field: The field that asks for several pictures in one task, where there is one.
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
        """Return the parameter of this name, or None."""
        return next((known for known in self.parameters if known.name == name), None)

    def source_field_in(self, family: Family) -> str | None:
        """Return the field that takes the sources' addresses in a route family, or None."""
        other = self.flat_source_field if family == "flat" else None
        return other or self.source_field


@dataclass(frozen=True)
class Price:
    """Indicative prices of one task, USD, mid 2026. The truth is a quote or ``usage.cost``.

    Attributes:
        by: The field that the price depends on; empty where there is one price.
        usd: Price by that field's value.
        default: The value that counts where the field is absent.
    """

    usd: dict[str, float]
    by: str = ""
    default: str = ""


@dataclass(frozen=True)
class Model:
    """A model as RunAPI offers it.

    Attributes:
        name: RunAPI's name, for ``-m``.
        title: The name for people.
        service: The part of the namespaced path before the action; empty where it is not known.
        text: What it does without sources, None where it needs one.
        edit: What it does with sources, None where it takes none.
        family: The route family that this name belongs to.
        aliases: The same model's name in the other family, by action.
        price: Indicative price of one task.
        known: False for a name that is not in the catalogue.
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
        """Return what this model does with or without sources, or None if it does not."""
        return self.edit if with_sources else self.text

    @property
    def edits_with(self) -> str:
        """The model that goes on with a picture of this one: itself, or its sibling; else empty."""
        if not self.service:
            return ""
        if self.edit is not None:
            return self.name
        return _GUIDE_EDIT if self.name == _GUIDE_TEXT else ""

    def name_in(self, family: Family, action: str) -> str:
        """Return the model's name in a route family."""
        return self.name if family == self.family else dict(self.aliases).get(action, self.name)

    def estimate(self, fields: dict[str, Any]) -> float | None:
        """Return the indicative price in USD of one task with these fields, or None."""
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
            TEXT_TO_IMAGE,  # a source makes it an edit
            (*_FLUX_PARAMETERS, tolerance(2)),
            source_field="source_image_url",
            # Inferred: the model's guide page shows this name where the SDK has the other.
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
            TEXT_TO_IMAGE,  # sources make it an edit
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
    """Return the model of this name; one with ``known`` false where the catalogue has none.

    An unknown model takes any field, up to 16 sources as ``source_image_urls``, and goes to the
    service and action that are named; without both nothing is sent to it.

    Args:
        name: RunAPI's name of the model.
        service: The service of a model that the catalogue does not have.
        action: What that service is asked to do.
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
    """Return the catalogue's names that are most like a name, the most alike first."""
    return get_close_matches(name.lower(), _BY_NAME, n=3)
