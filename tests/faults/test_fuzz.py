"""Arbitrary responses of every endpoint: the request ends with the image or a complete error."""

from __future__ import annotations

import asyncio
import io
import json
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import RunAPIError
from runapi_magic.journal.task_log import Journal
from tests.faults.clock import Clock
from tests.faults.fake_service import ORIGIN, FakeService
from tests.faults.trial import NEVER_CHARGED

TIMEOUT = 5.0  # seconds of the fake clock
FUZZ = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _image():
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 18)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


IMAGE = _image()

# Contents of responses

_TEXT = st.text(max_size=12) | st.sampled_from(
    ["", ".", "..", "../../x", "a" * 5000, "\0", "\ud800", "é\n", "%2e%2e", "tsk_1", "<b>"]
)
_URL = st.sampled_from(
    [
        f"{ORIGIN}/image.png",
        "",
        "/relative",
        "ftp://files/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://[",
        "http://a:b",
        "http://a:99999/",
        "https://" + "a" * 64 + ".example/",
        "https://a..example/",
        "https://exa mple/",
        "https://\u0661.example/",
        "https://xn--/",
        "http://service.localhost/\x00",
        "http://service.localhost/\ud800",
        "http://service.localhost\\@evil/",
        "//evil",
        "https://user:secret@files.example/",
        "javascript:alert(1)",
        "http://service.localhost:80/%zz",
        "http://service.localhost/" + "a" * 70_000,
    ]
)
_NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -1, True, math.nan, math.inf])
_LEAF = st.none() | st.booleans() | _NUMBER | _TEXT | _URL
JSON = st.recursive(
    _LEAF,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_TEXT, inside, max_size=3),
    max_leaves=8,
)
_STATUS_WORD = st.sampled_from(
    ["pending", "completed", "FAILED", "Succeeded", "mysterious", "", "cancelled"]
)
# Almost valid data finds more bugs than random data.
TASK = st.fixed_dictionaries(
    {},
    optional={
        "id": _LEAF,
        "task_id": _LEAF,
        "status": _STATUS_WORD | JSON,
        "images": st.lists(st.fixed_dictionaries({"url": _URL | JSON}) | _URL | JSON, max_size=3)
        | JSON,
        "usage": st.fixed_dictionaries({"cost": JSON}) | JSON,
        "billing": JSON,
        "error": st.fixed_dictionaries({"code": JSON, "message": JSON}) | JSON,
        "errors": JSON,
        "progress": JSON,
        "response": st.fixed_dictionaries({"status": st.integers(0, 700), "body": JSON}) | JSON,
        "task_replayed": JSON,
    },
)
UPLOAD = st.fixed_dictionaries(
    {},
    optional={
        "signed_id": _LEAF,
        "upload_url": _URL | JSON,
        "url": _URL | JSON,
        "headers": st.dictionaries(_TEXT, _LEAF, max_size=3) | JSON,
    },
)
BALANCE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("balance_cents", "spent_cents_today", "spent_cents_total"), JSON)
)


def _encoded(data):
    return json.dumps(data).encode()


BYTES = (
    st.binary(max_size=64)
    | JSON.map(_encoded)
    | st.sampled_from(
        [
            b"",
            b"[" * 100_000,
            b"1" * 5000,
            b"\xff\xfe{",
            b"<!doctype html><title>Bad \xff gateway",
            b"\xef\xbb\xbf{}",
            b'{"id": "tsk_',
            b'"text"',
            b"NaN",
        ]
    )
)
STATUS = st.sampled_from(
    [
        200, 201, 202, 204, 206, 300, 302, 304, 307, 399, 400, 401, 402, 403, 404, 405, 408, 409,
        410, 413, 415, 418, 422, 425, 429, 451, 500, 501, 502, 503, 504, 505, 511, 599, 700, 999,
    ]
)  # fmt: skip
_VALUE = st.binary(max_size=20).filter(lambda value: not set(value) & {0, 10, 13})
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"location"]),
        _VALUE
        | st.sampled_from(
            [
                b"/api/v1/tasks/tsk_1", b"https://evil.example/", b"http://[", b"//evil", b"?",
                b"http://service.localhost:99999/", b"/api/v1/tasks/\xff", b"/x y", b"/a\x7f",
            ]
        ),
    )
    | st.tuples(
        st.just(b"retry-after"),
        _VALUE
        | st.sampled_from(
            [
                b"0", b"-1", b"1e308", b"inf", b"nan", b"0.001", b"9" * 400, b"1.5",
                b"Wed, 21 Oct 2015 07:28:00 GMT", b"Fri, 31 Dec 9999 23:59:59 GMT",
                b"Fri, 31 Dec 99999 23:59:59 -9999",
            ]
        ),
    )
    | st.tuples(
        st.sampled_from([b"x-runapi-task-id", b"x-request-id", b"content-type"]),
        _VALUE | st.sampled_from([b"text/html", b"..", b"../..", b"\xff", b"a" * 5000]),
    )
    | st.tuples(
        st.just(b"content-encoding"), st.sampled_from([b"gzip", b"deflate", b"br", b"nonsense"])
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
)  # fmt: skip


