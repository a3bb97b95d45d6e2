"""What goes wrong on the way: nothing is paid twice, no task is lost, and the messages are true."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from runapi_magic.core.access import Access, Secret
from runapi_magic.errors import (
    APIError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    DownloadError,
    InsufficientCreditsError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TaskFailedError,
    TaskTimeoutError,
    UnsafeURLError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from runapi_magic.http.client import Client
from runapi_magic.http.responses import parse_retry_after
from runapi_magic.http.transport import Transport
from tests.faults.clock import Clock

pytestmark = pytest.mark.server

SDK = "/api/v1/gpt_image_2/text_to_image"
SOON = {"Retry-After": "0.05"}


def _done(server, *names, **more):
    images = [{"url": f"{server.url}/{name}"} for name in names]
    return 200, {}, {"id": "tsk_1", "status": "completed", "images": images, **more}


def test_repeats_are_identical(scripted, make, png):
    """Every repeat of a create has the same bytes and the same key, also after a lost answer."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(500, SOON, b""), (429, SOON, b""), (200, SOON, b"{"), _done(server, "a")],
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
def test_a_lost_answer_makes_one_task(service, make, fault):
    """Whenever the connection goes, or half an answer comes, there is one task and its picture."""
    service.fault(f"create={fault},times=1")
    generation = make(service)
    assert len(service.tasks) == 1
    assert generation.task_ids == [service.tasks[0]["id"]]
    assert generation.image.path.is_file()


@pytest.mark.parametrize(("form", "least"), [("0.3", 0.3), ("1", 1.0), ("date", 1.0)])
def test_retry_after_is_obeyed(service, make, form, least):
    """A rate limit is waited out in each form that it comes in, and not announced."""
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
    """Seconds, fractions and each form of an HTTP date are read alike in every time zone."""
    found = set()
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        found.add(parse_retry_after(value, NOW))
    monkeypatch.undo()
    time.tzset()
    assert found == {seconds}


def test_a_retry_after_beyond_the_deadline(service, fail):
    """A pause that is longer than the deadline is not waited for."""
    service.fault("create=429,retry_after=3600")
    begun = time.monotonic()
    _, error, row = fail(service)
    assert time.monotonic() - begun < 30
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 3600
    assert error.charged == "Not charged."
    assert row.state == "refused"


@pytest.mark.parametrize("retry_after", ["0", "Tue, 14 Nov 2000 22:14:20 GMT"])
def test_no_hammering(scripted, fail, retry_after):
    """A service in trouble that wants no pause gets one: a few requests, not thousands."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(503, {"Retry-After": retry_after}, b"")]
    fail(server, timeout=1.0)
    assert 2 <= len(server.received("POST")) <= 30


REFUSALS = {
    400: (ValidationError, "did not accept the request", "run the cell again"),
    401: (AuthenticationError, "did not accept the API key", "%runapi login"),
    402: (InsufficientCreditsError, "not have enough credit", "Add credit"),
    403: (PermissionDeniedError, "does not have permission", "%runapi status"),
    409: (ConflictError, "conflict", "--new"),
    413: (PayloadTooLargeError, "too large", "smaller"),
    415: (UnsupportedMediaTypeError, "type of file", "PNG, JPEG or WEBP"),
    422: (ValidationError, "did not accept the request", "%runapi models"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_refusals(scripted, fail, status):
    """A refusal is asked once, and says in the service's words what, what it cost, what to do."""
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
    """A key that is wrong, may not, or has no credit is refused once, and no task is made."""
    _, error, _ = fail(service, key=key)
    assert type(error) is kind
    assert service.tasks == []
    assert len(service.paths()) == 1


def test_fields_that_the_service_refuses(service, fail):
    """What the service finds wrong with a field is shown by the field's name."""
    service.fault("create=strict_resolution")
    _, error, _ = fail(service, fields={"output_resolution": "4k", "aspect_ratio": "1:1"})
    assert "output_resolution 4k is not available with 1:1" in error.what
    assert error.charged == "Not charged."


def test_a_source_that_is_not_ready(scripted, make, png):
    """The one conflict that passes by itself is tried again."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(409, SOON, {"error": "x", "code": "source_task_not_ready"}),
                        _done(server, "a")],
        "GET /a": [(200, {}, png)],
    }  # fmt: skip
    make(server)
    assert len(server.received("POST")) == 2


def test_a_service_in_trouble(scripted, fail):
    """After the last 5xx the outcome is unknown: so it says, and the row stays to be resumed."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(502, SOON, b"<html><title>Bad gateway</title></html>")]
    _, error, row = fail(server, timeout=1.0)
    assert type(error) is ServerError
    assert "(502): Bad gateway" in error.what
    assert "may have been charged" in error.charged
    assert "resume" in error.todo
    assert row.state == "sent"
    assert row.owner is None


def test_nobody_listens(scripted, fail):
    """Where nothing can be reached nothing was charged, and the message names the base URL."""
    server = scripted()
    server.close()
    _, error, row = fail(server, timeout=1.0)
    assert type(error) is ConnectionFailedError
    assert f"{server.url} cannot be reached" in error.what
    assert error.charged == "Not charged."
    assert "network" in error.todo
    assert row.state == "refused"


def test_an_error_that_names_a_task(scripted, fail):
    """An error whose headers name a task does not lose the task: it can be resumed by its id."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(422, {"X-RunAPI-Task-Id": "tsk_1"}, {"error": "odd"})]
    _, error, row = fail(server)
    assert error.task_id == "tsk_1"
    assert "may have been charged" in error.charged
    assert "resume" in error.todo
    assert row.state in {"sent", "running"}
    assert row.task_id == "tsk_1"


@pytest.mark.parametrize(
    "fault",
    ["status=500,times=2", "status=bad_json,times=2", "status=drop,times=2", "status=empty,times=2",
     "status=429,retry_after=0.1,times=2", "status=404,times=2", "status=unknown,times=2",
     "status=synonyms", "status=redirect_foreign,times=1"],
)  # fmt: skip
def test_trouble_with_a_look(service, make, fault):
    """A look that fails says nothing of the task: it goes on, and its picture comes."""
    service.fault(fault)
    assert make(service).image.path.is_file()
    assert len(service.tasks) == 1


def test_an_unknown_status_is_noted(service, use):
    """A status that nobody knows is not the end, and is mentioned once."""
    service.fault("status=unknown,word=dreaming,times=2")

    async def body(session):
        await session.generate("a fox")
        return session.notices

    (notice,) = use(service, body)
    assert "'dreaming'" in notice


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError)]
)
def test_a_key_that_is_revoked_meanwhile(service, fail, status, kind):
    """A key that is refused while a task is under way does not call the task free."""
    service.fault(f"status={status}")
    _, error, row = fail(service)
    assert type(error) is kind
    assert error.task_id == service.tasks[0]["id"] == row.task_id
    assert "may be charged" in error.charged
    assert "resume" in error.todo
    assert row.state == "running"


def test_a_task_that_nobody_knows(service, fail):
    """A task that every path denies is given up with its id, to be resumed."""
    service.fault("status=404")
    _, error, row = fail(service)
    assert error.status_code == 404
    assert error.task_id in str(error)
    assert "may be charged" in error.charged
    assert f"%runapi resume {row.task_id}" in error.todo
    assert row.state == "running"


def test_a_deadline(service, fail):
    """At the deadline the task is named, what it may cost, and how to go on with it."""
    service.fault("status=stuck")
    _, error, row = fail(service, timeout=1.0)
    task_id = service.tasks[0]["id"]
    assert type(error) is TaskTimeoutError
    assert f"Task {task_id} was not finished after 1 s" in error.what
    assert "may be charged" in error.charged
    assert f"%runapi resume {task_id}" in error.todo
    assert (row.state, row.task_id, row.owner) == ("running", task_id, None)


def test_a_long_cell_after_a_look(scripted, make, png, monkeypatch):
    """A look's answer that a long cell kept beyond the deadline is not the last one."""
    clock, get = Clock(monkeypatch), Client.get

    async def held_up(*arguments):
        answer = await get(*arguments)
        clock.now += 30
        return answer

    monkeypatch.setattr(Client, "get", held_up)
    server = scripted()
    server.answers = {
        f"POST {SDK}": [(200, {}, {"id": "tsk_1", "status": "pending"})],
        f"GET {SDK}/tsk_1": [(200, {}, {"status": "processing"}), _done(server, "a")],
        "GET /a": [(200, {}, png)],
    }
    assert make(server, timeout=8.0).image.path.is_file()


def test_a_deadline_in_trouble(service, fail):
    """Where the looks failed to the end the message says how the last one did."""
    service.fault("status=bad_json")
    _, error, _ = fail(service, timeout=1.0)
    assert type(error) is TaskTimeoutError
    assert "The last poll failed: " in error.what


def test_a_deadline_after_trouble_that_passed(service, fail):
    """A look that failed long ago is not called the last one."""
    service.fault("status=bad_json,times=1", "status=stuck")
    _, error, _ = fail(service, timeout=1.0)
    assert type(error) is TaskTimeoutError
    assert "last look failed" not in str(error)


def test_a_failed_task(scripted, fail):
    """A task that fails says why in the service's words, and that it is not charged."""
    server = scripted()
    failed = {"id": "tsk_1", "status": "failed", "error": "too many foxes"}
    server.answers = {
        f"POST {SDK}": [(200, SOON, {"id": "tsk_1"})],
        f"GET {SDK}/tsk_1": [(200, SOON, {"status": "processing"}), (200, {}, failed)],
    }
    generation, error, row = fail(server)
    assert type(error) is TaskFailedError
    assert "too many foxes" in error.what
    assert "tsk_1" in error.parts[0]
    assert error.charged == "Failed tasks are not charged."
    assert error.todo
    assert (generation.status, row.state) == ("failed", "failed")


def test_a_task_that_failed_at_once(scripted, fail):
    """A create that answers with a failed task is a failure with its reason, not a wait."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(200, {}, {"id": "tsk_1", "status": "failed", "error": "no"})]
    _, error, _ = fail(server)
    assert type(error) is TaskFailedError
    assert error.task_id == "tsk_1"
    assert len(server.seen) == 1


def test_a_task_without_pictures(service, fail):
    """A task completed without pictures keeps its id, is not called free, and can be resumed."""
    service.fault("status=no_images")
    _, error, row = fail(service)
    assert "completed without an image" in error.what
    assert error.task_id == service.tasks[0]["id"]
    assert "charged" in error.charged
    assert "not charged" not in error.charged
    assert error.task_id in error.todo
    assert row.state == "completed"


DAMAGES = ["truncated", "corrupt", "html", "drop", "500", "410", "redirect_foreign", "empty"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_download_that_goes_wrong_once(service, make, damage):
    """A picture that does not arrive whole is fetched again; what is on disk is the whole one."""
    service.fault(f"download={damage},times=1")
    image = make(service).image
    assert image.pil().size == image.size
    assert [file.name for file in image.path.parent.iterdir()] == [image.path.name]
    assert len(service.tasks) == 1


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "html", "404"])
def test_a_download_that_never_works(service, fail, damage):
    """A picture that cannot be fetched was paid for: so it says, with how to get it later."""
    service.fault(f"download={damage}")
    _, error, row = fail(service)
    assert type(error) is DownloadError
    assert error.charged == "The task was completed, so it was charged."
    assert f"%runapi resume {service.tasks[0]['id']}" in error.todo
    assert error.task_id == service.tasks[0]["id"]
    assert row.state == "completed"


def test_nothing_half_is_left(service, fail, tmp_path):
    """After failed downloads the folder of pictures is empty."""
    service.fault("download=truncated")
    fail(service)
    assert list((tmp_path / "work/gpt-images").iterdir()) == []


def test_a_download_that_promises_too_much(service, fail):
    """A download of which gigabytes are announced and little comes is given up."""
    service.fault("download=huge")
    _, error, _ = fail(service)
    assert type(error) is DownloadError
    assert "download was interrupted" in error.what


def test_a_download_larger_than_allowed(scripted, fail, png):
    """A picture above the user's limit names the limit and the setting."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [_done(server, "a")], "GET /a": [(200, {}, png + bytes(1_100_000))],
    }  # fmt: skip
    _, error, _ = fail(server, max_download_mb=1)
    assert "larger than 1 MB" in error.what
    assert "max_download_mb" in error.todo


