"""The catalogue has what RunAPI's published contracts say."""

from __future__ import annotations

import dataclasses

import pytest

from runapi_magic.core.catalog import CATALOGUE, DEFAULT_MODEL, find_model

WIDE = tuple("auto 1:1 3:2 2:3 4:3 3:4 5:4 4:5 16:9 9:16 2:1 1:2 3:1 1:3 21:9 9:21".split())  # noqa: SIM905
SIZES = ("1k", "2k", "4k")
OLD = ("1:1", "2:3", "3:2")
FLUX = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")

GPT = {"aspect_ratio": WIDE, "output_resolution": SIZES}
GPT_15 = {"aspect_ratio!": OLD, "quality!": ("medium", "high")}
GPT_4O = {"aspect_ratio!": OLD, "enable_prompt_expansion": bool}
FLUX_TEXT = {
    "aspect_ratio": FLUX,
    "output_format": ("jpeg", "png"),
    "enable_translation": bool,
    "enable_prompt_expansion": bool,
    "safety_tolerance": (0, 1, 2, 3, 4, 5, 6),
    "watermark": str,
}
FLUX_EDIT = {**FLUX_TEXT, "safety_tolerance": (0, 1, 2)}

# service, action, prompt, (source field, smallest and largest number), fields (! is required)
TEXT = {
    "gpt-image-2": ("gpt_image_2", "text_to_image", "required", GPT),
    "gpt-image-2-text-to-image": ("gpt_image_2", "text_to_image", "required", GPT),
    "gpt-image-2.5-flare": ("gpt_image_2_5", "text_to_image", "required", GPT),
    "gpt-image-2.5-sunburst": ("gpt_image_2_5", "text_to_image", "required", GPT),
    "gpt-image-1.5": ("gpt_image", "text_to_image", "required", GPT_15),
    "gpt-4o-image": ("gpt_4o_image", "text_to_image", "required", GPT_4O),
    "flux-kontext-pro": ("flux_kontext", "text_to_image", "required", FLUX_TEXT),
    "flux-kontext-max": ("flux_kontext", "text_to_image", "required", FLUX_TEXT),
}
MANY = ("source_image_urls", 1, 16)
ONE = ("source_image_url", 1, 1)
FACTOR = {"upscale_factor!": (1, 2, 4)}
EDIT = {
    "gpt-image-2": ("gpt_image_2", "edit_image", "required", GPT, MANY),
    "gpt-image-2-image-to-image": ("gpt_image_2", "edit_image", "required", GPT, MANY),
    "gpt-image-2.5-flare": ("gpt_image_2_5", "edit_image", "required", GPT, MANY),
    "gpt-image-2.5-sunburst": ("gpt_image_2_5", "edit_image", "required", GPT, MANY),
    "gpt-image-1.5": ("gpt_image", "edit_image", "required", GPT_15, MANY),
    "gpt-4o-image": (
        "gpt_4o_image", "text_to_image", "optional", GPT_4O, ("source_image_urls", 1, 5),
    ),
    "flux-kontext-pro": ("flux_kontext", "text_to_image", "required", FLUX_EDIT, ONE),
    "flux-kontext-max": ("flux_kontext", "text_to_image", "required", FLUX_EDIT, ONE),
    "topaz-upscale-image": ("topaz", "upscale_image", "unused", FACTOR, ONE),
    "recraft-remove-background": ("recraft", "remove_background", "unused", {}, ONE),
    "recraft-crisp-upscale": ("recraft", "upscale_image", "unused", {}, ONE),
}  # fmt: skip


def _shown(action):
    return {
        f"{known.name}{'!' if known.required else ''}": known.choices or known.kind
        for known in action.parameters
    }


def test_the_catalogue_is_complete():
    """The catalogue has the models of this table, each once, and no others."""
    assert sorted(model.name for model in CATALOGUE) == sorted({*TEXT, *EDIT})


