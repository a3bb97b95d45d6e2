"""Requests are checked, and become exactly the bodies that RunAPI publishes."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runapi_magic.core.catalog import CATALOGUE
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.core.validation import parse_param, validate
from runapi_magic.errors import NOT_SENT, InvalidRequestError
from tests.properties import PROPERTY

GUIDE_PROMPT = (
    "A product photo of a glass perfume bottle on a marble surface, transparent background, "
    "studio lighting, the label reads AURORA in gold serif font"
)


def _source(number=1, **known):
    return Source(
        f"cat{number}", f"{number:064x}", url=f"https://example.com/{number}.png", **known
    )


def _request(prompt="a fox", model="gpt-image-2", sources=0, **known):
    return ImageRequest(
        prompt, model, sources=tuple(_source(number) for number in range(sources)), **known
    )


ROUTE = {"service": "seedream_4", "action_name": "text_to_image"}


WRONG = {
    "empty prompt": (_request(""), "prompt is empty", "Write"),
    "blank prompt": (_request(" \n\t "), "prompt is empty", "Write"),
    "edit without instruction": (_request("", sources=1), "prompt is empty", "Write"),
    "unknown ratio": (
        _request(fields={"aspect_ratio": "7:5"}),
        "'7:5' is not a value of aspect_ratio for gpt-image-2",
        "auto, 1:1, 3:2, 2:3, 4:3, 3:4, 5:4, 4:5, 16:9, 9:16, 2:1, 1:2, 3:1, 1:3, 21:9, 9:21",
    ),
    "unknown resolution": (
        _request(fields={"output_resolution": "8k"}), "'8k'", "1k, 2k, 4k"
    ),
    "number as ratio": (_request(fields={"aspect_ratio": 1}), "1 is not a value", "16:9"),
    "4o without ratio": (
        _request(model="gpt-4o-image"), "gpt-4o-image needs aspect_ratio.", "1:1, 2:3, 3:2"
    ),
    "4o with a wide ratio": (
        _request(model="gpt-4o-image", fields={"aspect_ratio": "16:9"}), "'16:9'", "1:1, 2:3, 3:2"
    ),
    "4o with a resolution": (
        _request(
            model="gpt-4o-image", fields={"aspect_ratio": "1:1", "output_resolution": "2k"}
        ),
        "does not accept output_resolution.",
        "aspect_ratio",
    ),
    "1.5 without quality": (
        _request(model="gpt-image-1.5", fields={"aspect_ratio": "1:1"}),
        "needs quality",
        "medium, high",
    ),
    "edit without source": (
        _request(model="gpt-image-2-image-to-image"), "needs a source image", "Give an image"
    ),
    "upscale without source": (
        _request("", model="topaz-upscale-image"), "needs a source image", "Give an image"
    ),
    "source for the guide's text model": (
        _request(model="gpt-image-2-text-to-image", sources=1),
        "does not accept source images",
        "gpt-image-2",
    ),
    "17 sources": (_request(sources=17), "1 to 16 source images (got 17)", "Leave some out"),
    "6 sources for 4o": (
        _request(model="gpt-4o-image", sources=6, fields={"aspect_ratio": "1:1"}),
        "1 to 5 source images (got 6)",
        "Leave some out",
    ),
    "2 sources for flux": (
        _request(model="flux-kontext-pro", sources=2), "accepts 1 source image (got 2)", "Leave"
    ),
    "-n 0": (_request(count=0), "count must be at least 1 (got 0).", "1 or more"),
    "-n -3": (_request(count=-3), "count must be at least 1 (got -3).", "1 or more"),
    "factor 8": (
        _request("", model="topaz-upscale-image", sources=1, fields={"upscale_factor": 8}),
        "8 is not a value of upscale_factor",
        "1, 2, 4",
    ),
    "factor as text": (
        _request("", model="topaz-upscale-image", sources=1, fields={"upscale_factor": "2"}),
        "'2' is not a value",
        "1, 2, 4",
    ),
    "no factor": (
        _request("", model="topaz-upscale-image", sources=1), "needs upscale_factor", "1, 2, 4"
    ),
    "true as a number": (
        _request(model="flux-kontext-pro", fields={"safety_tolerance": True}), "True", "0, 1, 2"
    ),
    "1 as a truth": (
        _request(model="flux-kontext-pro", fields={"enable_translation": 1}),
        "1 is not a value",
        "true or false",
    ),
    "edit too tolerant": (
        _request(model="flux-kontext-pro", sources=1, fields={"safety_tolerance": 3}),
        "3 is not a value",
        "0, 1, 2",
    ),
    "mask for a model without masks": (
        _request(sources=1, mask=_source(9)), "does not accept a mask", "gpt-4o-image"
    ),
    "mask without a source": (
        _request(model="gpt-4o-image", mask=_source(9), fields={"aspect_ratio": "1:1"}),
        "does not accept a mask here",
        "together with a source",
    ),
    "2.5 square in 4k": (
        _request(
            model="gpt-image-2.5-flare", fields={"aspect_ratio": "1:1", "output_resolution": "4k"}
        ),
        "cannot make a 4k image with the ratio 1:1",
        "another ratio",
    ),
    "2.5 auto in 2k": (
        _request(model="gpt-image-2.5-sunburst", fields={"output_resolution": "2k"}),
        "cannot make a 2k image with the ratio auto",
        "another ratio",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "what", "todo"), WRONG.values(), ids=WRONG)
def test_invalid_requests(request_, what, todo):
    """Each mistake is found before sending. The message names it and the allowed values."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(request_)
    assert what in caught.value.what
    assert todo in caught.value.todo
    assert caught.value.charged == NOT_SENT
    # The message is also shown in the panel and in scripts, so it must not name a magic's options.
    assert re.search(r"%|(?<!\w)--?[a-z]", str(caught.value)) is None


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({}, ["service and action must be named", "--service", "--action", 'action="']),
        ({"service": "seedream_4"}, ["its action must be named"]),
        ({"action_name": "edit_image"}, ["its service must be named"]),
        ({"service": "../me", "action_name": "edit_image"}, ['--service "../me" is not']),
        ({"service": "a", "action_name": "edit/image"}, ['--action "edit/image" is not']),
        ({"service": "a\n", "action_name": "b"}, ['--service "a\n" is not']),
    ],
)
def test_unknown_models_need_a_route(named, words):
    """A model that is not in the catalogue needs a service and an action."""
    for ask in (validate, lambda request: request.route):
        with pytest.raises(InvalidRequestError) as caught:
            ask(_request(model="seedream-4.5", **named))
        assert caught.value.charged == NOT_SENT
        assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("model", "similar"), [("gpt-imgae-2", "gpt-image-2"), ("Flux-Kontext-Pro", "flux-kontext-pro")]
)
def test_a_misspelt_model(model, similar):
    """The message proposes the most similar names in the catalogue."""
    with pytest.raises(InvalidRequestError, match=f"Did you mean .*{similar}"):
        validate(_request(model=model))


