"""Components of the toolbar and the panel in JupyterLab: messages to Python and keyboard use."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import Lab, make_notebook, serve_lab, write_notebook
from tests.conftest import clean_environment

_HEAD = """
import io
import ipywidgets as widgets
from PIL import Image
from runapi_magic.core.catalog import find_model
from runapi_magic.widgets.bridge import Bridge
from runapi_magic.widgets.form import FieldsForm
from runapi_magic.widgets.slider import slider_html

received = widgets.Label("nothing")
received.add_class("received")

def image(colour, kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (600, 400), colour).save(file, kind)
    return file.getvalue()

def box(on_action, *children):
    bridge = Bridge(on_action, "components")
    box = widgets.VBox([*children, bridge, bridge.missing, received])
    box.add_class("components")
    return box, bridge
"""

_THUMBNAILS = (
    _HEAD
    + """
def html(version):
    image = '<img width="40" height="40" alt="version {0}" src="data:,">'
    button = '<button data-action="version" data-value="{0}" data-key="v{0}">' + image + "</button>"
    return f"<i>{version} times</i>" + "".join(button.format(number) for number in (1, 2))

def on_action(action, value):
    received.value = f"{action} {value}"
    thumbnails.value = html(int(value or 0))

thumbnails = widgets.HTML(html(0))
entry = widgets.Text(placeholder="type here")
view, bridge = box(on_action, thumbnails, entry)
view
"""
)

_SLIDER = (
    _HEAD
    + """
view, bridge = box(print, widgets.HTML(slider_html(
    image("red"), image("blue", "PNG"), names=("a <b>red</b> one", "blue"),
    width=600, height=400)))
view
"""
)

_FORM = (
    _HEAD
    + """
def show():
    received.value = repr(form.values)

def on_action(action, value):
    form.act(action, value)

form = FieldsForm()
form.on_change(show)
form.show(find_model("gpt-image-2").text)
view, bridge = box(on_action, form.widget)
view
"""
)

_COPY = (
    _HEAD
    + """
def on_action(action, value):
    if action == "copy":
        bridge.copy('%%gpt_edit cat\\nmake it "blue" & äöü')
    received.value = f"{action} {value}"

view, bridge = box(on_action, widgets.HTML('<button data-action="copy">Copy</button>'))
view
"""
)


def _wait_for_message(lab, text):
    expect(lab.cell(0).locator(".received")).to_have_text(text)


@pytest.fixture
def show(open_lab):
    """Return a function that runs a cell, waits for its components, and returns the notebook."""

    def show_(cell, *more):
        lab = open_lab(cell, *more)
        lab.run(0)
        lab.cell(0).locator("[data-bridged] .received").wait_for(timeout=60_000)
        lab.wait_until_done(0)
        return lab

    return show_


def test_click_on_a_thumbnail(show):
    """A click on the image of a thumbnail sends the thumbnail's value to Python."""
    lab = show(_THUMBNAILS)
    lab.cell(0).get_by_role("img", name="version 2").click()
    _wait_for_message(lab, "version 2")


def test_escape_is_sent_to_python_only(show):
    """Escape in a text field is sent to Python and does not reach JupyterLab."""
    lab = show(_THUMBNAILS)
    listen = "document.addEventListener('keydown', event => window.heard = event.key, true)"
    lab.page.evaluate(f"() => {{ {listen} }}")
    entry = lab.cell(0).get_by_placeholder("type here")
    entry.press_sequentially("half")
    assert lab.page.evaluate("window.heard") == "f"
    lab.page.keyboard.press("Escape")
    _wait_for_message(lab, "escape")
    expect(entry).to_be_focused()
    expect(entry).to_have_value("half")
    assert lab.page.evaluate("window.heard") == "f"


