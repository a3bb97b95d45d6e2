"""The table of a batch: the user's columns unchanged, and the columns of the batch."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.batch.table import records
from runapi_magic.core.request import ImageRequest
from tests.properties import PROPERTY

OURS = ["prompt", "model", "status", "cost", "path", "error", "image"]


def _item(variables, prompt="a fox", index=0):
    return Item(index, ImageRequest(prompt, "gpt-image-2"), variables, cost=0.06)


def test_no_name_collides():
    """Without a conflict, the columns of the batch have their usual names."""
    (row,) = records([_item({"animal": "fox", 1: "x"})], images=True)
    assert list(row) == ["animal", 1, *OURS]
    assert (row["prompt"], row["status"], row["cost"]) == ("a fox", "waiting", 0.06)


@pytest.mark.parametrize("name", OURS)
def test_a_user_column_keeps_its_name(name):
    """A user's column keeps its name; the column of the batch gets the prefix ``gpt_``."""
    items = [_item({name: "mine"}), _item({name: "yours"}, index=1)]
    rows = records(items, images=True)
    assert [row[name] for row in rows] == ["mine", "yours"]
    assert set(rows[0]) == {*OURS, f"gpt_{name}"}
    plain = records([_item({})], images=True)[0]
    assert [row[f"gpt_{name}"] for row in rows] == [plain[name]] * 2


def test_a_conflict_in_one_row():
    """A conflict in one row changes the name in all rows."""
    rows = records([_item({"status": "new"}), _item({"other": 1}, index=1)])
    assert [row["gpt_status"] for row in rows] == ["waiting", "waiting"]
    assert "status" not in rows[1]


def test_both_names_are_taken():
    """A user can have both names as columns."""
    (row,) = records([_item({"cost": 5, "gpt_cost": 6})])
    assert (row["cost"], row["gpt_cost"], row["gpt_gpt_cost"]) == (5, 6, 0.06)


def test_equal_columns_are_one():
    """A user's column that equals the prompt or the model is not there twice."""
    rows = records([_item({"prompt": " a fox ", "model": "gpt-image-2"})])
    assert list(rows[0]) == ["prompt", "model", "status", "cost", "path", "error"]


def test_a_data_frame_keeps_its_columns():
    """``to_frame`` has all columns of the data frame with their values."""
    frame = pd.DataFrame({name: ["x", "y"] for name in OURS}, index=["one", "two"])
    batch = Batch([_item(dict(row), index=at) for at, (_, row) in enumerate(frame.iterrows())])
    batch.index = frame.index
    made = batch.to_frame()
    pd.testing.assert_frame_equal(made[OURS], frame)
    assert list(made.columns) == [*OURS, *(f"gpt_{name}" for name in OURS)]


@PROPERTY
@given(st.dictionaries(st.sampled_from([*OURS, "gpt_cost", "gpt_image", "x"]), st.text()))
def test_any_columns(variables):
    """For any row, the table has all values of the user and of the batch."""
    (row,) = records([_item(variables)], images=True)
    assert {name: row[name] for name in variables if name not in {"prompt", "model"}}.items() <= (
        variables.items()
    )
    assert {"waiting", 0.06} <= {value for value in row.values() if isinstance(value, str | float)}
    assert len(row) >= len(variables) + 5
