"""Rows become items: columns fill prompts and fields, and values keep their types."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from runapi_magic.batch.dataframe import add_accessor, batch_items, is_frame
from runapi_magic.core.request import ImageRequest
from runapi_magic.errors import InvalidRequestError
from tests.conftest import ROOT


def _make(prompt, /, *, sources=(), model="gpt-image-2", count=1, **fields):
    return ImageRequest(prompt, model, fields, count, tuple(sources))


def _items(prompts, prompt=None, sources=(), **fields):
    return batch_items(prompts, prompt, sources, fields, _make)


@pytest.mark.parametrize("value", [None, [], {"a": [1]}, pd.Series([1]), np.zeros((2, 2))])
def test_is_frame(value):
    """Only a DataFrame is a data frame."""
    assert not is_frame(value)
    assert is_frame(pd.DataFrame({"a": [1]}))


def test_pandas_is_not_imported_for_a_list():
    """A list of prompts works without pandas and does not import it."""
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from runapi_magic.notebook.api import generate_many, open_session, add_frame_accessor\n"
        "open_session().connection.simulator_on(1000)\n"
        "add_frame_accessor()\n"
        "print(len(generate_many(['a boat'], progress=False).images))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env={"PYTHONPATH": str(ROOT), "HOME": ".", "RUNAPI_MAGIC_HOME": "data"},
    )  # fmt: skip
    assert done.stdout == "1\n"


def test_values_are_filled_in_as_text():
    """A column in a text is filled in as text; ``{column}`` alone keeps its type."""
    frame = pd.DataFrame({"n": [3], "x": [0.5], "yes": [True], "name": ["Ærø {n}"]})
    (item,) = _items(
        frame, "{n} {x} {yes} {name} {{}} {{n}} {{a, b}}", quality="at {n}", flag="{yes}",
        size="{n}", tags=["no {n}", {"of": "{name}"}],
    )  # fmt: skip
    assert item.request.prompt == "3 0.5 True Ærø {n} {} {n} {a, b}"
    assert dict(item.request.fields) == {
        "quality": "at 3", "flag": True, "size": 3, "tags": ["no 3", {"of": "Ærø {n}"}],
    }  # fmt: skip
    assert item.variables == {"n": 3, "x": 0.5, "yes": True, "name": "Ærø {n}"}


def test_the_prompt_of_a_row_is_not_a_template():
    """The prompt of a row or list is sent as typed, with its braces."""
    rows = [{"prompt": "a sign: {open} {n}", "n": 1}, "a sign: {closed} {prompt}"]
    assert [item.request.prompt for item in _items(rows)] == [
        "a sign: {open} {n}",
        "a sign: {closed} {prompt}",
    ]


@pytest.mark.parametrize("row", [{"colour": "red"}, {"größe": 3, 1: 2}])
def test_an_unknown_column(row):
    """A name that no column has is an error: otherwise every row would be charged for it."""
    with pytest.raises(InvalidRequestError, match='Row 0: There is no column "cölor"') as caught:
        _items([row], "a {cölor} boat")
    assert str(next(iter(row))) in caught.value.parts[-1]


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("A portrait of {First Name}", "A portrait of Ada"),
        ("{ First Name }, born {Geb.-Jahr}", "Ada, born 1815"),
        ("{0} and {2.5}", "zero and half"),
        ("{('a', 'b')} {größe} {pair.x}", "both tall 7"),
        ("{tags[1]} on {day}", "two on 2026-11-27"),
        ("{{{First Name}}} {{x}} }}{{", "{Ada} {x} }{"),
    ],
)
def test_any_name_of_a_column(template, filled):
    """A column name may have spaces, dots and numbers; doubled braces stand for braces."""
    row = {
        "First Name": "Ada", "Geb.-Jahr": 1815, 0: "zero", 2.5: "half", ("a", "b"): "both",
        "größe": "tall", "pair.x": 7, "tags": ["one", "two"], "day": dt.date(2026, 11, 27),
    }  # fmt: skip
    assert [item.request.prompt for item in _items([row], template)] == [filled]
    row.pop("tags")
    frame = pd.DataFrame([row.values()], columns=pd.Index(list(row), tupleize_cols=False))
    if "tags" not in template:
        assert [item.request.prompt for item in _items(frame, template)] == [filled]


@pytest.mark.parametrize(
    "template", ["{Name} {name}", "{}", "{'a': 1}", "{Name!r}", "{Name:>9}", "{Name", "Name}",
                 "{{Name}", "{Name.nothing}", "{Name.__class__}", "{ {Name} }"],
)  # fmt: skip
def test_a_brace_without_a_column(template):
    """A brace that names no column is refused, in the prompt and in any field."""
    row = {"Name": "Ada", "prompt": "x"}
    for options in ({"prompt": template}, {"quality": template}, {"tags": [template]}):
        with pytest.raises(InvalidRequestError, match=r"^Row 0: There is (no column|a single)"):
            _items([row], **options)


@pytest.mark.parametrize(
    "value",
    [["a"], {"a": 1}, {1}, (1, 2), b"red", print, math, ValueError, np.zeros(3), pd.Series([1]),
     pd.DataFrame({"a": [1]}), object(), float("inf"), Image.new("RGB", (2, 2))],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_without_text(value):
    """A value that is not text, a number or a date is refused with its row and column."""
    rows = [{"c": "red"}, {"c": value}]
    with pytest.raises(InvalidRequestError, match=r'^Row 1: .*(C|c)olumn "c"') as caught:
        _items(rows, "a {c} boat")
    assert "Nothing was sent" in str(caught.value)


def test_one_copy_of_a_source():
    """A source that all rows share is encoded and stored once; a column may contain an image."""
    image = Image.new("RGB", (8, 8))
    rows = [{"prompt": f"{number}", "photo": image} for number in range(3)]
    for source in (image, "{photo}"):
        found = [item.request.sources[0] for item in _items(rows, sources=[source])]
        assert {id(one.content) for one in found} == {id(found[0].content)}


def test_two_columns_with_one_name():
    """Two columns that have the same name as text are refused."""
    with pytest.raises(InvalidRequestError, match='Two columns have the name "1"'):
        _items([{1: "a", "1": "b"}], "{1}")


def test_names_of_columns():
    """A column is named by its name as text. Columns that are not used may have any name."""
    frame = pd.DataFrame({1: ["a"], "b c": ["d"], "gap": [None], "prompt": ["a boat"]})
    (item,) = _items(frame)
    assert item.request.prompt == "a boat"
    assert list(item.variables) == ["1", "b c", "gap", "prompt"]


def test_a_message_names_the_index():
    """A message names a row by its index in the data frame."""
    frame = pd.DataFrame({"c": ["red", None]}, index=["first", "second"])
    with pytest.raises(InvalidRequestError, match=r'^Row second: The column "c" has no value\.'):
        _items(frame, "a {c} boat")


def test_items_are_numbered_in_order():
    """Items are numbered from 0 in the order of the rows, whatever the index is."""
    frame = pd.DataFrame({"prompt": ["b", "a"]}, index=[7, 3])
    assert [(item.index, item.request.prompt) for item in _items(frame)] == [(0, "b"), (1, "a")]


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_a_missing_value(missing):
    """A missing value is refused with its row, in the prompt and in any other field."""
    rows = [{"c": "red", "prompt": "a"}, {"c": missing, "prompt": "b"}]
    for options in ({"prompt": "a {c} boat"}, {"quality": "{c}"}, {"sources": ["{c}.png"]}):
        with pytest.raises(InvalidRequestError, match=r"Row [01]: ") as caught:
            _items(rows, **options)
        assert len(caught.value.parts) == 3
    assert [item.request.prompt for item in _items(rows)] == ["a", "b"]


@pytest.fixture
def frame():
    """A data frame while pandas has no accessor of ours; removes it afterwards."""
    before = pd.DataFrame.__dict__.get("gpt_image")
    if before is not None:
        del pd.DataFrame.gpt_image
    yield pd.DataFrame({"prompt": ["a boat"]})
    if "gpt_image" in pd.DataFrame.__dict__:
        del pd.DataFrame.gpt_image
        pd.DataFrame._accessors.discard("gpt_image")


def test_the_accessor(frame):
    """``df.gpt_image.generate`` passes the frame, the prompt and all options."""
    asked = []

    def note(*values, **options):
        asked.append((*values, options))
        return "batch"

    add_accessor(note)
    add_accessor(lambda *_: pytest.fail("added twice"))
    assert frame.gpt_image.generate("a {prompt}", concurrency=2) == "batch"
    assert frame[frame["prompt"] == "a boat"].gpt_image.generate() == "batch"
    (first, one), (_, two) = asked
    assert first is frame
    assert one == {"prompt": "a {prompt}", "concurrency": 2}
    assert two == {"prompt": None}


def test_a_column_named_like_the_accessor(frame):
    """A column ``gpt_image`` can still be read with square brackets."""
    add_accessor(lambda *_, **__: "batch")
    frame["gpt_image"] = ["mine"]
    assert list(frame["gpt_image"]) == ["mine"]
    assert frame.gpt_image.generate() == "batch"
