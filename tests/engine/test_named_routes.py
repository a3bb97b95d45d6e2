"""A model that is not in the catalogue: its named route is used for everything, and kept."""

from __future__ import annotations

import json

import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.dataframe import batch_items
from runapi_magic.batch.saved import saved_batches
from runapi_magic.errors import InvalidRequestError

pytestmark = pytest.mark.server

ROUTE = {"service": "nano_banana", "action": "create_image"}
CREATE = "/api/v1/nano_banana/create_image"


def _posts(server):
    return [path for _, path, _, _ in server.received("POST")]


@pytest.mark.parametrize("model", ["nano-banana-pro", "seedream-text-to-image", "gpt-image-3"])
def test_nothing_is_sent_without_a_route(scripted, use, model):
    """Without a named route nothing is sent for an unknown model, not even a quote request."""
    server = scripted()

    async def body(session):
        for named in ({}, {"service": "x"}, {"action": "x"}):
            with pytest.raises(InvalidRequestError, match="must be named"):
                session.generate("a fox", model=model, **named)
            assert await session.service().price(session.request("a fox", model=model)) is None
        with pytest.raises(InvalidRequestError, match="must be named"):
            batch_items(["a fox"], None, [], {"model": model}, session.request)

    use(server, body)
    assert _posts(server) == []


def test_the_named_path_and_no_other(answering, use):
    """The task is created and polled at the named route only."""
    server = answering(f"POST {CREATE}")
    server.answers[f"POST {CREATE}"] = [(200, {}, {"id": "tsk_1", "status": "processing"})]
    server.answers[f"GET {CREATE}/tsk_1"] = [
        (
            200,
            {},
            {"id": "tsk_1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]},
        )
    ]

    async def body(session):
        made = await session.generate("a fox", model="nano-banana-pro", seed=5, **ROUTE)
        image = made.image
        again = await session.generate("a fox", model="nano-banana-pro", seed=5, **ROUTE)
        assert again.image.reused
        await session.repeat(image)
        cell = image.cell()
        assert "-m nano-banana-pro --service nano_banana --action create_image" in cell
        opened = session.library.open(image.path)
        assert (opened.request.service, opened.request.action_name) == tuple(ROUTE.values())
        return image.request

    request = use(server, body)
    assert request.route == ("nano_banana", "create_image")
    assert _posts(server) == [CREATE, CREATE]
    sent = json.loads(server.received("POST")[0][3])
    assert sent == {"model": "nano-banana-pro", "prompt": "a fox", "seed": 5}


def test_an_edit_keeps_the_route(answering, use):
    """An edit of an image has the same service and action, by a button or in Python."""
    server = answering(f"POST {CREATE}")

    async def body(session):
        made = await session.generate("a fox", model="nano-banana-pro", **ROUTE)
        edited = session.revise(made.image, "make it night")
        edited.cancel()
        await edited.ended()
        return edited.request

    request = use(server, body)
    assert (request.model, request.route) == ("nano-banana-pro", ("nano_banana", "create_image"))
    assert request.sources[0].image.prompt == "a fox"


@pytest.mark.parametrize("status", [404, 405])
def test_no_other_route_is_tried(scripted, use, status):
    """If the named route does not exist, no other route is tried: it could be charged."""
    server = scripted()
    server.answers = {f"POST {CREATE}": [(status, {}, b"")]}

    async def body(session):
        made = session.generate("a fox", model="nano-banana-pro", **ROUTE)
        await made.ended()
        return made.errors

    (error,) = use(server, body)
    assert error.status_code == status
    assert _posts(server) == [CREATE]


def test_a_batch_keeps_the_route(answering, use):
    """A batch that is loaded from the journal uses the same service and action."""
    server = answering(f"POST {CREATE}")

    async def body(session):
        fields = {"model": "nano-banana-pro", **ROUTE}
        batch = Batch(batch_items(["a fox"], None, [], fields, session.request))
        saved_batches(session).save(batch, server.url)
        return saved_batches(session).load(batch.id, 1, server.url)

    loaded = use(server, body)
    assert loaded.items[0].request.route == ("nano_banana", "create_image")
