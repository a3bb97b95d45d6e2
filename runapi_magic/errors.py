"""The exceptions.

Every error has up to three parts: what happened, whether it was charged, what to do now.

    RunAPIError
    ├── InvalidRequestError        found before anything was sent
    ├── ConfigurationError         base URL, key file, settings
    │   └── MissingKeyError
    ├── BudgetError                it costs too much, or you did not confirm it
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
    ├── ConnectionFailedError      no response, or one that is not from RunAPI
    │   └── CertificateError           the host's certificate is not trusted
    ├── TaskFailedError            the task ended without images
    ├── TaskTimeoutError           the deadline passed before the task was finished
    ├── DownloadError              the image could not be downloaded
    └── UnsafeURLError             a URL that is not allowed
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

NOT_SENT = "Nothing was sent, nothing was charged."
NOT_CHARGED = "Not charged."
MAYBE_CHARGED = "It may have been charged."
STILL_RUNNING = "The task continues at the service and may be charged."
CHARGED = "The task was completed, so it was charged."
FAILED_IS_FREE = "Failed tasks are not charged."

_LONGEST_ID = 100  # characters shown
_SIMPLE = {
    ord(sign): plain
    for sign, plain in {
        "·": "-",
        "…": "...",
        "\u00d7": "x",
        "\u2013": "-",
        "→": "->",
        "█": "#",
    }.items()
}


def resume_advice(task_id: str | None) -> str:
    """Return how to get the image of a task later."""
    return f"Use %runapi resume{f' {task_id}' if task_id else ''} to get its image."


class RunAPIError(Exception):
    """An error with a message for the user.

    Attributes:
        what: What happened, as one sentence.
        charged: Whether it was charged. Empty if the error does not know.
        todo: What to do now. Empty if ``what`` says it.
        task_id: The task's id, if it is known.
        request_id: The service's ``x-request-id``, for questions to its support.
        doubtful: Whether the service may have accepted a request although it did not confirm it.

    A class of errors claims or denies a charge only if that is certain for all its errors. For the
    others, ``task_state.TaskState`` decides.
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
        """Copy and pickle without calling the class, which needs more arguments than ``args``."""
        return _restore, (type(self), self.args, dict(vars(self)))

    @property
    def parts(self) -> tuple[str, ...]:
        """The lines to show: what happened, whether it was charged, what to do."""
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
        """The same lines, with the name of the error's class at the beginning."""
        first, *rest = self.parts
        return (f"{type(self).__name__}: {first}", *rest)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback."""
        return [encodable(part) for part in self.named_parts]


def encodable(text: str) -> str:
    """Return a text in which every character exists in the encoding of the standard output."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        simple = text.translate(_SIMPLE)
        return simple.encode(encoding, "replace").decode(encoding)
    except LookupError:  # Python does not know the encoding
        return text.translate(_SIMPLE).encode("ascii", "replace").decode("ascii")
    return text


def _restore(kind: type[RunAPIError], args: tuple[Any, ...], state: dict[str, Any]) -> RunAPIError:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(state)
    return error


class InvalidRequestError(RunAPIError):
    """The request is not valid. This was found before anything was sent."""

    default_charged = NOT_SENT


class ConfigurationError(RunAPIError):
    """A setting, a settings file or the base URL cannot be used."""

    default_charged = NOT_SENT


class MissingKeyError(ConfigurationError):
    """No API key was found."""

    default_todo = (
        "Choose one:\n"
        "  set RUNAPI_API_KEY before you start Jupyter,\n"
        "  %runapi login             to type the key once and keep it in a private file,\n"
        "  %runapi simulator on      to try everything without a key and at no cost."
    )


class BudgetError(RunAPIError):
    """The request costs more than you allow, or you did not confirm it. Nothing was sent."""

    default_charged = NOT_SENT