def test_keys_on_a_button(show):
    """Enter and Space press a button. Other keys are not shortcuts of JupyterLab there."""
    lab = show(_THUMBNAILS, "1 + 1")
    button = lab.cell(0).locator("[data-value='1']")
    button.focus()
    lab.page.keyboard.press("Enter")
    _wait_for_message(lab, "version 1")
    lab.cell(0).locator("[data-value='2']").focus()
    lab.page.keyboard.press("Space")
    lab.wait_for_text(0, "2 times")
    for key in ("a", "b", "d", "d", "x", "m", "0", "ArrowDown", "Shift+Enter"):
        lab.page.keyboard.press(key)
    lab.page.keyboard.press("Escape")
    _wait_for_message(lab, "escape")
    assert lab.page.locator(".jp-NotebookPanel .jp-Cell").count() == 2
    assert lab.page.locator(".jp-NotebookPanel .jp-CodeCell").count() == 2
    assert lab.input_prompt(0) == "[1]:"
    assert lab.input_prompt(1) == "[ ]:"


def test_shortcuts_with_control_still_work(show):
    """Ctrl+S saves the notebook while a component has the focus."""
    lab = show(_THUMBNAILS)
    lab.save()
    lab.page.locator(".jp-NotebookPanel .jp-Cell").first.locator(".cm-content").click()
    lab.page.keyboard.type("# changed")
    lab.page.locator(".lm-DockPanel-tabBar .jp-mod-dirty").first.wait_for()
    lab.cell(0).locator("[data-value='1']").focus()
    lab.page.keyboard.press("b")
    lab.save()
    assert lab.page.locator(".jp-NotebookPanel .jp-Cell").count() == 1


def test_focus_stays_when_html_is_replaced(show):
    """A pressed button keeps the focus when Python replaces its HTML."""
    lab = show(_THUMBNAILS)
    for number in (1, 2, 1):
        button = lab.cell(0).locator(f"[data-value='{number}']")
        button.focus()
        lab.page.keyboard.press("Enter")
        lab.wait_for_text(0, f"{number} times")
        expect(button).to_be_focused()


_LEAVE_AND_REPLACE = """async button => {
    const content = button.parentElement;
    button.blur();
    await new Promise(requestAnimationFrame);
    content.innerHTML = content.innerHTML;
    await new Promise(requestAnimationFrame);
    return document.activeElement.tagName;
}"""


def test_focus_does_not_return_to_a_button_that_lost_it(show):
    """A button that lost the focus does not get it back when its HTML is replaced."""
    lab = show(_THUMBNAILS)
    button = lab.cell(0).locator("[data-value='2']")
    button.focus()
    assert button.evaluate(_LEAVE_AND_REPLACE) == "BODY"


def test_python_moves_the_focus(show):
    """Python can move the focus to another control of the component that has it."""
    lab = show(_THUMBNAILS, "bridge.on_msg(lambda *_: bridge.focus('input'))")
    lab.run(1)
    lab.wait_until_done(1)
    lab.cell(0).locator("[data-key]").first.click()
    expect(lab.cell(0).get_by_placeholder("type here")).to_be_focused()


def _share(slider):
    """Return the share of the slider's image that is left of the line."""
    line = slider.locator(".runapi-slider-line").bounding_box()
    frame = slider.locator(".runapi-slider-frame").bounding_box()
    return (line["x"] + line["width"] / 2 - frame["x"]) / frame["width"]


def test_slider_moves_by_keyboard_and_mouse(show):
    """The line follows the arrow keys and the mouse, and the first image ends at the line."""
    lab = show(_SLIDER)
    slider = lab.cell(0).locator("[data-slider]")
    assert _share(slider) == pytest.approx(0.5, abs=0.01)
    handle = slider.get_by_role("slider", name="How much of a <b>red</b> one is shown")
    handle.focus()
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")
    assert _share(slider) == pytest.approx(0.53, abs=0.01)
    frame = slider.locator(".runapi-slider-frame").bounding_box()
    middle = frame["y"] + frame["height"] / 2
    lab.page.mouse.move(frame["x"] + frame["width"] * 0.53, middle)
    lab.page.mouse.down()
    lab.page.mouse.move(frame["x"] + frame["width"] * 0.9, middle, steps=5)
    lab.page.mouse.up()
    assert _share(slider) == pytest.approx(0.9, abs=0.01)
    clip = "element => getComputedStyle(element).clipPath"
    assert slider.locator(".runapi-slider-before").evaluate(clip) == "inset(0px 10% 0px 0px)"


def test_names_of_a_slider_are_text(show):
    """Markup in an image's name is shown as text."""
    lab = show(_SLIDER)
    lab.wait_for_text(0, "a <b>red</b> one")
    assert lab.cell(0).locator("[data-slider] b").count() == 0


