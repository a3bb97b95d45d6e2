"""Names in a prompt are replaced. Everything else stays as typed, and nothing is called."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from runapi_magic.core.templates import interpolate, is_reference, look_up
from runapi_magic.errors import InvalidRequestError
from tests.properties import PROPERTY

NAMES = {
    "animal": "fox",
    "count": 3,
    "pets": [{"name": "Rex", 1: "one"}, "cat"],
    "table": {"a b": "spaced", "fox": SimpleNamespace(color="red", _secret="hidden")},
    "größe": "groß",
    "empty": "",
    "braces": "{animal}",
    "call": lambda: 1 / 0,
}

REPLACED = {
    "a {animal}": "a fox",
    "{animal}{count}": "fox3",
    "{pets[0]['name']}": "Rex",
    '{pets[0]["name"]}': "Rex",
    "{pets[0][1]}": "one",
    "{pets[-1]}": "cat",
    "{table['a b']}": "spaced",
    "{table['fox'].color}": "red",
    "{größe}": "groß",
    "[{empty}]": "[]",
    "{braces}": "{animal}",
}


@pytest.mark.parametrize(("text", "expected"), REPLACED.items())
def test_names_are_replaced(text, expected):
    """A name, with attributes and indexes, is replaced by its value, once."""
    assert interpolate(text, NAMES) == expected


KEPT = [
    "{unknown}",
    "{'a': 1}",
    "{{animal}}",
    "{{{animal}}}",
    "{}",
    "{ animal }",
    "{animal!r}",
    "{animal:>10}",
    "{animal",
    "animal}",
    "{animal()}",
    "{call()}",
    "{animal + 'x'}",
    "{count + 1}",
    "{pets[0:1]}",
    "{pets[count]}",
    "{pets[7]}",
    "{pets[0].name}",
    "{table['nothing']}",
    "{table['fox']._secret}",
    "{animal.__class__}",
    "{animal.__class__.__mro__[1]}",
    "{1}",
    "{a-b}",
    "{animal\n}",
    "no braces at all",
    "",
]


@pytest.mark.parametrize("text", KEPT)
def test_other_braces_stay(text):
    """Braces without a known name stay as typed."""
    assert interpolate(text, NAMES) == text


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), np.float32("nan"), pd.NA,
     pd.NaT, np.datetime64("NaT"), lambda: 1 / 0, math, ["a"], {"a": 1}, ("a",), {1}, b"x", int,
     object(), np.zeros(2), pd.Series([1]), pd.DataFrame({"a": [1]}), Image.new("RGB", (2, 2)),
     Figure()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_without_text(value):
    """A function, a container, an image and a missing value are refused and not called."""
    with pytest.raises(InvalidRequestError, match=r"^\{x\} (is of type|has no value)") as caught:
        interpolate("a {x}", {"x": value})
    assert "Nothing was sent" in str(caught.value)
    assert interpolate("a {{x}}", {"x": value}) == "a {{x}}"


class _Tone(Enum):
    WARM = "warm"


class _Pen(str, Enum):  # noqa: UP042 (it prints as its name; a StrEnum does not)
    INK = "ink"


@pytest.mark.parametrize(
    ("value", "text"),
    [("", ""), (True, "True"), (2, "2"), (0.5, "0.5"), (Decimal("1.50"), "1.50"),
     (Fraction(1, 3), "1/3"), (np.float32(0.5), "0.5"), (np.int64(3), "3"), (np.bool_(1), "True"),
     (np.str_("x"), "x"), (dt.date(2026, 11, 27), "2026-11-27"), (dt.time(8, 30), "08:30:00"),
     (pd.Timestamp("2026-11-27"), "2026-11-27 00:00:00"),
     (np.datetime64("2026-11-27"), "2026-11-27"), (pd.Period("2026Q4"), "2026Q4"),
     (_Tone.WARM, "warm"), (_Pen.INK, "ink"),
     (PurePosixPath("a/b.png"), "a/b.png")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_with_text(value, text):
    """Texts, numbers, dates and objects with their own ``__str__`` are inserted as text."""
    assert interpolate("{x}", {"x": value}) == text


class _Hostile:
    """An object that raises an error for each attribute and item."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __getitem__(self, index):
        raise RuntimeError(index)


@pytest.mark.parametrize("text", ["{x.a}", "{x[0]}", "{x['a']}"])
def test_foreign_objects_may_raise(text):
    """If the lookup in an object raises an error, the text is not changed."""
    assert interpolate(text, {"x": _Hostile()}) == text


def test_an_object_whose_str_raises():
    """An object whose ``__str__`` raises an error is refused, without that error."""

    class Mute:
        def __str__(self):
            raise RuntimeError("no words")

    with pytest.raises(InvalidRequestError, match=r"^\{x\} is of type Mute"):
        interpolate("a {x}", {"x": Mute()})


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("cat", True), ("cat.images[1]", True), ("a['b c'].d", True), ("größe", True), ("cat[", False),
     ("cat.png.", False), ("1cat", False), ("cat()", False), ("a b", False), ("", False),
     ("a/b", False), ("cat[x]", False), ("a\n", False)],
)  # fmt: skip
def test_references(text, is_one):
    """A reference is a name with attributes and indexes, and nothing else."""
    assert is_reference(text) is is_one


@pytest.mark.parametrize("reference", ["nobody", "table.fox._secret", "animal.nothing", "1", ""])
def test_lookups_that_fail(reference):
    """A missing or private name is a LookupError."""
    with pytest.raises(LookupError):
        look_up(reference, NAMES)


@PROPERTY
@given(st.text())
def test_no_names_no_change(text):
    """Without names, no text is changed."""
    assert interpolate(text, {}) == text


@PROPERTY
@given(st.text(alphabet="{}[]'\"ab.01_- ()"))
def test_any_text(text):
    """Any braces, quotes and brackets raise no error. Text without a brace never changes."""
    words = SimpleNamespace(b=1, a="x")
    names = {"a": words, "b": "y", "ab": "x"}
    result = interpolate(text, names)
    assert isinstance(result, str)
    assert "{" in text or result == text


@PROPERTY
@given(st.text(alphabet=st.characters(exclude_characters="{}")), st.text())
def test_values_are_not_read_again(value, around):
    """Braces in a value are not replaced."""
    plain = around.replace("{", "").replace("}", "")
    assert interpolate(f"{plain}{{x}}{plain}", {"x": value}) == f"{plain}{value}{plain}"


def test_a_pathological_text_is_fast():
    """A long incomplete reference is read in one pass, without exponential time."""
    text = "{" + "a" * 20_000 + "[0]" * 20_000
    assert interpolate(text * 2, {"a": 1}) == text * 2