class APIError(RunAPIError):
    """The service returned an error status.

    Attributes:
        status_code: HTTP status.
        code: RunAPI's own code, such as ``rate_limited``, if the body has one.
        retry_after: Seconds that the service asked to wait; None if it did not ask.
        reason: The service's own message.
    """

    title: ClassVar[str] = "RunAPI returned an error"
    default_todo = "Check the base URL (%runapi status). If it is correct, ask RunAPI's support."

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
    """400 or 422: the service found a mistake in the request."""

    title = "RunAPI did not accept the request"
    default_todo = (
        "Change the request and run the cell again. %runapi models lists the allowed values."
    )


class AuthenticationError(APIError):
    """401: the key is missing, wrong or revoked."""

    title = "RunAPI did not accept the API key"
    default_todo = "%runapi status shows where the key is from. %runapi login replaces it."


class InsufficientCreditsError(APIError):
    """402: the account does not have enough credit."""

    title = "The RunAPI account does not have enough credit"
    default_todo = (
        "Add credit at runapi.ai and run the cell again. %runapi balance shows the balance."
    )


class PermissionDeniedError(APIError):
    """403: the key does not have permission."""

    title = "The API key does not have permission"
    default_todo = (
        "Use a key with access to this model. %runapi status shows where this key is from."
    )


class NotFoundError(APIError):
    """404, 405 or 410: the path, the model or the task does not exist."""

    title = "RunAPI did not find the model, the path or the task"
    default_todo = "Check the name of the model (%runapi models) and the base URL (%runapi status)."


class ConflictError(APIError):
    """409: the same idempotency key with another body, or a source that is not ready."""

    title = "RunAPI reports a conflict"
    default_todo = "Make a new request: --new in a cell, new=True in Python."


class PayloadTooLargeError(APIError):
    """413: the request or the uploaded file is too large."""

    title = "The request is too large for RunAPI"
    default_todo = "Make the source image smaller and try again."


class UnsupportedMediaTypeError(APIError):
    """415: the service does not accept the type of the uploaded file."""

    title = "RunAPI does not accept this type of file"
    default_todo = "Use a PNG, JPEG or WEBP image as the source."


class RateLimitError(APIError):
    """429: too many requests, after all retries before the deadline."""

    title = "Too many requests for this API key"
    default_todo = "Wait a moment and run the cell again."


class ServerError(APIError):
    """408 or 5xx: the service has a problem, after all retries."""

    title = "RunAPI has a problem"
    default_todo = "Try again later."


class ConnectionFailedError(RunAPIError):
    """There was no response, or one that cannot be read.

    Attributes:
        arrived: Whether the request may have arrived although there was no response.
    """

    default_todo = "Check the network and %runapi status, and run the cell again."

    def __init__(self, what: str, *, arrived: bool = False, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.arrived = arrived


class CertificateError(ConnectionFailedError):
    """The certificate of the host is not trusted, has expired, or is for another host.

    Nothing was sent over that connection, and a retry would fail in the same way.
    """


class TaskFailedError(RunAPIError):
    """The service ended the task without images. Failed tasks are not charged."""

    default_charged = FAILED_IS_FREE
    default_todo = "If the reason is the prompt or the source, change it. Then run the cell again."


class TaskTimeoutError(RunAPIError):
    """The deadline passed before the task was finished."""

    default_charged = STILL_RUNNING


class DownloadError(RunAPIError):
    """A finished image could not be downloaded, or the file is not an image.

    Attributes:
        expired: Whether the status was 403, 404 or 410: a new URL may work.
        retry_after: Seconds that the file storage asked to wait; None if it did not ask.
        temporary: Whether a retry may help.
    """

    def __init__(
        self,
        what: str,
        *,
        expired: bool = False,
        retry_after: float | None = None,
        temporary: bool = True,
        **parts: Any,
    ) -> None:
        super().__init__(what, **parts)
        self.expired = expired
        self.temporary = temporary
        self.retry_after = retry_after


class UnsafeURLError(RunAPIError):
    """A URL is not allowed: it has another origin, plain http, or is in a private network."""

    default_todo = "Nothing was sent to that URL. If you trust the service, ask its support."
