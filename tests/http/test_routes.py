"""The two route families: what is sent to which path, and what happens if a family is missing."""

from __future__ import annotations

import asyncio
import json

import pytest

from runapi_magic.errors import ConnectionFailedError, NotFoundError, ServerError

pytestmark = pytest.mark.server

GUIDE_BODY = {
    "model": "gpt-image-2-text-to-image",
    "prompt": "A product photo of a glass perfume bottle on a marble surface, transparent "
    "background, studio lighting, the label reads AURORA in gold serif font",
    "output_resolution": "2k",
    "aspect_ratio": "3:4",
}
FLAT, SDK = "/v1/text_to_image", "/api/v1/gpt_image_2/text_to_image"


def test_the_guides_example(guide, make):
    """The guide's example is sent to the guide's server exactly as in the guide."""
    generation = make(
        guide, GUIDE_BODY["prompt"],
        fields={"model": GUIDE_BODY["model"], "output_resolution": "2k", "aspect_ratio": "3:4"},
    )  # fmt: skip
    (create,) = [each for each in guide.requests if each["method"] == "POST"]
    assert create["path"] == FLAT
    assert create["body"] == GUIDE_BODY
    assert create["authorized"]
    assert {"content-type", "idempotency-key"} <= set(create["headers"])
    assert generation.image.size == (1536, 2048)
    assert generation.cost == 0.10
    assert [generation.image.task_id] == generation.task_ids == [guide.tasks[0]["id"]]


def test_the_guides_name_on_a_full_server(service, make):
    """If the server has both families, the guide's names use the guide's routes."""
    make(service, fields={"model": "gpt-image-2-text-to-image"})
    assert service.paths() == [FLAT]
    assert {path.rpartition("/")[0] for path in service.paths("GET") if "/files/" not in path} == {
        FLAT
    }


@pytest.mark.parametrize(
    ("family", "model", "expected"),
    [
        ("namespaced", "gpt-image-2", (SDK, "gpt-image-2")),
        ("guide", "gpt-image-2", (FLAT, "gpt-image-2-text-to-image")),
        ("namespaced", "gpt-image-2-text-to-image", (SDK, "gpt-image-2")),
        ("guide", "gpt-image-2-text-to-image", (FLAT, "gpt-image-2-text-to-image")),
    ],
)
def test_one_family_alone(request, make, family, model, expected):
    """If a family is missing, the other one is used, with the model's name in it."""
    server = request.getfixturevalue(family)
    make(server, fields={"model": model})
    (path,), (task,) = server.paths(), server.tasks
    assert (path, task["model"]) == expected


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    ("model", "routes"),
    [("gpt-image-2", (SDK, FLAT)), ("gpt-image-2-text-to-image", (FLAT, SDK))],
)
def test_the_family_is_remembered(answering, use, status, model, routes):
    """A missing family is tried once. The second create uses the other one at once."""
    missing, served = routes
    server = answering(f"POST {served}")
    server.answers[f"POST {missing}"] = [(status, {}, b"")]

    async def body(session):
        await session.generate("a fox", model=model)
        await session.generate("a dog", model=model)

    use(server, body)
    assert [path for _, path, _, _ in server.received("POST")] == [missing, served, served]


