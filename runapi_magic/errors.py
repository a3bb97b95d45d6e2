"""The exceptions.

Every error says three things: what happened, whether it was charged, what to do now.

    RunAPIError
    ├── InvalidRequestError        found before anything was sent
    ├── ConfigurationError         base URL, key file, settings
    │   └── MissingKeyError
    ├── BudgetError                it would cost more than is allowed
    ├── APIError                   the service answered with an error status
    │   ├── ValidationError            400 422
    │   ├── AuthenticationError        401
    │   ├── InsufficientCreditsError   402
    │   ├── PermissionDeniedError      403
    │   ├── NotFoundError              404 405 410
    │   ├── ConflictError              409
    │   ├── PayloadTooLargeError       413
    │   ├── UnsupportedMediaTypeError  415
    │   ├── RateLimitError             429
    │   └── ServerError                408 5xx
    ├── ConnectionFailedError      no answer, or one that is no answer of RunAPI's
    │   └── CertificateError           the host's certificate is not trusted
    ├── TaskFailedError            the task ended without pictures
    ├── TaskTimeoutError           the deadline passed while the task was under way
    ├── DownloadError              the picture could not be fetched
    └── UnsafeURLError             an address that a client with a key must not follow
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

NOT_SENT = "Nothing was sent, nothing was charged."
NOT_CHARGED = "Not charged."
MAYBE_CHARGED = "It may have been charged."
STILL_THERE = "The task goes on at the service and may be charged."
CHARGED = "The task was completed, so it was charged."
FAILED_IS_FREE = "Failed tasks are not charged."

_LONGEST_ID = 100  # characters shown


def resume_advice(task_id: str | None) -> str:
    """Return how to get a task's picture later."""
    return f"%runapi resume{f' {task_id}' if task_id else ''} looks for its picture again."


