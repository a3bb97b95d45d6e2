"""Compare requests of RunAPI's published SDK and of our client: same path, same JSON.

The SDK adds no default values and leaves out None and blank values; our client does the same. The
idempotency key is a header and is not compared. The SDK does not know the guide's two model names:
there our client is compared with the guide's curl call.
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

from runapi_magic.core.access import Access, Secret
from runapi_magic.core.catalog import CATALOGUE, COUNTS_IN_ONE_TASK
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.core.validation import validate
from runapi_magic.http.client import Client
from runapi_magic.http.transport import Transport
from tests.conftest import serve_simulator

A, B, C = (f"https://example.org/{name}.png" for name in ("cat", "hat", "mat"))
CALLBACK = "https://example.org/hook"
BOTTLE = (
    "A product photo of a glass perfume bottle on a marble surface, transparent background,"
    " studio lighting, the label reads AURORA in gold serif font"
)


@dataclass
class OurRequest:
    """A request in our own terms, the same for every model."""

    prompt: str = ""
    sources: tuple[str, ...] = ()
    mask: str | None = None
    count: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def request(self, model):
        """Return the request for a model."""
        sources = tuple(Source("", url, url=url) for url in self.sources)
        mask = Source("", self.mask, url=self.mask) if self.mask else None
        return ImageRequest(self.prompt, model, self.fields, self.count, sources, mask)


def our_request(prompt="", /, *sources, mask=None, count=1, **fields):
    """Make an `OurRequest`."""
    return OurRequest(prompt, sources, mask, count, fields)


def flux(**more):
    """Return all optional fields of Flux Kontext."""
    return {
        "aspect_ratio": "21:9",
        "output_format": "png",
        "enable_translation": False,
        "enable_prompt_expansion": True,
        "watermark": "me",
        "callback_url": CALLBACK,
    } | more


# The model, the SDK's client and resource, the arguments of the SDK's call, our request.
CALLS = {
    "gpt-image-2": (
        "gpt-image-2", GptImage2Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "3:4", "output_resolution": "2k",
         "callback_url": CALLBACK},
        our_request("a fox", aspect_ratio="3:4", output_resolution="2k", callback_url=CALLBACK),
    ),
    "gpt-image-2, prompt alone": (
        "gpt-image-2", GptImage2Client, "text_to_image",
        {"prompt": "Łódź at night: “{x}” & 100 %\n2nd line"},
        our_request("Łódź at night: “{x}” & 100 %\n2nd line"),
    ),
    "gpt-image-2 edit": (
        "gpt-image-2", GptImage2Client, "edit_image",
        {"prompt": "put the hat on the cat", "source_image_urls": [A, B, C],
         "aspect_ratio": "9:21", "output_resolution": "4k"},
        our_request("put the hat on the cat", A, B, C, aspect_ratio="9:21", output_resolution="4k"),
    ),
    "2.5 flare": (
        "gpt-image-2.5-flare", GptImage25Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "1:1", "output_resolution": "2k"},
        our_request("a fox", aspect_ratio="1:1", output_resolution="2k"),
    ),
    "2.5 flare edit": (
        "gpt-image-2.5-flare", GptImage25Client, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A], "aspect_ratio": "auto",
         "output_resolution": "1k"},
        our_request("sepia", A, aspect_ratio="auto", output_resolution="1k"),
    ),
    "2.5 sunburst": (
        "gpt-image-2.5-sunburst", GptImage25Client, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "16:9", "output_resolution": "4k"},
        our_request("a fox", aspect_ratio="16:9", output_resolution="4k"),
    ),
    "2.5 sunburst edit": (
        "gpt-image-2.5-sunburst", GptImage25Client, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A, B], "aspect_ratio": "5:4",
         "output_resolution": "2k"},
        our_request("sepia", A, B, aspect_ratio="5:4", output_resolution="2k"),
    ),
    "1.5": (
        "gpt-image-1.5", GptImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "2:3", "quality": "high"},
        our_request("a fox", aspect_ratio="2:3", quality="high"),
    ),
    "1.5 edit": (
        "gpt-image-1.5", GptImageClient, "edit_image",
        {"prompt": "sepia", "source_image_urls": [A, B], "aspect_ratio": "1:1",
         "quality": "medium"},
        our_request("sepia", A, B, aspect_ratio="1:1", quality="medium"),
    ),
    "4o, one": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "1:1"},
        our_request("a fox", aspect_ratio="1:1"),
    ),
    "4o, two": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "3:2", "output_count": 2,
         "enable_prompt_expansion": True},
        our_request("a fox", count=2, aspect_ratio="3:2", enable_prompt_expansion=True),
    ),
    "4o, four": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a fox", "aspect_ratio": "2:3", "output_count": 4},
        our_request("a fox", count=4, aspect_ratio="2:3"),
    ),
    "4o, five sources": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "together", "aspect_ratio": "3:2", "source_image_urls": [A, B, C, B, A],
         "enable_prompt_expansion": False},
        our_request("together", A, B, C, B, A, aspect_ratio="3:2", enable_prompt_expansion=False),
    ),
    "4o, masks and counts": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "a red hat", "aspect_ratio": "2:3", "source_image_urls": [A], "mask_url": B,
         "output_count": 4},
        our_request("a red hat", A, mask=B, count=4, aspect_ratio="2:3"),
    ),
    "4o, variants without a prompt": (
        "gpt-4o-image", Gpt4oImageClient, "text_to_image",
        {"prompt": "", "aspect_ratio": "1:1", "source_image_urls": [A], "output_count": 2},
        our_request("", A, count=2, aspect_ratio="1:1"),
    ),
    "flux pro": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", **flux(safety_tolerance=6)},
        our_request("a fox", **flux(safety_tolerance=6)),
    ),
    "flux pro refinement": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "softer", "source_image_url": A, **flux(safety_tolerance=2)},
        our_request("softer", A, **flux(safety_tolerance=2)),
    ),
    "flux max": (
        "flux-kontext-max", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", **flux(safety_tolerance=0)},
        our_request("a fox", **flux(safety_tolerance=0)),
    ),
    "flux max refinement": (
        "flux-kontext-max", FluxKontextClient, "text_to_image",
        {"prompt": "softer", "source_image_url": A, **flux(safety_tolerance=1)},
        our_request("softer", A, **flux(safety_tolerance=1)),
    ),
    "flux with a blank field": (
        "flux-kontext-pro", FluxKontextClient, "text_to_image",
        {"prompt": "a fox", "watermark": "", "output_format": "jpeg"},
        our_request("a fox", watermark="", output_format="jpeg"),
    ),
    **{
        f"topaz {factor}": (
            "topaz-upscale-image", TopazClient, "upscale_image",
            {"source_image_url": A, "upscale_factor": factor, "callback_url": CALLBACK},
            our_request("", A, upscale_factor=factor, callback_url=CALLBACK),
        )
        for factor in (1, 2, 4)
    },
    "recraft background": (
        "recraft-remove-background", RecraftClient, "remove_background",
        {"source_image_url": A},
        our_request("", A),
    ),
    "recraft upscale": (
        "recraft-crisp-upscale", RecraftClient, "upscale_image",
        {"source_image_url": A, "callback_url": CALLBACK},
        our_request("", A, callback_url=CALLBACK),
    ),
}  # fmt: skip

GUIDE = {
    "guide": (
        "gpt-image-2-text-to-image", "text_to_image",
        {"prompt": BOTTLE, "output_resolution": "2k", "aspect_ratio": "3:4"},
        our_request(BOTTLE, output_resolution="2k", aspect_ratio="3:4"),
    ),
    "guide edit": (
        "gpt-image-2-image-to-image", "edit_image",
        {"prompt": "change the text to HELLO", "source_image_urls": [A, B],
         "output_resolution": "1k", "aspect_ratio": "auto"},
        our_request("change the text to HELLO", A, B, output_resolution="1k", aspect_ratio="auto"),
    ),
}  # fmt: skip
ROWS = [(model, ours) for model, *_, ours in (*CALLS.values(), *GUIDE.values())]


def actions():
    """Return the actions of every model: the model, whether it is an edit, the action."""
    both = [(model, edits) for model in CATALOGUE for edits in (False, True)]
    return [(m, edits, found) for m, edits in both if (found := m.action(with_sources=edits))]


def send(server, model, ours):
    """Send a request with our client, as the session does."""
    request = ours.request(model)
    assert validate(request) == []
    assert request.task_counts == (ours.count,)

    async def call():
        transport = Transport(Access(server.url, Secret("sk-test"), "", ""))
        await Client(transport).create(
            request,
            before_send=_nothing,
            count=ours.count,
            source_urls=ours.sources,
            mask_url=ours.mask,
        )
        await transport.close()

    asyncio.run(call())


async def _nothing(_attempt):
    pass


def last_two(server):
    """Return path and body of the two newest create requests."""
    requests = server.state()["requests"]
    created = [(r["path"], r["body"]) for r in requests if r["method"] == "POST"]
    return created[-2:]


@pytest.mark.parametrize("call", CALLS)
def test_same_request_as_the_sdk(server, call):
    """Our client and the SDK send the same path and JSON for the same arguments."""
    model, kind, resource, params, ours = CALLS[call]
    sdk = kind("sk-test", base_url=server.url, max_retries=0, timeout=20)
    getattr(sdk, resource).create(model=model, **params)
    sdk._http.close()
    send(server, model, ours)
    theirs, ours = last_two(server)
    assert ours == theirs
    assert theirs[0].endswith(f"/{resource}")
    assert theirs[1]["model"] == model


@pytest.mark.parametrize("call", GUIDE)
def test_same_request_as_the_guide(server, call):
    """For a model name of the guide, our client sends the same as the guide's curl call."""
    model, action, params, ours = GUIDE[call]
    body = {"model": model, **params}
    key = {"Authorization": "Bearer sk-test"}
    httpx.post(f"{server.url}/v1/{action}", json=body, headers=key).raise_for_status()
    send(server, model, ours)
    assert last_two(server) == [(f"/v1/{action}", body)] * 2


