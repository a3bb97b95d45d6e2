"""Uploads: complete, with the store's headers, once, and again after they have expired."""

from __future__ import annotations

import asyncio
import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.engine import backend
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import NOT_CHARGED, InvalidRequestError

pytestmark = pytest.mark.server

KEY = "sk-test-0123456789abcdef"
PREPARE, CONFIRM = "POST /api/v1/files/prepare", "POST /api/v1/files/confirm"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def large():
    """An encoded image of about 300 kB, which is sent in several pieces."""
    buffer = io.BytesIO()
    Image.effect_noise((560, 560), 60).save(buffer, "PNG")
    assert len(buffer.getvalue()) > 4 * 2**16
    return buffer.getvalue()


@pytest.fixture
def store(scripted):
    """A service whose uploads go to its own origin, and that says how long it keeps a file."""

    def start(**confirmed):
        server, other = scripted(), scripted()
        signed = {"Content-Type": "image/png", "X-Token": "t?1", "Content-MD5": "md5"}
        target = {"signed_id": "s1", "upload_url": f"{other.url}/put", "headers": signed}
        server.answers = {
            PREPARE: [(201, {}, target)],
            CONFIRM: [(201, {}, {"url": "https://files.example/a.png", **confirmed})],
        }
        other.answers = {"PUT /put": [(200, {}, b"")]}
        return server, other

    return start


def _upload(use, server, content, times=1, uploaded=None):
    async def body(session):
        service = session.service()
        source = as_source(content)
        return [await service.url_of(source, uploaded) for _ in range(times)]

    return use(server, body)


def test_the_upload_request(use, store, large):
    """The store gets the bytes with their length, not in chunks, and its own headers."""
    server, other = store()
    _upload(use, server, large)
    ((method, path, headers, body),) = other.seen
    assert (method, path, body) == ("PUT", "/put", large)
    assert headers["content-length"] == str(len(large))
    assert "transfer-encoding" not in headers
    signed = {"content-type": "image/png", "x-token": "t?1", "content-md5": "md5"}
    assert signed.items() <= headers.items()
    general = {"host", "user-agent", "accept", "accept-encoding", "connection", "content-length"}
    assert set(headers) - set(signed) <= general
    assert KEY not in str(headers)


def test_a_length_in_the_stores_headers(use, store, large):
    """If the store's headers have the length, it is sent once."""
    server, other = store()
    server.answers[PREPARE][0][2]["headers"] = {"content-length": str(len(large))}
    _upload(use, server, large)
    ((_, _, headers, body),) = other.seen
    assert headers["content-length"] == str(len(large))
    assert body == large


def test_the_progress_of_an_upload(use, store, large):
    """The uploaded share only increases, in steps, and ends at 1."""
    server, _ = store()
    shares = []
    _upload(use, server, large, uploaded=shares.append)
    assert len(shares) > 2
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < 1
    assert shares[-1] == 1


def test_the_progress_of_several_uploads(service, use, large):
    """The uploaded share of several sources is that of all together."""
    Path("a.png").write_bytes(large)
    Image.effect_noise((560, 560), 30).save("b.png")

    async def body(session):
        generation, shares = session.edit(["a.png", "b.png"], "join them"), []
        while not generation.is_done:
            shares.append(generation.tasks[0].uploaded or 0)
            await asyncio.sleep(0)  # lets other tasks run
        return shares

    shares = use(service, body)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {share > 0.5 for share in shares if 0 < share < 1} == {False, True}


def _times(seconds):
    return {
        "created_at": NOW.isoformat().replace("+00:00", "Z"),
        "expires_at": (NOW + timedelta(seconds=seconds)).isoformat(),
    }