def test_the_route_of_a_model_of_the_catalogue():
    """A known model accepts only its own service and action."""
    named = {"service": "gpt_image_2", "action_name": "text_to_image"}
    assert validate(_request(**named)) == []
    assert _request(**named).route == _request().route == ("gpt_image_2", "text_to_image")
    assert _request(**named).fingerprint == _request().fingerprint
    with pytest.raises(InvalidRequestError, match="has the service gpt_image_2"):
        validate(_request(service="gpt_image", action_name="text_to_image"))
    with pytest.raises(InvalidRequestError, match="the action text_to_image"):
        validate(_request(action_name="edit_image"))


RIGHT = {
    "prompt alone": (_request(), []),
    "all ratios": (_request(fields={"aspect_ratio": "9:21"}), []),
    "16 sources": (_request(sources=16), []),
    "1.5": (
        _request(model="gpt-image-1.5", fields={"aspect_ratio": "3:2", "quality": "high"}), []
    ),
    "4o edit without prompt": (
        _request("", model="gpt-4o-image", sources=1, fields={"aspect_ratio": "1:1"}), []
    ),
    "4o with a mask": (
        _request(model="gpt-4o-image", sources=5, mask=_source(9), fields={"aspect_ratio": "1:1"}),
        [],
    ),
    "2.5 in 4k": (
        _request(
            model="gpt-image-2.5-flare", fields={"aspect_ratio": "3:2", "output_resolution": "4k"}
        ),
        [],
    ),
    "2.5 square in 2k": (
        _request(
            model="gpt-image-2.5-flare", fields={"aspect_ratio": "1:1", "output_resolution": "2k"}
        ),
        [],
    ),
    "callback": (_request(fields={"callback_url": "https://example.com"}), []),
    "flux all": (
        _request(
            model="flux-kontext-max",
            fields={
                "aspect_ratio": "21:9", "output_format": "png", "enable_translation": True,
                "enable_prompt_expansion": False, "safety_tolerance": 6, "watermark": "me",
            },
        ),
        [],
    ),
    "square in 4k": (
        _request(fields={"aspect_ratio": "1:1", "output_resolution": "4k"}), ["may refuse"]
    ),
    "auto in 2k": (_request(fields={"output_resolution": "2k"}), ["may refuse"]),
    "unknown field": (_request(fields={"seed": 5}), ["not known to accept seed"]),
    "unknown model": (
        _request(model="seedream-4.5", fields={"aspect_ratio": "7:5"}, **ROUTE),
        ["not in the catalogue"],
    ),
    "prompt where none is used": (
        _request(model="recraft-remove-background", sources=1), ["does not use a prompt"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "warnings"), RIGHT.values(), ids=RIGHT)
def test_valid_requests(request_, warnings):
    """Allowed values pass. Values that only the service can check pass with a warning."""
    found = validate(request_)
    assert len(found) == len(warnings)
    assert all(words in warning for words, warning in zip(warnings, found, strict=True))


def test_the_guides_body():
    """The guide's example becomes exactly the guide's JSON."""
    request = _request(
        GUIDE_PROMPT,
        "gpt-image-2-text-to-image",
        fields={"output_resolution": "2k", "aspect_ratio": "3:4"},
    )
    assert validate(request) == []
    assert request.body("flat") == {
        "model": "gpt-image-2-text-to-image",
        "prompt": GUIDE_PROMPT,
        "output_resolution": "2k",
        "aspect_ratio": "3:4",
    }


URLS = ("https://x/1.png", "https://x/2.png")
BODIES = {
    "only requested values": (
        _request(), "namespaced", {}, {"model": "gpt-image-2", "prompt": "a fox"}
    ),
    "the SDK's name on the guide's routes": (
        _request(), "flat", {}, {"model": "gpt-image-2-text-to-image", "prompt": "a fox"}
    ),
    "the guide's name on the SDK's routes": (
        _request(model="gpt-image-2-text-to-image"),
        "namespaced",
        {},
        {"model": "gpt-image-2", "prompt": "a fox"},
    ),
    "edit": (
        _request("brighter", sources=2),
        "namespaced",
        {"source_urls": URLS},
        {"model": "gpt-image-2", "prompt": "brighter", "source_image_urls": list(URLS)},
    ),
    "edit on the guide's routes": (
        _request("brighter", sources=1),
        "flat",
        {"source_urls": URLS[:1]},
        {"model": "gpt-image-2-image-to-image", "prompt": "brighter",
         "source_image_urls": ["https://x/1.png"]},
    ),
    "one source": (
        _request("brighter", "flux-kontext-pro", 1),
        "namespaced",
        {"source_urls": URLS[:1]},
        {"model": "flux-kontext-pro", "prompt": "brighter", "source_image_url": "https://x/1.png"},
    ),
    "one source on the guide's routes": (
        _request("brighter", "flux-kontext-pro", 1),
        "flat",
        {"source_urls": URLS[:1]},
        {"model": "flux-kontext-pro", "prompt": "brighter", "image_url": "https://x/1.png"},
    ),
    "nothing that is blank": (
        _request("  ", "gpt-4o-image", 1, fields={"aspect_ratio": "1:1", "x": None, "y": "\n"}),
        "namespaced",
        {"source_urls": URLS[:1]},
        {"model": "gpt-4o-image", "aspect_ratio": "1:1", "source_image_urls": ["https://x/1.png"]},
    ),
    "what is false or zero": (
        _request(
            model="flux-kontext-max", fields={"enable_translation": False, "safety_tolerance": 0}
        ),
        "namespaced",
        {},
        {"model": "flux-kontext-max", "prompt": "a fox", "enable_translation": False,
         "safety_tolerance": 0},
    ),
    "no prompt where none is used": (
        _request("ignored", "topaz-upscale-image", 1, fields={"upscale_factor": 4}),
        "namespaced",
        {"source_urls": URLS[:1]},
        {"model": "topaz-upscale-image", "upscale_factor": 4,
         "source_image_url": "https://x/1.png"},
    ),
    "mask and count": (
        _request("", "gpt-4o-image", 1, fields={"aspect_ratio": "1:1"}),
        "namespaced",
        {"source_urls": URLS[:1], "mask_url": "https://x/m.png", "count": 4},
        {"model": "gpt-4o-image", "aspect_ratio": "1:1", "source_image_urls": ["https://x/1.png"],
         "mask_url": "https://x/m.png", "output_count": 4},
    ),
    "a count of one is not sent": (
        _request(model="gpt-4o-image", fields={"aspect_ratio": "1:1"}),
        "namespaced",
        {"count": 1},
        {"model": "gpt-4o-image", "prompt": "a fox", "aspect_ratio": "1:1"},
    ),
    "no count where the model has none": (
        _request(count=3), "namespaced", {"count": 3}, {"model": "gpt-image-2", "prompt": "a fox"}
    ),
    "unknown fields go through": (
        _request(model="seedream-4.5", fields={"seed": 5, "deep": {"a": [1]}}, **ROUTE),
        "namespaced",
        {},
        {"model": "seedream-4.5", "prompt": "a fox", "seed": 5, "deep": {"a": [1]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "family", "given_", "body"), BODIES.values(), ids=BODIES)
def test_bodies(request_, family, given_, body):
    """A body has the requested values under RunAPI's names, and nothing else."""
    assert request_.body(family, **given_) == body


@pytest.mark.parametrize(
    ("model", "count", "tasks"),
    [
        ("gpt-image-2", 1, (1,)),
        ("gpt-image-2", 3, (1, 1, 1)),
        ("gpt-4o-image", 1, (1,)),
        ("gpt-4o-image", 2, (2,)),
        ("gpt-4o-image", 3, (2, 1)),
        ("gpt-4o-image", 4, (4,)),
        ("gpt-4o-image", 7, (4, 2, 1)),
        ("gpt-4o-image", 9, (4, 4, 1)),
    ],
)
def test_counts(model, count, tasks):
    """A count becomes the smallest number of tasks that the model allows."""
    request = _request(model=model, count=count, fields={"aspect_ratio": "1:1"})
    assert request.task_counts == tasks


@PROPERTY
@given(st.integers(1, 60), st.sampled_from(["gpt-image-2", "gpt-4o-image", "unknown-model"]))
def test_counts_add_up(count, model):
    """For any count, the tasks make that many images, in allowed sizes."""
    tasks = _request(model=model, count=count).task_counts
    assert sum(tasks) == count
    assert set(tasks) <= {1, 2, 4}


@pytest.mark.parametrize(
    ("request_", "usd"),
    [
        (_request(), 0.06),
        (_request(count=3, fields={"output_resolution": "2k"}), 0.30),
        (_request(model="gpt-4o-image", count=3), 0.13),
        (_request(model="unknown-model"), None),
    ],
)
def test_estimates(request_, usd):
    """The estimate covers all tasks of the request. It is None if the price is unknown."""
    assert request_.estimate == (usd if usd is None else pytest.approx(usd))


def test_fingerprints_are_by_content():
    """Equal content under two names is one image. Different content under one name is two."""
    base = _request(sources=1)
    renamed = replace(base.sources[0], label="other", url="https://example.com/else.png")
    changed = replace(base.sources[0], digest="f" * 64)
    assert replace(base, sources=(renamed,)).fingerprint == base.fingerprint
    assert replace(base, sources=(changed,)).fingerprint != base.fingerprint


def test_fingerprints_ignore_count_and_family():
    """The count and the route family do not change the fingerprint."""
    base = _request()
    assert replace(base, count=3).fingerprint == base.fingerprint
    assert replace(base, model="gpt-image-2-text-to-image").fingerprint == base.fingerprint


def test_fingerprints_ignore_the_order_of_fields():
    """The order of the options does not change the fingerprint."""
    fields = {"aspect_ratio": "3:4", "output_resolution": "2k"}
    turned = dict(reversed(fields.items()))
    assert _request(fields=fields).fingerprint == _request(fields=turned).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        _request("a dog"),
        _request(model="flux-kontext-pro"),
        _request(fields={"aspect_ratio": "3:4"}),
        _request(sources=1),
        _request(sources=2),
        replace(_request(sources=2), sources=tuple(reversed(_request(sources=2).sources))),
        replace(_request(sources=1), mask=_source(9)),
    ],
)
def test_fingerprints_differ(other):
    """Prompt, model, fields, sources, their order and the mask change the fingerprint."""
    base = _request()
    assert other.fingerprint != base.fingerprint
    assert re.fullmatch("[0-9a-f]{64}", other.fingerprint)


def test_request_properties():
    """Ratio, resolution and title are as requested. An edit without a prompt names its source."""
    request = _request(fields={"aspect_ratio": "3:4", "output_resolution": "2k"})
    assert (request.aspect_ratio, request.output_resolution) == ("3:4", "2k")
    assert (request.title, _request("", "topaz-upscale-image", 1).title) == (
        "a fox",
        "upscale image: cat0",
    )
    assert (_request().aspect_ratio, _request().output_resolution) == (None, None)


PARAMS = {
    "text": ("watermark=me", ("watermark", "me")),
    "number": ("safety_tolerance=2", ("safety_tolerance", 2)),
    "float": ("strength=0.5", ("strength", 0.5)),
    "truth": ("enable_translation=true", ("enable_translation", True)),
    "null": ("x=null", ("x", None)),
    "list": ("x=[1, 2]", ("x", [1, 2])),
    "object": ('x={"a": "b"}', ("x", {"a": "b"})),
    "quoted number": ('watermark="2024"', ("watermark", "2024")),
    "more equals": ("callback_url=https://x/?a=b", ("callback_url", "https://x/?a=b")),
    "empty": ("watermark=", ("watermark", "")),
    "blanks": (" watermark = me ", ("watermark", " me ")),
    "ratio": ("aspect_ratio=16:9", ("aspect_ratio", "16:9")),
    "no JSON number": ("watermark=NaN", ("watermark", "NaN")),
    "no JSON infinity": ("watermark=-Infinity", ("watermark", "-Infinity")),
}


@pytest.mark.parametrize(("text", "pair"), PARAMS.values(), ids=PARAMS)
def test_params(text, pair):
    """VALUE of ``KEY=VALUE`` is read as JSON if it is JSON, and otherwise as text."""
    assert parse_param(text) == pair


@pytest.mark.parametrize("text", ["", "watermark", "=me", "a b=1", "1x=1", "a-b=1", "a.b=1"])
def test_malformed_params(text):
    """Anything but ``KEY=VALUE`` is refused with an example."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_param(text)
    assert f"-p {text} is not KEY=VALUE" in caught.value.what
    assert "-p safety_tolerance=2" in caught.value.todo


@pytest.mark.parametrize(
    ("name", "instead"),
    [("prompt", "cell"), ("model", "-m"), ("source_image_urls", "-i"), ("source_image_url", "-i"),
     ("output_count", "-n"), ("mask_url", "--mask"), ("count", "-n"), ("sources", "-i"),
     ("mask", "--mask")],
)  # fmt: skip
def test_params_with_an_option_of_their_own(name, instead):
    """A field that has its own option is refused, and the message names the option."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_param(f"{name}=1")
    assert instead in caught.value.todo


@PROPERTY
@given(st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True).map("x_{}".format), st.text())
def test_any_value_is_a_param(key, value):
    """Any value is accepted, and can be sent as JSON."""
    found, read = parse_param(f"{key}={value}")
    assert found == key
    assert json.loads(json.dumps(read, allow_nan=False)) == read


@PROPERTY
@given(st.text())
@example("x=" + "[" * 100_000)
def test_any_text_as_param(text):
    """Any text is accepted or refused with a message."""
    with contextlib.suppress(InvalidRequestError):
        assert parse_param(text)[0].isidentifier()


def test_every_model_accepts_a_minimal_request():
    """For every model, the smallest valid request passes without a warning."""
    required = {"aspect_ratio": "1:1", "quality": "medium", "upscale_factor": 2}
    warnings = [
        validate(
            _request(
                "" if action.prompt == "unused" else "a fox",
                model.name,
                action.sources[0],
                fields={
                    known.name: required[known.name]
                    for known in action.parameters
                    if known.required
                },
            )
        )
        for model in CATALOGUE
        for action in (model.text, model.edit)
        if action is not None
    ]
    assert warnings == [[]] * 19