def test_every_model_and_action_has_a_row():
    """A new model or action in the catalogue needs a row in the table above."""
    known = {(model.name, edits) for model, edits, _ in actions()}
    assert {(model, bool(ours.sources)) for model, ours in ROWS} == known


def test_every_field_has_a_row():
    """Every field of every action needs a row, also the mask and each value that 4o accepts."""
    needed = {(m.name, edits, known.name) for m, edits, a in actions() for known in a.parameters}
    used = {(m, bool(ours.sources), name) for m, ours in ROWS for name in ours.fields}
    assert needed - used == set()
    ours = [ours for model, ours in ROWS if model == "gpt-4o-image"]
    assert {each.count for each in ours} == set(COUNTS_IN_ONE_TASK)
    assert {each.fields["aspect_ratio"] for each in ours} == {"1:1", "3:2", "2:3"}
    masking = {m.name for m, _, action in actions() if action.mask_field}
    assert {model for model, ours in ROWS if ours.mask} == masking


def test_flux_on_the_guides_routes():
    """With only the guide's routes, Flux Kontext's source has the guide's field name.

    The simulator accepts it there as the source of an edit.
    """
    with serve_simulator("--speed", "50", "--family", "guide") as guide:
        send(guide, "flux-kontext-pro", our_request("softer", A, safety_tolerance=2))
        body = {
            "model": "flux-kontext-pro", "prompt": "softer", "image_url": A, "safety_tolerance": 2,
        }  # fmt: skip
        assert last_two(guide)[-1] == ("/v1/text_to_image", body)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/v1/text_to_image", (1024, 768)),  # the source's ratio
        ("/v1/edit_image", (1024, 768)),
        ("/api/v1/flux_kontext/text_to_image", (1024, 576)),  # the default ratio
    ],
)
def test_image_url_is_the_guides_name(api, path, size):
    """Only the guide's routes accept image_url for a source."""
    body = {"model": "flux-kontext-pro", "prompt": "softer", "image_url": A}
    created = api.post(path, body).json()
    api.finish()
    (image,) = api.status(created.get("task_id") or created["id"])["images"]
    assert api.fetch_image(image["url"]).size == size


def test_edit_on_the_guides_routes_limits_safety_tolerance(api):
    """The limit of safety_tolerance for edits also applies to image_url."""
    body = {"model": "flux-kontext-pro", "prompt": "softer", "image_url": A}
    response = api.post("/v1/text_to_image", body | {"safety_tolerance": 3})
    assert (response.status_code, list(response.json()["errors"])) == (422, ["safety_tolerance"])
