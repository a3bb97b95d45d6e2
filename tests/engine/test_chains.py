"""From image to image: sources, uploads, edits of edits, and images from disk."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from pathlib import Path

import pytest
from PIL import Image

from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import InvalidRequestError, RunAPIError, ServerError
from runapi_magic.media.preview import has_alpha

pytestmark = pytest.mark.server

EDIT = "/api/v1/gpt_image_2/edit_image"
SDK = "/api/v1/gpt_image_2/text_to_image"


def _creates(service):
    return [
        each for each in service.requests
        if each["method"] == "POST" and "/files/" not in each["path"]
    ]  # fmt: skip


def test_a_chain(service, use):
    """Generated images are edited, upscaled and cut out without an upload."""

    async def body(session):
        fox = await session.generate("a fox", aspect_ratio="1:1")
        snow = await fox.image.edit("make it snow")
        large = await snow.image.upscale(2)
        alone = await snow.image.remove_background()
        return fox.image, snow.image, large.image, alone.image

    fox, snow, large, alone = use(service, body)
    assert [(each["path"], each["body"]["model"]) for each in _creates(service)] == [
        (SDK, "gpt-image-2"),
        (EDIT, "gpt-image-2"),
        ("/api/v1/topaz/upscale_image", "topaz-upscale-image"),
        ("/api/v1/recraft/remove_background", "recraft-remove-background"),
    ]
    sources = [each["body"].get("source_image_urls") or [each["body"].get("source_image_url")]
               for each in _creates(service)]  # fmt: skip
    assert sources == [[None], [fox.url], [snow.url], [snow.url]]
    assert len(_creates(service)) == len([e for e in service.requests if e["method"] == "POST"])
    assert [image.version for image in (fox, snow, large, alone)] == [1, 2, 3, 3]
    assert (large.parent, alone.parent, snow.parent, fox.parent) == (snow, snow, fox, None)
    assert large.size == (2 * snow.width, 2 * snow.height)
    assert has_alpha(alone.pil())
    assert alone.preview.mime == "image/png"
    assert len({image.path for image in (fox, snow, large, alone)}) == 4


def test_an_upload(service, use, png):
    """A source in memory is uploaded with its MD5, and without the key."""

    async def body(session):
        return await session.edit(png, "make it snow")

    generation = use(service, body)
    prepare, put, confirm, create = [e for e in service.requests if e["method"] != "GET"]
    assert prepare["path"] == "/api/v1/files/prepare"
    assert prepare["body"] == {
        "filename": "picture.png",
        "byte_size": len(png),
        "checksum": base64.b64encode(hashlib.md5(png).digest()).decode(),
    }
    assert (put["method"], put["authorized"]) == ("PUT", False)
    assert {"content-md5", "x-upload-token", "content-type"} <= set(put["headers"])
    assert confirm["path"] == "/api/v1/files/confirm"
    (url,) = create["body"]["source_image_urls"]
    assert url.startswith(f"{service.url}/files/")
    assert generation.image.path.is_file()


def test_uploads_are_reused(service, use, png):
    """The same content is uploaded once, under any name."""
    Path("one.png").write_bytes(png)
    Path("two.png").write_bytes(png)

    async def body(session):
        await asyncio.gather(
            session.edit("one.png", "make it snow").wait(), session.edit(png, "make it rain").wait()
        )
        await session.edit(["two.png", Path("one.png")], "join them")

    use(service, body)
    assert len(service.paths("PUT")) == 1
    urls = {url for each in _creates(service) for url in each["body"]["source_image_urls"]}
    assert len(urls) == 1
    assert len(_creates(service)) == 3


def test_a_mask(service, use):
    """A mask is uploaded like a source, and sent in its own field."""
    Image.linear_gradient("L").save("ramp.png")
    mask = Image.new("RGBA", (256, 256))
    mask.putalpha(Image.open("ramp.png"))
    mask.save("mask.png")

    async def body(session):
        return await session.generate(
            "a hat", model="gpt-4o-image", aspect_ratio="1:1",
            sources=[as_source("https://example.com/cat.png")], mask=as_source("mask.png"),
        )  # fmt: skip

    use(service, body)
    (create,) = _creates(service)
    assert create["body"]["source_image_urls"] == ["https://example.com/cat.png"]
    assert create["body"]["mask_url"].startswith(f"{service.url}/files/")


@pytest.mark.parametrize("point", ["prepare", "confirm"])
def test_an_upload_that_fails_once(service, use, png, point):
    """If a step of an upload fails once, it is retried."""
    service.fault(f"{point}=503,retry_after=0.05,times=1")

    async def body(session):
        return await session.edit(png, "make it snow")

    assert use(service, body).image.path.is_file()


@pytest.mark.parametrize(
    "fault", ["prepare=422", "put=403", "put=drop", "confirm=empty", "prepare=413"]
)
def test_an_upload_that_fails(service, use, png, fault):
    """If an upload fails, no request is sent, and the error says that nothing was charged."""
    service.fault(fault)

    async def body(session):
        generation = session.edit(png, "make it snow")
        await generation.ended()
        return generation.errors[0], session.journal.task(generation.tasks[0].id)

    error, row = use(service, body)
    assert "not charged" in error.charged.lower() or "nothing was" in error.charged.lower()
    assert error.todo
    assert row.state == "refused"
    assert service.tasks == []


def test_a_running_source(service, use):
    """An edit of a running Generation waits for its image."""

    async def body(session):
        fox = session.generate("a fox")
        snow = await session.edit(fox, "make it snow")
        return fox, snow

    fox, snow = use(service, body)
    assert snow.image.parent is fox.image
    assert [each["path"] for each in _creates(service)] == [SDK, EDIT]


def test_a_running_mask(service, use):
    """A request waits for a mask that is still being generated."""

    async def body(session):
        await session.generate("a fox", aspect_ratio="1:1")
        fox = session.edit("https://example.com/cat.png", "", model="recraft-remove-background")
        return await session.generate(
            "a hat", model="gpt-4o-image", aspect_ratio="1:1",
            sources=[as_source("https://example.com/cat.png")], mask=as_source(fox),
        )  # fmt: skip

    assert use(service, body).image.path.is_file()
    assert _creates(service)[-1]["body"]["mask_url"].startswith(f"{service.url}/files/")


def test_a_source_that_fails(scripted, use):
    """If the source fails, the edit is not sent, and its error has the reason."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(422, {}, {"error": "too many foxes"})]

    async def body(session):
        snow = session.edit(session.generate("a fox"), "make it snow")
        with pytest.raises(RunAPIError, match="too many foxes"):
            await snow
        return snow.status

    assert use(server, body) == "failed"
    assert [path for _, path, _, _ in server.seen] == [SDK]


