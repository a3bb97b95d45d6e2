"""Names in a cell: ``{name}`` in a prompt and pictures by the name of their variable.

Names may be dotted and indexed. Nothing is evaluated: no call, no operator, no private attribute.
"""

from __future__ import annotations

import keyword
import math
import re
import sys
from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from types import FunctionType
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = r"[^\W\d]\w*"
_INDEX = r"""\[(?:-?\d+|'[^'\[\]{}]*'|"[^"\[\]{}]*")\]"""
_REFERENCE = re.compile(rf"{_NAME}(?:\.{_NAME}|{_INDEX})*")
_STEP = re.compile(rf"\.({_NAME})|\[(-?\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_WRAPPED = re.compile(rf"\{{({_REFERENCE.pattern})\}}|\$({_REFERENCE.pattern})")
_BRACED = re.compile(rf"(?<!\{{)\{{({_REFERENCE.pattern})\}}(?!\}})")
_NUMPY_KINDS = "biufcmMU"  # true or false, numbers, times and texts
# A class with one of these is a container or a picture, whatever its text says.
_NOT_TEXT = ("__iter__", "__len__", "__array__", "_repr_html_", "_repr_png_")


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


def is_missing(value: Any) -> bool:
    """Whether a value stands for nothing: None, NaN, an infinite number, pandas' NA and NaT."""
    pandas = sys.modules.get("pandas")
    if value is None or (pandas is not None and (value is pandas.NA or value is pandas.NaT)):
        return True
    if isinstance(value, Number) or _is_numpy_scalar(value):
        try:
            return bool(value != value or value in (math.inf, -math.inf))  # noqa: PLR0124 (NaN)
        except ArithmeticError:  # decimal's signalling NaN
            return True
    return False


def as_text(value: Any, name: str) -> str:
    """Return the text that stands for a value in a prompt.

    Texts, numbers, truth values, dates and times have one; a member of an enum has that of its
    value, and another object has one where its class defines ``__str__``.

    Args:
        value: The value.
        name: What the user calls it, for the error message.

    Raises:
        InvalidRequestError: The value is missing, or has no such text: a list, a data frame, a
            function, a module, a picture.
    """
    if isinstance(value, Enum):
        return as_text(value.value, name)
    if is_missing(value):
        raise InvalidRequestError(f"{name} has no value ({value}).", todo="Give it one first.")
    text = None
    if _has_text(value):
        try:
            text = str(value)
        except Exception:  # noqa: BLE001 (a foreign object's own __str__ may raise anything)
            text = None
    if text is None:
        raise InvalidRequestError(
            f"{name} is of type {type(value).__name__}; a prompt takes text, numbers and dates.",
            todo="Use one part of it, or make a text of it first, for example with ', '.join(...).",
        )
    return text


def _has_text(value: Any) -> bool:
    if isinstance(value, str | Number | date | time | timedelta) or _is_numpy_scalar(value):
        return True
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Period):
        return True
    kind = type(value)
    own = isinstance(getattr(kind, "__str__", None), FunctionType)
    return own and not callable(value) and not any(hasattr(kind, name) for name in _NOT_TEXT)


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None and isinstance(value, numpy.generic) and value.dtype.kind in _NUMPY_KINDS
    )


def interpolate(text: str, namespace: Mapping[str, Any]) -> str:
    """Replace each ``{name}`` that the namespace has; every other brace stays as typed.

    Raises:
        InvalidRequestError: A name stands for what has no text: see ``as_text``.
    """

    def replace(match: re.Match[str]) -> str:
        try:
            value = look_up(match.group(1), namespace)
        except LookupError:
            return match.group()
        return as_text(value, match.group())

    return _BRACED.sub(replace, text)


def unknown_names(text: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return what stands in braces as a name and stands for nothing, each once."""

    def is_known(name: str) -> bool:
        try:
            look_up(name, namespace)
        except LookupError:
            return False
        return True

    found = dict.fromkeys(match.group(1) for match in _BRACED.finditer(text))
    return [name for name in found if not is_known(name)]
