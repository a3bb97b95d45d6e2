"""What becomes of rows: prompts and fields filled in, values as they are, and pandas left alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from runapi_magic.errors import InvalidRequestError
from runapi_magic.frames import batch_items, is_frame, teach_pandas
from runapi_magic.requests import ImageRequest
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
        "from runapi_magic.api import generate_many, open_session, teach_frames\n"
        "open_session().simulator_on(1000)\n"
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
        frame, "{n} {x} {yes} {name} {{}} {{n}} {a, b}", quality="at {n}", flag="{yes}", size="{n}"
    )
    assert item.request.prompt == "3 0.5 True Ærø {n} {{}} {{n}} {a, b}"
    assert dict(item.request.fields) == {"quality": "at 3", "flag": True, "size": 3}
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
