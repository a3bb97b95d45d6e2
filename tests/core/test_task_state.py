"""The state of a task decides what a message says about the charge."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.core.cancellation import finish_despite_cancellation
from runapi_magic.core.status import Stage
from runapi_magic.core.task_state import TaskState
from runapi_magic.errors import (
    CHARGED,
    FAILED_IS_FREE,
    MAYBE_CHARGED,
    NOT_CHARGED,
    NOT_SENT,
    STILL_RUNNING,
    AuthenticationError,
    BudgetError,
    ConflictError,
    ConnectionFailedError,
    DownloadError,
    InsufficientCreditsError,
    InvalidRequestError,
    NotFoundError,
    RunAPIError,
    UnsafeURLError,
    ValidationError,
)


def _api(kind, status=422, **more):
    return kind("no", status_code=status, **more)


def _state(*steps):
    state = TaskState()
    for name, *values in steps:
        options = values[0] if values and isinstance(values[0], dict) else {}
        getattr(state, name)(*([] if options else values), **options)
    return state


def _post(state, error):
    with state.sending():
        state.send()
        raise error


SENT = [("send",)]
KNOWN = [*SENT, ("know", "tsk_1")]
WAYS = {
    NOT_CHARGED: [],
    MAYBE_CHARGED: SENT,
    STILL_RUNNING: KNOWN,
    CHARGED: [*KNOWN, ("finish", {"has_images": True})],
    FAILED_IS_FREE: [*KNOWN, ("fail",)],
}


@pytest.mark.parametrize(("charged", "steps"), WAYS.items(), ids=list(WAYS))
@pytest.mark.parametrize(
    "kind",
    [RunAPIError, DownloadError, UnsafeURLError, ConnectionFailedError, AuthenticationError],
)
def test_the_state_decides_about_the_charge(charged, steps, kind):
    """The text about the charge depends on the state of the task, for any error."""
    error = _api(kind, 401) if kind is AuthenticationError else kind("x")
    explained = _state(*steps).as_runapi_error(error)
    assert explained.charged == charged
    may_be_charged = charged in {MAYBE_CHARGED, STILL_RUNNING, CHARGED}
    assert ("%runapi resume" in explained.todo) == may_be_charged


def test_completed_without_an_image():
    """A task that was completed without an image may have been charged."""
    state = _state(*KNOWN, ("finish", {"has_images": False}))
    assert state.explain(RunAPIError("x")).charged == MAYBE_CHARGED


@pytest.mark.parametrize("error", [InvalidRequestError("x"), BudgetError("x")])
def test_errors_before_sending_keep_their_text(error):
    """An error that says that nothing was sent keeps this text while it is true."""
    assert _state().explain(error).charged == NOT_SENT
    assert _state(*SENT).explain(error).charged == MAYBE_CHARGED


@pytest.mark.parametrize(
    ("before", "error", "doubtful", "after"),
    [
        ([], _api(ValidationError), False, Stage.PLANNED),
        ([], ConnectionFailedError("x"), False, Stage.PLANNED),
        ([], ConnectionFailedError("x"), True, Stage.SENT),
        ([], _api(ValidationError, task_id="tsk_1"), False, Stage.SENT),
        # The service may have accepted what another kernel sent, whatever it answers to a repeat.
        (SENT, _api(AuthenticationError, 401), False, Stage.SENT),
        (SENT, _api(InsufficientCreditsError, 402), False, Stage.SENT),
        (SENT, ConnectionFailedError("x"), False, Stage.SENT),
        (SENT, _api(ValidationError), False, Stage.PLANNED),
        (SENT, _api(NotFoundError, 404), False, Stage.PLANNED),
        (SENT, _api(NotFoundError, 404), True, Stage.SENT),
    ],
)
def test_a_failed_create(before, error, doubtful, after):
    """A refused task is free only if nothing was sent before, or if the service denies it."""
    state = _state(*before)
    error.doubtful = doubtful
    with pytest.raises(type(error)) as raised:
        _post(state, error)
    assert state.stage is after
    assert raised.value.charged == (NOT_CHARGED if after is Stage.PLANNED else MAYBE_CHARGED)
    assert raised.value.doubtful == (after is Stage.SENT)


def test_an_exception_before_the_first_byte_is_free():
    """An unexpected exception is doubtful only if something may have been sent before it."""
    state = TaskState()
    assert state.as_runapi_error(RuntimeError("a lock of another loop")).charged == NOT_CHARGED
    state.send()
    assert state.as_runapi_error(RuntimeError("a broken answer")).charged == MAYBE_CHARGED


def test_an_error_is_not_shared_between_tasks():
    """If one error ends two tasks, each task gets its own text about the charge."""
    error = RunAPIError("the disk is full")
    one, other = _state(*KNOWN), _state(*SENT)
    first, second = one.as_runapi_error(error), other.as_runapi_error(error)
    assert (first.task_id, first.charged) == ("tsk_1", STILL_RUNNING)
    assert (second.task_id, second.charged) == (None, MAYBE_CHARGED)


def test_a_conflict_offers_no_repeat():
    """If the service has a task with the key but does not return it, a repeat does not help."""
    todo = _state(*SENT).explain(_api(ConflictError, 409)).todo
    assert "--new" in todo
    assert "%runapi resume" not in todo


@pytest.mark.parametrize("kind", [ConflictError, InsufficientCreditsError, ValidationError])
def test_advice_is_given_once(kind):
    """An error that is explained several times has each advice once."""
    once = _state(*SENT).explain(_api(kind, 409))
    thrice = _api(kind, 409)
    for _ in range(3):
        thrice = _state(*SENT).as_runapi_error(thrice)
    assert str(thrice) == str(once)


def test_the_first_step_is_first_in_the_advice():
    """An invalid key must be replaced first. Then the task is resumed."""
    todo = _state(*KNOWN).explain(_api(AuthenticationError, 401)).todo
    assert todo.index("login") < todo.index("%runapi resume tsk_1")


@pytest.mark.parametrize(
    ("row", "stage", "is_charged"),
    [
        ({"state": "planned"}, Stage.PLANNED, None),
        ({"state": "refused"}, Stage.PLANNED, None),
        ({"state": "sent"}, Stage.SENT, None),
        ({"state": "running", "task_id": "t"}, Stage.KNOWN, None),
        ({"state": "forgotten", "task_id": "t"}, Stage.SENT, None),
        ({"state": "completed", "task_id": "t", "cost": 0.06}, Stage.DONE, True),
        ({"state": "completed", "task_id": "t"}, Stage.DONE, None),
        ({"state": "saved", "task_id": "t"}, Stage.DONE, True),
        ({"state": "failed", "task_id": "t"}, Stage.DONE, False),
    ],
)
def test_a_row_of_the_journal(row, stage, is_charged):
    """A row of the journal gives the state in which its kernel left the task."""
    state = TaskState.of(SimpleNamespace(**{"task_id": None, "cost": None, **row}))
    assert (state.stage, state.is_charged, state.task_id) == (stage, is_charged, row.get("task_id"))


@given(
    st.lists(st.sampled_from(["send", "know", "finish", "fail", "refused", "lost"]), max_size=12)
)
def test_no_claim_without_knowledge(steps):
    """After any steps: free only if failed or not sent, charged only if the images were made."""
    state, may_exist, is_made = TaskState(), False, None
    for step in steps:
        match step:
            case "send":
                state.send()
                may_exist = True
            case "know":
                state.know("tsk_1")
                may_exist, is_made = True, None
            case "finish":
                state.finish(has_images=True)
                may_exist, is_made = True, True
            case "fail":
                state.fail()
                may_exist, is_made = True, False
            case "refused" | "lost":
                was = state.stage
                error = _api(ValidationError) if step == "refused" else RunAPIError("x")
                error.doubtful = step == "lost"
                with pytest.raises(RunAPIError):
                    _post(state, error)
                may_exist = may_exist if was is not Stage.PLANNED else step == "lost"
                if step == "refused":
                    may_exist, is_made = False, None
    charged = state.explain(RunAPIError("x")).charged
    assert (charged in {NOT_CHARGED, FAILED_IS_FREE}) <= (not may_exist or is_made is False)
    assert (charged == CHARGED) <= (is_made is True)


def test_work_finishes_despite_cancellations():
    """After three cancellations, the work is finished once. Then the cancellation is raised."""
    done, cancelled = [], []

    async def work(go):
        await go.wait()
        done.append("all")
        return "result"

    async def main():
        go = asyncio.Event()
        waiting = asyncio.ensure_future(
            finish_despite_cancellation(work(go), lambda: cancelled.append(1))
        )
        for _ in range(3):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    assert asyncio.run(main())
    assert (done, len(cancelled)) == (["all"], 3)


def test_an_error_of_the_work_is_raised():
    """An error of the work is raised even if there was a cancellation."""

    async def work(go):
        await go.wait()
        raise RunAPIError("refused")

    async def main():
        go = asyncio.Event()
        waiting = asyncio.ensure_future(finish_despite_cancellation(work(go)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(RunAPIError, match="refused"):
            await waiting

    asyncio.run(main())
