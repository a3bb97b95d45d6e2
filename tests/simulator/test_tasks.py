"""Tasks: both families of routes, progress, idempotency, validation, keys and money."""

import hashlib

import pytest

from runapi_magic.simulator import Simulator

from .conftest import KEY, make_api

FLAT = "/v1/text_to_image"
NAMESPACED = "/api/v1/gpt_image_2/text_to_image"
GUIDE = {"model": "gpt-image-2-text-to-image", "prompt": "a glass bottle"}
SDK = {"model": "gpt-image-2", "prompt": "a glass bottle"}
SOURCE = "https://example.org/cat.png"


def test_the_guides_create_responds_as_in_the_guide(api):
    """The guide's route returns task_id, status and the requested model, and nothing else."""
    response = api.post(FLAT, GUIDE)
    assert response.json() == {
        "task_id": next(iter(api.sim.tasks)),
        "status": "pending",
        "model": "gpt-image-2-text-to-image",
    }


def test_a_namespaced_create_returns_id_and_status(api):
    """The SDKs' route returns id and status."""
    response = api.post(NAMESPACED, SDK)
    assert response.json() == {"id": next(iter(api.sim.tasks)), "status": "pending"}


def test_responses_have_the_ids_of_task_and_request(api):
    """Responses to create requests and polls have X-RunAPI-Task-Id and x-request-id."""
    created = api.post(NAMESPACED, SDK)
    polled = api.get(f"{NAMESPACED}/{created.json()['id']}")
    assert {a.headers["x-runapi-task-id"] for a in (created, polled)} == {created.json()["id"]}
    assert created.headers["x-request-id"] != polled.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/text_to_image", "/v1/tasks"])
def test_a_flat_task_has_two_routes(api, path):
    """A task of the guide's routes can be polled below its create path and below /v1/tasks."""
    task_id = api.post(FLAT, GUIDE).json()["task_id"]
    found = api.get(f"{path}/{task_id}").json()
    assert (found["id"], found["task_id"], found["status"]) == (task_id, task_id, "pending")


def test_status_follows_the_clock(api):
    """A task is pending, then processing, then completed with image and usage."""
    task_id = api.create()
    task = api.sim.tasks[task_id]
    seen = []
    for share in (0.0, 0.5, 1.0):
        api.clock.now = task.created + share * task.duration
        seen.append(api.get(f"{NAMESPACED}/{task_id}").json())
    assert [body["status"] for body in seen] == ["pending", "processing", "completed"]
    assert seen[2] == {
        "id": task_id,
        "status": "completed",
        "images": [{"url": f"http://simulator.localhost/files/{task_id}/0.png"}],
        "usage": {"cost": 0.06, "generated_images": 1},
    }


@pytest.mark.parametrize(("resolution", "median"), [("1k", 12), ("2k", 18), ("4k", 27)])
def test_durations_have_the_documented_median(api, resolution, median):
    """The median is 12, 18 or 27 seconds for 1k, 2k or 4k, within 10 %."""
    for number in range(300):
        api.sim.create(_contract(), SDK | {"output_resolution": resolution}, key=str(number))
    durations = sorted(task.duration for task in api.sim.tasks.values())
    assert durations[150] == pytest.approx(median, rel=0.1)


def test_speed_divides_durations_and_the_seed_repeats_them():
    """The same seed and key give the same duration, divided by the speed."""
    slow, fast = make_api(seed=3), make_api(seed=3, speed=30.0)
    seconds = [api.sim.create(_contract(), SDK, key="k").duration for api in (slow, fast)]
    assert seconds[0] == pytest.approx(30 * seconds[1])


def _contract():
    from runapi_magic.simulator.catalog import find

    return find("text_to_image", "gpt-image-2", service="gpt_image_2")


def test_only_a_fast_simulator_sends_retry_after(api):
    """Above speed 1, responses about unfinished tasks have Retry-After; finished tasks do not."""
    assert "retry-after" not in api.post(NAMESPACED, SDK).headers
    fast = make_api(speed=25.0)
    created = fast.post(NAMESPACED, SDK)
    path = f"{NAMESPACED}/{created.json()['id']}"
    assert float(created.headers["retry-after"]) == 0.04
    assert float(fast.get(path).headers["retry-after"]) == 0.04
    fast.finish()
    assert "retry-after" not in fast.get(path).headers


