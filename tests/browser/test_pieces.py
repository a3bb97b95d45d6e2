"""The pieces of the toolbar and the panel in JupyterLab: told to Python, usable by keyboard."""

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

told = widgets.Label("nothing")
told.add_class("told")

def picture(colour, mime="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (600, 400), colour).save(file, mime)
    return file.getvalue()

def box(on_action, *children):
    bridge = Bridge(on_action, "pieces")
    box = widgets.VBox([*children, bridge, bridge.missing, told])
    box.add_class("pieces")
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
    told.value = f"{action} {value}"
    thumbnails.value = html(int(value or 0))

thumbnails = widgets.HTML(html(0))
entry = widgets.Text(placeholder="type here")
place, bridge = box(on_action, thumbnails, entry)
place
"""
)

_SLIDER = (
    _HEAD
    + """
place, bridge = box(print, widgets.HTML(slider_html(
    picture("red"), picture("blue", "PNG"), names=("a <b>red</b> one", "blue"),
    width=600, height=400)))
place
"""
)

_FORM = (
    _HEAD
    + """
def show():
    told.value = repr(form.values)

def on_action(action, value):
    form.act(action, value)

form = FieldsForm()
form.on_change(show)
form.show(find_model("gpt-image-2").text)
place, bridge = box(on_action, form.widget)
place
"""
)

_COPY = (
    _HEAD
    + """
def on_action(action, value):
    if action == "copy":
        bridge.copy('%%gpt_edit cat\\nmake it "blue" & äöü')
    told.value = f"{action} {value}"

place, bridge = box(on_action, widgets.HTML('<button data-action="copy">Copy</button>'))
place
"""
)


def _told(lab, text):
    expect(lab.cell(0).locator(".told")).to_have_text(text)


@pytest.fixture
def show(open_lab):
    """A function that runs a cell and returns the notebook once its pieces are there."""

    def show_(cell, *more):
        lab = open_lab(cell, *more)
        lab.run(0)
        lab.cell(0).locator("[data-bridged] .told").wait_for(timeout=60_000)
        lab.wait_until_done(0)
        return lab

    return show_


def test_click_on_a_thumbnail_is_told(show):
    """A click on a thumbnail, on its picture too, reaches Python with its value."""
    lab = show(_THUMBNAILS)
    lab.cell(0).get_by_role("img", name="version 2").click()
    _told(lab, "version 2")


def test_escape_is_told_and_stays_here(show):
    """Escape in a text field is told to Python, and JupyterLab never hears of it."""
    lab = show(_THUMBNAILS)
    listen = "document.addEventListener('keydown', event => window.heard = event.key, true)"
    lab.page.evaluate(f"() => {{ {listen} }}")
    entry = lab.cell(0).get_by_placeholder("type here")
    entry.press_sequentially("half")
    assert lab.page.evaluate("window.heard") == "f"
    lab.page.keyboard.press("Escape")
    _told(lab, "escape")
    expect(entry).to_be_focused()
    expect(entry).to_have_value("half")
    assert lab.page.evaluate("window.heard") == "f"


def test_keys_on_a_button_press_it_and_nothing_else(show):
    """Enter and Space press a button; letters, arrows and Shift+Enter are no shortcuts there."""
    lab = show(_THUMBNAILS, "1 + 1")
    button = lab.cell(0).locator("[data-value='1']")
    button.focus()
    lab.page.keyboard.press("Enter")
    _told(lab, "version 1")
    lab.cell(0).locator("[data-value='2']").focus()
    lab.page.keyboard.press("Space")
    lab.wait_for_text(0, "2 times")
    for key in ("a", "b", "d", "d", "x", "m", "0", "ArrowDown", "Shift+Enter"):
        lab.page.keyboard.press(key)
    lab.page.keyboard.press("Escape")
    _told(lab, "escape")
    assert lab.page.locator(".jp-NotebookPanel .jp-Cell").count() == 2
    assert lab.page.locator(".jp-NotebookPanel .jp-CodeCell").count() == 2
    assert lab.input_prompt(0) == "[1]:"
    assert lab.input_prompt(1) == "[ ]:"


def test_shortcuts_with_control_still_work(show):
    """Ctrl+S in a container saves the notebook, as everywhere in JupyterLab."""
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
    """The button that was pressed has the focus after its HTML has been replaced, each time."""
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


def test_focus_that_was_left_is_not_taken_back(show):
    """Whoever has left a button on purpose does not get it again when its HTML is replaced."""
    lab = show(_THUMBNAILS)
    button = lab.cell(0).locator("[data-value='2']")
    button.focus()
    assert button.evaluate(_LEAVE_AND_REPLACE) == "BODY"


def test_python_moves_the_focus(show):
    """The focus goes where Python says, of somebody who is at work there."""
    lab = show(_THUMBNAILS, "bridge.on_msg(lambda *_: bridge.focus('input'))")
    lab.run(1)
    lab.wait_until_done(1)
    lab.cell(0).locator("[data-key]").first.click()
    expect(lab.cell(0).get_by_placeholder("type here")).to_be_focused()


def _share(slider):
    """How much of the slider's picture lies left of the line."""
    line = slider.locator(".runapi-slider-line").bounding_box()
    frame = slider.locator(".runapi-slider-frame").bounding_box()
    return (line["x"] + line["width"] / 2 - frame["x"]) / frame["width"]


def test_slider_moves_by_keyboard_and_mouse(show):
    """The line follows the arrow keys and the mouse, and the picture is clipped at it."""
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
    """Markup in a picture's name is shown as text."""
    lab = show(_SLIDER)
    lab.wait_for_text(0, "a <b>red</b> one")
    assert lab.cell(0).locator("[data-slider] b").count() == 0


def test_text_reaches_the_clipboard(show):
    """A text from Python is on the clipboard, with its lines and signs, and Python is told."""
    lab = show(_COPY)
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.click(0, "Copy")
    _told(lab, "copied yes")
    text = lab.page.evaluate("navigator.clipboard.readText()")
    assert text == '%%gpt_edit cat\nmake it "blue" & äöü'


def test_text_reaches_the_clipboard_without_permission(show):
    """Where the page may not use the clipboard, as without https, the browser's command does."""
    lab = show(_COPY, "")
    lab.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: null, configurable: true})"
    )
    lab.click(0, "Copy")
    _told(lab, "copied yes")
    expect(lab.cell(0).get_by_role("button", name="Copy")).to_be_focused()
    lab.cell(1).locator(".cm-content").click()
    lab.page.keyboard.press("Control+v")
    expect(lab.cell(1).locator(".cm-content")).to_contain_text('make it "blue" & äöü')
    lab.page.evaluate("delete navigator.clipboard")


