"""Faults: each one, where and how often it happens, what the errors look like."""

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
    """A simulator with these faults."""
    return make_api(faults=specs, **options)


# How often, and to whom


def test_times_and_skip_choose_the_requests():
    """Skip lets the first pass, times ends it."""
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
def test_a_fault_can_be_about_some_requests(option, hit):
    """match, model and path choose by prompt, model name and URL path."""
    api = faulty(f"create=500,{option}")
    assert (api.post(CREATE, BODY).status_code == 500) is hit


def test_an_old_model_name_matches_by_both_names():
    """A fault about gpt-image-2 also happens to the guide's name of it."""
    api = faulty("create=500,model=gpt-image-2,times=1")
    body = BODY | {"model": "gpt-image-2-text-to-image"}
    assert api.post("/v1/text_to_image", body).status_code == 500


def test_the_first_matching_fault_happens():
    """Faults are tried in their order; a used-up one makes room for the next."""
    api = faulty("create=500,times=1", "create=429,times=1")
    assert [api.post(CREATE, BODY).status_code for _ in range(3)] == [500, 429, 200]


# Errors


@pytest.mark.parametrize("status", [400, 408, 429, 500, 503, 599])
def test_a_number_is_an_error(status):
    """Any error status can be had at a create, and makes no task."""
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
    """Each JSON shape is as documented, with the given code and message."""
    answer = faulty(f"create=500,body={shape},code=w,message=m").post(CREATE, BODY)
    assert answer.json() == expected


def test_errors_that_are_not_json():
    """Plain text, nothing, and a web page with the message as its title."""
    answers = {
        shape: faulty(f"create=502,body={shape},message=m").post(CREATE, BODY)
        for shape in ("text", "empty", "html")
    }
    assert (answers["text"].text, answers["empty"].content) == ("m", b"")
    assert "<title>m</title>" in answers["html"].text
    assert answers["html"].headers["content-type"].startswith("text/html")


@given(st.sampled_from(BODY_SHAPES), st.text(), st.text())
def test_every_body_can_be_made(shape, message, code):
    """No message or code breaks a body, and JSON ones are JSON."""
    content, media_type = error_body(shape, message=message, code=code)
    assert (media_type != "application/json") or json.loads(content)


@pytest.mark.parametrize("value", ["2", "1.5"])
def test_retry_after_in_seconds(value):
    """Whole and broken seconds come as they are given."""
    answer = faulty(f"create=429,retry_after={value}").post(CREATE, BODY)
    assert answer.headers["retry-after"] == value


def test_retry_after_as_a_date():
    """A date lies two seconds ahead of the simulator's clock."""
    api = faulty("create=503,retry_after=date")
    found = parsedate_to_datetime(api.post(CREATE, BODY).headers["retry-after"])
    assert found.timestamp() == api.clock.now + 2


def test_a_refusal_can_have_made_a_task():
    """task_id_header=1: the error names, in its header, a task that exists."""
    api = faulty("create=500,task_id_header=1")
    answer = api.post(CREATE, BODY)
    assert answer.status_code == 500
    assert list(api.sim.tasks) == [answer.headers["x-runapi-task-id"]]


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
    """Each route has a point at which it can be made to fail."""
    api = faulty(f"{point}=503,times=1")
    assert api.request(method, path, json={}).status_code == 503
    assert api.request(method, path, json={}).status_code != 503


# Answers to creates


def test_created_with_202_and_a_location():
    """The Location is of this origin, a path that gives the envelope."""
    api = faulty("create=202")
    answer = api.post(CREATE, BODY)
    assert answer.status_code == 202
    assert api.get(answer.headers["location"]).json()["id"] == answer.json()["id"]


def test_a_location_on_another_origin():
    """location_foreign points elsewhere, though the task was made here."""
    api = faulty("create=location_foreign")
    location = api.post(CREATE, BODY).headers["location"]
    assert location.startswith("http://foreign.simulator.localhost/api/v1/tasks/tsk_")
    assert len(api.sim.tasks) == 1