@pytest.mark.parametrize(
    ("family", "good", "missing"),
    [
        ("guide", [(FLAT, GUIDE)], [(NAMESPACED, SDK), ("/v1/upscale_image", {})]),
        ("namespaced", [(NAMESPACED, SDK)], [(FLAT, GUIDE)]),
        ("both", [(FLAT, GUIDE), (NAMESPACED, SDK)], [("/api/v1/nothing/text_to_image", SDK)]),
    ],
)
def test_a_family_has_only_its_routes(family, good, missing):
    """Routes of the other family get a 404 in JSON and create no task."""
    api = make_api(family=family)
    assert [api.post(path, body).status_code for path, body in good] == [200] * len(good)
    responses = [api.post(path, body) for path, body in missing]
    assert [a.status_code for a in responses] == [404] * len(missing)
    assert {a.json()["error"]["code"] for a in responses} == {"not_found"}
    assert len(api.sim.tasks) == len(good)


def test_old_names_work_at_the_namespaced_routes(api):
    """The SDKs' routes accept the guide's model names."""
    assert api.post(NAMESPACED, GUIDE).status_code == 200


def test_a_task_is_only_found_at_its_own_route(api):
    """The status route of another service gets a 404."""
    task_id = api.create()
    assert api.get(f"/api/v1/topaz/upscale_image/{task_id}").status_code == 404
    assert api.get(f"{NAMESPACED}/tsk_unknown").status_code == 404


def test_the_envelope_route_returns_the_same(api):
    """GET /api/v1/tasks/{id} wraps the finished task in a response."""
    task_id = api.create()
    assert api.get(f"/api/v1/tasks/{task_id}").json() == {"id": task_id, "status": "pending"}
    api.finish()
    found = api.get(f"/api/v1/tasks/{task_id}").json()
    assert found["response"]["status"] == 200
    assert found["response"]["body"] == api.get(f"{NAMESPACED}/{task_id}").json()


# Idempotency


def test_the_same_key_and_request_give_the_same_task(api):
    """A replay returns the first task with task_replayed. It costs nothing."""
    headers = KEY | {"idempotency-key": "one"}
    first = api.post(NAMESPACED, SDK, headers=headers).json()
    second = api.post(NAMESPACED, dict(reversed(SDK.items())), headers=headers).json()
    assert second == first | {"task_replayed": True}
    api.finish()
    assert (len(api.sim.tasks), api.sim.charged_cents) == (1, 6)


def test_the_same_key_with_another_request_is_a_conflict(api):
    """Another body under a known key gets a 409 request_conflict."""
    headers = KEY | {"idempotency-key": "one"}
    api.post(NAMESPACED, SDK, headers=headers)
    response = api.post(NAMESPACED, SDK | {"prompt": "another"}, headers=headers)
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "request_conflict"


def test_a_key_has_at_most_512_characters(api):
    """An idempotency key of 512 characters is accepted, a longer one is refused."""
    codes = [
        api.post(NAMESPACED, SDK, headers=KEY | {"idempotency-key": "k" * n}).status_code
        for n in (512, 513)
    ]
    assert codes == [200, 400]


# Validation

