"""Faults: the effects, which requests they affect, and the shapes of error bodies."""

import contextlib
import io
import json
import warnings
from email.utils import parsedate_to_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from runapi_magic.simulator.faults import BODY_SHAPES, error_body, parse_fault

from .conftest import KEY, make_api

CREATE = "/api/v1/gpt_image_2/text_to_image"
BODY = {"model": "gpt-image-2", "prompt": "a Dragon"}


def faulty(*specs, **options):
    """Make a simulator with these faults."""
    return make_api(faults=specs, **options)


# Which requests are affected


def test_times_and_skip_choose_the_requests():
    """``skip`` spares the first requests. ``times`` limits the number of affected requests."""
    api = faulty("create=503,skip=1,times=2")
    assert [api.post(CREATE, BODY).status_code for _ in range(5)] == [200, 503, 503, 200, 200]


@pytest.mark.parametrize(
    ("option", "hit"),
    [
        ("match=dragon", True),
        ("match=castle", False),
        ("model=gpt-image-2", True),
        ("model=gpt-image-2-text-to-image", False),
        ("path=/api/v1/gpt_image_2/", True),
        ("path=/v1/edit_image", False),
    ],
)
def test_options_select_requests(option, hit):
    """``match``, ``model`` and ``path`` select requests by prompt, model name and URL path."""
    api = faulty(f"create=500,{option}")
    assert (api.post(CREATE, BODY).status_code == 500) is hit


def test_an_old_model_name_matches_by_both_names():
    """A fault for gpt-image-2 also affects the guide's name for this model."""
    api = faulty("create=500,model=gpt-image-2,times=1")
    body = BODY | {"model": "gpt-image-2-text-to-image"}
    assert api.post("/v1/text_to_image", body).status_code == 500


def test_the_first_matching_fault_applies():
    """Faults are checked in order. A used-up fault is skipped."""
    api = faulty("create=500,times=1", "create=429,times=1")
    assert [api.post(CREATE, BODY).status_code for _ in range(3)] == [500, 429, 200]


# Errors


@pytest.mark.parametrize("status", [400, 408, 429, 500, 503, 599])
def test_a_number_is_an_error_status(status):
    """Every error status is possible for a create request. No task is created."""
    api = faulty(f"create={status}")
    assert api.post(CREATE, BODY).status_code == status
    assert not api.sim.tasks


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("object", {"error": {"code": "w", "message": "m"}}),
        ("string", {"error": "m"}),
        ("validation", {"error": "Validation failed", "errors": {"prompt": ["m"]}}),
        ("error_code", {"error": "m", "code": "w"}),
        ("message", {"message": "m"}),
        ("detail", {"detail": "m"}),
        ("errorMessage", {"errorMessage": "m"}),
        ("msg", {"msg": "m"}),
        ("errors_list", {"errors": ["m"]}),
    ],
)
def test_json_errors_come_in_every_shape(shape, expected):
    """Each JSON shape is as documented and contains the given code and message."""
    response = faulty(f"create=500,body={shape},code=w,message=m").post(CREATE, BODY)
    assert response.json() == expected


def test_errors_that_are_not_json():
    """Error bodies can be plain text, empty, or a web page with the message as its title."""
    responses = {
        shape: faulty(f"create=502,body={shape},message=m").post(CREATE, BODY)
        for shape in ("text", "empty", "html")
    }
    assert (responses["text"].text, responses["empty"].content) == ("m", b"")
    assert "<title>m</title>" in responses["html"].text
    assert responses["html"].headers["content-type"].startswith("text/html")


@given(st.sampled_from(BODY_SHAPES), st.text(), st.text())
def test_every_body_is_valid(shape, message, code):
    """Every message and code gives a valid body; JSON bodies can be parsed."""
    content, media_type = error_body(shape, message=message, code=code)
    assert (media_type != "application/json") or json.loads(content)


@pytest.mark.parametrize("value", ["2", "1.5"])
def test_retry_after_in_seconds(value):
    """Whole and fractional seconds are sent as given."""
    response = faulty(f"create=429,retry_after={value}").post(CREATE, BODY)
    assert response.headers["retry-after"] == value


def test_retry_after_as_a_date():
    """The date is two seconds ahead of the simulator's clock."""
    api = faulty("create=503,retry_after=date")
    found = parsedate_to_datetime(api.post(CREATE, BODY).headers["retry-after"])
    assert found.timestamp() == api.clock.now + 2


def test_a_failed_request_can_have_created_a_task():
    """With task_id_header=1 the task exists and the error has its id in a header."""
    api = faulty("create=500,task_id_header=1")
    response = api.post(CREATE, BODY)
    assert response.status_code == 500
    assert list(api.sim.tasks) == [response.headers["x-runapi-task-id"]]


