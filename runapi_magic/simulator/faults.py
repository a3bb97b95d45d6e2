"""Faults: what the simulator can be told to do wrong, and how often.

A fault is one line of text, ``POINT=EFFECT[,OPTION=VALUE]...``::

    create=503                             every create answers 503
    create=429,retry_after=1.5,times=2     the first two creates are refused, with a delay to wait
    status=failed,match=dragon             tasks whose prompt mentions a dragon fail
    download=truncated,skip=1,times=1      the second download ends early

Points and their effects (every point also takes a number from 400 to 599, ``slow``, ``drop``,
``bad_json``, ``empty`` and ``redirect_foreign``):

========== =====================================================================================
create     ``202`` (202 with a Location to poll), ``id_only`` (the answer is just an id),
           ``drop_before`` / ``drop_after`` (the connection goes before / after the task is made),
           ``location_foreign`` (202 with a Location on another origin), ``strict_resolution``
           (gpt-image-2 refuses 4k with 1:1 or auto and 2k with auto)
status     ``failed`` (the task fails for good, unless somebody saw it complete), ``unknown`` (a
           status word nobody knows), ``no_images`` (completed without pictures; waits for
           completion), ``stuck`` (never gets beyond processing), ``synonyms`` (Queued, Running,
           Succeeded, Error), ``location_foreign`` (the same as redirect_foreign)
download   ``truncated`` (half the promised bytes), ``corrupt`` (right length, broken content),
           ``html`` (200 with a web page), ``huge`` (10 GB announced; with ``mb=``, that many
           megabytes sent without a length), ``bomb`` (a tiny PNG of 400 megapixels)
upload     POST files            prepare    POST files/prepare      put        PUT of the bytes
confirm    POST files/confirm    quote      price_quotes            schedule   price_schedules
balance    me/balance            account    me
========== =====================================================================================

Options: ``times=N`` (so many matching requests, default all), ``skip=N`` (let so many pass first),
``model=NAME``, ``match=TEXT`` (part of the prompt, any case), ``path=TEXT`` (part of the URL path),
``body=SHAPE`` (of an error: object, string, validation, error_code, message, detail, errorMessage,
msg, errors_list, text, empty, html), ``code=WORD`` and ``message=TEXT`` (in that body, or a failed
task's reason), ``retry_after=2|1.5|date`` (``date``: an HTTP date two seconds ahead), ``seconds=S``
(how long ``slow`` takes, default 1), ``word=TEXT`` (for ``unknown``, default mysterious), ``mb=N``,
``task_id_header=1`` (the refused create did make a task, and the error names it in
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
    """One thing to do wrong. Counts its own use."""

    spec: str
    point: str
    effect: str
    options: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    used: int = 0

    @property
    def status(self) -> int | None:
        """The HTTP error to answer with, or None for an effect that is a word."""
        return int(self.effect) if self.effect.isdigit() and self.effect != "202" else None

    @property
    def seconds(self) -> float:
        """How long a ``slow`` answer takes."""
        return float(self.options.get("seconds", "1"))

    def applies(self, *, models: frozenset[str], prompt: str, path: str) -> bool:
        """Whether the fault is about such a request; does not count it."""
        wanted = self.options
        return (
            ("model" not in wanted or wanted["model"] in models)
            and wanted.get("match", "").lower() in prompt.lower()
            and wanted.get("path", "") in path
        )

    def strikes(self) -> bool:
        """Count one matching request; whether the fault happens to it."""
        self.seen += 1
        times = self.options.get("times")
        if self.seen <= int(self.options.get("skip", "0")):
            return False
        if times is not None and self.used >= int(times):
            return False
        self.used += 1
        return True

    def retry_after(self, now: float) -> str | None:
        """The Retry-After header in the form that was asked for, or None."""
        wanted = self.options.get("retry_after")
        if wanted == "date":
            return formatdate(now + _DATE_AHEAD_SECONDS, usegmt=True)
        return wanted

    def error(self) -> tuple[bytes, str]:
        """The body of the error answer and its content type."""
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
    """Read one fault.

    Raises:
        ValueError: Saying what is wrong with the text and what is allowed.
    """
    pairs: list[list[str]] = []
    for part in spec.split(","):
        name, equals, value = part.partition("=")
        if pairs and (not equals or name.strip() not in _OPTIONS):
            if equals:
                raise ValueError(f"fault {spec!r}: no option {name.strip()!r}: {_known(_OPTIONS)}")
            # A comma inside a message: "message=sorry, no" is one option.
            pairs[-1][1] += "," + part
        else:
            pairs.append([name.strip(), value])
    (point, effect), *rest = pairs
    effect = effect.strip()
    if point not in _EFFECTS:
        raise ValueError(f"fault {spec!r}: no point {point!r}: {_known(_EFFECTS)}")
    words = _EFFECTS[point]
    if effect not in words and not (effect.isdecimal() and 400 <= int(effect) <= 599):  # noqa: PLR2004 - HTTP's error range
        raise ValueError(f"fault {spec!r}: no effect {effect!r}: 400 to 599, {_known(words)}")
    options = dict(rest)
    _check_options(spec, options)
    return Fault(spec, point, effect, options)


def _known(names: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(names))


def _check_options(spec: str, options: dict[str, str]) -> None:
    for name in ("times", "skip", "mb"):
        if name in options and not options[name].isdecimal():
            raise ValueError(f"fault {spec!r}: {name} takes a whole number, not {options[name]!r}")
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
            raise ValueError(f"fault {spec!r}: {name} takes {form}, not {value!r}")
    if options.get("body", "object") not in BODY_SHAPES:
        raise ValueError(f"fault {spec!r}: no body {options['body']!r}: {_known(BODY_SHAPES)}")
    if options.get("task_id_header", "1") not in {"0", "1"}:
        raise ValueError(f"fault {spec!r}: task_id_header takes 0 or 1")


def error_body(shape: str, *, message: str, code: str) -> tuple[bytes, str]:
    """An error body in one of the shapes that RunAPI has been seen to use, with its content type.

    Args:
        shape: One of `BODY_SHAPES`.
        message: The sentence for people.
        code: The word for programs; only some shapes carry it.
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
