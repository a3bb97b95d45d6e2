"""Names in a prompt are replaced; everything else stays as typed, and nothing is called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.namespace import interpolate, is_reference, look_up

from .properties import PROPERTY

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
    """A name, dotted or indexed, is replaced by its value, once."""
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
    """A brace that is no known name stays exactly as it was typed."""
    assert interpolate(text, NAMES) == text


def test_nothing_is_called():
    """A function's name is replaced by the function's text; the function does not run."""
    assert interpolate("{call}", NAMES).startswith("<function")


class _Hostile:
    """An object each of whose ways to be looked at raises."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __getitem__(self, index):
        raise RuntimeError(index)


@pytest.mark.parametrize("text", ["{x.a}", "{x[0]}", "{x['a']}"])
def test_foreign_objects_may_raise(text):
    """An object that refuses to be looked into leaves the text as it was."""
    assert interpolate(text, {"x": _Hostile()}) == text


def test_an_object_without_words():
    """An object whose text cannot be made leaves the brace as typed: no foreign error comes out."""

    class Mute:
        def __str__(self):
            raise RuntimeError("no words")

    assert interpolate("a {x}", {"x": Mute()}) == "a {x}"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("cat", True), ("cat.images[1]", True), ("a['b c'].d", True), ("größe", True), ("cat[", False),
     ("cat.png.", False), ("1cat", False), ("cat()", False), ("a b", False), ("", False),
     ("a/b", False), ("cat[x]", False), ("a\n", False)],
)  # fmt: skip
def test_references(text, is_one):
    """A reference is a name with dots and indices, and nothing else."""
    assert is_reference(text) is is_one


@pytest.mark.parametrize("reference", ["nobody", "table.fox._secret", "animal.nothing", "1", ""])
def test_lookups_that_fail(reference):
    """Whatever is not there, or is private, is a LookupError."""
    with pytest.raises(LookupError):
        look_up(reference, NAMES)


@PROPERTY
@given(st.text())
def test_no_names_no_change(text):
    """With no names at all, no text is changed."""
    assert interpolate(text, {}) == text


@PROPERTY
@given(st.text(alphabet="{}[]'\"ab.01_- ()"))
def test_any_text(text):
    """Arbitrary braces, quotes and brackets never raise, and text without a brace never changes."""
    names = {"a": {"b": 1, "a": [0, 1]}, "b": [[1], 2], "ab": "x"}
    result = interpolate(text, names)
    assert isinstance(result, str)
    assert "{" in text or result == text


@PROPERTY
@given(st.text(alphabet=st.characters(exclude_characters="{}")), st.text())
def test_values_are_not_read_again(value, around):
    """What a value says is put in as it is; braces around do not reach into it."""
    plain = around.replace("{", "").replace("}", "")
    assert interpolate(f"{plain}{{x}}{plain}", {"x": value}) == f"{plain}{value}{plain}"


def test_a_pathological_text_takes_no_time():
    """A long half-finished reference is read in one pass: thousands of names are no trap."""
    text = "{" + "a" * 20_000 + "[0]" * 20_000
    assert interpolate(text * 2, {"a": 1}) == text * 2
