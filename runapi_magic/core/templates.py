"""Replace ``{name}`` in prompts by the value of a variable, and look up variables by name.

A name can have attributes and indexes: ``a.b[0]``. Nothing is called or calculated, and private
attributes are not read.
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
_NUMPY_KINDS = "biufcmMU"  # booleans, numbers, times and texts
# A class with one of these is a container or an image, even if it has a text.
_NOT_TEXT = ("__iter__", "__len__", "__array__", "_repr_html_", "_repr_png_")


def is_name(text: str) -> bool:
    """Whether a text is a valid name for a variable."""
    return text.isidentifier() and not keyword.iskeyword(text)


def is_reference(text: str) -> bool:
    """Whether a text is a name, which may have attributes and indexes."""
    return _REFERENCE.fullmatch(text) is not None


def unwrap(word: str) -> str:
    """Return ``cat`` for ``{cat}`` and ``$cat``, as other magics write variables."""
    match = _WRAPPED.fullmatch(word)
    return word if match is None else match[1] or match[2]


def look_up(reference: str, namespace: Mapping[str, Any]) -> Any:
    """Return the value of a reference such as ``a.b[0]['c']``.

    Raises:
        LookupError: The name, the attribute or the item does not exist, or is private.
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
    """Whether a value is a missing value: None, NaN, infinity, or pandas' NA and NaT."""
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
    """Return the text for a value in a prompt.

    Texts, numbers, booleans, dates and times have a text. A member of an enum has the text of its
    value. Another object has a text if its class defines ``__str__``.

    Args:
        value: The value.
        name: The user's name for the value, for the error message.

    Raises:
        InvalidRequestError: The value is missing or has no text, like a list, a data frame, a
            function, a module or an image.
    """
    if isinstance(value, Enum):
        return as_text(value.value, name)
    if is_missing(value):
        raise InvalidRequestError(f"{name} has no value ({value}).", todo="Assign a value first.")
    text = None
    if _has_text(value):
        try:
            text = str(value)
        except Exception:  # noqa: BLE001 (a foreign object's own __str__ may raise anything)
            text = None
    if text is None:
        raise InvalidRequestError(
            f"{name} is of type {type(value).__name__}; a prompt accepts text, numbers and dates.",
            todo="Use one part of it, or convert it to text first, such as with ', '.join(...).",
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
    """Replace each ``{name}`` that is in the namespace. All other braces stay as typed.

    Raises:
        InvalidRequestError: The value of a name has no text; see ``as_text``.
    """

    def replace(match: re.Match[str]) -> str:
        try:
            value = look_up(match.group(1), namespace)
        except LookupError:
            return match.group()
        return as_text(value, match.group())

    return _BRACED.sub(replace, text)


def unknown_names(text: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return the names in braces that are not in the namespace, each once."""

    def is_known(name: str) -> bool:
        try:
            look_up(name, namespace)
        except LookupError:
            return False
        return True

    found = dict.fromkeys(match.group(1) for match in _BRACED.finditer(text))
    return [name for name in found if not is_known(name)]
