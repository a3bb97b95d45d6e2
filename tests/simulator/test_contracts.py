"""The same call through RunAPI's published SDK and through our client: the same path and JSON.

The SDK sends what it is given, without defaults of its own, and leaves out what is None or blank;
so do we. Its idempotency key, where it has one, is a header and not compared. The guide's two names
have no SDK: there the other client is the guide's curl call.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from runapi.flux_kontext import FluxKontextClient
from runapi.gpt_4o_image import Gpt4oImageClient
from runapi.gpt_image import GptImageClient
from runapi.gpt_image_2 import GptImage2Client
from runapi.gpt_image_2_5 import GptImage25Client
from runapi.recraft import RecraftClient
from runapi.topaz import TopazClient

from runapi_magic.core.catalog import CATALOGUE, COUNTS_IN_ONE_TASK
from runapi_magic.core.request import ImageRequest, Source, validate
from runapi_magic.engine.settings import Access, Secret
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport

from .conftest import serving

A, B, C = (f"https://example.org/{name}.png" for name in ("cat", "hat", "mat"))
HOOK = "https://example.org/hook"
BOTTLE = (
    "A product photo of a glass perfume bottle on a marble surface, transparent background,"
    " studio lighting, the label reads AURORA in gold serif font"
)


@dataclass
class Ask:
    """A request in our words: the same for every model."""

    prompt: str = ""
    sources: tuple[str, ...] = ()
    mask: str | None = None
    count: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def request(self, model):
        """The request of a model."""
        sources = tuple(Source("", url, url=url) for url in self.sources)
        mask = Source("", self.mask, url=self.mask) if self.mask else None
        return ImageRequest(self.prompt, model, self.fields, self.count, sources, mask)


def ask(prompt="", /, *sources, mask=None, count=1, **fields):
    """Say what is asked for."""
    return Ask(prompt, sources, mask, count, fields)


def flux(**more):
    """Flux Kontext's optional fields, all of them."""
    return {
        "aspect_ratio": "21:9",
        "output_format": "png",
        "enable_translation": False,
        "enable_prompt_expansion": True,
        "watermark": "me",
        "callback_url": HOOK,
    } | more


