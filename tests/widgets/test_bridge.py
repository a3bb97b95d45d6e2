"""What a bridge makes of the page's messages, which may be any."""

from __future__ import annotations

import ipywidgets as widgets
import pytest

from runapi_magic.widgets.bridge import Bridge


class Form:
    """A bridge with carried parts; ``seen`` is what stood in the fields at each click."""

    def __init__(self):
        self.bridge = Bridge(lambda *_: None, "form")
        self.text = widgets.Textarea("old")
        self.count = widgets.BoundedIntText(1, min=1, max=16)
        self.menu = widgets.Dropdown(options=["a", "b"])
        self.button = widgets.Button()
        self.seen = []
        self.button.on_click(lambda _: self.seen.append(self.values))
        for part in (self.text, self.count, self.menu, self.button):
            self.bridge.carry(part)

    @property
    def values(self):
        """What stands in the fields."""
        return self.text.value, self.count.value, self.menu.value

    def tell(self, click, *shown):
        """Let the page tell a click on a part, with what stands in fields by their numbers."""
        self.bridge._handle_custom_msg({"click": click, "shown": list(shown)}, [])


@pytest.fixture
def form():
    """A form with a text, a count and a menu, numbers 1 to 3, and a button, number 4."""
    return Form()


def test_a_click_brings_what_is_shown(form):
    """A button's callback finds in the fields what stood in them in the page."""
    form.tell(4, [1, "new"], [2, "3"], [3, "1"])
    assert form.seen == [("new", 3, "b")]


def test_each_part_has_its_number_in_the_page(form):
    """The page finds the numbers in the classes of the carried parts."""
    assert form.menu._dom_classes == ("runapi-carried", "runapi-carried-3")
    assert form.button._dom_classes == ("runapi-carried", "runapi-carried-4")


@pytest.mark.parametrize(
    "shown",
    [
        [2, "many"],
        [2, ""],
        [3, "7"],
        [3, "-3"],
        [9, "x"],
        [4, "x"],
        [1, 5],
        ["1", "x"],
        [1, "x", "y"],
        None,
        "1",
    ],
)
def test_what_cannot_be_is_left_alone(form, shown):
    """A field keeps its value where the page tells something impossible; the click counts."""
    form.tell(4, shown)
    assert form.seen == [("old", 1, "a")]


@pytest.mark.parametrize("click", [1, 9, -1, "4", None, 4.0])
def test_a_click_on_what_is_no_button(form, click):
    """Only a click on a carried button calls anything."""
    form.tell(click, [1, "new"])
    assert form.seen == []


def test_a_count_stays_in_its_range(form):
    """A number out of range is taken as ipywidgets take it: the nearest that is allowed."""
    form.tell(4, [2, "99"])
    assert form.seen == [("old", 16, "a")]


def test_a_field_that_is_gone(form):
    """A field that was closed in the meantime does no harm."""
    form.text.close()
    form.tell(4, [1, "new"], [2, "2"])
    assert [count for _, count, _ in form.seen] == [2]
