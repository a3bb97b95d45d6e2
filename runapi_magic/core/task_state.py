"""The state of a task at the service, and whether the task was charged. Pure.

::

    PLANNED ──▶ SENT ──▶ KNOWN ──▶ DONE
       ▲          │
       └──────────┘ nothing was sent, or the service refused the request

A task becomes SENT before its first byte is sent, and KNOWN when the service returns its id. Only
this module decides what a message says about the charge. It depends on the state of the task, and
not on the place where an error occurred.
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
    STILL_RUNNING,
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
    "%runapi resume repeats the request with the same idempotency key: you get the image and do"
    " not pay twice."
)
_CONFLICT = (
    "Look for it at runapi.ai. To make and pay for another one: --new in a cell, new=True in"
    " Python."
)
# Errors whose cause must be fixed before a task can be resumed.
_FIX_FIRST = (
    AuthenticationError,
    ConfigurationError,
    InsufficientCreditsError,
    PermissionDeniedError,
)
# If a repeat fails with one of these, the service has no task with its key.
_DENIALS = NotFoundError, ValidationError


class TaskState:
    """The state of one task.

    Args:
        stage: The first stage.
        task_id: The service's id, if it is known.

    Attributes:
        stage: The current stage.
        task_id: The service's id; None while it is not known.
        is_charged: Whether the service charged the task; None if that is not known. It has a
            meaning only in the stage DONE.
    """

    __slots__ = ("is_charged", "stage", "task_id")

    def __init__(self, stage: Stage = Stage.PLANNED, task_id: str | None = None) -> None:
        self.stage: Stage = stage
        self.task_id: str | None = task_id
        self.is_charged: bool | None = None

    @classmethod
    def of(cls, stored: TaskRow) -> TaskState:
        """Return the state for a row of the journal."""
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
        """Note that the first byte of the create is sent now."""
        if self.stage is Stage.PLANNED:
            self.stage = Stage.SENT

    def know(self, task_id: str) -> None:
        """Note the id that the service returned."""
        self.stage, self.task_id = Stage.KNOWN, task_id

    def finish(self, *, has_images: bool) -> None:
        """Note that the service completed the task. Without images, the charge is not known."""
        self.stage, self.is_charged = Stage.DONE, True if has_images else None

    def fail(self) -> None:
        """Note that the service reported the task as failed."""
        self.stage, self.is_charged = Stage.DONE, False

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Update the state when a create, inside this context, fails.

        Raises:
            RunAPIError: The error of the create. Its message says whether the task was charged.
        """
        before = self.stage
        try:
            yield
        except RunAPIError as error:
            if error.task_id:  # the service refused the request, but there is a task
                self.stage, self.task_id = Stage.SENT, error.task_id
            elif not error.doubtful and (before is Stage.PLANNED or isinstance(error, _DENIALS)):
                self.stage = Stage.PLANNED
            raise self.explain(error) from None

    # The charge

    @property
    def is_free(self) -> bool:
        """Whether it is certain that the service does not charge the task."""
        return self.stage is Stage.PLANNED or (
            self.stage is Stage.DONE and self.is_charged is False
        )

    @property
    def charged(self) -> str:
        """A sentence that says whether the task was charged."""
        match self.stage:
            case Stage.PLANNED:
                return NOT_CHARGED
            case Stage.SENT:
                return MAYBE_CHARGED
            case Stage.KNOWN | Stage.JOINED:
                return STILL_RUNNING
            case Stage.DONE:
                return {True: CHARGED, False: FAILED_IS_FREE, None: MAYBE_CHARGED}[self.is_charged]

    def explain(self, error: RunAPIError) -> RunAPIError:
        """Add the charge of the task to an error that ended the work on it, and return the error.

        If nothing was charged, the error keeps its own text. Otherwise its advice becomes how to
        get the images, after any cause that must be fixed first.
        """
        error.task_id = error.task_id or self.task_id
        error.doubtful = self.stage is Stage.SENT
        if self.is_free or (self.stage is Stage.JOINED and error.charged):
            error.charged = error.charged or self.charged
            return error
        error.charged = self.charged
        advice = self._advice(error)
        # An error may be explained twice. Add the advice once.
        if _RESUME not in error.todo and advice not in error.todo:
            is_own = error.todo != error.default_todo or isinstance(error, _FIX_FIRST)
            error.todo = f"{error.todo} Then: {advice}" if is_own and error.todo else advice
        return error

    def as_runapi_error(self, error: Exception) -> RunAPIError:
        """Return an error for the user, for any exception that ended the work on the task."""
        if isinstance(error, RunAPIError):
            # Several tasks may end with the same error object, but with different charges.
            return self.explain(error if self.is_free else copy(error))
        _log.error("unexpected", exc_info=error)
        what = f"An unexpected error occurred ({type(error).__name__}: {error})."
        return self.explain(RunAPIError(what, todo="Please report this."))

    def _advice(self, error: RunAPIError) -> str:
        if self.stage is not Stage.SENT or self.task_id is not None:
            return resume_advice(self.task_id)
        # The service has a task with this key, but its id is not known.
        return _CONFLICT if isinstance(error, ConflictError) else _ASK_AGAIN


@contextmanager
def free_of_charge() -> Iterator[None]:
    """Add to errors, inside this context, that nothing was charged."""
    try:
        yield
    except RunAPIError as error:
        error.charged = error.charged or NOT_CHARGED
        raise
