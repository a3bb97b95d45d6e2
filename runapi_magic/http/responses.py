"""An answer of the service: its JSON, and the error that an error status stands for."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
from runapi_magic.core.text import shorten
from runapi_magic.errors import (
    MAYBE_CHARGED,
    APIError,
    AuthenticationError,
    ConflictError,
    InsufficientCreditsError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnsupportedMediaTypeError,
    ValidationError,
)

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


def error_from_response(
    status_code: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    retry_after: float | None = None,
) -> APIError:
    """Return the error that an answer of this status stands for.

    Args:
        status_code: HTTP status, 300 or higher.
        headers: The answer's headers, looked up without case (as httpx's are).
        body: The answer's body, in any of the shapes that RunAPI is known to send.
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
        todo="A task exists: %runapi resume looks for its picture." if task_id else None,
    )


def decode_json(body: bytes) -> Any:
    """Decode JSON that somebody else wrote.

    Half a surrogate pair, which JSON can spell and no file or URL can hold, becomes a question
    mark.

    Raises:
        ValueError: It is no JSON, or nested too deep to be meant.
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
    """Return the service's own words and its code, from an error body of any known shape."""
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
            f"{name} {', '.join(map(str, said)) if isinstance(said, list) else said}"
            for name, said in errors.items()
        )
    if isinstance(errors, list):
        return "; ".join(map(str, errors))
    return ""
