"""Error responses become errors. Errors say what happened, whether it was charged, what to do."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runapi_magic
from runapi_magic import errors
from runapi_magic.core.task_state import TaskState
from runapi_magic.errors import (
    APIError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    DownloadError,
    InsufficientCreditsError,
    InvalidRequestError,
    MissingKeyError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    RunAPIError,
    ServerError,
    TaskFailedError,
    TaskTimeoutError,
    UnsafeURLError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from runapi_magic.http.responses import error_from_response, read_reason
from runapi_magic.notebook import commands
from tests.properties import JSON, PROPERTY

STATUSES = {
    400: ValidationError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: NotFoundError,
    408: ServerError,
    409: ConflictError,
    410: NotFoundError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError,
    422: ValidationError,
    429: RateLimitError,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    505: ServerError,
    599: ServerError,
    307: APIError,
    418: APIError,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_each_status_has_its_class(status, kind):
    """Each status becomes the class in the tree of the module, and the error keeps the status."""
    error = error_from_response(status, {}, b'{"error":"no"}')
    assert type(error) is kind
    assert error.status_code == status
    assert error.what.endswith(f"({status}): no")


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_three_parts(status):
    """For each status the message says what happened, whether it was charged and what to do."""
    error = TaskState().explain(error_from_response(status, {}, b""))
    assert [bool(part.strip()) for part in error.parts] == [True, True, True]
    assert str(error).splitlines()[0] == f"{type(error).title} ({status})."


BODIES = {
    "string": ({"error": "too dark"}, "too dark", None),
    "object": ({"error": {"code": "rate_limited", "message": "slow"}}, "slow", "rate_limited"),
    "only a code": ({"error": {"code": "too_dark"}}, "too_dark", "too_dark"),
    "validation": (
        {"error": "Validation failed", "errors": {"prompt": ["is required", "is short"]}},
        "Validation failed: prompt is required, is short",
        None,
    ),
    "several fields": (
        {"errors": {"prompt": ["is required"], "model": "unknown"}},
        "prompt is required; model unknown",
        None,
    ),
    "error and code": ({"error": "wait", "code": "source_task_not_ready"}, "wait",
                       "source_task_not_ready"),
    "message": ({"message": "hello"}, "hello", None),
    "detail": ({"detail": "hello"}, "hello", None),
    "errorMessage": ({"errorMessage": "hello"}, "hello", None),
    "msg": ({"msg": "hello"}, "hello", None),
    "list": ({"errors": ["one", "two"]}, "one; two", None),
    "text in quotes": ("hello", "hello", None),
    "empty object": ({}, "", None),
    "list alone": (["one"], "", None),
    "number": (3, "", None),
    "null": (None, "", None),
    "wrong types": ({"error": 5, "message": ["x"], "code": 7, "errors": 3}, "", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "reason", "code"), BODIES.values(), ids=BODIES)
def test_json_bodies_are_read(body, reason, code):
    """Each JSON shape of an error body gives the service's message and code."""
    assert read_reason(json.dumps(body).encode(), "application/json") == (reason, code)


RAW = {
    "text": (b"  Service\n unavailable ", "text/plain", "Service unavailable"),
    "nothing": (b"", "", ""),
    "page by type": (
        b"<p>x<title>Bad\n gateway</title>",
        "text/html; charset=utf-8",
        "Bad gateway",
    ),
    "page by start": (b"<!DOCTYPE html><TITLE lang='en'>Gone</TITLE>", "", "Gone"),
    "page without title": (b"<html><body>secret detail</body></html>", "text/html", ""),
    "half a JSON": (b'{"error": "to', "application/json", '{"error": "to'),
    "not UTF-8": (b"\xff\xfe broken", "", "\ufffd\ufffd broken"),
}


@pytest.mark.parametrize(("body", "kind", "reason"), RAW.values(), ids=RAW)
def test_other_bodies_are_read(body, kind, reason):
    """Plain text, an empty body, a web page and broken JSON give their readable part."""
    assert read_reason(body, kind) == (reason, None)