def test_run_all_is_free(service, use):
    """The same request again loads the image from disk: no task, no cost."""

    async def body(session):
        first = await session.generate("a fox", aspect_ratio="3:4")
        again = await session.generate("a fox", aspect_ratio="3:4")
        fresh = await session.generate("a fox", aspect_ratio="3:4", new=True)
        return first, again, fresh

    first, again, fresh = use(service, body)
    assert len(service.tasks) == 2
    assert again.image.path == first.image.path
    assert (again.image.reused, first.image.reused, again.cost) == (True, False, 0.0)
    assert fresh.image.path != first.image.path


def test_two_cells_with_the_same_request(service, use):
    """The same request in two cells at the same time is one task."""

    async def body(session):
        cells = session.generate("a fox"), session.generate("a fox")
        await asyncio.gather(*(cell.wait() for cell in cells))
        return cells

    one, other = use(service, body)
    assert len(service.tasks) == 1
    assert one.image.path == other.image.path


def test_cancelling(service, use):
    """Cancelling ends the wait, says that the task may be charged, and keeps the task."""
    service.fault("status=stuck")

    async def body(session):
        generation, known = session.generate("a fox"), asyncio.Event()
        generation.subscribe(lambda: generation.task_ids and known.set())
        await known.wait()
        generation.cancel()
        with pytest.raises(RunAPIError) as caught:
            await generation
        return generation, caught.value, session.journal.task(generation.tasks[0].id)

    generation, error, row = use(service, body)
    assert generation.status == "cancelled"
    assert "cannot cancel" in error.what
    assert "may be charged" in error.charged
    assert generation.task_ids[0] in str(error)
    assert (row.state, row.task_id, row.owner) == ("running", generation.task_ids[0], None)


def test_cancelling_at_once(service, use):
    """A request that is cancelled at once ends as cancelled."""

    async def body(session):
        generation = session.generate("a fox")
        generation.cancel()
        await generation.ended()
        return generation

    generation = use(service, body)
    assert generation.status == "cancelled"
    assert generation.errors
    assert len(service.tasks) <= 1


def test_cancelling_before_the_loop_starts(service, use):
    """A request that is cancelled before its loop starts is not sent."""
    loop = asyncio.new_event_loop()

    async def body(session):
        generation = session.start(session.request("a fox"), loop)
        generation.cancel()
        return session, generation

    session, generation = use(service, body)

    async def rest():
        await generation.ended()
        await session.service().client.transport.close()

    loop.run_until_complete(asyncio.wait_for(rest(), 30))
    session.journal.close()
    loop.close()
    assert generation.status == "cancelled"
    assert service.tasks == []