# The model, the SDK's client and resource, what the SDK is called with, what we are asked for.
CALLS = {
    "gpt-image-2": (
        "gpt-image-2", GptImage2Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "3:4", "output_resolution": "2k",
         "callback_url": HOOK},
        ask("a fox", aspect_ratio="3:4", output_resolution="2k", callback_url=HOOK),
    ),
    "gpt-image-2, prompt alone": (
        "gpt-image-2", GptImage2Client, "text_to_image",
        {"prompt": "Łódź at night: “{x}” & 100 %\n2nd line"},
        ask("Łódź at night: “{x}” & 100 %\n2nd line"),
    ),
    "gpt-image-2 edit": (
        "gpt-image-2", GptImage2Client, "edit_image",
        {"prompt": "put the hat on the cat", "source_image_urls": [A, B, C],
         "aspect_ratio": "9:21", "output_resolution": "4k"},
        ask("put the hat on the cat", A, B, C, aspect_ratio="9:21", output_resolution="4k"),
    ),
    "2.5 flare": (
        "gpt-image-2.5-flare", GptImage25Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "1:1", "output_resolution": "2k"},
        ask("a fox", aspect_ratio="1:1", output_resolution="2k"),
    ),
    "2.5 flare edit": (
        "gpt-image-2.5-flare", GptImage25Client, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A], "aspect_ratio": "auto",
         "output_resolution": "1k"},
        ask("sepia", A, aspect_ratio="auto", output_resolution="1k"),
    ),
    "2.5 sunburst": (
        "gpt-image-2.5-sunburst", GptImage25Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "16:9", "output_resolution": "4k"},
        ask("a fox", aspect_ratio="16:9", output_resolution="4k"),
    ),
    "2.5 sunburst edit": (
        "gpt-image-2.5-sunburst", GptImage25Client, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A, B], "aspect_ratio": "5:4",
         "output_resolution": "2k"},
        ask("sepia", A, B, aspect_ratio="5:4", output_resolution="2k"),
    ),
    "1.5": (
        "gpt-image-1.5", GptImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "2:3", "quality": "high"},
        ask("a fox", aspect_ratio="2:3", quality="high"),
    ),
    "1.5 edit": (
        "gpt-image-1.5", GptImageClient, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A, B], "aspect_ratio": "1:1",
         "quality": "medium"},
        ask("sepia", A, B, aspect_ratio="1:1", quality="medium"),
    ),
    "4o, one": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "1:1"},
        ask("a fox", aspect_ratio="1:1"),
    ),
    "4o, two": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "3:2", "output_count": 2,
         "enable_prompt_expansion": True},
        ask("a fox", count=2, aspect_ratio="3:2", enable_prompt_expansion=True),
    ),
    "4o, four": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "2:3", "output_count": 4},
        ask("a fox", count=4, aspect_ratio="2:3"),
    ),
    "4o, five sources": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "together", "aspect_ratio": "3:2", "source_image_urls": [A, B, C, B, A],
         "enable_prompt_expansion": False},
        ask("together", A, B, C, B, A, aspect_ratio="3:2", enable_prompt_expansion=False),
    ),
    "4o, masks and counts": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a red hat", "aspect_ratio": "2:3", "source_image_urls": [A], "mask_url": B,
         "output_count": 4},
        ask("a red hat", A, mask=B, count=4, aspect_ratio="2:3"),
    ),
    "4o, variants without a prompt": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "", "aspect_ratio": "1:1", "source_image_urls": [A], "output_count": 2},
        ask("", A, count=2, aspect_ratio="1:1"),
    ),
    "flux pro": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", **flux(safety_tolerance=6)},
        ask("a fox", **flux(safety_tolerance=6)),
    ),
    "flux pro refinement": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "softer", "source_image_url": A, **flux(safety_tolerance=2)},
        ask("softer", A, **flux(safety_tolerance=2)),
    ),
    "flux max": (
        "flux-kontext-max", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", **flux(safety_tolerance=0)},
        ask("a fox", **flux(safety_tolerance=0)),
    ),
    "flux max refinement": (
        "flux-kontext-max", FluxKontextClient, "text_to_image",
        {"prompt": "softer", "source_image_url": A, **flux(safety_tolerance=1)},
        ask("softer", A, **flux(safety_tolerance=1)),
    ),
    "flux with a blank field": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", "watermark": "", "output_format": "jpeg"},
        ask("a fox", watermark="", output_format="jpeg"),
    ),
    **{
        f"topaz {factor}": (
            "topaz-upscale-image", TopazClient, "upscale_image",
            {"source_image_url": A, "upscale_factor": factor, "callback_url": HOOK},
            ask("", A, upscale_factor=factor, callback_url=HOOK),
        )
        for factor in (1, 2, 4)
    },
    "recraft background": (
        "recraft-remove-background", RecraftClient, "remove_background",
        {"source_image_url": A},
        ask("", A),
    ),
    "recraft upscale": (
        "recraft-crisp-upscale", RecraftClient, "upscale_image",
        {"source_image_url": A, "callback_url": HOOK},
        ask("", A, callback_url=HOOK),
    ),
}  # fmt: skip

GUIDE = {
    "guide": (
        "gpt-image-2-text-to-image", "text_to_image",
        {"prompt": BOTTLE, "output_resolution": "2k", "aspect_ratio": "3:4"},
        ask(BOTTLE, output_resolution="2k", aspect_ratio="3:4"),
    ),
    "guide edit": (
        "gpt-image-2-image-to-image", "edit_image",
        {"prompt": "change the text to HELLO", "source_image_urls": [A, B],
         "output_resolution": "1k", "aspect_ratio": "auto"},
        ask("change the text to HELLO", A, B, output_resolution="1k", aspect_ratio="auto"),
    ),
}  # fmt: skip
ROWS = [(model, asked) for model, *_, asked in (*CALLS.values(), *GUIDE.values())]


def actions():
    """Every model's actions: the model, whether it edits, the action."""
    both = [(model, edits) for model in CATALOGUE for edits in (False, True)]
    return [(m, edits, found) for m, edits in both if (found := m.action(with_sources=edits))]