def test_text_reaches_the_clipboard(show):
    """A text from Python is copied to the clipboard unchanged, and Python gets a confirmation."""
    lab = show(_COPY)
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.click(0, "Copy")
    _wait_for_message(lab, "copied yes")
    text = lab.page.evaluate("navigator.clipboard.readText()")
    assert text == '%%gpt_edit cat\nmake it "blue" & äöü'


def test_text_reaches_the_clipboard_without_permission(show):
    """If the page cannot use the clipboard API, as without HTTPS, the browser's command copies."""
    lab = show(_COPY, "")
    lab.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: null, configurable: true})"
    )
    lab.click(0, "Copy")
    _wait_for_message(lab, "copied yes")
    expect(lab.cell(0).get_by_role("button", name="Copy")).to_be_focused()
    lab.cell(1).locator(".cm-content").click()
    lab.page.keyboard.press("Control+v")
    expect(lab.cell(1).locator(".cm-content")).to_contain_text('make it "blue" & äöü')
    lab.page.evaluate("delete navigator.clipboard")


def test_ratio_by_keyboard(show):
    """You can choose and clear a ratio by keyboard, and the button keeps the focus."""
    lab = show(_FORM)
    auto = lab.cell(0).get_by_role("button", name="auto", exact=True)
    auto.focus()
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Space")
    _wait_for_message(lab, "{'aspect_ratio': '1:1'}")
    square = lab.cell(0).get_by_role("button", name="1:1", exact=True)
    expect(square).to_have_attribute("aria-pressed", "true")
    expect(square).to_be_focused()
    lab.page.keyboard.press("Enter")
    _wait_for_message(lab, "{}")
    expect(square).to_have_attribute("aria-pressed", "false")
    expect(square).to_be_focused()


def test_menus_and_texts_of_a_form(show):
    """Menus and text fields have labels, send their values to Python, and fit a narrow view."""
    cell = _FORM.replace("gpt-image-2", "flux-kontext-pro")
    lab = show(cell + "\nview.layout.width = '380px'\nview")
    fields = lab.cell(0).locator(".runapi-fields").first
    fields.get_by_label("Watermark").fill("mine")
    lab.page.keyboard.press("Enter")
    _wait_for_message(lab, "{'watermark': 'mine'}")
    fields.get_by_label("Enable prompt expansion").select_option("yes")
    _wait_for_message(lab, "{'enable_prompt_expansion': True, 'watermark': 'mine'}")
    fields.get_by_label("Safety tolerance").select_option("0")
    _wait_for_message(lab, re.compile("'safety_tolerance': 0"))
    cut = (
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML)"
    )
    assert fields.locator("label, button, .runapi-choice").evaluate_all(cut) == []
    assert fields.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_note_if_jupyterlab_has_no_anywidget(browser, tmp_path):
    """Without anywidget in JupyterLab nothing looks broken, and a note says what to install."""
    config = tmp_path / "jupyter-config" / "labconfig"
    config.mkdir(parents=True)
    disabled = {"disabledExtensions": {"anywidget": True}}
    (config / "page_config.json").write_text(json.dumps(disabled))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "components.ipynb", make_notebook(_THUMBNAILS))
    with serve_lab(folder, clean_environment(tmp_path)) as url:
        page = browser.new_page()
        lab = Lab(page, url, "components.ipynb")
        lab.run(0)
        lab.cell(0).locator(".received").wait_for(timeout=60_000)
        note = lab.cell(0).get_by_text("pip install anywidget")
        expect(note).not_to_be_visible()
        expect(note).to_be_visible()
        expect(lab.cell(0).get_by_placeholder("type here")).to_be_visible()
        broken = lab.cell(0).locator(".jupyter-widgets-error-widget")
        expect(broken).to_have_count(1)
        expect(broken).not_to_be_visible()
        page.close()


def test_no_note_if_the_bridge_works(show):
    """If the bridge works, the note is not shown."""
    lab = show(_THUMBNAILS)
    note = lab.cell(0).locator(".runapi-missing")
    expect(note).to_have_count(1)
    expect(note).to_have_css("display", "none")