def test_awaiting_on_another_threads_loop(service, use):
    """A Generation can be awaited on the loop of another thread."""

    async def body(session):
        generation, found = session.generate("a fox"), []

        async def wait():
            found.append((await generation).image.path)

        thread = threading.Thread(target=lambda: asyncio.run(wait()))
        thread.start()
        await generation
        await asyncio.to_thread(thread.join, 20)
        return found, generation.image.path

    found, path = use(service, body)
    assert found == [path]


def test_starting_from_another_thread(service, use):
    """A request can be started from another thread on a given loop."""

    async def body(session):
        home = asyncio.get_running_loop()
        request = session.request("a fox")
        generation = await asyncio.to_thread(session.start, request, home)
        return (await generation).image.path.is_file()

    assert use(service, body)


def test_resuming(service, use):
    """A cancelled request is resumed: the same task, and no new request."""
    service.fault("status=stuck,times=3")

    async def body(session):
        generation, known = session.generate("a fox"), asyncio.Event()
        generation.subscribe(lambda: generation.task_ids and known.set())
        await known.wait()
        generation.cancel()
        await generation.ended()
        resumed = await resume_tasks(session)
        return generation, resumed

    generation, resumed = use(service, body)
    assert resumed.task_ids == generation.task_ids
    assert resumed.image.path.is_file()
    assert resumed.image.prompt == "a fox"
    assert len(service.tasks) == len(_creates(service)) == 1


def test_resuming_after_a_lost_response(scripted, use, png):
    """A request whose response was lost is sent again with the same key and bytes."""
    server = scripted()
    lost = (503, {"Retry-After": "0.05"}, b"")
    server.answers = {f"POST {SDK}": [lost], "GET /a.png": [(200, {}, png)]}

    async def body(session):
        session.settings.timeout = 1.0
        generation = session.generate("a fox")
        await generation.ended()
        assert isinstance(generation.errors[0], ServerError)
        images = [{"url": f"{server.url}/a.png"}]
        done = {"id": "tsk_1", "status": "completed", "images": images}
        server.answers[f"POST {SDK}"] = [(200, {}, done)]
        return await resume_tasks(session)

    assert use(server, body).task_ids == ["tsk_1"]
    creates = server.received("POST")
    assert len({headers["idempotency-key"] for _, _, headers, _ in creates}) == 1
    assert len({sent for _, _, _, sent in creates}) == 1


def test_resuming_an_unknown_task(service, use):
    """Resuming an unknown ID is an error."""

    async def body(session):
        with pytest.raises(InvalidRequestError, match="tsk_nobody"):
            resume_tasks(session, "tsk_nobody")

    use(service, body)


def test_revising(service, use):
    """An edit with a button keeps the aspect ratio, and drops fields that edits do not support."""

    async def body(session):
        fox = await session.generate(
            "a fox", model="flux-kontext-pro", aspect_ratio="3:4", safety_tolerance=5
        )
        return await session.revise(fox.image, "make it snow")

    use(service, body)
    edit = _creates(service)[-1]["body"]
    assert (edit["prompt"], edit["aspect_ratio"], edit["model"]) == (
        "make it snow", "3:4", "flux-kontext-pro",
    )  # fmt: skip
    assert edit.get("safety_tolerance", 0) <= 2


def test_repeating(service, use):
    """Repeating an image generates one new image."""

    async def body(session):
        foxes = await session.generate("a fox", count=2)
        return foxes, await session.repeat(foxes.image)

    foxes, again = use(service, body)
    assert len(foxes.images) == 2
    assert len(again.images) == 1
    assert len(service.tasks) == 3


@pytest.mark.parametrize("field", [object(), float("nan"), {1, 2}, "\ud800"])
def test_fields_that_cannot_be_sent(service, use, field):
    """A field that is not valid JSON is refused before anything is recorded or sent."""

    async def body(session):
        with pytest.raises(InvalidRequestError):
            await session.generate("a fox", x=field)

    use(service, body)
    assert service.requests == []


@pytest.mark.parametrize("prompt", ["a \ud800 fox", "a\x00fox"])
def test_strange_prompts(service, use, prompt):
    """A prompt with invalid characters never leads to an unknown charge."""

    async def body(session):
        try:
            generation = session.generate(prompt)
            await generation.ended()
        except InvalidRequestError as error:
            return [error]
        return generation.errors

    charged = [error.charged for error in use(service, body)]
    assert [text for text in charged if "may have been charged" in text] == []


def test_the_simulator_in_the_process(use, service):
    """With the simulator on, nothing is sent over the network, and no key is needed."""

    async def body(session):
        session.connection.simulator_on(speed=200)
        generation = await session.generate("a fox")
        used = session.service()
        session.connection.simulator_off()
        await used.client.transport.close()
        return generation

    generation = use(service, body)
    assert generation.simulated
    assert generation.image.simulated
    assert service.requests == []