def any_response(shape):
    """Generate responses: any status and headers; an almost valid body, JSON or bytes."""
    mostly_good = st.just(200) | STATUS
    return st.tuples(mostly_good, HEADERS, shape.map(_encoded) | BYTES)


# Requests that get such responses


@pytest.fixture
def clock(home, no_certificates, monkeypatch):
    """Return a clock that makes pauses take no time."""
    return Clock(monkeypatch)


class Result:
    """The result of one request."""

    def __init__(self, generation, fake, unhandled):
        self.generation = generation
        self.fake = fake
        self.unhandled = unhandled


def run_request(clock, folder, responses, *, edit=False):
    """Request one image from a service with these responses. Return the result."""
    clock.reset()
    fake = FakeService(IMAGE)
    fake.responses |= responses
    unhandled = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        session = Session(
            Settings(timeout=TIMEOUT, image_dir=str(folder / "images")), Journal(folder / "data")
        )
        session.connection.simulator = fake.service()  # replaces the simulator
        try:
            options = {"new": True}
            if edit:
                generation = session.edit(IMAGE, "a fox", **options)
            else:
                generation = session.generate("a fox", **options)
            await generation.ended()
        finally:
            session.journal.close()
            await session.simulator.client.transport.close()
        return generation

    return Result(asyncio.run(main()), fake, unhandled)


def check(result, folder):
    """Check that there is an image or a complete error, no unhandled exception, no partial file."""
    generation, errors = result.generation, result.generation.errors
    assert generation.is_done
    assert generation.images or errors
    assert [repr(error) for error in errors if type(error) is RunAPIError] == []
    assert [error for error in errors if not all(error.parts) or len(error.parts) != 3] == []
    assert result.unhandled == []
    assert [path.name for path in folder.rglob("*.part")] == []
    assert result.fake.saw_key.isdisjoint({"put", "download"})


@FUZZ
@given(response=any_response(TASK))
@example(response=(200, [], _encoded({"id": "\ud800"})))
@example(response=(200, [], _encoded({"id": ".."})))
@example(response=(200, [], b'{"id": ' + b"1" * 5000 + b"}"))
@example(response=(422, [], _encoded({"error": "\ud800"})))
@example(response=(202, [(b"location", b"/a\x7f")], _encoded({"id": "tsk_1"})))
@example(response=(429, [(b"retry-after", b"0")], b""))
@example(response=(429, [(b"retry-after", b"0.02")], b""))
def test_any_response_to_a_create(clock, tmp_path, response):
    """After any response to a create request: the image or a complete error."""
    result = run_request(clock, tmp_path, {"create": response})
    check(result, tmp_path)


@FUZZ
@given(response=any_response(TASK))
@example(response=(200, [], _encoded({"status": "failed", "error": "\ud800"})))
@example(response=(200, [], _encoded({"status": "\ud800"})))
@example(response=(200, [(b"retry-after", b"0")], _encoded({"status": "running"})))
@example(response=(200, [(b"retry-after", b"1e308")], _encoded({"status": "running"})))
@example(response=(200, [(b"content-encoding", b"gzip")], b"{}"))
def test_any_response_to_a_poll(clock, tmp_path, response):
    """After any response to a poll: the image or a complete error, within the timeout."""
    result = run_request(clock, tmp_path, {"status": response})
    check(result, tmp_path)
    assert clock.now <= TIMEOUT + 60.0


@FUZZ
@given(response=any_response(TASK))
def test_any_response_to_a_poll_keeps_the_task(clock, tmp_path, response):
    """No error says "not charged" unless the service said "failed"."""
    result = run_request(clock, tmp_path, {"status": response})
    denied = [error for error in result.generation.errors if error.charged in NEVER_CHARGED]
    assert [type(error).__name__ for error in denied] in ([], ["TaskFailedError"])