@pytest.mark.parametrize("name", TEXT)
def test_generations(name):
    """Service, action, prompt and fields of a generation match the published table."""
    service, action, prompt, fields = TEXT[name]
    model = find_model(name)
    found = model.action(with_sources=False)
    assert (model.service, found.name, found.prompt) == (service, action, prompt)
    assert _shown(found) == fields
    assert found.sources == (0, 0)
    assert model.known


@pytest.mark.parametrize("name", EDIT)
def test_edits(name):
    """Service, action, sources, prompt and fields of an edit match the published table."""
    service, action, prompt, fields, (source_field, fewest, most) = EDIT[name]
    model = find_model(name)
    found = model.action(with_sources=True)
    assert (model.service, found.name, found.prompt) == (service, action, prompt)
    assert (found.source_field, found.sources) == (source_field, (fewest, most))
    assert _shown(found) == fields


@pytest.mark.parametrize("name", sorted({*TEXT, *EDIT}))
def test_missing_actions(name):
    """Some models accept no source. Others need one."""
    model = find_model(name)
    assert (model.action(with_sources=False) is None) is (name not in TEXT)
    assert (model.action(with_sources=True) is None) is (name not in EDIT)


def test_defaults_are_the_services():
    """The defaults match the published ones."""
    gpt, flux = find_model("gpt-image-2").text, find_model("flux-kontext-pro").edit
    assert {known.name: known.default for known in gpt.parameters} == {
        "aspect_ratio": "auto",
        "output_resolution": "1k",
    }
    assert {known.name: known.default for known in flux.parameters} == {
        "aspect_ratio": "16:9",
        "output_format": "jpeg",
        "enable_translation": True,
        "enable_prompt_expansion": False,
        "safety_tolerance": 2,
        "watermark": None,
    }


def test_every_parameter_has_a_help_text():
    """Every field of every model has a line for help, menus and documentation."""
    actions = [action for model in CATALOGUE for action in (model.text, model.edit) if action]
    known = [parameter for action in actions for parameter in action.parameters]
    assert [parameter.name for parameter in known if not 5 < len(parameter.help) < 80] == []


@pytest.mark.parametrize(
    ("name", "flat", "namespaced"),
    [
        ("gpt-image-2", "source_image_urls", "source_image_urls"),
        ("flux-kontext-pro", "image_url", "source_image_url"),
        ("flux-kontext-max", "image_url", "source_image_url"),
        ("topaz-upscale-image", "source_image_url", "source_image_url"),
    ],
)
def test_source_fields_in_both_families(name, flat, namespaced):
    """The field for sources has the right name in each route family."""
    edit = find_model(name).edit
    assert edit.source_field_in("flat") == flat
    assert edit.source_field_in("namespaced") == namespaced


def test_only_gpt_4o_counts_and_masks():
    """Only gpt-4o-image makes several images in one task and accepts a mask."""
    counting = [
        model.name
        for model in CATALOGUE
        for action in (model.text, model.edit)
        if action and action.count_field
    ]
    masking = [model.name for model in CATALOGUE if model.edit and model.edit.mask_field]
    assert set(counting) == {"gpt-4o-image"}
    assert masking == ["gpt-4o-image"]


@pytest.mark.parametrize(
    ("name", "family", "action", "expected"),
    [
        ("gpt-image-2", "namespaced", "text_to_image", "gpt-image-2"),
        ("gpt-image-2", "flat", "text_to_image", "gpt-image-2-text-to-image"),
        ("gpt-image-2", "flat", "edit_image", "gpt-image-2-image-to-image"),
        ("gpt-image-2-text-to-image", "flat", "text_to_image", "gpt-image-2-text-to-image"),
        ("gpt-image-2-text-to-image", "namespaced", "text_to_image", "gpt-image-2"),
        ("gpt-image-2-image-to-image", "namespaced", "edit_image", "gpt-image-2"),
        ("flux-kontext-pro", "flat", "text_to_image", "flux-kontext-pro"),
    ],
)
def test_names_in_both_families(name, family, action, expected):
    """A model has the right name in each route family."""
    assert find_model(name).name_in(family, action) == expected