def test_an_answer_with_the_id_only():
    """Just an id, by the family's own name for it."""
    api = faulty("create=id_only")
    assert set(api.post(CREATE, BODY).json()) == {"id"}
    flat = BODY | {"model": "gpt-image-2-text-to-image"}
    assert set(api.post("/v1/text_to_image", flat).json()) == {"task_id"}


def test_answers_that_cannot_be_read():
    """bad_json is cut-off JSON, empty is nothing; both with status 200."""
    api = faulty("create=bad_json,times=1", "create=empty")
    with pytest.raises(json.JSONDecodeError):
        api.post(CREATE, BODY).json()
    answer = api.post(CREATE, BODY)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("effect", "made"), [("drop_before", 0), ("drop", 0), ("drop_after", 1)])
def test_a_dropped_create_raises_in_process(effect, made):
    """Without a socket, a dropped connection is httpx's own error; the task is made or not."""
    api = faulty(f"create={effect},times=1")
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(CREATE, BODY)
    assert len(api.sim.tasks) == made


def test_a_dropped_create_can_be_repeated_with_its_key():
    """After drop_after, the same idempotency key finds the task instead of making another."""
    api = faulty("create=drop_after,times=1")
    headers = KEY | {"idempotency-key": "k"}
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(CREATE, BODY, headers=headers)
    assert api.post(CREATE, BODY, headers=headers).json()["task_replayed"] is True
    assert len(api.sim.tasks) == 1


def test_strict_resolution_refuses_the_doubtful():
    """With it, gpt-image-2 refuses 4k with 1:1 and 2k with auto, and takes 2k with 1:1."""
    api = faulty("create=strict_resolution")
    codes = [
        api.post(CREATE, BODY | {"output_resolution": size, "aspect_ratio": ratio}).status_code
        for size, ratio in (("4k", "1:1"), ("2k", "auto"), ("2k", "1:1"), ("4k", "3:2"))
    ]
    assert codes == [422, 422, 200, 200]


def test_slow_waits_and_then_answers(monkeypatch):
    """Slow sleeps for its seconds and then does its work."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("runapi_magic.simulator.responses.asyncio.sleep", sleep)
    assert faulty("create=slow,seconds=0.2").post(CREATE, BODY).status_code == 200
    assert 0.2 in slept


# Looks at a task


def looked(api, *, finished):
    """The answer to the first look at a new, or at a finished, task."""
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
    """Each kind of status word, at the first look, however late it comes."""
    assert looked(faulty(spec), finished=finished).json()["status"] == status


def test_what_was_seen_complete_cannot_fail():
    """A task that somebody saw complete stays so, and is charged."""
    api = faulty("status=failed,skip=1")
    task_id = api.create()
    api.finish()
    assert [api.status(task_id)["status"] for _ in range(2)] == ["completed", "completed"]


def test_a_failed_task_stays_failed():
    """One strike is enough; the reason may hold commas."""
    api = faulty("status=failed,times=1,message=no, thanks")
    task_id = api.create()
    found = [api.status(task_id) for _ in range(2)]
    assert {body["status"] for body in found} == {"failed"}
    assert {body["error"] for body in found} == {"no, thanks"}
    envelope = api.get(f"/api/v1/tasks/{task_id}").json()
    assert (envelope["error"], envelope["response"]["status"]) == ("no, thanks", 422)


def test_no_images_waits_for_completion():
    """Looks before the end do not use it up; then there is usage but no pictures."""
    api = faulty("status=no_images,times=1")
    task_id = api.create()
    api.status(task_id)
    api.finish()
    assert "images" not in api.status(task_id)
    assert "images" in api.status(task_id)


def test_a_status_route_can_fail_and_recover():
    """An error at a look does not touch the task."""
    api = faulty("status=500,times=1")
    task_id = api.create()
    assert api.get(f"{CREATE}/{task_id}").status_code == 500
    assert api.get(f"{CREATE}/{task_id}").json()["status"] == "pending"


@pytest.mark.parametrize("effect", ["redirect_foreign", "location_foreign"])
def test_a_look_can_be_sent_elsewhere(effect):
    """A redirect to another origin, which no client should follow with its key."""
    answer = looked(faulty(f"status={effect}"), finished=False)
    assert answer.status_code == 307
    assert answer.headers["location"].startswith("http://foreign.simulator.localhost/")


# Downloads


def downloaded(spec):
    """The answer to a download with this fault."""
    api = faulty(spec)
    return api.get(api.picture())


def test_a_truncated_download():
    """Half of the announced bytes."""
    answer = downloaded("download=truncated")
    assert len(answer.content) == int(answer.headers["content-length"]) // 2


def test_a_corrupt_download():
    """The announced length and a PNG's first bytes, but not its content."""
    answer = downloaded("download=corrupt")
    assert len(answer.content) == int(answer.headers["content-length"])
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(answer.content)) as opened:
        opened.load()


