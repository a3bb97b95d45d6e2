"""The key is sent to one origin, in one header, and is shown nowhere."""

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
    """A service on the routes of each family, and another origin that records its requests."""
    server, other = scripted(), scripted()
    server.create = f"POST {request.param}"
    server.model = {SDK: "gpt-image-2"}.get(request.param, "gpt-image-2-text-to-image")
    return server, other


def test_an_image_on_another_origin(guarded, make, png):
    """An image on another origin is downloaded without the key."""
    server, other = guarded
    server.answers[server.create] = [_done(f"{other.url}/a.png")]
    other.answers["GET /a.png"] = [(200, {}, png)]
    make(server, fields={"model": server.model})
    assert len(other.seen) == 1
    assert _has_key(other) == []
    assert "authorization" not in other.seen[0][2]
    assert len(_has_key(server)) == 1


def test_an_image_on_the_services_own_origin(guarded, make, png):
    """An image on the service's own origin is downloaded without the key, too."""
    server, _ = guarded
    server.answers |= {
        server.create: [_done(f"{server.url}/a.png")],
        "GET /a.png": [(200, {}, png)],
    }
    make(server, fields={"model": server.model})
    ((_, _, headers, _),) = server.received("GET")
    assert "authorization" not in headers


def test_a_redirected_image(guarded, make, png):
    """A redirected download does not send the key to another origin."""
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
    """A POST that is redirected to another origin is not followed."""
    server, other = guarded
    server.answers[server.create] = [(status, {"Location": f"{other.url}/x"}, b"")]
    _, error, _ = fail(server, fields={"model": server.model})
    assert isinstance(error, APIError)
    assert other.seen == []


def test_a_redirected_poll(guarded, fail):
    """A poll that is redirected to another origin is not followed."""
    server, other = guarded
    away = [(302, {"Location": f"{other.url}/x"}, b"")]
    path = server.create.removeprefix("POST ")
    server.answers |= {server.create: [(200, SOON, {"id": "tsk_1"})], f"GET {path}/tsk_1": away}
    fail(server, timeout=1.0, fields={"model": server.model})
    assert other.seen == []


def test_an_upload_to_another_origin(scripted, use, png):
    """A source is uploaded to the store without the key, with the store's own headers."""
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
    """A URL that only looks like the service's is refused."""
    transport = Transport(Access("https://runapi.ai", Secret(KEY), "", ""))
    with pytest.raises(UnsafeURLError):
        transport.same_origin(path)


@pytest.mark.parametrize(
    "path",
    ["/v1/x", "v1/x", "https://runapi.ai/v1/x", "https://runapi.ai:443/v1/x",
     "HTTPS://RUNAPI.ai/v1/x", "//runapi.ai/v1/x", ""],
)  # fmt: skip
def test_the_own_origin(path):
    """Every spelling of a URL on the service's origin is accepted."""
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
    """If an error response contains the key, the message and the journal do not."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(401, {"x-request-id": f"req {KEY}"}, body)]
    _, error, row = fail(server)
    assert KEY not in "".join([str(error), repr(error), repr(vars(error)), str(row)])
    assert error.status_code == 401
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ] == []


def test_a_task_that_repeats_the_key(scripted, fail, tmp_path):
    """If the reason of a failed task contains the key, the message and the journal do not."""
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
    """After uploads, edits and errors, no log and no file contains the key."""
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
    """Without a key nothing is sent, and the error comes at once."""

    async def body(session):
        session.services.settings = Settings(base_url=service.url)
        with pytest.raises(RunAPIError, match="no RunAPI key"):
            session.generate("a fox")

    use(service, body)
    assert service.requests == []


def test_a_key_with_a_line_break(service, use):
    """A key with a line break, which could add a header, is refused and not shown."""

    async def body(session):
        with pytest.raises(RunAPIError) as caught:
            session.generate("a fox")
        return str(caught.value)

    shown = use(service, body, key="sk-test\r\nX-Evil: 1")
    assert "Evil" not in shown
    assert service.requests == []


def test_the_configured_folders(service, make, tmp_path):
    """The journal and the images are in their configured folders, not in the home folder."""
    make(service)
    assert (tmp_path / "data/journal.sqlite").is_file()
    assert [path.suffix for path in Path("gpt-images").iterdir()] == [".png"]
    assert list((tmp_path / "home").iterdir()) == []