@pytest.mark.parametrize(
    ("name", "family"),
    [("gpt-image-2", "namespaced"), ("gpt-image-2-text-to-image", "flat"),
     ("gpt-image-2-image-to-image", "flat"), ("gpt-4o-image", "namespaced")],
)  # fmt: skip
def test_family_of_a_name(name, family):
    """The guide's names use the guide's routes. The SDK's names use the SDK's routes."""
    assert find_model(name).family == family


@pytest.mark.parametrize(
    ("name", "fields", "usd"),
    [
        ("gpt-image-2", {}, 0.06),
        ("gpt-image-2", {"output_resolution": "2k"}, 0.10),
        ("gpt-image-2-text-to-image", {"output_resolution": "4k"}, 0.16),
        ("gpt-image-2-image-to-image", {"output_resolution": "1k"}, 0.06),
        ("gpt-image-1.5", {"quality": "medium"}, 0.04),
        ("gpt-image-1.5", {"quality": "high"}, 0.22),
        ("gpt-image-1.5", {}, None),
        ("gpt-4o-image", {}, 0.06),
        ("gpt-4o-image", {"output_count": 2}, 0.07),
        ("gpt-4o-image", {"output_count": 4}, 0.08),
        ("flux-kontext-pro", {"output_format": "png"}, 0.05),
        ("flux-kontext-max", {}, 0.10),
        ("topaz-upscale-image", {"upscale_factor": 1}, 0.10),
        ("topaz-upscale-image", {"upscale_factor": 2}, 0.10),
        ("topaz-upscale-image", {"upscale_factor": 4}, 0.20),
        ("recraft-remove-background", {}, 0.01),
        ("recraft-crisp-upscale", {}, 0.01),
        ("gpt-image-2.5-flare", {}, None),
        ("nobody-knows", {}, None),
    ],
)
def test_prices(name, fields, usd):
    """The approximate price of a task is the published one, or None if none is published."""
    assert find_model(name).estimate(fields) == usd


@pytest.mark.parametrize(
    ("name", "editor"),
    [("gpt-image-2", "gpt-image-2"), ("gpt-image-2-text-to-image", "gpt-image-2-image-to-image"),
     ("gpt-4o-image", "gpt-4o-image"), ("recraft-remove-background", "recraft-remove-background")],
)  # fmt: skip
def test_model_for_edits(name, editor):
    """An image is edited by its own model, or by the sibling of that model."""
    assert find_model(name).edits_with == editor


@pytest.mark.parametrize(
    "name",
    ["gpt-image-3", "gpt-image-2-turbo", "nano-banana-pro", "seedream-text-to-image", "../me"],
)
def test_nothing_is_guessed_from_a_name(name):
    """A name that is not in the catalogue has no service until you give service and action."""
    for named in ({}, {"service": "flux_2"}, {"action": "text_to_image"}):
        model = find_model(name, **named)
        assert (model.name, model.service, model.family, model.known) == (
            name, "", "namespaced", False,
        )  # fmt: skip
        assert model.edits_with == ""
    model = find_model(name, "flux_2", "remix_image")
    assert (model.service, model.family, model.known) == ("flux_2", "namespaced", False)
    assert {model.text.name, model.edit.name} == {"remix_image"}
    assert (model.edit.source_field, model.edit.sources) == ("source_image_urls", (0, 16))
    assert model.edits_with == name


def test_only_the_guides_two_names_are_flat():
    """Only the two names of the guide use the guide's routes."""
    flat = {model.name for model in CATALOGUE if model.family == "flat"}
    assert flat == {"gpt-image-2-text-to-image", "gpt-image-2-image-to-image"}


def test_the_default_model_is_known():
    """The default model is in the catalogue. It generates and edits."""
    model = find_model(DEFAULT_MODEL)
    assert model.known
    assert model.text
    assert model.edit


def test_the_catalogue_cannot_be_changed():
    """Assigning to an attribute of the catalogue raises an error."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        CATALOGUE[0].service = "other"
