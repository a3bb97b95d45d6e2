"""Read responses of the service: JSON, ``Retry-After``, and the error for an error status."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

from runapi_magic.core.text import shorten
from runapi_magic.errors import (
    MAYBE_CHARGED,
    APIError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    InsufficientCreditsError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnsupportedMediaTypeError,
    ValidationError,
)

FIRST_ERROR, REDIRECTS = 400, range(300, 400)  # status codes

_BY_STATUS: dict[int, type[APIError]] = {
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
}

_SERVER_ERRORS = 500
_LONGEST_REASON = 400  # characters shown


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the service, with the key removed from it.

    Attributes:
        status_code: HTTP status.
        headers: Headers by lower-case name.
        body: The body.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait; None if it does not ask."""
        return parse_retry_after(self.headers.get("retry-after"), time.time())

    def json(self) -> Any:
        """Decode the body.

        Raises:
            ConnectionFailedError: The body is not JSON: it is cut off or not from RunAPI.
        """
        try:
            return decode_json(self.body)
        except ValueError:
            raise ConnectionFailedError(
                "The response is not from RunAPI (it is not JSON).",
                arrived=True,
                request_id=self.headers.get("x-request-id"),
            ) from None

    def json_object(self) -> Mapping[str, Any]:
        """Decode a body that must be a JSON object.

        Raises:
            ConnectionFailedError: The body is something else.
        """
        data = self.json()
        if not isinstance(data, Mapping):
            raise ConnectionFailedError(
                "The response is not from RunAPI (it is not a JSON object)."
            )
        return data


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read ``Retry-After`` in any of its forms: ``2``, ``1.5`` or an HTTP date.

    Args:
        value: The header.
        now: The current Unix time in seconds. A date is converted to seconds from now.

    Returns:
        Seconds, 0 or more. None if there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def error_from_response(
    status_code: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    retry_after: float | None = None,
) -> APIError:
    """Return the error for a response.

    Args:
        status_code: HTTP status, 300 or higher.
        headers: The headers of the response. Their names are looked up in lower case.
        body: The body, in any of the shapes that RunAPI is known to send.
        retry_after: Seconds to wait, already read from ``Retry-After``.
    """
    reason, code = read_reason(body, headers.get("content-type", ""))
    kind = _BY_STATUS.get(status_code)
    if kind is None:
        kind = ServerError if status_code >= _SERVER_ERRORS else APIError
    task_id = headers.get("x-runapi-task-id")
    return kind(
        reason,
        status_code=status_code,
        code=code,
        retry_after=retry_after,
        task_id=task_id,
        request_id=headers.get("x-request-id"),
        charged=MAYBE_CHARGED if task_id else None,
        todo="A task exists. Use %runapi resume to get its image." if task_id else None,
    )


def decode_json(body: bytes) -> Any:
    """Decode JSON from an untrusted source.

    JSON can contain half a surrogate pair, which files and URLs cannot contain. It becomes a
    question mark.

    Raises:
        ValueError: The body is not JSON, or it is nested too deeply.
    """
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
        if "\\ud" in text.lower():
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return data


def read_reason(body: bytes, content_type: str = "") -> tuple[str, str | None]:
    """Return the message and the code of an error body, in any known shape."""
    text = body.decode("utf-8", "replace").strip()
    if "html" in content_type or re.match(r"(?i)\s*<(!doctype|html)", text):
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        return shorten(unescape(title.group(1)) if title else "", _LONGEST_REASON), None
    try:
        data = decode_json(body)
    except ValueError:
        return shorten(text, _LONGEST_REASON), None
    if isinstance(data, str):
        return shorten(data, _LONGEST_REASON), None
    if not isinstance(data, dict):
        return "", None
    return _reason_from_object(data)


def _reason_from_object(data: dict[str, Any]) -> tuple[str, str | None]:
    code = data.get("code")
    error = data.get("error")
    if isinstance(error, dict):
        code = error.get("code", code)
        error = error.get("message") or error.get("code")
    words = next(
        (
            value
            for value in (
                error,
                *(data.get(name) for name in ("message", "detail", "errorMessage", "msg")),
            )
            if isinstance(value, str) and value
        ),
        "",
    )
    details = _details(data.get("errors"))
    if details:
        words = f"{words}: {details}" if words else details
    return shorten(words, _LONGEST_REASON), code if isinstance(code, str) else None


def _details(errors: Any) -> str:
    if isinstance(errors, dict):
        return "; ".join(
            f"{name} {', '.join(map(str, messages)) if isinstance(messages, list) else messages}"
            for name, messages in errors.items()
        )
    if isinstance(errors, list):
        return "; ".join(map(str, errors))
    return ""