@pytest.mark.parametrize(
    ("point", "method", "path"),
    [
        ("upload", "POST", "/api/v1/files"),
        ("prepare", "POST", "/api/v1/files/prepare"),
        ("confirm", "POST", "/api/v1/files/confirm"),
        ("put", "PUT", "/uploads/x"),
        ("quote", "POST", "/api/v1/price_quotes"),
        ("schedule", "GET", "/api/v1/price_schedules"),
        ("balance", "GET", "/api/v1/me/balance"),
        ("account", "GET", "/api/v1/me"),
    ],
)
def test_every_point_can_fail(point, method, path):
    """Every route with a point can fail."""
    api = faulty(f"{point}=503,times=1")
    assert api.request(method, path, json={}).status_code == 503
    assert api.request(method, path, json={}).status_code != 503


# Responses to create requests


def test_created_with_202_and_a_location():
    """The Location is on the same origin and returns the envelope."""
    api = faulty("create=202")
    response = api.post(CREATE, BODY)
    assert response.status_code == 202
    assert api.get(response.headers["location"]).json()["id"] == response.json()["id"]


def test_a_location_on_another_origin():
    """With location_foreign the Location is on another origin, but the task is created here."""
    api = faulty("create=location_foreign")
    location = api.post(CREATE, BODY).headers["location"]
    assert location.startswith("http://foreign.simulator.localhost/api/v1/tasks/tsk_")
    assert len(api.sim.tasks) == 1


def test_a_response_with_the_id_only():
    """The response is only an id, under the field name of the family."""
    api = faulty("create=id_only")
    assert set(api.post(CREATE, BODY).json()) == {"id"}
    flat = BODY | {"model": "gpt-image-2-text-to-image"}
    assert set(api.post("/v1/text_to_image", flat).json()) == {"task_id"}


def test_unreadable_responses():
    """bad_json is incomplete JSON and empty is an empty body. Both have status 200."""
    api = faulty("create=bad_json,times=1", "create=empty")
    with pytest.raises(json.JSONDecodeError):
        api.post(CREATE, BODY).json()
    response = api.post(CREATE, BODY)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(("effect", "made"), [("drop_before", 0), ("drop", 0), ("drop_after", 1)])
def test_a_dropped_create_raises_in_process(effect, made):
    """In process, a dropped connection raises httpx's error. Only drop_after creates the task."""
    api = faulty(f"create={effect},times=1")
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(CREATE, BODY)
    assert len(api.sim.tasks) == made


def test_a_dropped_create_can_be_repeated_with_its_key():
    """After drop_after, the same idempotency key returns the existing task."""
    api = faulty("create=drop_after,times=1")
    headers = KEY | {"idempotency-key": "k"}
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(CREATE, BODY, headers=headers)
    assert api.post(CREATE, BODY, headers=headers).json()["task_replayed"] is True
    assert len(api.sim.tasks) == 1


def test_strict_resolution_refuses_some_combinations():
    """gpt-image-2 then refuses 4k with 1:1 and 2k with auto, and accepts 2k with 1:1."""
    api = faulty("create=strict_resolution")
    codes = [
        api.post(CREATE, BODY | {"output_resolution": size, "aspect_ratio": ratio}).status_code
        for size, ratio in (("4k", "1:1"), ("2k", "auto"), ("2k", "1:1"), ("4k", "3:2"))
    ]
    assert codes == [422, 422, 200, 200]


