"""Faults while a task is submitted: nothing is paid for twice, and the messages are true."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from runapi_magic.errors import (
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    InsufficientCreditsError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from runapi_magic.http.responses import parse_retry_after
from tests.engine.answers import SDK, SOON, done

pytestmark = pytest.mark.server


def test_repeats_are_identical(scripted, make, png):
    """Every retry of a POST has the same bytes and the same idempotency key."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(500, SOON, b""), (429, SOON, b""), (200, SOON, b"{"), done(server, "a")],
        "GET /a": [(200, {}, png)],
    }
    make(server, fields={"aspect_ratio": "3:4", "output_resolution": "2k"})
    creates = server.received("POST")
    assert len(creates) == 4
    assert len({body for _, _, _, body in creates}) == 1
    assert len({headers["idempotency-key"] for _, _, headers, _ in creates}) == 1
    assert creates[0][2]["idempotency-key"].startswith("runapi-magic-")


@pytest.mark.parametrize(
    "fault", ["drop_before", "drop_after", "drop", "bad_json", "empty", "id_only"]
)
def test_a_lost_response_makes_one_task(service, make, fault):
    """If the connection or a part of the response is lost, there is one task and its image."""
    service.fault(f"create={fault},times=1")
    generation = make(service)
    assert len(service.tasks) == 1
    assert generation.task_ids == [service.tasks[0]["id"]]
    assert generation.image.path.is_file()


@pytest.mark.parametrize(("form", "least"), [("0.3", 0.3), ("1", 1.0), ("date", 1.0)])
def test_retry_after_is_obeyed(service, make, form, least):
    """A retry waits as long as the ``Retry-After`` header says, in each of its forms."""
    service.fault(f"create=429,retry_after={form},times=1")
    begun = time.monotonic()
    make(service)
    assert time.monotonic() - begun >= least
    assert len(service.tasks) == 1


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("1.5", 1.5),
        ("0", 0.0),
        (" 3 ", 3.0),
        ("-1", 0.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60.0),
        ("Tue Nov 14 22:14:20 2023", 60.0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_forms_of_retry_after(value, seconds, monkeypatch):
    """Seconds, fractions and HTTP dates are parsed the same in every time zone."""
    found = set()
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        found.add(parse_retry_after(value, NOW))
    monkeypatch.undo()
    time.tzset()
    assert found == {seconds}


def test_a_retry_after_beyond_the_deadline(service, fail):
    """If ``Retry-After`` is longer than the timeout, the request fails at once."""
    service.fault("create=429,retry_after=3600")
    begun = time.monotonic()
    _, error, row = fail(service)
    assert time.monotonic() - begun < 30
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 3600
    assert error.charged == "Not charged."
    assert row.state == "refused"


@pytest.mark.parametrize("retry_after", ["0", "Tue, 14 Nov 2000 22:14:20 GMT"])
def test_retries_without_a_delay(scripted, fail, retry_after):
    """A server error with a ``Retry-After`` of 0 gets a few retries, not thousands."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(503, {"Retry-After": retry_after}, b"")]
    fail(server, timeout=1.0)
    assert 2 <= len(server.received("POST")) <= 30


REFUSALS = {
    400: (ValidationError, "did not accept the request", "run the cell again"),
    401: (AuthenticationError, "did not accept the API key", "%runapi login"),
    402: (InsufficientCreditsError, "not have enough credit", "Add credit"),
    403: (PermissionDeniedError, "not have permission", "%runapi status"),
    409: (ConflictError, "conflict", "--new"),
    413: (PayloadTooLargeError, "too large", "smaller"),
    415: (UnsupportedMediaTypeError, "type of file", "PNG, JPEG or WEBP"),
    422: (ValidationError, "did not accept the request", "%runapi models"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_refusals(scripted, fail, status):
    """A refused POST is not retried; the error says what happened, the charge, what to do."""
    kind, what, todo = REFUSALS[status]
    server = scripted()
    server.answers[f"POST {SDK}"] = [
        (status, {"x-request-id": "req_1"}, {"error": {"code": "c", "message": "because"}})
    ]
    generation, error, row = fail(server)
    assert type(error) is kind
    assert (error.status_code, error.code, error.request_id) == (status, "c", "req_1")
    assert what in error.parts[0]
    assert "because" in error.parts[0]
    assert "req_1" in error.parts[0]
    assert error.charged == "Not charged."
    assert todo in error.todo
    assert (generation.status, row.state, row.owner) == ("failed", "refused", None)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("key", "kind"),
    [("bad-key", AuthenticationError), ("forbidden-key", PermissionDeniedError),
     ("broke-key", InsufficientCreditsError)],
)  # fmt: skip
def test_refused_keys(service, fail, key, kind):
    """A wrong key, a forbidden key or a key without credit is refused, and there is no retry."""
    _, error, _ = fail(service, key=key)
    assert type(error) is kind
    assert service.tasks == []
    assert len(service.paths()) == 1


def test_fields_that_the_service_refuses(service, fail):
    """The error names the field that the service refuses."""
    service.fault("create=strict_resolution")
    _, error, _ = fail(service, fields={"output_resolution": "4k", "aspect_ratio": "1:1"})
    assert "output_resolution 4k is not available with 1:1" in error.what
    assert error.charged == "Not charged."


def test_a_source_that_is_not_ready(scripted, make, png):
    """A conflict because the source is not ready is retried."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(409, SOON, {"error": "x", "code": "source_task_not_ready"}),
                        done(server, "a")],
        "GET /a": [(200, {}, png)],
    }  # fmt: skip
    make(server)
    assert len(server.received("POST")) == 2


def test_repeated_server_errors(scripted, fail):
    """After repeated 5xx responses, the charge is unknown and the task can be resumed."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(502, SOON, b"<html><title>Bad gateway</title></html>")]
    _, error, row = fail(server, timeout=1.0)
    assert type(error) is ServerError
    assert "(502): Bad gateway" in error.what
    assert "may have been charged" in error.charged
    assert "resume" in error.todo
    assert row.state == "sent"
    assert row.owner is None


def test_an_unreachable_service(scripted, fail):
    """If the service cannot be reached, nothing is charged, and the error has the base URL."""
    server = scripted()
    server.close()
    _, error, row = fail(server, timeout=1.0)
    assert type(error) is ConnectionFailedError
    assert f"{server.url} cannot be reached" in error.what
    assert error.charged == "Not charged."
    assert "network" in error.todo
    assert row.state == "refused"


def test_an_error_that_names_a_task(scripted, fail):
    """If the headers of an error response contain a task ID, the task can be resumed."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(422, {"X-RunAPI-Task-Id": "tsk_1"}, {"error": "odd"})]
    _, error, row = fail(server)
    assert error.task_id == "tsk_1"
    assert "may have been charged" in error.charged
    assert "resume" in error.todo
    assert row.state in {"sent", "running"}
    assert row.task_id == "tsk_1"