def test_redirects_of_a_download(scripted, make, png):
    """A few redirects of a download are followed."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [_done(server, "a")],
        "GET /a": [(302, {"Location": "/b"}, b"")],
        "GET /b": [(307, {"Location": f"{server.url}/c"}, b"")],
        "GET /c": [(200, {}, png)],
    }
    assert make(server).image.size == (8, 6)


@pytest.mark.parametrize("location", ["/a", "", "http://[", "ftp://x/y", "file:///etc/passwd",
                                      "http://example.com/x", "http://10.0.0.1/x"])  # fmt: skip
def test_redirects_that_lead_nowhere(scripted, fail, location):
    """A redirect in a circle, or to where nothing may be fetched from, ends in words."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [_done(server, "a")], "GET /a": [(302, {"Location": location}, b"")],
    }  # fmt: skip
    _, error, _ = fail(server)
    assert type(error) in {DownloadError, UnsafeURLError}
    assert "Not charged" not in error.charged
    assert error.todo


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/y", "http://example.com/x", "http://10.0.0.1/x", "//", "x y",
     "http://[", "data:image/png;base64,AAAA", "https://user:pw@127.0.0.1/x", "http://\x00/"],
)  # fmt: skip
def test_addresses_that_are_not_fetched(scripted, fail, url):
    """An address that no picture can be behind is refused in words, and the task is kept."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [
        (200, {}, {"id": "tsk_1", "status": "completed", "images": [url]})
    ]
    _, error, row = fail(server)
    assert type(error) in {DownloadError, UnsafeURLError}
    assert "Not charged" not in error.charged
    assert row.state == "completed"


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://10.0.0.1/x", "https://192.168.1.1/x", "https://172.16.0.1/x",
     "https://169.254.169.254/latest", "https://[::1]/x", "https://[fe80::1]/x", "https://0.0.0.0/",
     "https://localhost/x", "https://[::ffff:10.0.0.1]/x", "https://100.64.0.1/x",
     "http://8.8.8.8/x", "ftp://8.8.8.8/x", "https://user@8.8.8.8/x", "https://8.8.8.8:99999/x"],
)  # fmt: skip
def test_a_public_service_reaches_no_private_network(url):
    """What a public service names is not fetched from private networks, by http, or with a user."""
    transport = Transport(Access("https://runapi.ai", Secret("k"), "", ""))
    with pytest.raises(UnsafeURLError):
        asyncio.run(transport.files.check_url(url))


def test_a_public_service_reaches_public_addresses():
    """A public https address passes."""
    transport = Transport(Access("https://runapi.ai", Secret("k"), "", ""))
    assert asyncio.run(transport.files.check_url("https://8.8.8.8/x.png")) is None


@pytest.mark.parametrize(
    "again",
    [(401, {}, b""), (500, SOON, b""), (404, {}, b""), (200, {}, b"{"),
     (200, {}, {"id": "tsk_1", "status": "failed"})],
)  # fmt: skip
def test_no_fresh_address_for_a_picture(scripted, fail, again, monkeypatch):
    """Where an expired address cannot be renewed the task is still called charged."""
    monkeypatch.setattr("runapi_magic.http.client.POLL_TIMEOUT", 0.2)
    server = scripted()
    server.answers = {
        f"POST {SDK}": [_done(server, "a")],
        "GET /a": [(410, {}, b"")],
        f"GET {SDK}/tsk_1": [again],
        "GET /api/v1/tasks/tsk_1": [again],
    }
    _, error, row = fail(server)
    assert "Not charged" not in error.charged
    assert "not charged" not in error.charged
    assert error.task_id == "tsk_1"
    assert row.state == "completed"


def test_a_fresh_address_for_a_picture(scripted, make, png):
    """An expired address is renewed by a look at the task."""
    server = scripted()
    server.answers = {
        f"POST {SDK}": [_done(server, "old")],
        "GET /old": [(403, {}, b"")],
        f"GET {SDK}/tsk_1": [_done(server, "new")],
        "GET /new": [(200, {}, png)],
    }
    assert make(server).image.url == f"{server.url}/new"


def test_one_of_two_pictures(scripted, use, png):
    """Where one picture of a task cannot be fetched the other one is there."""
    server = scripted()
    server.answers = {
        "POST /api/v1/gpt_4o_image/text_to_image": [_done(server, "a", "b", usage={"cost": 0.07})],
        "GET /a": [(200, {}, png)],
        "GET /b": [(200, {}, b"<html>")],
    }

    async def body(session):
        return await session.generate("a fox", model="gpt-4o-image", aspect_ratio="1:1", count=2)

    generation = use(server, body)
    assert (generation.status, len(generation.images)) == ("completed", 1)
    assert [type(error) for error in generation.errors] == [DownloadError]
    assert generation.cost == 0.07
    assert generation.image.cost == 0.035


def test_a_balance(service, use):
    """The balance is asked for in cents."""

    async def body(session):
        return await session.service().client.balance()

    balance = use(service, body)
    assert balance.balance_cents > 0
    assert balance.spent_cents_total >= 0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("balance=401", AuthenticationError), ("balance=empty", ConnectionFailedError),
     ("balance=redirect_foreign", APIError)],
)  # fmt: skip
def test_a_balance_that_does_not_come(service, use, fault, kind):
    """A balance that cannot be read is an error in words."""
    service.fault(fault)

    async def body(session):
        with pytest.raises(kind) as caught:
            await session.service().client.balance()
        return caught.value

    assert len(use(service, body).parts) == 3
