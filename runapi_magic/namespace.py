"""Names in a cell: ``{name}`` in a prompt and pictures by the name of their variable.

Names may be dotted and indexed. Nothing is evaluated: no call, no operator, no private attribute.
"""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = r"[^\W\d]\w*"
_INDEX = r"""\[(?:-?\d+|'[^'\[\]{}]*'|"[^"\[\]{}]*")\]"""
_REFERENCE = re.compile(rf"{_NAME}(?:\.{_NAME}|{_INDEX})*")
_STEP = re.compile(rf"\.({_NAME})|\[(-?\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_WRAPPED = re.compile(rf"\{{({_REFERENCE.pattern})\}}|\$({_REFERENCE.pattern})")
_BRACED = re.compile(rf"(?<!\{{)\{{({_REFERENCE.pattern})\}}(?!\}})")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a variable."""
    return text.isidentifier() and not keyword.iskeyword(text)


def is_reference(text: str) -> bool:
    """Whether a text has the form of a name, dotted and indexed allowed."""
    return _REFERENCE.fullmatch(text) is not None


def unwrap(word: str) -> str:
    """Return ``cat`` for the words ``{cat}`` and ``$cat``, as other magics take variables."""
    match = _WRAPPED.fullmatch(word)
    return word if match is None else match[1] or match[2]


def look_up(reference: str, namespace: Mapping[str, Any]) -> Any:
    """Return what ``a.b[0]['c']`` stands for.

    Raises:
        LookupError: There is no such thing, or it is a private attribute.
    """
    name = re.match(_NAME, reference)
    if name is None or name.group() not in namespace:
        raise LookupError(reference)
    value = namespace[name.group()]
    for attribute, index, single, double in _STEP.findall(reference, name.end()):
        if attribute.startswith("_"):
            raise LookupError(reference)
        try:
            if attribute:
                value = getattr(value, attribute)
            else:
                value = value[int(index) if index else single or double]
        except Exception:  # noqa: BLE001 (a foreign object's own lookup may raise anything)
            raise LookupError(reference) from None
    return value


def interpolate(text: str, namespace: Mapping[str, Any]) -> str:
    """Replace each ``{name}`` that the namespace has; every other brace stays as typed."""

    def replace(match: re.Match[str]) -> str:
        try:
            return str(look_up(match.group(1), namespace))
        except Exception:  # noqa: BLE001 (no such name, or a foreign object's own __str__)
            return match.group()

    return _BRACED.sub(replace, text)


def unknown_names(text: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return what stands in braces as a name and stands for nothing, each once."""
    found = dict.fromkeys(match.group(1) for match in _BRACED.finditer(text))
    return [name for name in found if interpolate(f"{{{name}}}", namespace) == f"{{{name}}}"]