@FUZZ
@given(url=_URL | st.text(max_size=30))
@example(url="https://" + "a" * 64 + ".example/")
@example(url="http://service.localhost/\x00")
def test_any_image_url(clock, tmp_path, url):
    """With any image URL in a finished task: the image or a complete error."""
    body = _encoded({"id": "tsk_1", "status": "completed", "images": [{"url": url}]})
    result = run_request(clock, tmp_path, {"status": (200, [], body)})
    check(result, tmp_path)


def _altered(draw):
    """Return an image file with changed bytes."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]))
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 18)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(draw(st.integers(1, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(1, len(content)))])


IMAGES = (
    st.composite(_altered)()
    | st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP"]
    ).flatmap(lambda start: st.binary(max_size=64).map(lambda rest: start + rest))
    | st.binary(max_size=64)
)


@FUZZ
@given(response=st.tuples(st.just(200) | STATUS, HEADERS, IMAGES))
@example(response=(302, [(b"location", b"http://[")], b""))
@example(response=(302, [], b""))
@example(response=(302, [(b"location", b"/a\x7f")], b""))
@example(response=(302, [(b"location", b"https://" + b"a" * 64 + b".example/")], b""))
def test_any_image(clock, tmp_path, response):
    """After any download: an image that opens, or an error that says it was charged."""
    result = run_request(clock, tmp_path, {"download": response})
    check(result, tmp_path)
    assert [error for error in result.generation.errors if error.charged in NEVER_CHARGED] == []


@FUZZ
@given(endpoint=st.sampled_from(["prepare", "put", "confirm"]), response=any_response(UPLOAD))
@example(
    endpoint="prepare",
    response=(
        200,
        [],
        _encoded({"signed_id": "s", "upload_url": f"{ORIGIN}/put", "headers": {"é": "x"}}),
    ),
)
@example(
    endpoint="prepare",
    response=(
        200,
        [],
        _encoded({"signed_id": "s", "upload_url": f"{ORIGIN}/put", "headers": {"X": "\ud800"}}),
    ),
)
@example(
    endpoint="prepare",
    response=(
        200,
        [],
        _encoded({"signed_id": "s", "upload_url": f"{ORIGIN}/\x00", "headers": {}}),
    ),
)
@example(endpoint="confirm", response=(200, [], _encoded({"url": "\ud800"})))
def test_any_response_to_an_upload(clock, tmp_path, endpoint, response):
    """After any response to an upload: the image or a complete error. The store gets no key."""
    result = run_request(clock, tmp_path, {endpoint: response}, edit=True)
    check(result, tmp_path)


@FUZZ
@given(response=any_response(BALANCE))
def test_any_response_about_the_balance(clock, response):
    """After any response about the balance: whole cents or a RunAPIError."""
    clock.reset()
    fake = FakeService(IMAGE)
    fake.responses["balance"] = response

    async def get_balance():
        client = fake.service().client
        try:
            return await client.balance()
        except RunAPIError as error:
            return error
        finally:
            await client.transport.close()

    found = asyncio.run(get_balance())
    whole = [getattr(found, "balance_cents", None), getattr(found, "spent_cents_total", None)]
    assert isinstance(found, RunAPIError) or {type(cents) for cents in whole} == {int}


WAITS = [
    ("create", 429, 1.5),
    ("create", 503, 2.0),
    ("status", 429, 1.5),
    ("status", 503, 2.0),
    ("download", 429, 1.5),
    ("download", 503, 2.0),
    ("prepare", 429, 1.5),
    ("confirm", 429, 1.5),
]


@pytest.mark.parametrize(("endpoint", "status", "seconds"), WAITS)
def test_retry_after_is_followed(clock, tmp_path, endpoint, status, seconds):
    """The next request waits as long as Retry-After says."""
    delay = str(seconds).encode()
    result = run_request(
        clock,
        tmp_path,
        {endpoint: (status, [(b"retry-after", delay)], b"")},
        edit=endpoint != "create",
    )
    assert seconds in clock.sleeps
    assert result.fake.requests.count(endpoint) > 1


@pytest.mark.parametrize("endpoint", ["create", "status", "prepare", "confirm"])
def test_a_delay_longer_than_the_timeout_is_not_waited(clock, tmp_path, endpoint):
    """With an hour as Retry-After, the request ends at its timeout."""
    response = (429, [(b"retry-after", b"3600")], b"")
    result = run_request(clock, tmp_path, {endpoint: response}, edit=True)
    check(result, tmp_path)
    assert len(result.generation.errors) == 1
    assert clock.now <= TIMEOUT + 60.0
