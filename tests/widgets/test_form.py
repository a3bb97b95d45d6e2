"""The model's part of a form, built from the catalogue."""

from __future__ import annotations

import re

import ipywidgets as widgets
import pytest

from runapi_magic.core.catalog import CATALOGUE, Action, Parameter, find_model
from runapi_magic.widgets.bridge import Bridge
from runapi_magic.widgets.form import FieldsForm
from runapi_magic.widgets.slider import slider_html

GPT = find_model("gpt-image-2").text
FLUX = find_model("flux-kontext-pro").text
FLUX_EDIT = find_model("flux-kontext-pro").edit
OLD = find_model("gpt-image-1.5").text
TOPAZ = find_model("topaz-upscale-image").edit
ACTIONS = [
    pytest.param(action, id=f"{model.name}-{kind}")
    for model in CATALOGUE
    for kind, action in (("text", model.text), ("edit", model.edit))
    if action is not None
]
PNG = b"\x89PNG\r\n\x1a\nrest"


def _form(action):
    form = FieldsForm()
    form.show(action)
    return form


def _controls(form):
    """The menus and fields by their labels."""
    found = form.widget.children
    return {one.description: one for one in found if not isinstance(one, widgets.HTML)}


def _html(form):
    """All HTML of a form but its style."""
    found = [one.value for one in form.widget.children[1:] if isinstance(one, widgets.HTML)]
    return "".join(found)


def _pressed(form):
    return re.findall(r'data-value="([^"]*)"[^>]*aria-pressed="true"', _html(form))


@pytest.mark.parametrize("action", ACTIONS)
def test_every_parameter_has_one_control(action):
    """Each action of the catalogue has a control for each parameter, and none is set."""
    form = _form(action)
    assert len(form.widget.children) == 1 + len(action.parameters)
    assert form.values == {}
    assert _pressed(form) == []


@pytest.mark.parametrize("action", ACTIONS)
def test_every_choice_can_be_made(action):
    """Each value that the catalogue allows can be filled in, and is then what the form says."""
    form = _form(action)
    for known in action.parameters:
        for choice in known.choices or {bool: (True, False), str: ("words",)}[known.kind]:
            form.set({known.name: choice})
            assert form.values == {known.name: choice}


def test_a_button_sets_and_releases():
    """A ratio's button sets it, another one instead, and the same one again lets go of it."""
    form = _form(GPT)
    assert form.act("ratio", "16:9")
    assert form.values == {"aspect_ratio": "16:9"}
    assert _pressed(form) == ["16:9"]
    form.act("ratio", "auto")
    assert form.values == {"aspect_ratio": "auto"}
    assert form.act("resolution", "2k")
    assert form.values == {"aspect_ratio": "auto", "output_resolution": "2k"}
    form.act("ratio", "auto")
    assert form.values == {"output_resolution": "2k"}
    assert _pressed(form) == ["2k"]


@pytest.mark.parametrize(
    ("action", "value"), [("escape", ""), ("ratio", "7:5"), ("ratio", ""), ("copied", "16:9")]
)
def test_what_is_not_its_own_is_left(action, value):
    """Other actions and values that the model has not are not taken, and change nothing."""
    form = _form(GPT)
    changes = []
    form.on_change(lambda: changes.append(form.values))
    assert not form.act(action, value)
    assert form.values == {}
    assert changes == []


def test_buttons_of_a_model_without_them():
    """A ratio is not taken by a model that has none."""
    assert not _form(TOPAZ).act("ratio", "16:9")


def test_menus_set_and_unset():
    """A menu's value is set, with its type, and its first entry takes it away again."""
    form = _form(FLUX)
    menus = _controls(form)
    menus["Safety tolerance"].value = 0
    menus["Enable translation"].value = False
    menus["Watermark"].value = "mine"
    assert form.values == {
        "enable_translation": False, "watermark": "mine", "safety_tolerance": 0,
    }  # fmt: skip
    menus["Safety tolerance"].index = 0
    menus["Enable translation"].index = 0
    menus["Watermark"].value = ""
    assert form.values == {}


def test_first_entries_say_what_counts():
    """A menu begins with the service's default, a required one with the demand for a choice."""
    action = Action(
        "text_to_image",
        (
            Parameter("style", choices=("plain", "vivid"), default="plain"),
            Parameter("seed_mode", choices=("a", "b")),
            Parameter("enable_x", bool, default=True),
            Parameter("quality", choices=("low", "high"), required=True),
        ),
    )
    first = {label: menu.options[0][0] for label, menu in _controls(_form(action)).items()}
    assert first == {
        "Style": "default (plain)",
        "Seed mode": "default",
        "Enable x": "default (yes)",
        "Quality (required)": "choose one",
    }


