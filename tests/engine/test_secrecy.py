"""The key goes to one origin, in one header, and is shown nowhere."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine.settings import Settings
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import APIError, RunAPIError, UnsafeURLError
from runapi_magic.http.transport import Transport

pytestmark = pytest.mark.server

KEY = "sk-test-0123456789abcdef"
SDK = "/api/v1/gpt_image_2/text_to_image"
SOON = {"Retry-After": "0.05"}


def _done(url):
    return 200, {}, {"id": "tsk_1", "status": "completed", "images": [{"url": url}]}


def _has_key(server):
    return [
        path for method, path, headers, body in server.seen
        if KEY in json.dumps(headers) or KEY in path or KEY.encode() in body
    ]  # fmt: skip


@pytest.fixture(params=[SDK, "/v1/text_to_image"])
def guarded(scripted, request):
    """A service, on either family's routes, and another origin that notes what it is asked."""
    server, other = scripted(), scripted()
    server.create = f"POST {request.param}"
    server.model = {SDK: "gpt-image-2"}.get(request.param, "gpt-image-2-text-to-image")
    return server, other


def test_a_picture_on_another_origin(guarded, make, png):
    """A picture on another origin is fetched without the key."""
    server, other = guarded
    server.answers[server.create] = [_done(f"{other.url}/a.png")]
    other.answers["GET /a.png"] = [(200, {}, png)]
    make(server, fields={"model": server.model})
    assert len(other.seen) == 1
    assert _has_key(other) == []
    assert "authorization" not in other.seen[0][2]
    assert len(_has_key(server)) == 1


def test_a_picture_on_the_services_own_origin(guarded, make, png):
    """Not even on the service's own origin is a picture fetched with the key."""
    server, _ = guarded
    server.answers |= {
        server.create: [_done(f"{server.url}/a.png")],
        "GET /a.png": [(200, {}, png)],
    }
    make(server, fields={"model": server.model})
    ((_, _, headers, _),) = server.received("GET")
    assert "authorization" not in headers


def test_a_redirected_picture(guarded, make, png):
    """A redirect of a picture to another origin does not take the key along."""
    server, other = guarded
    server.answers |= {
        server.create: [_done(f"{server.url}/a.png")],
        "GET /a.png": [(302, {"Location": f"{other.url}/b.png"}, b"")],
    }
    other.answers["GET /b.png"] = [(200, {}, png)]
    make(server, fields={"model": server.model})
    assert len(other.seen) == 1
    assert _has_key(other) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_create(guarded, fail, status):
    """A create that is redirected to another origin is not followed at all."""
    server, other = guarded
    server.answers[server.create] = [(status, {"Location": f"{other.url}/x"}, b"")]
    _, error, _ = fail(server, fields={"model": server.model})
    assert isinstance(error, APIError)
    assert other.seen == []


def test_a_redirected_look(guarded, fail):
    """A look that is redirected to another origin is not followed at all."""
    server, other = guarded
    away = [(302, {"Location": f"{other.url}/x"}, b"")]
    path = server.create.removeprefix("POST ")
    server.answers |= {server.create: [(200, SOON, {"id": "tsk_1"})], f"GET {path}/tsk_1": away}
    fail(server, timeout=1.0, fields={"model": server.model})
    assert other.seen == []


def test_an_upload_to_another_origin(scripted, use, png):
    """The bytes of a source go to the store without the key, exactly with its own headers."""
    server, store = scripted(), scripted()
    server.answers = {
        "POST /api/v1/files/prepare": [(201, {}, {
            "signed_id": "s1", "upload_url": f"{store.url}/put?sig=1",
            "headers": {"Content-Type": "image/png", "X-Own": "1"},
        })],
        "POST /api/v1/files/confirm": [(201, {}, {"url": f"{store.url}/get"})],
    }  # fmt: skip
    store.answers["PUT /put?sig=1"] = [(200, {}, b"")]

    async def body(session):
        return await session.service().url_of(as_source(png))

    assert use(server, body) == f"{store.url}/get"
    ((_, _, headers, content),) = store.seen
    assert content == png
    assert (headers["content-type"], headers["x-own"]) == ("image/png", "1")
    assert "authorization" not in headers
    assert _has_key(store) == []