@pytest.mark.parametrize(
    ("family", "path"),
    [("guide", "/v1/edit_image"), ("namespaced", "/api/v1/gpt_image_2/edit_image")],
)
def test_edits_in_either_family(request, use, family, path):
    """An edit finds its route in either family and sends its source there."""
    server = request.getfixturevalue(family)

    async def body(session):
        fox = await session.generate("a fox")
        return fox, await fox.image.edit("make it snow")

    fox, snow = use(server, body)
    creates = [each for each in server.requests if each["method"] == "POST"]
    assert creates[-1]["path"] == path
    assert creates[-1]["body"]["source_image_urls"] == [fox.image.url]
    assert (snow.image.parent, snow.image.version) == (fox.image, 2)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([(500, {"Retry-After": "0.01"}, b"")], ServerError),
        ([(503, {"Retry-After": "0.01"}, b"")], ServerError),
        ([(504, {"Retry-After": "0.01"}, b"")], ServerError),
        ([(500, {"Retry-After": "0.01"}, b""), (404, {}, b"")], NotFoundError),
        ([(502, {"Retry-After": "0.01"}, b""), (405, {}, b"")], NotFoundError),
        ([(404, {"X-RunAPI-Task-Id": "tsk_1"}, b"")], NotFoundError),
        ([(410, {}, b"")], NotFoundError),
        ([None, (404, {}, b"")], NotFoundError),
    ],
)
def test_no_other_family_after_a_doubtful_response(scripted, fail, answers, kind):
    """If a task may exist, the other family is not tried, because that could cost twice."""
    server = scripted()
    server.answers[f"POST {SDK}"] = answers
    server.answers[f"POST {FLAT}"] = [(200, {}, {"task_id": "second"})]
    _, error, _ = fail(server, timeout=1.0)
    assert type(error) is kind
    assert {path for _, path, _, _ in server.received("POST")} == {SDK}


@pytest.mark.parametrize("status", [404, 405])
def test_no_family_at_all(scripted, fail, status):
    """If neither family exists, the error says that nothing was charged."""
    server = scripted()
    server.answers = {f"POST {path}": [(status, {}, b"")] for path in (SDK, FLAT)}
    _, error, row = fail(server)
    assert type(error) is NotFoundError
    assert error.charged == "Not charged."
    assert "base URL" in error.todo
    assert [path for _, path, _, _ in server.received("POST")] == [SDK, FLAT]
    assert row.state == "refused"


