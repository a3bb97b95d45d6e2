"""Account, prices and the simulator's own routes."""

import pytest

from runapi_magic.simulator.catalog import CONTRACTS

QUOTES = "/api/v1/price_quotes"


def test_me(api):
    """The account has the fields that the SDK needs."""
    found = api.get("/api/v1/me").json()
    assert isinstance(found["id"], int)
    assert set(found) == {"id", "name", "email", "account"}


def test_a_broke_account_has_no_credits(api):
    """A key that starts with "broke" has an empty balance."""
    found = api.get("/api/v1/me/balance", headers={"authorization": "Bearer broke"}).json()
    assert found["balance_cents"] == 0


@pytest.mark.parametrize(
    ("service", "action", "model", "params", "cents"),
    [
        ("gpt_image_2", "text_to_image", "gpt-image-2", {}, 6),
        (
            "gpt_image_2",
            "text_to_image",
            "gpt-image-2-text-to-image",
            {"output_resolution": "2k"},
            10,
        ),
        ("gpt_image_2", "edit_image", "gpt-image-2", {"output_resolution": "4k"}, 16),
        ("gpt_image", "text_to_image", "gpt-image-1.5", {"quality": "medium"}, 4),
        ("gpt_image", "text_to_image", "gpt-image-1.5", {"quality": "high"}, 22),
        ("gpt_4o_image", "text_to_image", "gpt-4o-image", {"output_count": 1}, 6),
        ("gpt_4o_image", "text_to_image", None, {"output_count": 2}, 7),
        ("gpt_4o_image", "text_to_image", None, {"output_count": 4}, 8),
        ("flux_kontext", "text_to_image", "flux-kontext-pro", None, 5),
        ("flux_kontext", "text_to_image", "flux-kontext-max", None, 10),
        ("topaz", "upscale_image", "topaz-upscale-image", {"upscale_factor": 2}, 10),
        ("topaz", "upscale_image", "topaz-upscale-image", {"upscale_factor": 4}, 20),
        ("recraft", "remove_background", "recraft-remove-background", {}, 1),
    ],
)
def test_quote_returns_the_price(api, service, action, model, params, cents):  # noqa: PLR0917 - a table's columns
    """Every documented price can be quoted without a prompt. A quote creates no task."""
    body = {"service": service, "action": action, "model": model, "params": params}
    quote = api.post(QUOTES, body).json()["price_quote"]
    assert quote["reservation_amount_cents"] == cents
    assert (quote["currency"], quote["as_of"]) == ("USD", "2027-01-15T08:00:00Z")
    assert not api.sim.tasks


@pytest.mark.parametrize(
    "body",
    [
        {"service": "gpt_image_2", "action": "text_to_image", "model": "dall-e"},
        {
            "service": "gpt_image_2",
            "action": "text_to_image",
            "model": "gpt-image-2",
            "params": {"output_resolution": "9k"},
        },
        {
            "service": "gpt_image_2",
            "action": "text_to_image",
            "model": "gpt-image-2",
            "params": ["4k"],
        },
        {},
    ],
)
def test_invalid_quote_gets_a_422(api, body):
    """Unknown models and wrong values get a 422."""
    assert api.post(QUOTES, body).status_code == 422


def test_prices_need_no_key(api):
    """Schedules and quotes need no key and have the status "available"."""
    body = {"service": "gpt_image_2", "action": "text_to_image", "model": "gpt-image-2"}
    quote = api.post(QUOTES, body, headers={}).json()["price_quote"]
    assert quote["pricing_status"] == "available"
    schedules = api.get("/api/v1/price_schedules", headers={}).json()["price_schedules"]
    assert {schedule["pricing_status"] for schedule in schedules} == {"available"}


def test_schedules_can_be_filtered(api):
    """Without filters all contracts are listed. Service, action and model filter the list."""
    listed = api.get("/api/v1/price_schedules").json()["price_schedules"]
    assert len(listed) == len(CONTRACTS)
    query = {"service": "topaz", "model": "topaz-upscale-image"}
    (one,) = api.get("/api/v1/price_schedules", params=query).json()["price_schedules"]
    assert one["billing_config"] == {
        "parameter": "upscale_factor",
        "price_cents": {"1": 10, "2": 10, "4": 20},
    }
    (old,) = api.get(
        "/api/v1/price_schedules",
        params={"model": "gpt-image-2-text-to-image", "action": "text_to_image"},
    ).json()["price_schedules"]
    assert old["unit_price_cents"] == 6


def test_state_lists_tasks_and_requests(api):
    """The state has all tasks and requests, but not the request for the state itself."""
    task_id = api.create(prompt="a fox")
    state = api.get("/_simulator/state", headers={}).json()
    (task,) = state["tasks"]
    assert (task["id"], task["action"], task["status"]) == (task_id, "text_to_image", "pending")
    (request,) = state["requests"]
    assert (request["method"], request["body"]["prompt"]) == ("POST", "a fox")
    assert "authorization" in request["headers"]
    assert (state["tasks_created"], state["charged_cents"]) == (1, 0)


def test_faults_are_set_and_cleared_by_route(api):
    """A fault is added as text or in a list. DELETE removes all.

    An invalid fault gets a 422, and no fault of its list is added.
    """
    path = "/_simulator/faults"
    assert api.request("POST", path, content="create=503,times=1").status_code == 201
    assert api.post(path, ["balance=500", "quote=slow"]).json()["added"] == [
        "balance=500",
        "quote=slow",
    ]
    assert api.post(path, "create=oops").status_code == 422
    assert api.post(path, ["upload=503", "create=oops"]).status_code == 422
    assert [fault.spec for fault in api.sim.faults[1:]] == ["balance=500", "quote=slow"]
    assert api.get("/api/v1/me/balance").status_code == 500
    assert api.request("DELETE", path).status_code == 200
    assert api.get("/api/v1/me/balance").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/v1/me", 405),
        ("GET", "/v1/text_to_image", 405),
    ],
)
def test_unknown_routes_return_json(api, method, path, status):
    """404 and 405 have a JSON body."""
    response = api.request(method, path)
    assert (response.status_code, "No route" in response.json()["error"]["message"]) == (
        status,
        True,
    )
