"""Accessibility: the rules of axe-core, names of controls, keyboard use, focus and messages."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.accessibility import PAGE, page_of
from tests.browser.audit import CELLS, THEMES, audit, change_theme
from tests.browser.lab import LOAD, STUCK
from tests.contrast import contrast

RATIOS = ("auto", "1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "2:1", "1:2",
          "3:1", "1:3", "21:9", "9:21")  # fmt: skip
_FOCUSED = """() => {
    const one = document.activeElement;
    const {outlineStyle, outlineWidth} = getComputedStyle(one);
    return {
        inside: one.closest('[data-bridged]') !== null,
        name: (one.ariaLabel || one.labels?.[0]?.textContent || one.textContent).trim(),
        ring: `${outlineStyle} ${outlineWidth}`,
    };
}"""
_COLOURS = """() => [getComputedStyle(document.activeElement).outlineColor,
    getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor]"""
_STATUS = ".runapi-toolbar > [role=status]"


def _enter(lab, number):
    """Move the focus from a cell's editor to the cell by keyboard."""
    lab.cell(number).locator(".cm-content").first.focus()
    lab.page.keyboard.press("Escape")


def _tab(lab):
    lab.page.keyboard.press("Tab")
    return lab.page.evaluate(_FOCUSED)


def _tab_to(lab, name):
    """Press Tab until the control with this name has the focus."""
    seen = []
    while not seen or not re.fullmatch(name, seen[-1]):
        seen.append(_tab(lab)["name"])
        assert len(seen) < 60, seen


def _walk(lab, number):
    """Return the names of a cell's controls in tab order; check their focus rings."""
    _enter(lab, number)
    walked = []
    focused = _tab(lab)
    while focused["inside"] or not walked:
        walked += [focused] * focused["inside"]
        focused = _tab(lab)
    assert {one["ring"] for one in walked} == {"solid 2px"}
    return [one["name"] for one in walked]


def _status(lab):
    return lab.cell(1).locator(_STATUS)


def test_axe_finds_no_violation(open_lab, server):
    """axe-core finds no violation in either theme, and docs/accessibility.md says so."""
    auditor = audit(open_lab(*CELLS), server)
    assert {where: found for where, found in auditor.found.items() if found} == {}
    page = PAGE.read_text("utf-8")
    version = re.search(r"axe-core\) ([\d.]+),", page)[1]
    assert page == page_of(auditor).replace(auditor.version, version)


def test_edit_by_keyboard(open_lab, server):
    """All buttons have names and a tab order. You can edit and change versions by keyboard."""
    lab = open_lab(LOAD, "%%gpt_image -a 16:9\na hill for the ear", "")
    press = lab.page.keyboard.press
    server.fault(STUCK + "for the ear")
    lab.run(0)
    _enter(lab, 1)
    press("Control+Enter")
    lab.wait_for_text(1, "The service is drawing")
    bar = lab.cell(1).get_by_role("progressbar", name="The service is drawing")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    live = "[role=status]:not(.runapi-toolbar > *), [role=alert], [aria-live]"
    assert lab.cell(1).locator(f".jp-OutputArea-output :is({live})").count() == 0
    expect(_status(lab)).to_have_text("")
    assert _walk(lab, 1) == ["Cancel"]
    lab.button(1, "Cancel").focus()
    server.clear_faults()
    expect(_status(lab)).to_have_text("Shown: a hill for the ear.")
    expect(lab.images(1).first).to_have_attribute("alt", "Generated picture: a hill for the ear")
    expect(lab.button(1, "Edit")).to_be_focused()  # instead of Cancel, which was removed

    press("Enter")
    expect(lab.cell(1).get_by_role("textbox", name="Edit")).to_be_focused()
    server.fault(STUCK + "louder")
    lab.page.keyboard.type("make it louder")
    press("Enter")
    lab.wait_for_text(1, re.compile("^Editing … [2-9]"))
    expect(_status(lab)).to_have_text("Editing …")
    server.clear_faults()
    expect(_status(lab)).to_have_text("Shown: make it louder.")
    expect(lab.button(1, "Edit")).to_be_focused()
    _enter(lab, 1)
    _tab_to(lab, "Previous version")
    press("Space")
    expect(_status(lab)).to_have_text("Shown: v1: a hill for the ear.")
    expect(lab.button(1, "Next version")).to_be_focused()  # "Previous version" is disabled now
    press("ArrowRight")
    expect(_status(lab)).to_have_text("Shown: v2: make it louder.")
    assert _walk(lab, 1) == [
        "Edit", "Presets", "Again ($0.06)", "Upscale", "Refine", "Compare", "Save as",
        "Copy as cell",
        "Previous version", "v1: a hill for the ear", "v2 (from v1): make it louder",
    ]  # fmt: skip
    _enter(lab, 1)
    _tab_to(lab, "v1: .*")
    press("Enter")
    expect(_status(lab)).to_have_text("Shown: v1: a hill for the ear.")
    expect(lab.cell(1).get_by_role("button", name="v1: a hill")).to_be_focused()
    press("ArrowRight")
    expect(_status(lab)).to_have_text("Shown: v2: make it louder.")
    for theme in THEMES:
        change_theme(lab.page, theme)
        assert contrast(*lab.page.evaluate(_COLOURS)) >= 3
    assert lab.input_prompt(2) == "[ ]:"