def test_a_long_reason_is_cut():
    """A long message is cut to 400 characters and ends with an ellipsis."""
    reason, _ = read_reason(b"x" * 5000)
    assert len(reason) == 400
    assert reason.endswith("…")


@PROPERTY
@given(st.binary(), st.sampled_from(["", "text/html", "application/json", "text/plain"]))
def test_any_bytes_are_read(body, kind):
    """Any bytes give one short line, and no exception."""
    reason, code = read_reason(body, kind)
    assert len(reason) <= 400
    assert "\n" not in reason
    assert code is None or isinstance(code, str)


@PROPERTY
@given(JSON)
def test_any_json_is_read(data):
    """Any JSON gives one short line, and no exception."""
    reason, code = read_reason(json.dumps(data).encode(), "application/json")
    assert len(reason) <= 400
    assert "\n" not in reason
    assert code is None or isinstance(code, str)


def test_a_deeply_nested_body_is_read():
    """JSON that is nested too deeply is read as text."""
    reason, code = read_reason(b"[" * 100_000)
    assert reason.startswith("[[[")
    assert code is None


def test_headers_become_ids():
    """The ids of task and request are read from the headers and shown in the first line."""
    error = error_from_response(
        500, {"x-runapi-task-id": "tsk_1", "x-request-id": "req_2"}, b"", retry_after=1.5
    )
    assert (error.task_id, error.request_id, error.retry_after) == ("tsk_1", "req_2", 1.5)
    assert "task tsk_1, request req_2" in error.parts[0]


def test_an_error_with_a_task_may_be_charged():
    """An error that names a task does not say that nothing was charged."""
    error = error_from_response(500, {"x-runapi-task-id": "tsk_1"}, b"")
    assert error.charged == errors.MAYBE_CHARGED
    assert "resume" in error.todo


def test_an_id_is_not_named_twice():
    """A task id that is already in the sentence is not repeated in parentheses."""
    error = TaskTimeoutError("Task tsk_1 was not finished.", task_id="tsk_1")
    assert str(error).count("tsk_1") == 1


@pytest.mark.parametrize(
    ("error", "charged"),
    [
        (InvalidRequestError("x"), errors.NOT_SENT),
        (MissingKeyError("x"), errors.NOT_SENT),
        (ConnectionFailedError("x"), ""),
        (UnsafeURLError("x"), ""),
        (TaskFailedError("x"), "Failed tasks are not charged."),
        (TaskTimeoutError("x"), errors.STILL_RUNNING),
        (DownloadError("x"), ""),
    ],
)
def test_each_kind_says_whether_it_was_charged(error, charged):
    """A class of errors mentions the charge only if that is certain for all its errors."""
    assert error.charged == charged


def test_parts_can_be_overridden():
    """An error can be raised with its own texts for the charge and the advice."""
    error = RunAPIError("What.", charged="Money.", todo="Do.", task_id="tsk_9")
    assert error.parts == ("What (task tsk_9).", "Money.", "Do.")
    assert str(error) == "What (task tsk_9).\nMoney.\nDo."


def test_no_traceback_is_shown():
    """IPython shows the three lines instead of a traceback."""
    lines = InvalidRequestError("The prompt is empty.", todo="Write one.")._render_traceback_()
    assert lines == [
        "InvalidRequestError: The prompt is empty.",
        "Nothing was sent, nothing was charged.",
        "Write one.",
    ]


def test_the_tree_is_complete():
    """Every class of the module is in the tree of the module's docstring."""
    drawn = set(re.findall(r"\w+Error\b", errors.__doc__ or ""))
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, RunAPIError)
    }
    assert drawn == classes


def test_advice_names_commands_that_exist():
    """Every ``%runapi`` command in a text of the package exists."""
    folder = Path(runapi_magic.__file__).parent
    sources = [path.read_text("utf-8") for path in folder.rglob("*.py")]
    named = {word for text in sources for word in re.findall(r"%runapi ([a-z]+)", text)}
    prose = {"has"}
    assert named - prose <= set(commands.COMMANDS)
    assert "login" in named
