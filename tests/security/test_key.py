"""The API key: it is sent in one header to one origin, and nowhere else."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import pprint
import traceback

import httpx
import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.engine.backend import remote_service
from runapi_magic.engine.credentials import resolve_access, save_key
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import RunAPIError
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY
from tests.security.conftest import SERVICE

CREATE = f"{SERVICE}/api/v1/gpt_image_2/text_to_image"
FILE = "https://files.example/a.png"


@pytest.fixture
def short_pauses(monkeypatch):
    """Make pauses short."""
    monkeypatch.setattr("runapi_magic.http.retry._FIRST_BACKOFF", 0.001)
    monkeypatch.setattr("runapi_magic.engine.image_store._FIRST_PAUSE", 0.001)
    for name in ("_FIRST_POLL", "_SHORTEST", "_LONGEST"):
        monkeypatch.setattr(f"runapi_magic.core.polling.{name}", 0.0)


@pytest.fixture
def request_image(network, short_pauses, tmp_path):
    """Return a function that requests one image, and returns the session and the generation."""

    def call():
        async def main():
            session = Session(Settings(api_key=KEY, timeout=5), Journal(tmp_path / "data"))
            try:
                generation = session.generate("a fox")
                await generation.ended()
                return session, generation
            finally:
                session.journal.close()
                await session.service().client.transport.close()

        return asyncio.run(main())

    return call


@pytest.fixture
def working_service(network, make_image):
    """Return a network with a service that makes an image."""
    done = {"status": "completed", "images": [{"url": FILE}]}
    network.responses[CREATE] = httpx.Response(200, json={"id": "t", "status": "pending"})
    network.responses[f"{CREATE}/t"] = httpx.Response(200, json=done)
    network.responses[FILE] = httpx.Response(200, content=make_image())
    return network


def test_which_requests_send_the_key(working_service, request_image):
    """Of all requests for an image, only create and poll send the key, in one header each."""
    _, generation = request_image()
    assert generation.image.path.is_file()
    assert working_service.with_key() == [CREATE, f"{CREATE}/t"]
    for request in working_service.requests[:2]:
        holding = [name for name, value in request.headers.items() if KEY in value]
        assert holding == ["authorization"]
        assert KEY not in str(request.url) + request.content.decode()


def test_the_log_has_no_key(working_service, request_image, caplog):
    """The log contains no key, even at level DEBUG for all libraries."""
    with caplog.at_level(logging.DEBUG):
        request_image()
    assert KEY not in caplog.text


ECHOES = {
    "error": lambda request: httpx.Response(401, json={"error": _authorization(request)}),
    "header": lambda request: httpx.Response(
        401, headers={"x-request-id": _authorization(request)}
    ),
    "task id": lambda request: httpx.Response(200, json={"id": _authorization(request)}),
    "location": lambda _: httpx.Response(302, headers={"location": f"/{KEY}"}),
    "failure": lambda request: httpx.Response(
        200, json={"id": "t", "status": "failed", "error": _authorization(request)}
    ),
    "no JSON": lambda request: httpx.Response(200, text=_authorization(request)),
    "page": lambda request: httpx.Response(500, html=f"<title>{_authorization(request)}</title>"),
    "lost": lambda request: (_ for _ in ()).throw(httpx.ReadError(_authorization(request))),
    "nobody": lambda request: (_ for _ in ()).throw(httpx.ConnectError(_authorization(request))),
}


def _authorization(request):
    return request.headers["authorization"]


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_a_service_that_repeats_the_key(network, request_image, tmp_path, caplog, echo):
    """If a service repeats the key, no error, log or file contains it."""
    network.responses[CREATE] = echo
    with caplog.at_level(logging.DEBUG, "runapi_magic"):
        session, generation = request_image()
    assert generation.errors
    shown = [*generation.errors, session, generation, *session.notices, session.settings]
    shown += [part for error in generation.errors for part in error.parts]
    shown += [vars(error) for error in generation.errors]
    assert KEY not in pprint.pformat([shown, [str(one) for one in shown]])
    assert KEY not in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.is_file() and _has_key(path)] == []


@pytest.mark.parametrize("echo", [ECHOES["error"], ECHOES["lost"], ECHOES["no JSON"]])
def test_a_traceback_with_variables_has_no_key(network, request_image, echo):
    """A traceback with the local variables of every frame contains no key."""
    network.responses[CREATE] = echo
    _, generation = request_image()
    (error,) = generation.errors
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert KEY not in "".join(shown.format())


def _has_key(path):
    return KEY.encode() in path.read_bytes()


HOLDERS = {
    "secret": lambda access: access.key,
    "access": lambda access: access,
    "settings": lambda access: Settings(api_key=access.key),
    "service": remote_service,
    "transport": lambda access: remote_service(access).client.transport,
    "client": lambda access: remote_service(access).client,
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_nothing_that_holds_the_key_shows_it(make):
    """repr, str, format and listings of attributes do not show the key."""
    held = make(Access(SERVICE, Secret(KEY), "test", "test"))
    shown = [repr(held), str(held), f"{held}", f"{held!r:>10}", pprint.pformat(held)]
    shown += [repr(getattr(held, "__dict__", {})), repr(getattr(held, "_trait_values", {}))]
    assert KEY not in "".join(shown)


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("write", [pickle.dumps, json.dumps])
def test_nothing_that_holds_the_key_is_written(make, write):
    """Pickle and JSON refuse objects that hold the key."""
    held = make(Access(SERVICE, Secret(KEY), "test", "test"))
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
        write(held)
    assert KEY not in str(caught.value)


def test_a_key_is_not_compared_by_accident():
    """A key is equal only to the same Secret, not to its text. It has no length."""
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != KEY
    with pytest.raises(TypeError):
        len(Secret(KEY))
    assert KEY not in repr(copy.copy([Secret(KEY)]))


@pytest.mark.parametrize(
    "key", ["short-key", "a\nb", "a b", "schlüssel", f"{KEY}\r\nX-Other: 1", "\0"]
)
def test_an_invalid_key_is_not_in_the_error(network, run, key):
    """A key with spaces, line ends or non-ASCII letters is refused but not shown."""
    access = resolve_access(Settings(api_key=key, base_url=SERVICE), {})

    async def body(transport):
        transport.access = access
        return await transport.request("GET", "/x")

    found = run(body)
    assert isinstance(found, RunAPIError)
    sent = [request.headers.get("authorization") for request in network.requests]
    assert sent in ([], [f"Bearer {key}"])
    assert key not in str(found)


@pytest.mark.parametrize("url", [f"https://{KEY}@runapi.ai", f"https://runapi.ai/{KEY}", KEY])
def test_a_key_in_the_base_url_is_not_in_the_error(url):
    """A key that was pasted into the base URL is not in the error."""
    with pytest.raises(RunAPIError) as caught:
        resolve_access(Settings(api_key="x", base_url=url), {})
    assert KEY not in str(caught.value)


def test_a_failed_save_of_the_key_does_not_show_it(tmp_path):
    """The error names the file and does not contain the key."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunAPIError) as caught:
        save_key(KEY, {"RUNAPI_CONFIG_DIR": str(tmp_path / "file"), "HOME": str(tmp_path)})
    assert KEY not in str(caught.value)
    assert "file" in str(caught.value)