EDIT = {"model": "gpt-image-2", "prompt": "x", "source_image_urls": [SOURCE]}
FLUX = {"model": "flux-kontext-pro", "prompt": "x"}
GPT_4O = {"model": "gpt-4o-image", "prompt": "x", "aspect_ratio": "1:1"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("gpt_image_2/text_to_image", SDK | {"prompt": " "}, "prompt"),
        ("gpt_image_2/text_to_image", {"model": "gpt-image-2"}, "prompt"),
        ("gpt_image_2/text_to_image", SDK | {"aspect_ratio": "7:5"}, "aspect_ratio"),
        ("gpt_image_2/text_to_image", SDK | {"output_resolution": "8k"}, "output_resolution"),
        ("gpt_image_2/text_to_image", SDK | {"model": "gpt-image-9"}, "model"),
        ("gpt_image_2/text_to_image", {"prompt": "x", "model": ["a", "list"]}, "model"),
        ("gpt_image_2/edit_image", SDK, "source_image_urls"),
        ("gpt_image_2/edit_image", EDIT | {"source_image_urls": []}, "source_image_urls"),
        (
            "gpt_image_2/edit_image",
            EDIT | {"source_image_urls": [SOURCE] * 17},
            "source_image_urls",
        ),
        (
            "gpt_image_2/edit_image",
            EDIT | {"source_image_urls": ["ftp://x/y"]},
            "source_image_urls",
        ),
        (
            "gpt_image_2/edit_image",
            EDIT | {"source_image_urls": ["http://host:port/y"]},
            "source_image_urls",
        ),
        ("gpt_image_2/text_to_image", SDK | {"output_resolution": ["4k"]}, "output_resolution"),
        ("gpt_image_2/text_to_image", SDK | {"prompt": 3}, "prompt"),
        (
            "gpt_image_2_5/text_to_image",
            {
                "model": "gpt-image-2.5-flare",
                "prompt": "x",
                "aspect_ratio": "1:1",
                "output_resolution": "4k",
            },
            "output_resolution",
        ),
        ("gpt_image/text_to_image", {"model": "gpt-image-1.5", "prompt": "x"}, "quality"),
        ("gpt_4o_image/text_to_image", GPT_4O | {"output_count": 3}, "output_count"),
        ("gpt_4o_image/text_to_image", GPT_4O | {"output_count": True}, "output_count"),
        ("gpt_4o_image/text_to_image", GPT_4O | {"prompt": None}, "prompt"),
        ("flux_kontext/text_to_image", FLUX | {"aspect_ratio": "auto"}, "aspect_ratio"),
        ("flux_kontext/text_to_image", FLUX | {"safety_tolerance": 7}, "safety_tolerance"),
        (
            "flux_kontext/text_to_image",
            FLUX | {"safety_tolerance": 3, "source_image_url": SOURCE},
            "safety_tolerance",
        ),
        (
            "topaz/upscale_image",
            {"model": "topaz-upscale-image", "source_image_url": SOURCE, "upscale_factor": 8},
            "upscale_factor",
        ),
        ("recraft/remove_background", {"model": "recraft-remove-background"}, "source_image_url"),
    ],
)
def test_a_wrong_field_is_named(api, path, body, field):
    """Each violated rule gets a 422 that names the field. No task is created."""
    response = api.post(f"/api/v1/{path}", body)
    assert response.status_code == 422
    assert response.json()["error"] == "Validation failed"
    assert field in response.json()["errors"]
    assert not api.sim.tasks


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("gpt_image_2/text_to_image", SDK | {"something_new": 1}),
        ("gpt_image_2/text_to_image", SDK | {"output_resolution": "4k", "aspect_ratio": "1:1"}),
        ("gpt_image_2/edit_image", EDIT),
        ("gpt_4o_image/text_to_image", {"aspect_ratio": "2:3", "source_image_urls": [SOURCE]}),
        ("flux_kontext/text_to_image", FLUX | {"image_url": SOURCE, "safety_tolerance": 2}),
        ("recraft/upscale_image", {"model": "recraft-crisp-upscale", "source_image_url": SOURCE}),
    ],
)
def test_valid_requests_are_accepted(api, path, body):
    """Unknown fields, unusual combinations and sources on foreign hosts are accepted."""
    assert api.post(f"/api/v1/{path}", body).status_code == 200


def test_a_body_that_is_not_an_object_is_refused(api):
    """Invalid JSON gets a 400."""
    assert api.post(NAMESPACED, None, content=b"{").status_code == 400


# Keys


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Basic abc"}, 401),
        ({"authorization": "Bearer bad-key"}, 401),
        ({"authorization": "Bearer forbidden-key"}, 403),
        ({"authorization": "Bearer broke-key"}, 402),
        ({"authorization": "Bearer runapi_anything"}, 200),
    ],
)
def test_keys_select_the_error(api, headers, status):
    """Missing and bad keys get a 401, forbidden ones a 403, broke ones a 402. Others work."""
    assert api.post(NAMESPACED, SDK, headers=headers).status_code == status