@pytest.mark.parametrize(
    "path",
    ["http://evil.example/x", "//evil.example/x", "https://runapi.ai.evil.example/",
     "https://runapi.ai:444/x", "http://runapi.ai/x", "https://runapi.ai@evil.example/",
     "ftp://runapi.ai/x", "https://RUNAPI.AI.:443/x",
     "javascript:alert(1)", "https://[::1/", "https://runapi.ai:port/"],
)  # fmt: skip
def test_other_origins(path):
    """Whatever is written to look like the service but is another origin is refused."""
    transport = Transport(Access("https://runapi.ai", Secret(KEY), "", ""))
    with pytest.raises(UnsafeURLError):
        transport.same_origin(path)


@pytest.mark.parametrize(
    "path",
    ["/v1/x", "v1/x", "https://runapi.ai/v1/x", "https://runapi.ai:443/v1/x", "HTTPS://RUNAPI.ai/v1/x",
     "//runapi.ai/v1/x", ""],
)  # fmt: skip
def test_the_own_origin(path):
    """Every way to write an address on the configured origin is taken."""
    transport = Transport(Access("https://runapi.ai", Secret(KEY), "", ""))
    parts = urlsplit(transport.same_origin(path))
    assert (parts.scheme, parts.hostname, parts.port or 443) == ("https", "runapi.ai", 443)


ECHOES = {
    "in the message": {"error": {"code": "unauthorized", "message": f"bad key {KEY}!"}},
    "in the code": {"error": {"code": KEY, "message": "bad key"}},
    "in a field": {"error": "Validation failed", "errors": {"prompt": [f"sent by {KEY}"]}},
    "as text": f"Bearer {KEY} is not known".encode(),
    "as a page": f"<html><title>no {KEY}</title></html>".encode(),
}


@pytest.mark.parametrize("body", ECHOES.values(), ids=ECHOES)
def test_a_service_that_repeats_the_key(scripted, fail, body, tmp_path):
    """Where an error repeats the key, neither the message nor the journal does."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(401, {"x-request-id": f"req {KEY}"}, body)]
    _, error, row = fail(server)
    assert KEY not in "".join([str(error), repr(error), repr(vars(error)), str(row)])
    assert error.status_code == 401
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ] == []


def test_a_task_that_repeats_the_key(scripted, fail, tmp_path):
    """A failed task whose reason repeats the key is shown and written without it."""
    server = scripted()
    failed = {"id": "tsk_1", "status": "failed", "error": f"key {KEY} has no model"}
    server.answers[f"POST {SDK}"] = [(200, {}, failed)]
    _, error, _ = fail(server)
    assert "has no model" in error.what
    assert KEY not in str(error)
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ] == []


def test_logs_and_files(service, use, caplog, tmp_path, capfd):
    """A whole round, with an upload, an edit and errors, leaves the key in no log and no file."""
    caplog.set_level(logging.DEBUG)
    service.fault("create=500,times=1", "status=500,times=1", "download=404,times=1",
                  "prepare=503,times=1")  # fmt: skip

    async def body(session):
        fox = await session.generate("a fox")
        own = await session.edit(fox.image.path.read_bytes(), "make it snow")
        shown = [repr(session.service()), repr(session.service().access), repr(fox),
                 repr(own.image), repr(session.settings.api_key), repr(vars(session))]  # fmt: skip
        service.fault("create=401")
        with pytest.raises(RunAPIError) as caught:
            await session.generate("a dog")
        shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
        shown += caught.value._render_traceback_()
        return "\n".join(shown)

    shown = use(service, body)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(caplog.records) > 10
    assert any(path.name == "journal.sqlite" for path in written)
    assert KEY not in shown
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


def test_no_key_no_request(service, use):
    """Without a key nothing is asked, and the error comes at once."""

    async def body(session):
        session.services.settings = Settings(base_url=service.url)
        with pytest.raises(RunAPIError, match="no RunAPI key"):
            session.generate("a fox")

    use(service, body)
    assert service.requests == []


def test_a_key_that_is_none(service, use):
    """A key with a line break in it, which could smuggle a header, is refused and not shown."""

    async def body(session):
        with pytest.raises(RunAPIError) as caught:
            session.generate("a fox")
        return str(caught.value)

    shown = use(service, body, key="sk-test\r\nX-Evil: 1")
    assert "Evil" not in shown
    assert service.requests == []


def test_the_journal_is_made_where_it_is_told(service, make, tmp_path):
    """The journal and the pictures go to their own places and nothing to the home folder."""
    make(service)
    assert (tmp_path / "data/journal.sqlite").is_file()
    assert [path.suffix for path in Path("gpt-images").iterdir()] == [".png"]
    assert list((tmp_path / "home").iterdir()) == []