def test_one_key_for_each_body(scripted, make, png):
    """A request to the second family has its own key, and is recorded."""
    server = scripted()
    done = {"task_id": "tsk_1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    server.answers = {f"POST {FLAT}": [(200, {}, done)], "GET /a.png": [(200, {}, png)]}
    make(server)
    (_, first, one, _), (_, second, other, _) = server.received("POST")
    assert (first, second) == (SDK, FLAT)
    assert one["idempotency-key"] != other["idempotency-key"]


def test_the_guides_status_path(scripted, make, png):
    """The guide's unpublished status path is found at a likely place, and remembered."""
    server = scripted()
    done = {"id": "tsk 1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    running = (200, {"Retry-After": "0.05"}, {"id": "tsk 1", "status": "processing"})
    server.answers = {
        f"POST {FLAT}": [(200, {"Retry-After": "0.05"}, {"task_id": "tsk 1"})],
        "GET /v1/tasks/tsk%201": [running, running, (200, {}, done)],
        "GET /a.png": [(200, {}, png)],
    }
    make(server, fields={"model": "gpt-image-2-text-to-image"})
    polled = [path for _, path, _, _ in server.received("GET")]
    known = "/v1/tasks/tsk%201"
    assert polled == [f"{FLAT}/tsk%201", known, known, known, "/a.png"]


def test_a_location_is_polled_first(service, make):
    """If a 202 has a Location on the same origin, it is polled first."""
    service.fault("create=202,times=1")
    generation = make(service)
    polled = [path for path in service.paths("GET") if "/files/" not in path]
    assert set(polled) == {f"/api/v1/tasks/{generation.task_ids[0]}"}


def test_a_foreign_location_is_not_polled(scripted, make, png):
    """A Location on another origin is not polled, so it does not get the key."""
    server, other = scripted(), scripted()
    done = {"id": "tsk_1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    headers = {"Location": f"{other.url}/api/v1/tasks/tsk_1", "Retry-After": "0.05"}
    server.answers = {
        f"POST {SDK}": [(202, headers, {"id": "tsk_1"})],
        f"GET {SDK}/tsk_1": [(200, {}, done)],
        "GET /a.png": [(200, {}, png)],
    }
    make(server)
    assert other.seen == []


@pytest.mark.parametrize("location", ["http://[", "http://[::1", "https://a:b/", "//", "x y", "ü"])
def test_an_invalid_location(scripted, make, png, location):
    """An invalid Location does not lose the created task."""
    server = scripted()
    done = {"id": "tsk_1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    server.answers = {
        f"POST {SDK}": [(202, {"Location": location, "Retry-After": "0.05"}, {"id": "tsk_1"})],
        f"GET {SDK}/tsk_1": [(200, {}, done)],
        "GET /a.png": [(200, {}, png)],
    }
    assert make(server).task_ids == ["tsk_1"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"X-RunAPI-Task-Id": "tsk_1"}, b""),
        ({"X-RunAPI-Task-Id": "tsk_1"}, b'{"status": "pending"}'),
        ({"X-RunAPI-Task-Id": "tsk_1"}, b'{"id": "tsk'),
        ({"Location": "/api/v1/tasks/tsk_1"}, b""),
        ({}, b'{"id": "tsk_1"}'),
        ({}, b'{"id": "tsk_1", "status": "weird"}'),
        ({}, b'{"task_id": "tsk_1", "status": null, "images": null}'),
    ],
)
def test_places_of_the_task_id(scripted, make, png, headers, body):
    """The id of a new task is read from the body, or else from the headers."""
    server = scripted()
    done = {"id": "tsk_1", "status": "completed", "images": [{"url": f"{server.url}/a.png"}]}
    server.answers = {
        f"POST {SDK}": [(202, {"Retry-After": "0.05", **headers}, body)],
        f"GET {SDK}/tsk_1": [(200, {}, done)],
        "GET /api/v1/tasks/tsk_1": [(200, {}, done)],
        "GET /a.png": [(200, {}, png)],
    }
    assert make(server).task_ids == ["tsk_1"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"ok"', b"<html>", b"", b"[" * 100_000])
def test_a_response_without_an_id(scripted, fail, body):
    """A response without an id may have created a task. It may be charged and can be resumed."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(200, {"Retry-After": "0.01"}, body)]
    _, error, row = fail(server, timeout=1.0)
    assert isinstance(error, ConnectionFailedError)
    assert "may have been charged" in error.charged
    assert "resume" in error.todo
    assert row.state == "sent"
    keys = {headers["idempotency-key"] for _, _, headers, _ in server.received("POST")}
    assert keys == {row.attempt.idempotency_key}


def test_unicode_is_not_changed(service, make):
    """A prompt in any script arrives as it was written."""
    make(service, 'ein grüner Fuchs, 狐, 🦊\n"quoted"')
    (create,) = [each for each in service.requests if each["method"] == "POST"]
    assert create["body"]["prompt"] == 'ein grüner Fuchs, 狐, 🦊\n"quoted"'


def test_several_requests_at_once(service, use):
    """Several requests run in parallel, each with its own task, key and image."""

    async def body(session):
        generations = [session.generate(f"fox number {number}") for number in range(3)]
        return await asyncio.gather(*(generation.wait() for generation in generations))

    generations = use(service, body)
    tasks = service.tasks
    assert len(tasks) == 3
    assert len({task["idempotency_key"] for task in tasks}) == 3
    assert len({generation.image.path for generation in generations}) == 3
    for generation in generations:
        (task,) = [each for each in tasks if each["id"] == generation.task_ids[0]]
        assert task["body"]["prompt"] == generation.request.prompt


@pytest.mark.parametrize(("count", "sent"), [(2, [2]), (3, [2, None])])
def test_counts_of_gpt_4o(service, use, count, sent):
    """gpt-4o-image makes several images in one task. Other images get their own tasks."""

    async def body(session):
        return await session.generate(
            "a fox", model="gpt-4o-image", count=count, aspect_ratio="1:1"
        )

    generation = use(service, body)
    counts = [task["body"].get("output_count") for task in service.tasks]
    assert sorted(counts, key=str) == sorted(sent, key=str)
    assert len(generation.images) == count
    assert len({image.path for image in generation.images}) == count


def test_bodies_are_json(scripted, fail):
    """A body is JSON in UTF-8 with its content type, and the key is sent as a bearer token."""
    server = scripted()
    server.answers[f"POST {SDK}"] = [(422, {}, b"")]
    fail(server, "größe")
    ((_, _, headers, body),) = server.received("POST")
    assert json.loads(body.decode("utf-8")) == {"model": "gpt-image-2", "prompt": "größe"}
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer sk-test-0123456789abcdef"
    assert headers["user-agent"].startswith("runapi-magic")
