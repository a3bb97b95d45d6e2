"""The panel's sources, and which of them is the mask."""

from __future__ import annotations

import pytest
from PIL import Image

from runapi_magic.errors import InvalidRequestError
from runapi_magic.widgets.picker import Picker


@pytest.fixture
def picker():
    """A picker over two pictures, which are variables of these names."""
    names = {name: Image.new("RGB", (4, 4), name) for name in ("red", "blue")}
    return Picker(names, lambda act: act(), lambda _: None, lambda: None, lambda _: None)


def _chips(picker):
    return {chip.description: chip for chip in picker.widget.children[-1].children}


def _labels(picker):
    return [source.label for source in picker.sources]


def test_a_mask_is_no_source(picker):
    """What is marked as the mask is not among the sources, until it is unmarked."""
    picker.take_mask(when=True)
    picker.add("red", "red")
    picker.add("blue", "blue")
    _chips(picker)["Use as mask"].click()  # the last one
    assert (_labels(picker), picker.mask.label, len(picker)) == (["red"], "blue", 1)
    _chips(picker)["is the mask"].click()
    assert (_labels(picker), picker.mask, len(picker)) == (["red", "blue"], None, 2)


def test_a_model_without_masks(picker):
    """No mask is offered for such a model; one that is marked already is left out, and says so."""
    picker.add("red", "red")
    assert list(_chips(picker)) == ["✕ red"]
    picker.add("blue", "blue", is_mask=True)
    assert list(_chips(picker)) == ["✕ red", "✕ blue", "is a mask: not used here"]
    assert (_labels(picker), picker.mask) == (["red"], None)
    picker.take_mask(when=True)
    assert picker.mask.label == "blue"


def test_the_same_picture_twice(picker):
    """Of two with the same name only the one whose button is clicked is left out."""
    picker.add("blue", "blue")
    picker.add("red", "red")
    picker.add("blue", "blue", is_mask=True)
    picker.widget.children[-1].children[0].click()
    assert (_labels(picker), len(picker)) == (["red"], 1)
    picker.clear()
    assert (_labels(picker), len(picker)) == ([], 0)


def test_an_address_is_taken_once(picker):
    """What stands in the field becomes a source once, however often the page tells of it."""
    field = picker.widget.children[0].children[0]
    field.value = "red"
    assert (_labels(picker), field.value) == (["red"], "")
    field.value = "red"
    assert (_labels(picker), field.value) == (["red"], "")


def test_an_address_that_is_none(picker):
    """What is no picture is told, and stays to be corrected."""
    field = picker.widget.children[0].children[0]
    with pytest.raises(InvalidRequestError, match='no variable or file "green"'):
        field.value = "green"
    assert field.value == "green"
    assert len(picker) == 0
