"""Rows and data frames as batches on the simulator, and the table of results."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from runapi_magic.errors import (
    InvalidRequestError,
)
from runapi_magic.notebook.api import generate_many
from tests.batch.conftest import PROMPTS

pytestmark = pytest.mark.server


def test_columns_in_prompt_and_fields(many, service):
    """``{column}`` is filled in in the prompt and in fields; doubled braces stand for braces."""
    frame = pd.DataFrame(
        {"colour": ["red", "blue"], "n": [3, 4], "ratio": ["1:1", "16:9"]}, index=["x", "y"]
    )
    batch = many(frame, prompt="{n} {colour} boats {{as typed}}", aspect_ratio="{ratio}")
    assert [item.request.prompt for item in batch.items] == [
        "3 red boats {as typed}",
        "4 blue boats {as typed}",
    ]
    assert [item.request.aspect_ratio for item in batch.items] == ["1:1", "16:9"]
    assert sorted(task["body"]["aspect_ratio"] for task in service.tasks) == ["16:9", "1:1"]
    assert batch.items[1].variables == {"colour": "blue", "n": 4, "ratio": "16:9"}


def test_numbers_and_booleans_from_columns(many, service):
    """A column can fill a field that takes a number or a boolean."""
    frame = pd.DataFrame({"n": np.array([2, 0]), "more": [True, False]})
    many(
        frame, prompt="boat {n}", model="flux-kontext-pro", safety_tolerance="{n}",
        enable_prompt_expansion="{more}",
    )  # fmt: skip
    bodies = [task["body"] for task in service.tasks]
    given = {(body["safety_tolerance"], body["enable_prompt_expansion"]) for body in bodies}
    assert given == {(2, True), (0, False)}


def test_sources_from_a_column(many, service, png, home):
    """A column can name the source file of each row."""
    work = home.parent / "work"
    for name in ("fox.png", "owl.png"):
        (work / name).write_bytes(png + name.encode())
    batch = many(pd.DataFrame({"file": ["fox.png", "owl.png"]}), prompt="blue", sources=["{file}"])
    assert [item.request.sources[0].path.name for item in batch.items] == ["fox.png", "owl.png"]
    assert len(batch.images) == 2


@pytest.mark.parametrize(
    "prompts",
    [
        ["a boat", "a tree"],
        ("a boat", "a tree"),
        pd.Series(["a boat", "a tree"]),
        pd.DataFrame({"prompt": ["a boat", "a tree"], "x": [1, 2]}),
        [{"prompt": "a boat"}, {"prompt": "a tree"}],
        iter(["a boat", "a tree"]),
    ],
    ids=["list", "tuple", "series", "frame", "dicts", "iterator"],
)
def test_kinds_of_prompts(many, prompts):
    """Prompts can be texts, dicts, a Series or a data frame, also from an iterator."""
    assert [image.prompt for image in many(prompts).images] == ["a boat", "a tree"]


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ("a boat", {}, "one str"),
        (b"a boat", {}, "one bytes"),
        ({"prompt": "a boat"}, {}, "one dict"),
        (7, {}, "one int"),
        (None, {}, "one NoneType"),
        ([], {}, "There are no prompts"),
        (pd.DataFrame({"prompt": []}), {}, "There are no prompts"),
        (["a boat", "  "], {}, "Row 1: The prompt is empty"),
        (["a boat", None], {}, "Row 1: There is no prompt"),
        (pd.Series(["a boat", float("nan")]), {}, "Row 1: There is no prompt"),
        ([{"prompt": "a boat"}, {"text": "a tree"}], {}, "Row 1: There is no prompt, and no col"),
        (
            [{"c": "red"}, {"c": None}],
            {"prompt": "a {c} boat"},
            'Row 1: The column "c" has no value.',
        ),
        (
            pd.DataFrame({"c": pd.array(["red", None], dtype="string")}),
            {"prompt": "a {c} boat"},
            'Row 1: The column "c" has no value.',
        ),
        (
            pd.DataFrame([["red", "blue"]], columns=["c", "c"]),
            {"prompt": "a {c} boat"},
            'Two columns have the name "c".',
        ),
        (["a boat", ["a tree"]], {}, "Row 1: The prompt is of type list"),
        (np.array([["a boat", "a tree"]]), {}, "Row 0: The prompt is of type ndarray"),
        (["a boat"], {"sources": ["nowhere.png"]}, "Row 0: "),
        (
            [{"prompt": "a boat", "r": "1:1"}, {"prompt": "a tree", "r": "7:5"}],
            {"aspect_ratio": "{r}"},
            "Row 1: ",
        ),
    ],
    ids=[
        "text", "bytes", "dict", "number", "none", "empty", "empty frame", "blank", "no text",
        "nan", "no column", "no value", "missing value", "twice", "nested", "table", "no file",
        "ratio",
    ],
)  # fmt: skip
def test_invalid_rows(run, service, prompts, options, words):
    """An invalid row is refused with its index, and nothing of the batch is sent."""

    async def body(_session):
        with pytest.raises(InvalidRequestError) as caught:
            generate_many(prompts, progress=False, **options)
        return caught.value.parts

    what, charged, todo = run(service, body)
    assert what.startswith(words) or words in what
    assert charged == "Nothing was sent, nothing was charged."
    assert todo
    assert service.requests == []


def test_to_frame(many, slow):
    """``to_frame`` has a row for each item: variables, status, cost, file, error and image."""
    slow.fault("status=failed,match=owl,message=not tonight")
    batch = many(pd.DataFrame({"animal": ["fox", "owl"], "n": [1, 2]}), slow, prompt="An {animal}")
    frame = batch.to_frame()
    assert list(frame["animal"]) == ["fox", "owl"]
    assert list(frame["prompt"]) == ["An fox", "An owl"]
    assert list(frame["status"]) == ["completed", "failed"]
    assert frame["cost"][0] == pytest.approx(0.06)
    assert frame["path"][0] == str(batch.items[0].images[0].path)
    assert "not tonight" in frame["error"][1]
    assert frame["image"][0] is batch.items[0].images[0]
    assert pd.isna(frame["path"][1])


def test_to_frame_keeps_the_index(many):
    """Images can be joined to the data frame they were made from, also to a part of it."""
    frame = pd.DataFrame({"animal": ["fox", "owl", "cat"]}, index=["f", "o", "c"])
    batch = many(frame[frame.animal != "owl"], prompt="One {animal}")
    images = frame.join(batch.to_frame()["image"])["image"]
    assert (images["f"].prompt, images["c"].prompt) == ("One fox", "One cat")
    assert pd.isna(images["o"])


def test_to_frame_without_pandas(many, monkeypatch):
    """Without pandas, ``records`` works and ``to_frame`` says what to install."""
    batch = many(PROMPTS[:1])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidRequestError) as caught:
        batch.to_frame()
    assert "pip install pandas" in caught.value.parts
    assert batch.records()[0]["status"] == "completed"
