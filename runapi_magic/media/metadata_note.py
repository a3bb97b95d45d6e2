"""The note that is written into an image file, and its parts as bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

NAME = b"runapi_magic"
RECORD_START = b'{"%s":' % NAME  # of a named record
LARGEST_RECORD = 1_000_000  # bytes of JSON
NO_RECORD = "The image file has no record."


@dataclass(frozen=True, slots=True)
class Note:
    """What is written into an image file.

    Attributes:
        record: Everything that is needed to generate the image again. It can be written as JSON.
        description: The prompt, for other image viewers.
        software: The package and its version.
        created: Unix time in seconds.
    """

    record: dict[str, Any]
    description: str
    software: str
    created: float


def record_json(record: dict[str, Any]) -> bytes:
    """Return a record as ASCII JSON, which all formats can store; ``null`` if it is too long."""
    text = json.dumps(record, separators=(",", ":")).encode()
    return text if len(text) <= LARGEST_RECORD else b"null"


def named_record(record: bytes) -> bytes:
    """Return JSON that names this package, for fields that other programs use too."""
    return RECORD_START + record + b"}"


def utf8(text: str) -> bytes:
    """Encode a text for fields that end at a NUL. Lone surrogates are replaced."""
    return text.replace("\0", "?").encode(errors="replace")