@pytest.fixture
def clock(monkeypatch):
    """The service's clock, which the test sets."""
    moment = [1000.0]
    monkeypatch.setattr(backend, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


@pytest.mark.parametrize(
    ("confirmed", "kept"),
    [
        (_times(600), 540),
        (_times(100_000), 90_000),
        (_times(0), 0),
        (_times(-60), 0),
        ({}, 3240),
        ({"expires_at": NOW.isoformat()}, 3240),
        ({"created_at": "soon", "expires_at": "later"}, 3240),
        ({"created_at": 5, "expires_at": None}, 3240),
        ({"created_at": "2026-05-01T00:00:00", "expires_at": NOW.isoformat()}, 3240),
    ],
)
def test_how_long_an_upload_is_used(use, store, clock, confirmed, kept):
    """An upload is used for nine tenths of its lifetime."""
    server, _ = store(**confirmed)
    source = as_source(Image.new("RGB", (8, 6)))

    async def body(session):
        service, uploads = session.service(), []
        for moment in (0, max(0, kept - 1), kept + 1):
            clock[0] = 1000.0 + moment
            await service.url_of(source)
            uploads.append(len(server.received("POST")) // 2)
        return uploads

    first, before, after = use(server, body)
    assert (first, after - before) == (1, 1)
    assert before == (1 if kept else 2)


def test_an_upload_of_the_simulator(service, use, clock, png):
    """One upload is used for several edits; after its lifetime there is a new upload."""
    Path("a.png").write_bytes(png)

    async def body(session):
        uploads = []
        for prompt, later in (("make it snow", 0), ("make it rain", 60), ("make it fog", 1e6)):
            clock[0] += later
            await session.edit("a.png", prompt)
            uploads.append(len(service.paths("PUT")))
        return uploads

    assert use(service, body) == [1, 1, 2]


def test_a_file_that_was_deleted(service, use, png):
    """If the source file was deleted before the upload, nothing is sent."""
    Path("a.png").write_bytes(png)

    source = as_source("a.png")
    Path("a.png").unlink()

    async def body(session):
        with pytest.raises(InvalidRequestError, match="cannot be read now"):
            await session.service().url_of(source)

    use(service, body)
    assert service.requests == []


def _encoded(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or Image.effect_noise((256, 192), 60).convert("RGB")).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_truncated_file(service, use):
    """A truncated JPEG is refused before anything is sent."""
    Path("cat.jpg").write_bytes(_encoded("JPEG")[:-3000])

    async def body(session):
        with pytest.raises(InvalidRequestError, match=r"cat\.jpg is damaged or incomplete"):
            await session.edit("cat.jpg", "make it snow")

    use(service, body)
    assert service.requests == []


@pytest.mark.parametrize(
    ("name", "content", "sent"),
    [
        ("cat.png", _encoded("WEBP"), ("cat.webp", b"RIFF")),
        ("cat.jpg", _encoded("PNG"), ("cat.png", b"\x89PNG")),
        ("cat.JPG", _encoded("JPEG"), ("cat.JPG", b"\xff\xd8\xff")),
        ("cat.tif", _encoded("TIFF"), ("cat.png", b"\x89PNG")),
        ("cat.gif", _encoded("GIF"), ("cat.png", b"\x89PNG")),
    ],
)
def test_the_name_of_an_upload(use, store, name, content, sent):
    """An upload has a format of the service, and a name with its suffix."""
    server, other = store()
    Path(name).write_bytes(content)
    _upload(use, server, name)
    prepared = next(body for method, path, _, body in server.seen if path.endswith("/prepare"))
    ((_, _, _, put),) = other.seen
    assert json.loads(prepared)["filename"] == sent[0]
    assert put.startswith(sent[1])


def test_an_invalid_mask(service, use, png):
    """A mask without a transparent area is refused before anything is uploaded."""
    Path("cat.png").write_bytes(png)
    Image.new("RGBA", (10, 10)).save("mask.png")

    async def body(session):
        with pytest.raises(InvalidRequestError, match=r"mask\.png"):
            await session.edit(
                "cat.png", "a hat", model="gpt-4o-image", aspect_ratio="1:1",
                mask=as_source("mask.png"),
            )  # fmt: skip

    use(service, body)
    assert service.requests == []


def test_a_converted_source_is_found_again(service, use):
    """A converted source is identified by its original bytes, so a rerun is free."""
    Path("cat.tif").write_bytes(_encoded("TIFF"))

    async def body(session):
        first = await session.edit("cat.tif", "make it snow")
        again = await session.edit("cat.tif", "make it snow")
        return first, again

    first, again = use(service, body)
    assert (first.image.path, again.image.reused) == (again.image.path, True)
    assert first.warnings == ("cat.tif is a TIFF file. It is sent as a PNG.",)


def test_urls_are_not_uploaded(service, use):
    """A source that is a URL is not uploaded, and the URL is not changed."""

    async def body(session):
        return await session.service().url_of(as_source("https://example.com/a b.png?c=d"))

    assert use(service, body) == "https://example.com/a b.png?c=d"
    assert service.requests == []


def test_a_changed_working_directory(service, use, tmp_path, png):
    """Relative paths do not depend on later changes of the working directory."""
    Path("cat.png").write_bytes(png)
    start, other = Path.cwd(), tmp_path / "other"
    other.mkdir()

    async def body(session):
        edit = session.edit("cat.png", "make it snow")
        batch = begin_batch(session, Batch(batch_items(session), concurrency=1))
        os.chdir(other)
        await edit
        await batch
        later = await session.generate("a fox")
        session.settings.image_dir = "named"
        os.chdir(start)
        return edit, batch, later, await session.generate("a hare")

    def batch_items(session):
        return [Item(at, session.request(f"owl {at}")) for at in range(3)]

    edit, batch, later, named = use(service, body)
    assert edit.image.path.parent == start / "gpt-images"
    folders = {image.path.parent for item in batch.items for image in item.images}
    assert folders == {start / "gpt-images"}
    assert later.image.path.parent == other / "gpt-images"
    assert named.image.path.parent == other / "named"


@pytest.mark.parametrize("address", ["ftp://store.example/put", "http://store.example/put", "x y"])
def test_a_refused_store(use, store, png, address):
    """If the store's URL is refused, the error says that nothing was charged."""
    server, other = store()
    target = {"signed_id": "s1", "upload_url": address, "headers": {}}
    server.answers[PREPARE] = [(201, {}, target)]

    async def body(session):
        generation = session.edit(png, "invert")
        await generation.ended()
        return generation.errors

    (error,) = use(server, body)
    assert error.charged == NOT_CHARGED
    assert "%runapi resume" not in error.todo
    assert other.seen == []