def send(server, model, asked):
    """Make a call with our client, as the session does."""
    request = asked.request(model)
    assert validate(request) == []
    assert request.task_counts == (asked.count,)

    async def call():
        transport = Transport(Access(server, Secret("sk-test"), "", ""))
        await Client(transport).create(
            request,
            before=_nothing,
            count=asked.count,
            source_urls=asked.sources,
            mask_url=asked.mask,
        )
        await transport.close()

    asyncio.run(call())


async def _nothing(_attempt):
    pass


def last_two(server):
    """Path and body of the two newest requests for a task."""
    requests = httpx.get(f"{server}/_simulator/state").json()["requests"]
    created = [(r["path"], r["body"]) for r in requests if r["method"] == "POST"]
    return created[-2:]


@pytest.mark.parametrize("call", CALLS)
def test_the_same_as_the_sdk(server, call):
    """Our call has the path and the JSON of the SDK's call for the same."""
    model, kind, resource, params, asked = CALLS[call]
    sdk = kind("sk-test", base_url=server, max_retries=0, timeout=20)
    getattr(sdk, resource).create(model=model, **params)
    sdk._http.close()
    send(server, model, asked)
    theirs, ours = last_two(server)
    assert ours == theirs
    assert theirs[0].endswith(f"/{resource}")
    assert theirs[1]["model"] == model


@pytest.mark.parametrize("call", GUIDE)
def test_the_same_as_the_guide(server, call):
    """Our call for a name of the guide is the guide's curl call."""
    model, action, params, asked = GUIDE[call]
    body = {"model": model, **params}
    key = {"Authorization": "Bearer sk-test"}
    httpx.post(f"{server}/v1/{action}", json=body, headers=key).raise_for_status()
    send(server, model, asked)
    assert last_two(server) == [(f"/v1/{action}", body)] * 2


def test_every_model_and_action_has_a_row():
    """A model or an action that joins the catalogue must be compared here too."""
    known = {(model.name, edits) for model, edits, _ in actions()}
    assert {(model, bool(asked.sources)) for model, asked in ROWS} == known


def test_every_field_has_a_row():
    """So must every field of every action, the mask, and each value that 4o takes."""
    needed = {(m.name, edits, known.name) for m, edits, a in actions() for known in a.parameters}
    used = {(m, bool(asked.sources), name) for m, asked in ROWS for name in asked.fields}
    assert needed - used == set()
    asked = [asked for model, asked in ROWS if model == "gpt-4o-image"]
    assert {each.count for each in asked} == set(COUNTS_IN_ONE_TASK)
    assert {each.fields["aspect_ratio"] for each in asked} == {"1:1", "3:2", "2:3"}
    masking = {m.name for m, _, action in actions() if action.mask_field}
    assert {model for model, asked in ROWS if asked.mask} == masking


def test_flux_on_the_guides_routes():
    """Where only the guide's routes exist, Flux Kontext's source goes out under the guide's name.

    And the simulator takes it for an edit's source there.
    """
    with serving("--speed", "50", "--family", "guide") as (base, _):
        send(base, "flux-kontext-pro", ask("softer", A, safety_tolerance=2))
        body = {
            "model": "flux-kontext-pro", "prompt": "softer", "image_url": A, "safety_tolerance": 2,
        }  # fmt: skip
        assert last_two(base)[-1] == ("/v1/text_to_image", body)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/v1/text_to_image", (1024, 768)),  # the source's shape
        ("/v1/edit_image", (1024, 768)),
        ("/api/v1/flux_kontext/text_to_image", (1024, 576)),  # the default shape
    ],
)
def test_image_url_is_the_guides_name(api, path, size):
    """The simulator takes image_url for a source on the guide's routes, and on no others."""
    body = {"model": "flux-kontext-pro", "prompt": "softer", "image_url": A}
    created = api.post(path, body).json()
    api.finish()
    (image,) = api.status(created.get("task_id") or created["id"])["images"]
    assert api.image(image["url"]).size == size


def test_an_edit_on_the_guides_routes_is_less_tolerant(api):
    """The limit of an edit's safety_tolerance counts for image_url as well."""
    body = {"model": "flux-kontext-pro", "prompt": "softer", "image_url": A}
    answer = api.post("/v1/text_to_image", body | {"safety_tolerance": 3})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["safety_tolerance"])