def test_slow_waits_and_then_answers(monkeypatch):
    """``slow`` sleeps for the given seconds and then responds as usual."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("runapi_magic.simulator.responses.asyncio.sleep", sleep)
    assert faulty("create=slow,seconds=0.2").post(CREATE, BODY).status_code == 200
    assert 0.2 in slept


# Polls


def polled(api, *, finished):
    """Return the response to the first poll of a new or a finished task."""
    task_id = api.create()
    if finished:
        api.finish()
    return api.get(f"{CREATE}/{task_id}")


@pytest.mark.parametrize(
    ("spec", "finished", "status"),
    [
        ("status=unknown", False, "mysterious"),
        ("status=unknown,word=waiting", True, "waiting"),
        ("status=stuck", True, "processing"),
        ("status=synonyms", False, "Queued"),
        ("status=synonyms", True, "Succeeded"),
        ("status=failed", False, "failed"),
        ("status=failed", True, "failed"),
    ],
)
def test_status_words(spec, finished, status):
    """The first poll of a task returns the status word of the fault."""
    assert polled(faulty(spec), finished=finished).json()["status"] == status


def test_a_task_polled_as_completed_cannot_fail():
    """A task that a poll has returned as completed stays completed."""
    api = faulty("status=failed,skip=1")
    task_id = api.create()
    api.finish()
    assert [api.status(task_id)["status"] for _ in range(2)] == ["completed", "completed"]


def test_a_failed_task_stays_failed():
    """One use of the fault is enough. The reason can contain commas."""
    api = faulty("status=failed,times=1,message=no, thanks")
    task_id = api.create()
    found = [api.status(task_id) for _ in range(2)]
    assert {body["status"] for body in found} == {"failed"}
    assert {body["error"] for body in found} == {"no, thanks"}
    envelope = api.get(f"/api/v1/tasks/{task_id}").json()
    assert (envelope["error"], envelope["response"]["status"]) == ("no, thanks", 422)


def test_no_images_waits_for_completion():
    """Polls before completion do not use up the fault. It leaves out only the images."""
    api = faulty("status=no_images,times=1")
    task_id = api.create()
    api.status(task_id)
    api.finish()
    assert "images" not in api.status(task_id)
    assert "images" in api.status(task_id)


def test_a_status_route_can_fail_and_recover():
    """A failed poll does not change the task."""
    api = faulty("status=500,times=1")
    task_id = api.create()
    assert api.get(f"{CREATE}/{task_id}").status_code == 500
    assert api.get(f"{CREATE}/{task_id}").json()["status"] == "pending"


@pytest.mark.parametrize("effect", ["redirect_foreign", "location_foreign"])
def test_a_poll_can_be_redirected(effect):
    """The redirect points to another origin. A client must not send its key there."""
    response = polled(faulty(f"status={effect}"), finished=False)
    assert response.status_code == 307
    assert response.headers["location"].startswith("http://foreign.simulator.localhost/")


# Downloads


def downloaded(spec):
    """Return the response to a download with this fault."""
    api = faulty(spec)
    return api.get(api.create_image())


def test_a_truncated_download():
    """The body has half of the announced bytes."""
    response = downloaded("download=truncated")
    assert len(response.content) == int(response.headers["content-length"]) // 2


def test_a_corrupt_download():
    """The body has the announced length and a PNG's first bytes, but it cannot be decoded."""
    response = downloaded("download=corrupt")
    assert len(response.content) == int(response.headers["content-length"])
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(response.content)) as opened:
        opened.load()


def test_a_web_page_instead_of_an_image():
    """The response has status 200, but it is HTML."""
    response = downloaded("download=html")
    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(response.content))


def test_a_download_announced_as_huge():
    """The header announces 10 GB. They are not sent."""
    assert downloaded("download=huge").headers["content-length"] == str(10 * 2**30)


def test_a_download_without_a_length():
    """With ``mb``, that many megabytes are sent without a length."""
    response = downloaded("download=huge,mb=3")
    assert len(response.content) == 3 * 2**20
    assert "content-length" not in response.headers


def test_a_bomb_is_a_small_file_with_many_pixels():
    """The PNG has less than 100 kB. Pillow refuses it for its 400 megapixels."""
    response = downloaded("download=bomb")
    assert len(response.content) < 100_000
    with warnings.catch_warnings(), pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(response.content))


@pytest.mark.parametrize(
    ("spec", "status"), [("download=404", 404), ("download=redirect_foreign", 302)]
)
def test_a_failed_or_redirected_download(spec, status):
    """The response is an error or a redirect instead of a file."""
    assert downloaded(spec).status_code == status


def test_a_dropped_download_raises_in_process():
    """The connection closes in the middle of the file."""
    with pytest.raises(httpx.RemoteProtocolError):
        downloaded("download=drop")


def test_a_slow_download_arrives_in_parts(monkeypatch):
    """The delay is spread over the parts of the file."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("runapi_magic.simulator.file_routes.asyncio.sleep", sleep)
    assert downloaded("download=slow,seconds=2").status_code == 200
    assert sum(seconds for seconds in slept if seconds > 0.01) == pytest.approx(2)


# Syntax of faults


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "unknown point"),
        ("creation=503", "unknown point 'creation'"),
        ("create", "unknown effect ''"),
        ("create=200", "unknown effect '200'"),
        ("create=600", "unknown effect '600'"),
        ("create=explode", "unknown effect 'explode'"),
        ("download=202", "unknown effect"),
        ("create=503,tims=2", "unknown option 'tims'"),
        ("create=503,times=two", "times must be a whole number"),
        ("create=503,skip=-1", "skip must be a whole number"),
        ("create=429,retry_after=soon", "seconds or 'date'"),
        ("create=429,retry_after=-1", "seconds or 'date'"),
        ("create=slow,seconds=inf", "seconds must be seconds"),
        ("create=503,body=xml", "unknown body 'xml'"),
        ("create=503,task_id_header=yes", "task_id_header"),
    ],
)
def test_an_invalid_fault_is_a_value_error(spec, message):
    """The ValueError says what is wrong."""
    with pytest.raises(ValueError, match=message):
        parse_fault(spec)


@given(st.text())
def test_any_text_is_a_fault_or_a_value_error(spec):
    """Parsing raises no other error."""
    with contextlib.suppress(ValueError):
        assert parse_fault(spec).spec == spec
