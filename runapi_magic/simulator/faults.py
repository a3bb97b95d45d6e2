"""Faults: errors that the simulator makes on purpose, and how often.

A fault is one line of text, ``POINT=EFFECT[,OPTION=VALUE]...``::

    create=503                             every create request gets a 503
    create=429,retry_after=1.5,times=2     the first two create requests get a 429 with a delay
    status=failed,match=dragon             tasks with "dragon" in the prompt fail
    download=truncated,skip=1,times=1      the second download ends early

Points and their effects. Every point also accepts an HTTP status from 400 to 599, ``slow``,
``drop``, ``bad_json``, ``empty`` and ``redirect_foreign``:

========== =====================================================================================
create     ``202`` (202 with a Location to poll), ``id_only`` (the response is only an id),
           ``drop_before`` / ``drop_after`` (the connection closes before / after the task is
           created), ``location_foreign`` (202 with a Location on another origin),
           ``strict_resolution`` (gpt-image-2 refuses 4k with 1:1 or auto and 2k with auto)
status     ``failed`` (the task fails permanently, unless a poll has already returned its images),
           ``unknown`` (an undocumented status word), ``no_images`` (completed without images; skips
           polls before completion), ``stuck`` (always processing), ``synonyms`` (Queued, Running,
           Succeeded, Error), ``location_foreign`` (same as redirect_foreign)
download   ``truncated`` (half the announced bytes), ``corrupt`` (right length, broken content),
           ``html`` (200 with a web page), ``huge`` (announces 10 GB; with ``mb=N``, sends N
           megabytes without a length), ``bomb`` (a small PNG file of 400 megapixels)
upload     POST files            prepare    POST files/prepare      put        PUT of the bytes
confirm    POST files/confirm    quote      price_quotes            schedule   price_schedules
balance    me/balance            account    me
========== =====================================================================================

Options: ``times=N`` (apply to N matching requests; default: all), ``skip=N`` (ignore the first N
matching requests), ``model=NAME``, ``match=TEXT`` (text in the prompt, any case), ``path=TEXT``
(text in the URL path), ``body=SHAPE`` (shape of an error body: object, string, validation,
error_code, message, detail, errorMessage, msg, errors_list, text, empty, html), ``code=WORD`` and
``message=TEXT`` (in the error body; ``message`` is also a failed task's reason),
``retry_after=2|1.5|date`` (``date``: an HTTP date two seconds ahead), ``seconds=S`` (duration of
``slow``, default 1), ``word=TEXT`` (status word of ``unknown``, default mysterious), ``mb=N``,
``task_id_header=1`` (the failed create request does create a task, and the error has its id in
X-RunAPI-Task-Id).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_EVERYWHERE: Final = frozenset({"slow", "drop", "bad_json", "empty", "redirect_foreign"})
_EFFECTS: Final = {
    "create": _EVERYWHERE
    | {"202", "id_only", "drop_before", "drop_after", "location_foreign", "strict_resolution"},
    "status": _EVERYWHERE
    | {"failed", "unknown", "no_images", "stuck", "synonyms", "location_foreign"},
    "download": _EVERYWHERE | {"truncated", "corrupt", "html", "huge", "bomb"},
    **dict.fromkeys(
        ("upload", "prepare", "put", "confirm", "quote", "schedule", "balance", "account"),
        _EVERYWHERE,
    ),
}
_OPTIONS: Final = frozenset(
    {
        "times",
        "skip",
        "model",
        "match",
        "path",
        "body",
        "code",
        "message",
        "retry_after",
        "seconds",
        "word",
        "mb",
        "task_id_header",
    }
)
BODY_SHAPES: Final = (
    "object",
    "string",
    "validation",
    "error_code",
    "message",
    "detail",
    "errorMessage",
    "msg",
    "errors_list",
    "text",
    "empty",
    "html",
)
_DATE_AHEAD_SECONDS: Final = 2


@dataclass
class Fault:
    """One fault. It counts how often it was used."""

    spec: str
    point: str
    effect: str
    options: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    used: int = 0

    @property
    def status(self) -> int | None:
        """HTTP error status of the response, or None if the effect is a word."""
        return int(self.effect) if self.effect.isdigit() and self.effect != "202" else None

    @property
    def seconds(self) -> float:
        """Duration of a ``slow`` response."""
        return float(self.options.get("seconds", "1"))

    def matches(self, *, models: frozenset[str], prompt: str, path: str) -> bool:
        """Return whether the fault applies to such a request. Does not count the request."""
        wanted = self.options
        return (
            ("model" not in wanted or wanted["model"] in models)
            and wanted.get("match", "").lower() in prompt.lower()
            and wanted.get("path", "") in path
        )

    def count_request(self) -> bool:
        """Count one matching request and return whether the fault applies to it."""
        self.seen += 1
        times = self.options.get("times")
        if self.seen <= int(self.options.get("skip", "0")):
            return False
        if times is not None and self.used >= int(times):
            return False
        self.used += 1
        return True

    def retry_after(self, now: float) -> str | None:
        """Return the Retry-After header in the requested form, or None."""
        wanted = self.options.get("retry_after")
        if wanted == "date":
            return formatdate(now + _DATE_AHEAD_SECONDS, usegmt=True)
        return wanted

    def error(self) -> tuple[bytes, str]:
        """Return the body of the error response and its content type."""
        status = self.status or 500
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        return error_body(
            self.options.get("body", "object"),
            message=self.options.get("message", f"{phrase} (simulated)"),
            code=self.options.get("code", phrase.lower().replace(" ", "_")),
        )


def parse_fault(spec: str) -> Fault:
    """Parse one fault.

    Raises:
        ValueError: The text is not a valid fault. The message lists the allowed values.
    """
    pairs: list[list[str]] = []
    for part in spec.split(","):
        name, equals, value = part.partition("=")
        if pairs and (not equals or name.strip() not in _OPTIONS):
            if equals:
                raise ValueError(
                    f"fault {spec!r}: unknown option {name.strip()!r}; {_known(_OPTIONS)}"
                )
            # A comma inside a message: "message=sorry, no" is one option.
            pairs[-1][1] += "," + part
        else:
            pairs.append([name.strip(), value])
    (point, effect), *rest = pairs
    effect = effect.strip()
    if point not in _EFFECTS:
        raise ValueError(f"fault {spec!r}: unknown point {point!r}; {_known(_EFFECTS)}")
    words = _EFFECTS[point]
    if effect not in words and not (effect.isdecimal() and 400 <= int(effect) <= 599):  # noqa: PLR2004 - HTTP's error range
        raise ValueError(
            f"fault {spec!r}: unknown effect {effect!r}; use 400 to 599 or {_known(words)}"
        )
    options = dict(rest)
    _check_options(spec, options)
    return Fault(spec, point, effect, options)


def _known(names: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(names))


def _check_options(spec: str, options: dict[str, str]) -> None:
    for name in ("times", "skip", "mb"):
        if name in options and not options[name].isdecimal():
            raise ValueError(
                f"fault {spec!r}: {name} must be a whole number, not {options[name]!r}"
            )
    for name in ("seconds", "retry_after"):
        value = options.get(name, "1")
        if (name, value) == ("retry_after", "date"):
            continue
        try:
            valid = 0 <= float(value) < float("inf")
        except ValueError:
            valid = False
        if not valid:
            form = "seconds or 'date'" if name == "retry_after" else "seconds"
            raise ValueError(f"fault {spec!r}: {name} must be {form}, not {value!r}")
    if options.get("body", "object") not in BODY_SHAPES:
        raise ValueError(f"fault {spec!r}: unknown body {options['body']!r}; {_known(BODY_SHAPES)}")
    if options.get("task_id_header", "1") not in {"0", "1"}:
        raise ValueError(f"fault {spec!r}: task_id_header must be 0 or 1")


def error_body(shape: str, *, message: str, code: str) -> tuple[bytes, str]:
    """Return an error body in one of the shapes that RunAPI uses, and its content type.

    Args:
        shape: One of `BODY_SHAPES`.
        message: The error message for people.
        code: The error code for programs. Only some shapes contain it.
    """
    bodies: dict[str, object] = {
        "object": {"error": {"code": code, "message": message}},
        "string": {"error": message},
        "validation": {"error": "Validation failed", "errors": {"prompt": [message]}},
        "error_code": {"error": message, "code": code},
        "message": {"message": message},
        "detail": {"detail": message},
        "errorMessage": {"errorMessage": message},
        "msg": {"msg": message},
        "errors_list": {"errors": [message]},
    }
    if shape in bodies:
        return json.dumps(bodies[shape]).encode(), "application/json"
    if shape == "html":
        page = f"<!doctype html><html><head><title>{message}</title></head><body><h1>{message}</h1>"
        return f"{page}</body></html>".encode(), "text/html; charset=utf-8"
    return (message.encode() if shape == "text" else b""), "text/plain; charset=utf-8"
