"""Tasks are read from every shape that the service is known to send, and from invalid JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.core.status import TaskStatus
from runapi_magic.core.task import Task, parse_task
from tests.properties import JSON, PROPERTY

WORDS = {
    "pending": TaskStatus.PENDING,
    "queued": TaskStatus.PENDING,
    "": TaskStatus.PENDING,
    "processing": TaskStatus.PROCESSING,
    "running": TaskStatus.PROCESSING,
    "completed": TaskStatus.COMPLETED,
    "complete": TaskStatus.COMPLETED,
    "succeeded": TaskStatus.COMPLETED,
    "success": TaskStatus.COMPLETED,
    "finished": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "error": TaskStatus.FAILED,
    "canceled": TaskStatus.FAILED,
    "cancelled": TaskStatus.FAILED,
    "timeout": TaskStatus.FAILED,
    "generate_failed": TaskStatus.FAILED,
    "create_task_failed": TaskStatus.FAILED,
    "mysterious": TaskStatus.UNKNOWN,
    "completed?": TaskStatus.UNKNOWN,
}


@pytest.mark.parametrize(("word", "status"), WORDS.items())
@pytest.mark.parametrize("spelling", [str, str.upper, str.title, lambda word: f" {word} "])
def test_status_words(word, status, spelling):
    """Each word for a status is understood in any case, and kept as it was sent."""
    task = parse_task({"id": "t", "status": spelling(word)})
    assert task.status is status
    assert task.word == spelling(word)


@pytest.mark.parametrize(
    ("status", "final"),
    [("pending", False), ("processing", False), ("completed", True), ("failed", True),
     ("unknown", False)],
)  # fmt: skip
def test_final_statuses(status, final):
    """Only completed and failed are final. An unknown word is not."""
    assert TaskStatus(status).is_final is final


def test_a_response_of_the_guide():
    """The guide's response to a create gives the id and the status."""
    task = parse_task(
        {"task_id": "tsk_abc123", "status": "pending", "model": "gpt-image-2-text-to-image"}
    )
    assert task == Task("tsk_abc123", TaskStatus.PENDING, "pending")


def test_a_completed_task():
    """A completed task has the URLs of its images in order, and its cost."""
    task = parse_task(
        {
            "id": "t",
            "status": "completed",
            "images": [{"url": "https://file.runapi.ai/a.png"}, {"url": "https://x/b.png"}],
            "usage": {"cost": 0.06, "generated_images": 2},
        }
    )
    assert task.image_urls == ("https://file.runapi.ai/a.png", "https://x/b.png")
    assert task.cost == 0.06


def test_a_failed_task():
    """A failed task has the service's reason."""
    task = parse_task({"id": "t", "status": "failed", "error": "too dark", "code": "policy"})
    assert (task.status, task.error) == (TaskStatus.FAILED, "too dark")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"error": {"code": "policy", "message": "too dark"}}, "too dark"),
        ({"error": {"code": "policy"}}, "policy"),
        ({"message": "too dark"}, "too dark"),
        ({"code": "policy"}, "policy"),
        ({"error": None}, ""),
        ({"error": ["x"]}, ""),
    ],
)
def test_reasons(data, error):
    """The reason of a failure is found in each place where the service may put it."""
    assert parse_task({"id": "t", "status": "failed", **data}).error == error


@pytest.mark.parametrize(
    ("data", "cost"),
    [
        ({"usage": {"cost": 0.1}}, 0.1),
        ({"usage": {"cost": 0}}, 0.0),
        ({"billing": {"cost": 0.2}}, 0.2),
        ({"usage": {"cost": 0.1}, "billing": {"cost": 0.2}}, 0.1),
        ({"usage": {}, "billing": {"cost": 0.2}}, 0.2),
        ({"usage": {"cost": "0.1"}}, None),
        ({"usage": {"cost": -1}}, None),
        ({"usage": {"cost": True}}, None),
        ({"usage": {"cost": math.nan}}, None),
        ({"usage": {"cost": math.inf}}, None),
        ({"usage": 3}, None),
        ({}, None),
    ],
)
def test_costs(data, cost):
    """The cost is read from either place. A value that is not a price gives None."""
    assert parse_task({"id": "t", **data}).cost == cost


@pytest.mark.parametrize(
    ("value", "progress"),
    [("0.45", 0.45), (0.45, 0.45), ("0", 0.0), (3, 1.0), (-1, 0.0), ("x", None), (None, None),
     ([], None), ("nan", None), ("inf", None)],
)  # fmt: skip
def test_progress(value, progress):
    """Progress is read from a text or a number, and limited to 0 to 1."""
    assert parse_task({"id": "t", "progress": value}).progress == progress


@pytest.mark.parametrize("data", [{"progress": 10**400}, {"usage": {"cost": 10**400}}])
def test_huge_numbers(data):
    """An integer that is too large for a float is ignored as a cost and as progress."""
    task = parse_task({"id": "t", **data})
    assert task.cost is None
    assert task.progress is None


