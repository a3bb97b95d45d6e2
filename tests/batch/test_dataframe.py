"""What becomes of rows: prompts and fields filled in, values as they are, and pandas left alone."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from runapi_magic.batch.dataframe import batch_items, is_frame, teach_pandas
from runapi_magic.core.request import ImageRequest
from runapi_magic.errors import InvalidRequestError
from tests.conftest import ROOT


def _make(prompt, /, *, sources=(), model="gpt-image-2", count=1, **fields):
    return ImageRequest(prompt, model, fields, count, tuple(sources))


def _items(prompts, prompt=None, sources=(), **fields):
    return batch_items(prompts, prompt, sources, fields, _make)


@pytest.mark.parametrize("value", [None, [], {"a": [1]}, pd.Series([1]), np.zeros((2, 2))])
def test_what_is_no_frame(value):
    """Only a DataFrame is one."""
    assert not is_frame(value)
    assert is_frame(pd.DataFrame({"a": [1]}))


def test_pandas_is_not_imported_for_a_list():
    """A list of prompts costs no import of pandas, and needs none."""
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from runapi_magic.notebook.api import generate_many, open_session, teach_frames\n"
        "open_session().connection.simulator_on(1000)\n"
        "teach_frames()\n"
        "print(len(generate_many(['a boat'], progress=False).pictures))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env={"PYTHONPATH": str(ROOT), "HOME": ".", "RUNAPI_MAGIC_HOME": "data"},
    )  # fmt: skip
    assert done.stdout == "1\n"


def test_values_are_filled_in_as_text():
    """What stands in a text is filled in as it prints; a column alone stays what it is."""
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


def test_a_rows_own_prompt_is_no_template():
    """A prompt that a row or list brings is sent as typed, braces and all."""
    rows = [{"prompt": "a sign: {open} {n}", "n": 1}, "a sign: {closed} {prompt}"]
    assert [item.request.prompt for item in _items(rows)] == [
        "a sign: {open} {n}",
        "a sign: {closed} {prompt}",
    ]


@pytest.mark.parametrize("row", [{"colour": "red"}, {"größe": 3, 1: 2}])
def test_a_name_that_is_no_column(row):
    """A name in a template that no column has is a slip, and would be paid for in every row."""
    with pytest.raises(InvalidRequestError, match="Row 0: There is no column cölor") as caught:
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
    """A brace names any column: with blanks, dots, numbers; doubled braces stand for braces."""
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
def test_a_brace_that_names_no_column(template):
    """A brace that is no column's is refused with its row, wherever it stands: it would be paid."""
    row = {"Name": "Ada", "prompt": "x"}
    for options in ({"prompt": template}, {"quality": template}, {"tags": [template]}):
        with pytest.raises(InvalidRequestError, match=r"^Row 0: (There is no column|A brace)"):
            _items([row], **options)


@pytest.mark.parametrize(
    "value",
    [["a"], {"a": 1}, {1}, (1, 2), b"red", print, math, ValueError, np.zeros(3), pd.Series([1]),
     pd.DataFrame({"a": [1]}), object(), float("inf"), Image.new("RGB", (2, 2))],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_without_text(value):
    """What is no text, number or date is refused with its row and column, and nothing is sent."""
    rows = [{"c": "red"}, {"c": value}]
    with pytest.raises(InvalidRequestError, match=r"^Row 1: .*(C|c)olumn c") as caught:
        _items(rows, "a {c} boat")
    assert "Nothing was sent" in str(caught.value)


def test_one_copy_of_a_source():
    """A picture that all rows share is encoded and kept once; a column may hold its own."""
    picture = Image.new("RGB", (8, 8))
    rows = [{"prompt": f"{number}", "photo": picture} for number in range(3)]
    for source in (picture, "{photo}"):
        found = [item.request.sources[0] for item in _items(rows, sources=[source])]
        assert {id(one.content) for one in found} == {id(found[0].content)}


def test_two_columns_of_one_text():
    """Two columns that a template would write alike are refused."""
    with pytest.raises(InvalidRequestError, match="There are two columns 1"):
        _items([{1: "a", "1": "b"}], "{1}")


def test_names_of_columns():
    """Columns whose names are no text are known by their text; only those that are used count."""
    frame = pd.DataFrame({1: ["a"], "b c": ["d"], "gap": [None], "prompt": ["a boat"]})
    (item,) = _items(frame)
    assert item.request.prompt == "a boat"
    assert list(item.variables) == ["1", "b c", "gap", "prompt"]


def test_a_frames_rows_go_by_its_own_names():
    """A mistake is told by the name that the frame has for the row, as its user sees it."""
    frame = pd.DataFrame({"c": ["red", None]}, index=["first", "second"])
    with pytest.raises(InvalidRequestError, match=r"^Row second: There is no value in column c\."):
        _items(frame, "a {c} boat")


def test_rows_keep_their_places():
    """Items are numbered from 0 in the frame's order, whatever its index is."""
    frame = pd.DataFrame({"prompt": ["b", "a"]}, index=[7, 3])
    assert [(item.index, item.request.prompt) for item in _items(frame)] == [(0, "b"), (1, "a")]


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_a_missing_value(missing):
    """A value that is missing is named with its row, in the prompt and in any other field."""
    rows = [{"c": "red", "prompt": "a"}, {"c": missing, "prompt": "b"}]
    for options in ({"prompt": "a {c} boat"}, {"quality": "{c}"}, {"sources": ["{c}.png"]}):
        with pytest.raises(InvalidRequestError, match=r"Row [01]: ") as caught:
            _items(rows, **options)
        assert len(caught.value.parts) == 3
    assert [item.request.prompt for item in _items(rows)] == ["a", "b"]


@pytest.fixture
def frame():
    """A frame of a pandas that has not been taught anything, and forgets it again."""
    before = pd.DataFrame.__dict__.get("gpt_image")
    if before is not None:
        del pd.DataFrame.gpt_image
    yield pd.DataFrame({"prompt": ["a boat"]})
    if "gpt_image" in pd.DataFrame.__dict__:
        del pd.DataFrame.gpt_image
        pd.DataFrame._accessors.discard("gpt_image")


def test_the_accessor(frame):
    """``df.gpt_image.generate`` hands over the frame, the prompt and all options; twice is once."""
    asked = []

    def note(*values, **options):
        asked.append((*values, options))
        return "batch"

    teach_pandas(note)
    teach_pandas(lambda *_: pytest.fail("taught twice"))
    assert frame.gpt_image.generate("a {prompt}", concurrency=2) == "batch"
    assert frame[frame["prompt"] == "a boat"].gpt_image.generate() == "batch"
    (first, one), (_, two) = asked
    assert first is frame
    assert one == {"prompt": "a {prompt}", "concurrency": 2}
    assert two == {"prompt": None}


def test_a_column_of_that_name(frame):
    """A frame that has a column ``gpt_image`` keeps it under square brackets."""
    teach_pandas(lambda *_, **__: "batch")
    frame["gpt_image"] = ["mine"]
    assert list(frame["gpt_image"]) == ["mine"]
    assert frame.gpt_image.generate() == "batch"