def test_a_key_is_never_kept(api):
    """The state shows whether a request had a key, but not the key."""
    api.post(NAMESPACED, SDK, headers={"authorization": "Bearer sk-very-secret"})
    api.get("/files/a/b.png", headers={})
    state = api.get("/_simulator/state", headers={})
    assert "sk-very-secret" not in state.text
    assert [request["authorized"] for request in state.json()["requests"]] == [True, False]


# Money


def test_a_task_is_charged_when_it_completes(api):
    """The balance decreases once, at completion. Bonus credits are spent first."""
    api.create(output_resolution="4k")
    assert api.get("/api/v1/me/balance").json()["balance_cents"] == 10_000
    api.finish()
    assert api.get("/api/v1/me/balance").json() == {
        "balance_cents": 9984,
        "paid_balance_cents": 9500,
        "bonus_balance_cents": 484,
        "spent_cents_today": 16,
        "spent_cents_total": 16,
    }


def test_spending_is_counted_by_day(api):
    """The balance shows the spending of today (UTC) and in total."""
    api.create()
    api.clock.advance(24 * 3600)
    found = api.sim.balance()
    assert (found["spent_cents_today"], found["spent_cents_total"]) == (0, 6)


def test_credits_are_reserved_while_tasks_run():
    """With 13 cents, two tasks of 6 cents are accepted. A third gets a 402 while they run."""
    api = make_api(balance_cents=13)
    codes = [api.post(NAMESPACED, SDK).status_code for _ in range(3)]
    assert codes == [200, 200, 402]


def test_a_failed_task_is_not_charged(api):
    """Its reservation is released."""
    api.sim.add_fault("status=failed,message=no dragons")
    task_id = api.create()
    assert api.status(task_id)["error"] == "no dragons"
    api.finish()
    assert (api.status(task_id)["status"], api.sim.charged_cents) == ("failed", 0)
    assert api.sim.reserved_cents == 0


def test_the_maximum_of_concurrent_tasks_is_counted(api):
    """Two overlapping tasks and a later one give a maximum of two."""
    api.create()
    api.create()
    api.finish()
    api.create()
    assert api.get("/_simulator/state").json()["max_concurrent"] == 2


def test_progress_is_text_and_only_with_gpt_4o(api):
    """gpt-4o-image returns its progress as a string such as "0.50"."""
    path = "/api/v1/gpt_4o_image/text_to_image"
    task_id = api.create(path, **GPT_4O)
    task = api.sim.tasks[task_id]
    api.clock.now = task.created + task.duration / 2
    assert api.get(f"{path}/{task_id}").json()["progress"] == "0.50"


def test_flux_answers_with_origin_url_and_the_format_asked_for(api):
    """Flux images have origin_url, and are JPEG if requested."""
    url = api.create_image("/api/v1/flux_kontext/text_to_image", **FLUX, output_format="jpeg")
    task = next(iter(api.sim.tasks))
    image = api.get(f"/api/v1/flux_kontext/text_to_image/{task}").json()["images"][0]
    assert image == {"url": url, "origin_url": url}
    assert (api.fetch_image(url).format, api.fetch_image(url).size) == (None, (1024, 576))
    assert api.get(url).headers["content-type"] == "image/jpeg"


def test_ids_differ_between_simulators_started_at_other_times():
    """A restarted simulator does not use an id again that is in a client's journal."""
    first, second = make_api(), make_api()
    second.clock.advance(1)
    assert first.create() != second.create()


@pytest.mark.parametrize("options", [{"speed": 0}, {"speed": float("nan")}, {"family": "all"}])
def test_an_invalid_simulator_is_refused(options):
    """A wrong argument raises a ValueError that names it."""
    with pytest.raises(ValueError, match=next(iter(options))):
        Simulator(**options)


def test_the_request_log_shortens_megabytes(api):
    """The log shortens a long base64 text and shows its length."""
    data = hashlib.sha256(b"x").hexdigest() * 1000
    api.post("/api/v1/files", {"source": {"type": "base64", "data": data}})
    kept = api.sim.requests[-1]["body"]["source"]["data"]
    assert kept.endswith("(64000 characters)")
    assert len(kept) < 200