@pytest.mark.parametrize(
    ("images", "urls"),
    [
        ([{"url": "a"}, "b"], ("a", "b")),
        ([{"url": ""}, {}, None, 3, {"url": 4}, {"url": "c"}], ("c",)),
        ({"url": "a"}, ()),
        ("a", ()),
        (None, ()),
    ],
)
def test_image_urls(images, urls):
    """URLs are read from a list of objects or texts. Other values are left out."""
    assert parse_task({"id": "t", "images": images}).image_urls == urls


@pytest.mark.parametrize(
    ("data", "task_id"),
    [({"id": "a", "task_id": "b"}, "a"), ({"task_id": "b"}, "b"), ({"id": 17}, "17"),
     ({"id": None, "task_id": "b"}, "b"), ({"id": True}, ""), ({}, "")],
)  # fmt: skip
def test_ids(data, task_id):
    """The id is read from either name, also if it is a number."""
    assert parse_task(data).id == task_id


def test_replayed():
    """Only if the service says so, the task existed before the create."""
    assert parse_task({"id": "a", "task_replayed": True}).replayed
    assert not parse_task({"id": "a", "task_replayed": "no"}).replayed


def _envelope(outer, **inner):
    return {"id": "tsk_1", "status": outer, "response": inner}


def test_an_envelope_of_a_completed_task():
    """The URL in the Location of a 202 gives the task in the envelope."""
    body = {"id": "other", "status": "completed", "images": [{"url": "u"}], "usage": {"cost": 1}}
    task = parse_task(_envelope("completed", status=200, body=body))
    assert task == Task("tsk_1", TaskStatus.COMPLETED, "completed", ("u",), cost=1.0)


def test_an_envelope_whose_body_has_no_status():
    """If the stored response has no status, the status of the envelope is used."""
    task = parse_task(_envelope("completed", status=200, body={"images": [{"url": "u"}]}))
    assert (task.status, task.image_urls) == (TaskStatus.COMPLETED, ("u",))


@pytest.mark.parametrize("body", [{"error": "too dark"}, "too dark", {"message": "too dark"}])
def test_an_envelope_of_a_failure(body):
    """A stored error response is a failed task with its reason."""
    task = parse_task(_envelope("completed", status=422, body=body))
    assert (task.id, task.status, task.error) == ("tsk_1", TaskStatus.FAILED, "too dark")


def test_an_envelope_with_its_reason_outside():
    """A reason outside the stored response is found too."""
    task = parse_task({**_envelope("failed", status=500, body=None), "error": "too dark"})
    assert (task.status, task.error) == (TaskStatus.FAILED, "too dark")


@pytest.mark.parametrize(
    "response", [None, {}, {"status": None, "body": None}, {"status": True}, {"status": 0}]
)
def test_a_response_without_an_http_status(response):
    """A running task whose stored response has no HTTP status is not a failed task."""
    task = parse_task({"id": "tsk_1", "status": "processing", "response": response})
    assert (task.id, task.status) == ("tsk_1", TaskStatus.PROCESSING)


@pytest.mark.parametrize("data", [None, [], "completed", 3, True, 1.5, [{"id": "t"}]])
def test_json_that_is_not_an_object(data):
    """JSON that is not an object is a task without id and with unknown status."""
    assert parse_task(data) == Task("", TaskStatus.UNKNOWN)


def test_with_id():
    """``with_id`` changes only the id."""
    task = parse_task({"status": "completed", "images": ["u"]})
    assert task.with_id("tsk_2") == Task("tsk_2", TaskStatus.COMPLETED, "completed", ("u",))


def test_urls_are_not_in_the_repr():
    """The repr of a task does not contain the URLs of its images."""
    assert "https" not in repr(parse_task({"id": "t", "images": ["https://x/y.png"]}))


_KEYS = st.sampled_from(
    ["id", "task_id", "status", "images", "error", "message", "code", "usage", "billing",
     "progress", "response", "task_replayed", "body", "url", "cost"]
)  # fmt: skip
_VALUES = JSON | st.sampled_from(["completed", "failed", 200, "https://x/y.png"])
_TASKS = st.recursive(
    st.dictionaries(_KEYS, _VALUES, max_size=6),
    lambda inside: st.dictionaries(_KEYS, inside | _VALUES | st.lists(inside), max_size=6),
    max_leaves=6,
)


@PROPERTY
@given(_TASKS | JSON)
def test_any_json_is_a_task(data):
    """Any JSON gives a task with values of the promised types."""
    task = parse_task(data)
    assert isinstance(task.id, str)
    assert all(isinstance(url, str) and url for url in task.image_urls)
    assert task.cost is None or (math.isfinite(task.cost) and task.cost >= 0)
    assert task.progress is None or 0 <= task.progress <= 1


def test_envelopes_in_envelopes():
    """Envelopes that are nested as deeply as the JSON decoder allows cause no error."""
    text = '{"response":{"status":200,"body":' * 400 + "{}" + "}}" * 400
    assert parse_task(json.loads(text)).id == ""