def test_ratio_by_keyboard(show):
    """A ratio is chosen and released by keyboard alone; the button keeps the focus."""
    lab = show(_FORM)
    auto = lab.cell(0).get_by_role("button", name="auto", exact=True)
    auto.focus()
    lab.page.keyboard.press("Tab")
    lab.page.keyboard.press("Space")
    _told(lab, "{'aspect_ratio': '1:1'}")
    square = lab.cell(0).get_by_role("button", name="1:1", exact=True)
    expect(square).to_have_attribute("aria-pressed", "true")
    expect(square).to_be_focused()
    lab.page.keyboard.press("Enter")
    _told(lab, "{}")
    expect(square).to_have_attribute("aria-pressed", "false")
    expect(square).to_be_focused()


def test_menus_and_texts_of_a_form(show):
    """Menus and texts have their labels, tell their values, and fit a narrow place."""
    cell = _FORM.replace("gpt-image-2", "flux-kontext-pro")
    lab = show(cell + "\nplace.layout.width = '380px'\nplace")
    fields = lab.cell(0).locator(".runapi-fields").first
    fields.get_by_label("Watermark").fill("mine")
    lab.page.keyboard.press("Enter")
    _told(lab, "{'watermark': 'mine'}")
    fields.get_by_label("Enable prompt expansion").select_option("yes")
    _told(lab, "{'enable_prompt_expansion': True, 'watermark': 'mine'}")
    fields.get_by_label("Safety tolerance").select_option("0")
    _told(lab, re.compile("'safety_tolerance': 0"))
    cut = (
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML)"
    )
    assert fields.locator("label, button, .runapi-choice").evaluate_all(cut) == []
    assert fields.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_without_the_front_end_a_note_says_so(browser, tmp_path):
    """Where JupyterLab lacks anywidget nothing looks broken, and a note says what to install."""
    config = tmp_path / "jupyter-config" / "labconfig"
    config.mkdir(parents=True)
    disabled = {"disabledExtensions": {"anywidget": True}}
    (config / "page_config.json").write_text(json.dumps(disabled))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "pieces.ipynb", make_notebook(_THUMBNAILS))
    with serve_lab(folder, clean_environment(tmp_path)) as url:
        page = browser.new_page()
        lab = Lab(page, url, "pieces.ipynb")
        lab.run(0)
        lab.cell(0).locator(".told").wait_for(timeout=60_000)
        note = lab.cell(0).get_by_text("pip install anywidget")
        expect(note).not_to_be_visible()
        expect(note).to_be_visible()
        expect(lab.cell(0).get_by_placeholder("type here")).to_be_visible()
        broken = lab.cell(0).locator(".jupyter-widgets-error-widget")
        expect(broken).to_have_count(1)
        expect(broken).not_to_be_visible()
        page.close()


def test_with_the_front_end_the_note_takes_no_room(show):
    """Where the bridge works its note is never seen."""
    lab = show(_THUMBNAILS)
    note = lab.cell(0).locator(".runapi-missing")
    expect(note).to_have_count(1)
    expect(note).to_have_css("display", "none")