def test_panel_by_keyboard(open_lab, server):
    """The panel's controls have names and a tab order. You can generate and select an image."""
    lab = open_lab(LOAD, "%gpt_panel")
    press = lab.page.keyboard.press
    lab.run(0)
    lab.run(1)
    tiles = lab.cell(1).get_by_role("group", name="History").get_by_role("button")
    tiles.first.wait_for()
    names = _walk(lab, 1)
    expected = [
        "Prompt", "Model", "Source", "Add", "Upload (0)", "or pick", *RATIOS, "1k", "2k", "4k",
        "Pictures", "Generate", "Search",
    ]  # fmt: skip
    assert names[: len(expected)] == expected
    _enter(lab, 1)
    _tab_to(lab, "Prompt")
    lab.page.keyboard.type("a horn for the panel")
    _tab_to(lab, "3:2")
    press("Space")
    expect(lab.button(1, "3:2")).to_have_attribute("aria-pressed", "true")
    expect(lab.button(1, "3:2")).to_be_focused()
    _tab_to(lab, "Generate")
    press("Enter")
    lab.wait_for_images(1)
    expect(_status(lab)).to_have_text("Shown: a horn for the panel.")
    expect(tiles.first).to_have_accessible_name("a horn for the panel")
    (body,) = server.bodies("a horn for the panel")
    assert body["aspect_ratio"] == "3:2"
    _enter(lab, 1)
    _tab_to(lab, "Search")
    lab.page.keyboard.type("horn")
    press("Enter")
    panel = lab.cell(1).locator(".runapi-panel > [role=status]")
    expect(panel).to_have_text("Pictures: 1 to 1 of 1")
    _tab_to(lab, "a horn for the panel")
    press("Enter")
    expect(tiles.first).to_have_attribute("aria-current", "true")
    expect(tiles.first).to_be_focused()


def test_sheet_by_keyboard(open_lab, server):
    """A contact sheet has an alt text. Keys open its images, with alt texts and buttons."""
    lab = open_lab(LOAD, "%gpt_image --sweep animal=owl,bat a {animal} <b>heard</b>")
    lab.run(0)
    lab.run(1)
    sheet = "Contact sheet, 2 of 2 images: a {animal} <b>heard</b>; animal: owl, bat"
    expect(lab.images(1).first).to_have_attribute("alt", sheet)
    expect(lab.cell(1).locator(".runapi-sheet > [role=status]")).to_have_text(sheet)
    _enter(lab, 1)
    _tab_to(lab, "Open")
    lab.page.keyboard.type("bat")
    lab.wait_for_images(1, 2)
    alt = "Generated picture: a bat <b>heard</b>"
    expect(lab.images(1).nth(1)).to_have_attribute("alt", alt)
    expect(lab.images(1).first).to_have_attribute("alt", sheet)
    expect(lab.button(1, "Edit")).to_be_visible()
    assert _walk(lab, 1)[:3] == ["Open", "Edit", "Presets"]