class RunAPIError(Exception):
    """What went wrong, in the three parts that a user needs.

    Attributes:
        what: What happened, one sentence.
        charged: Whether it was charged.
        todo: What to do now.
        task_id: The task's id, once one is known.
        request_id: The service's ``x-request-id``, for a question to its support.
        doubtful: Whether the service may have done what was asked although it did not say so.

    An error claims or denies a charge only where that is certain from its kind; else
    ``task_state.TaskState`` words it.
    """

    default_charged: ClassVar[str] = ""
    default_todo: ClassVar[str] = ""

    def __init__(
        self,
        what: str,
        *,
        charged: str | None = None,
        todo: str | None = None,
        task_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.charged: str = self.default_charged if charged is None else charged
        self.todo: str = self.default_todo if todo is None else todo
        self.task_id = task_id
        self.request_id = request_id
        self.doubtful = False

    def __str__(self) -> str:
        return "\n".join(self.parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without calling the class, which takes more than ``args``."""
        return _restore, (type(self), self.args, dict(vars(self)))

    @property
    def parts(self) -> tuple[str, ...]:
        """What happened, whether it was charged, what to do: the lines to show."""
        what = self.what
        references = [
            f"{label} {''.join(filter(str.isprintable, value))[:_LONGEST_ID]}"
            for label, value in (("task", self.task_id), ("request", self.request_id))
            if value and value not in what
        ]
        if references:
            end = "." if what.endswith(".") else ""
            what = f"{what.removesuffix('.')} ({', '.join(references)}){end}"
        return tuple(part for part in (what, self.charged, self.todo) if part)

    @property
    def named_parts(self) -> tuple[str, ...]:
        """The same lines, with the name of the error's class before the first one."""
        first, *rest = self.parts
        return (f"{type(self).__name__}: {first}", *rest)

    def _render_traceback_(self) -> list[str]:
        """IPython shows this instead of a traceback."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return [part.encode(encoding, "replace").decode(encoding) for part in self.named_parts]


def _restore(kind: type[RunAPIError], args: tuple[Any, ...], state: dict[str, Any]) -> RunAPIError:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(state)
    return error


class InvalidRequestError(RunAPIError):
    """The request cannot be right; found before anything was sent."""

    default_charged = NOT_SENT


class ConfigurationError(RunAPIError):
    """A setting, a file of settings or the base URL is unusable."""

    default_charged = NOT_SENT


class MissingKeyError(ConfigurationError):
    """No API key was found anywhere."""

    default_todo = (
        "Choose one:\n"
        "  set RUNAPI_API_KEY before you start Jupyter,\n"
        "  %runapi login             to type the key once and keep it in a private file,\n"
        "  %runapi simulator on      to try everything without a key and at no cost."
    )


class BudgetError(RunAPIError):
    """It would cost more than is allowed, or nobody said yes to it; nothing was sent."""

    default_charged = NOT_SENT


class APIError(RunAPIError):
    """The service answered with an error status.

    Attributes:
        status_code: HTTP status.
        code: RunAPI's own code such as ``rate_limited``, where the body has one.
        retry_after: Seconds that the service asked to wait, None where it did not.
        reason: The service's own words.
    """

    title: ClassVar[str] = "RunAPI answered with an error"
    default_todo = "Check the base URL (%runapi status); if it is right, ask RunAPI's support."

    def __init__(
        self,
        reason: str = "",
        *,
        status_code: int,
        code: str | None = None,
        retry_after: float | None = None,
        **parts: Any,
    ) -> None:
        title = f"{self.title} ({status_code})"
        super().__init__(f"{title}: {reason}" if reason else f"{title}.", **parts)
        self.reason = reason
        self.status_code = status_code
        self.code = code
        self.retry_after = retry_after


class ValidationError(APIError):
    """400 or 422: the service found the request wrong."""

    title = "RunAPI did not accept the request"
    default_todo = (
        "Change what it names and run the cell again; %runapi models lists what is known."
    )


class AuthenticationError(APIError):
    """401: the key is missing, wrong or revoked."""

    title = "RunAPI did not accept the API key"
    default_todo = "%runapi status names where the key came from; %runapi login replaces it."


class InsufficientCreditsError(APIError):
    """402: the account has not enough credit."""

    title = "The RunAPI account has not enough credit"
    default_todo = (
        "Add credit at runapi.ai, then run the cell again; %runapi balance shows the rest."
    )


class PermissionDeniedError(APIError):
    """403: the key may not do this."""

    title = "This API key may not do that"
    default_todo = (
        "Use a key that may use this model; %runapi status names where this one came from."
    )


class NotFoundError(APIError):
    """404, 405 or 410: the path, the model or the task does not exist (any more)."""

    title = "RunAPI does not know what was asked for"
    default_todo = "Check the model's name (%runapi models) and the base URL (%runapi status)."


class ConflictError(APIError):
    """409: the same idempotency key with another body, or a source that is not ready."""

    title = "RunAPI reports a conflict"
    default_todo = "Ask for it afresh: --new in a cell, new=True in Python."


class PayloadTooLargeError(APIError):
    """413: the request or the uploaded file is too large."""

    title = "That is too large for RunAPI"
    default_todo = "Make the source picture smaller and try again."


class UnsupportedMediaTypeError(APIError):
    """415: the uploaded file's type is not taken."""

    title = "RunAPI does not take this type of file"
    default_todo = "Use a PNG, JPEG or WEBP picture as the source."


class RateLimitError(APIError):
    """429: too many requests, after the retries that the deadline allowed."""

    title = "Too many requests for this API key"
    default_todo = "Wait a little and run the cell again."


class ServerError(APIError):
    """408 or 5xx: the service is in trouble, after all retries."""

    title = "RunAPI has a problem"
    default_todo = "Try again in a while."


class ConnectionFailedError(RunAPIError):
    """No answer came, or one that no client can read.

    Attributes:
        arrived: Whether the request may have arrived although no answer came back.
    """

    default_todo = "Check the network and %runapi status, then run the cell again."

    def __init__(self, what: str, *, arrived: bool = False, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.arrived = arrived


class CertificateError(ConnectionFailedError):
    """The host's certificate is not trusted, has expired, or is for another host.

    Nothing was sent over that connection, and another try would fail in the same way.
    """


class TaskFailedError(RunAPIError):
    """The service ended the task without pictures. Failed tasks are not charged."""

    default_charged = FAILED_IS_FREE
    default_todo = (
        "Change the prompt or the source if the reason names them, and run the cell again."
    )


class TaskTimeoutError(RunAPIError):
    """The deadline passed while the task was still under way."""

    default_charged = STILL_THERE


class DownloadError(RunAPIError):
    """A finished picture could not be fetched or is no picture.

    Attributes:
        expired: True where the address answered 403, 404 or 410: a fresh one may work.
        retry_after: Seconds that the store asked to wait, None where it did not.
        passing: Whether another try may help.
    """

    def __init__(
        self,
        what: str,
        *,
        expired: bool = False,
        retry_after: float | None = None,
        passing: bool = True,
        **parts: Any,
    ) -> None:
        super().__init__(what, **parts)
        self.expired = expired
        self.passing = passing
        self.retry_after = retry_after


class UnsafeURLError(RunAPIError):
    """An address was refused: another origin, plain http, or a private network."""

    default_todo = "If you trust this service, tell its support; nothing was sent to that address."
