"""The limit on create requests per second."""

from __future__ import annotations

import pytest

from runapi_magic.simulator import Simulator

from .conftest import make_api

CREATE = "/api/v1/gpt_image_2/text_to_image"
BODY = {"model": "gpt-image-2", "prompt": "a red fox"}


def test_a_limit_counts_each_second_and_each_key():
    """Above the limit a key gets a 429 with Retry-After. Other keys are not affected."""
    api = make_api(rate=2)
    statuses = []
    for wait in (0, 0.5, 0.25, 0.25, 0.1):
        api.clock.advance(wait)
        statuses.append(api.post(CREATE, BODY).status_code)
    assert statuses == [200, 200, 429, 200, 429]
    response = api.post(CREATE, BODY)
    assert (response.headers["retry-after"], response.json()["error"]["code"]) == (
        "1",
        "rate_limited",
    )
    assert api.post(CREATE, BODY, headers={"authorization": "Bearer other"}).status_code == 200
    assert len(api.sim.tasks) == 4


def test_polls_are_not_limited():
    """Only create requests are counted."""
    api = make_api(rate=1)
    task_id = api.create()
    assert [api.get(f"/v1/tasks/{task_id}").status_code for _ in range(5)] == [200] * 5


def test_a_negative_limit_is_an_error():
    """A limit below 0 raises a ValueError."""
    with pytest.raises(ValueError, match="rate must be 0 or more"):
        Simulator(rate=-1)
