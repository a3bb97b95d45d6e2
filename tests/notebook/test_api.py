"""Wrong arguments of the Python functions."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import runapi_magic
from runapi_magic.errors import NOT_SENT, InvalidRequestError
from runapi_magic.notebook.api import add_frame_accessor

PIXEL = b"P1 1 1 0"


def _frame(**options):
    add_frame_accessor()
    return pd.DataFrame({"c": ["red"]}).gpt_image.generate(**options)


WRONG = {
    "number as prompt": (lambda: runapi_magic.generate(42), "The prompt is of type int."),
    "no prompt": (lambda: runapi_magic.generate(None), "The prompt is of type NoneType."),
    "list as prompt": (lambda: runapi_magic.generate(["a"]), "The prompt is of type list."),
    "number as model": (lambda: runapi_magic.generate("a", model=2), "The model is of type int."),
    "text as count": (
        lambda: runapi_magic.generate("a", count="2"), "count must be a whole number (got '2')"
    ),
    "number as source": (lambda: runapi_magic.generate("a", sources=5), "of type int, which is"),
    "number as mask": (lambda: runapi_magic.generate("a", mask=5), "of type int, which is"),
    "number as field": (
        lambda: runapi_magic.generate("a", aspect_ratio=[1]), "[1] is not a value of aspect_ratio"
    ),
    "instruction": (lambda: runapi_magic.edit(PIXEL, 42), "The instruction is of type int."),
    "no image": (lambda: runapi_magic.edit(None, "a"), "of type NoneType, which"),
    "factor": (lambda: runapi_magic.upscale(PIXEL, "much"), "'much' is not a value of upscale_fa"),
    "background of a number": (lambda: runapi_magic.remove_background(3), "of type int, which is"),
    "compare": (lambda: runapi_magic.compare(PIXEL, 12), "of type int, which is not an image"),
    "path": (lambda: runapi_magic.open_image(5), "The path is of type int."),
    "batch id": (lambda: runapi_magic.resume_batch(5), "batch_id is of type int."),
    "concurrency": (
        lambda: runapi_magic.generate_many(["a"], concurrency="2"),
        "concurrency must be a whole number (got '2')",
    ),
    "no concurrency": (
        lambda: runapi_magic.generate_many(["a"], concurrency=0), "concurrency must be at least 1"
    ),
    "title": (lambda: runapi_magic.generate_many(["a"], title=5), "title is of type int."),
    "cost": (lambda: runapi_magic.generate_many(["a"], max_cost="1"), "max_cost is of type str."),
    "many sources": (
        lambda: runapi_magic.generate_many(["a"], sources=5), "Row 0: The source is of type int"
    ),
    "template": (
        lambda: runapi_magic.generate_many([{"c": 1}], prompt=5), "Row 0: The prompt is of type int"
    ),
    "frame": (lambda: _frame(prompt=5), "Row 0: The prompt is of type int."),
    "frame's options": (
        lambda: _frame(prompt="a {c}", max_cost="1"), "max_cost is of type str."
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "what"), WRONG.values(), ids=WRONG)
def test_wrong_types(call, what):
    """An argument of the wrong type is refused in three parts before anything is sent."""
    with pytest.raises(InvalidRequestError, match=re.escape(what)) as caught:
        call()
    assert caught.value.charged == NOT_SENT
    assert caught.value.todo


def test_compare_proposes_no_url():
    """The message of ``compare`` does not propose a URL, because ``compare`` downloads nothing."""
    with pytest.raises(InvalidRequestError) as caught:
        runapi_magic.compare(PIXEL, 12)
    assert caught.value.todo.startswith("Use a path, a GeneratedImage")


def test_one_source_needs_no_list():
    """A text as ``sources`` is one path, not a list of letters."""
    with pytest.raises(InvalidRequestError, match=r"There is no file nowhere\.png\."):
        runapi_magic.generate("a", sources="nowhere.png")