def test_help_is_the_tooltip():
    """What the catalogue says about a parameter is its control's tooltip."""
    help_ = OLD.parameter("quality").help
    assert _controls(_form(OLD))["Quality (required)"].tooltip == help_


def test_values_that_fit_stay():
    """Another model keeps what it takes too; the rest comes back with a model that takes it."""
    form = _form(GPT)
    form.set({"aspect_ratio": "3:2", "output_resolution": "4k"})
    form.show(OLD)
    assert form.values == {"aspect_ratio": "3:2"}
    assert _pressed(form) == ["3:2"]
    form.show(TOPAZ)
    assert form.values == {}
    form.show(GPT)
    assert form.values == {"aspect_ratio": "3:2", "output_resolution": "4k"}
    assert _pressed(form) == ["3:2", "4k"]


def test_a_value_outside_the_new_limits_is_out():
    """A value that only one of a model's actions allows is not sent with the other."""
    form = _form(FLUX)
    form.set({"safety_tolerance": 6})
    form.show(FLUX_EDIT)
    assert form.values == {}
    assert _controls(form)["Safety tolerance"].index == 0
    form.set({"safety_tolerance": 1})
    assert _controls(form)["Safety tolerance"].value == 1


def test_set_replaces_everything():
    """Values that are filled in replace those of before, also in the controls."""
    form = _form(FLUX)
    form.set({"watermark": "mine", "aspect_ratio": "1:1"})
    form.set({"output_format": "png"})
    assert form.values == {"output_format": "png"}
    assert _controls(form)["Watermark"].value == ""
    assert _pressed(form) == []


def test_unknown_and_ill_typed_values_are_out():
    """What an older or a foreign history holds cannot break the form."""
    form = _form(FLUX)
    form.set({"nothing": 1, "safety_tolerance": "2", "enable_translation": "yes", "watermark": 3})
    assert form.values == {}


def test_changes_are_told():
    """Each change by the user is told once, after it; filling in and showing are not."""
    form = _form(FLUX)
    told = []
    form.on_change(lambda: told.append(form.values))
    _controls(form)["Output format"].value = "png"
    form.act("ratio", "4:3")
    expected = [{"output_format": "png"}, {"aspect_ratio": "4:3", "output_format": "png"}]
    assert told == expected
    form.set({"output_format": "jpeg"})
    form.show(GPT)
    assert told == expected


def test_old_controls_are_closed():
    """Controls that are no longer shown are gone from the page, with their layouts."""
    form = _form(FLUX)
    old = [part for one in form.widget.children[1:] for part in (one, one.layout, one.style)]
    form.show(GPT)
    assert {part.comm for part in old} == {None}
    assert all(one.comm for one in form.widget.children)


def test_ratios_have_their_shapes():
    """A drawn ratio has that shape, within half a pixel's rounding; auto is dashed."""
    sides = re.findall(
        r'data-value="(\d+):(\d+)".*?width:(\d+)px;height:(\d+)px"', _html(_form(GPT))
    )
    assert len(sides) == 15
    for across, down, width, height in (map(int, found) for found in sides):
        assert max(width, height) == 26
        assert min(width, height) == pytest.approx(
            26 * min(across, down) / max(across, down), abs=1
        )
    assert _html(_form(GPT)).count("dashed") == 1


@pytest.mark.parametrize(
    "content",
    [None, [], "escape", {}, {"action": "x"}, {"action": 1, "value": ""}, {"action": "x",
     "value": None}, {"action": ["x"], "value": "y"}],
)  # fmt: skip
def test_bridge_lets_only_strings_through(content):
    """Whatever the page sends, only an action and a value that are strings are passed on."""
    told = []
    bridge = Bridge(lambda *both: told.append(both), "pieces")
    bridge._handle_custom_msg(content, None)
    assert told == []
    bridge._handle_custom_msg({"action": "version", "value": "2", "more": 1}, None)
    assert told == [("version", "2")]


def test_slider_holds_both_pictures_and_escapes_names():
    """Each picture has its own type, and names are text in the labels and for screen readers."""
    html = slider_html(b"\xff\xd8\xffrest", PNG, names=('<i>"a"', "b & c"), width=300, height=200)
    assert html.count('src="data:image/jpeg;base64,/9j/') == 1
    assert html.count('src="data:image/png;base64,iVBOR') == 1
    assert "<i>" not in html
    assert 'alt="&lt;i&gt;&quot;a&quot;"' in html
    assert "<span>b &amp; c</span>" in html
