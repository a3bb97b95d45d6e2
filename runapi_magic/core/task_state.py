"""What is known of a task at the service, and so whether it was charged. Pure.

::

    PLANNED ──▶ SENT ──▶ KNOWN ──▶ DONE
       ▲          │
       └──────────┘ no byte has left, or the service refused

A task moves to SENT before its first byte leaves, and to KNOWN when the service names it. Only this
module words whether a task was charged: a charge is claimed or denied by what is known of the task,
never by where an error came from.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING

from runapi_magic.core.status import Stage
from runapi_magic.errors import (
    CHARGED,
    FAILED_IS_FREE,
    MAYBE_CHARGED,
    NOT_CHARGED,
    STILL_THERE,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InsufficientCreditsError,
    NotFoundError,
    PermissionDeniedError,
    RunAPIError,
    ValidationError,
    resume_advice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.core.protocols import TaskRow

_log = logging.getLogger(__name__)

_RESUME = "%runapi resume"
_ASK_AGAIN = (
    "%runapi resume asks again under the same idempotency key: it finds the picture,"
    " and nothing is paid twice."
)
_CONFLICT = "Look for it at runapi.ai. To pay for another: --new in a cell, new=True in Python."
# What has to be done before a task can be resumed.
_FIRST = (
    AuthenticationError,
    ConfigurationError,
    InsufficientCreditsError,
    PermissionDeniedError,
)
# A repeat that is refused like this says that the service has no task under its key.
_DENIALS = NotFoundError, ValidationError


class TaskState:
    """How far one task has come, and what that means for the money.

    Args:
        stage: Where it begins.
        task_id: The service's id, where it is known.

    Attributes:
        stage: How far it has come.
        task_id: The service's id, once it is known.
        is_charged: Whether the service charged it; None where that is not known. Only for DONE.
    """

    __slots__ = ("is_charged", "stage", "task_id")

    def __init__(self, stage: Stage = Stage.PLANNED, task_id: str | None = None) -> None:
        self.stage: Stage = stage
        self.task_id: str | None = task_id
        self.is_charged: bool | None = None

    @classmethod
    def of(cls, stored: TaskRow) -> TaskState:
        """Return the state that a row of the journal stands for."""
        if stored.state in {"completed", "saved"}:
            state = cls(Stage.DONE, stored.task_id)
            state.is_charged = True if stored.cost or stored.state == "saved" else None
            return state
        if stored.state == "failed":
            state = cls(Stage.DONE, stored.task_id)
            state.is_charged = False
            return state
        if stored.state in {"planned", "refused"}:
            return cls()
        is_known = stored.task_id is not None and stored.state != "forgotten"
        return cls(Stage.KNOWN if is_known else Stage.SENT, stored.task_id)

    def __repr__(self) -> str:
        return f"<TaskState {self.stage.value} {self.task_id or ''}>"

    # Transitions

    def send(self) -> None:
        """Note that bytes of the POST may leave from now on."""
        if self.stage is Stage.PLANNED:
            self.stage = Stage.SENT

    def know(self, task_id: str) -> None:
        """Note the id that the service gave the task."""
        self.stage, self.task_id = Stage.KNOWN, task_id

    def finish(self, *, has_images: bool) -> None:
        """Note that the service has completed the task; without images, its charge is open."""
        self.stage, self.is_charged = Stage.DONE, True if has_images else None

    def fail(self) -> None:
        """Note that the service could not complete the task."""
        self.stage, self.is_charged = Stage.DONE, False

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Take in what becomes of one POST, whose first byte ``send`` announces.

        Raises:
            RunAPIError: The error that was raised inside, worded by what is known now.
        """
        before = self.stage
        try:
            yield
        except RunAPIError as error:
            if error.task_id:  # refused, and yet there is a task
                self.stage, self.task_id = Stage.SENT, error.task_id
            elif not error.doubtful and (before is Stage.PLANNED or isinstance(error, _DENIALS)):
                self.stage = Stage.PLANNED
            raise self.explain(error) from None

    # What it means

    @property
    def is_free(self) -> bool:
        """Whether it is sure that the service charges nothing for it."""
        return self.stage is Stage.PLANNED or (
            self.stage is Stage.DONE and self.is_charged is False
        )

    @property
    def charged(self) -> str:
        """Whether it was charged, one sentence."""
        match self.stage:
            case Stage.PLANNED:
                return NOT_CHARGED
            case Stage.SENT:
                return MAYBE_CHARGED
            case Stage.KNOWN | Stage.JOINED:
                return STILL_THERE
            case Stage.DONE:
                return {True: CHARGED, False: FAILED_IS_FREE, None: MAYBE_CHARGED}[self.is_charged]

    def explain(self, error: RunAPIError) -> RunAPIError:
        """Let an error that ended the work on the task say whether it was charged; return it.

        Where nothing was charged, an error keeps its own words. Else its advice becomes how to get
        the images, after what has to be done before that.
        """
        error.task_id = error.task_id or self.task_id
        error.doubtful = self.stage is Stage.SENT
        if self.is_free or (self.stage is Stage.JOINED and error.charged):
            error.charged = error.charged or self.charged
            return error
        error.charged = self.charged
        advice = self._advice(error)
        if _RESUME not in error.todo and advice not in error.todo:  # it may be explained twice
            is_own = error.todo != error.default_todo or isinstance(error, _FIRST)
            error.todo = f"{error.todo} Then: {advice}" if is_own and error.todo else advice
        return error

    def as_runapi_error(self, error: Exception) -> RunAPIError:
        """Return any exception that ended the work on the task as an error for the user."""
        if isinstance(error, RunAPIError):
            # Several tasks may share one error that ended them, and differ in what they cost.
            return self.explain(error if self.is_free else copy(error))
        _log.error("unexpected", exc_info=error)
        what = f"Something unexpected happened ({type(error).__name__}: {error})."
        return self.explain(RunAPIError(what, todo="Please report this."))

    def _advice(self, error: RunAPIError) -> str:
        if self.stage is not Stage.SENT or self.task_id is not None:
            return resume_advice(self.task_id)
        # There is a task under this key, and no way to its id.
        return _CONFLICT if isinstance(error, ConflictError) else _ASK_AGAIN


@contextmanager
def free_of_charge() -> Iterator[None]:
    """Let the errors of calls that cost nothing say so."""
    try:
        yield
    except RunAPIError as error:
        error.charged = error.charged or NOT_CHARGED
        raise