def test_a_web_page_instead_of_a_picture():
    """200, but HTML."""
    answer = downloaded("download=html")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(answer.content))


def test_a_download_that_is_announced_as_huge():
    """10 GB in the header; the test does not have to carry them."""
    assert downloaded("download=huge").headers["content-length"] == str(10 * 2**30)


def test_a_download_without_end_in_sight():
    """With mb, so many megabytes come without a length."""
    answer = downloaded("download=huge,mb=3")
    assert len(answer.content) == 3 * 2**20
    assert "content-length" not in answer.headers


def test_a_bomb_is_small_and_enormous():
    """A PNG of a few kilobytes that Pillow refuses for its 400 megapixels."""
    answer = downloaded("download=bomb")
    assert len(answer.content) < 100_000
    with warnings.catch_warnings(), pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize(
    ("spec", "status"), [("download=404", 404), ("download=redirect_foreign", 302)]
)
def test_a_download_that_is_not_there(spec, status):
    """Errors and redirects instead of a file."""
    assert downloaded(spec).status_code == status


def test_a_dropped_download_raises_in_process():
    """The connection goes in the middle of the file."""
    with pytest.raises(httpx.RemoteProtocolError):
        downloaded("download=drop")


def test_a_slow_download_comes_in_parts(monkeypatch):
    """The seconds are spread over the parts of the file."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("runapi_magic.simulator.file_routes.asyncio.sleep", sleep)
    assert downloaded("download=slow,seconds=2").status_code == 200
    assert sum(seconds for seconds in slept if seconds > 0.01) == pytest.approx(2)


# The grammar


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("", "no point"),
        ("creation=503", "no point 'creation'"),
        ("create", "no effect ''"),
        ("create=200", "no effect '200'"),
        ("create=600", "no effect '600'"),
        ("create=explode", "no effect 'explode'"),
        ("download=202", "no effect"),
        ("create=503,tims=2", "no option 'tims'"),
        ("create=503,times=two", "times takes a whole number"),
        ("create=503,skip=-1", "skip takes a whole number"),
        ("create=429,retry_after=soon", "seconds or 'date'"),
        ("create=429,retry_after=-1", "seconds or 'date'"),
        ("create=slow,seconds=inf", "seconds takes seconds"),
        ("create=503,body=xml", "no body 'xml'"),
        ("create=503,task_id_header=yes", "task_id_header"),
    ],
)
def test_a_malformed_fault_is_explained(spec, complaint):
    """Nonsense is a ValueError that says what is wrong."""
    with pytest.raises(ValueError, match=complaint):
        parse_fault(spec)


@given(st.text())
def test_any_text_is_a_fault_or_a_value_error(spec):
    """Parsing raises nothing else."""
    with contextlib.suppress(ValueError):
        assert parse_fault(spec).spec == spec
