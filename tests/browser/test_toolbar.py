"""The buttons under a picture in JupyterLab: versions, branches, comparison, cells, errors."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import BLOCK_KERNEL, LOAD, STUCK, XSS, choose

BUTTONS = ("Edit", "Again ($0.06)", "Upscale", "Refine", "Compare", "Save as", "Copy as cell")


def _show(open_lab, *cells):
    """Open a notebook, and run its first cell after loading the extension."""
    lab = open_lab(LOAD, *cells)
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    expect(lab.button(1, "Edit")).to_be_visible()
    return lab


def _submit(lab, button, text):
    """Open a button's field, write into it and press Enter."""
    lab.click(1, button)
    field = lab.cell(1).get_by_role("textbox", name=button)
    expect(field).to_be_focused()
    field.fill(text)
    lab.page.keyboard.press("Enter")


def _says(lab, text):
    lab.wait_for_text(1, text, ".runapi-toolbar")


def _is_at(lab, version, count, path):
    """Wait until a version is shown, among so many, with its way from the first in the caption."""
    expect(lab.cell(1).get_by_text(f"{version} of {count}", exact=True)).to_be_visible()
    expect(lab.cell(1).get_by_text(re.compile(rf"^{path} · "))).to_be_visible()
    shown = lab.cell(1).locator(".runapi-strip [aria-current=true]")
    expect(shown).to_have_accessible_name(re.compile(rf"^{version}\b"))


def _thumbnail(lab, version):
    return lab.cell(1).get_by_role("button", name=re.compile(rf"^{version}[: ]"))


def _tasks(server):
    return len(server.state()["tasks"])


def _places(lab):
    """Where the buttons of a picture and the next cell stand."""
    shown = [lab.button(1, name) for name in (*BUTTONS, "Previous version", "Next version")]
    return [one.bounding_box() for one in (*shown, lab.cell(2))]


def test_presets_branch_and_guard(open_lab, server):  # noqa: PLR0915 (one story)
    """Presets fill in; a branch overwrites nothing; nothing moves; a third pass is guarded."""
    lab = _show(open_lab, "%%gpt_image -a 16:9 -o fox\na fox with presets", "print(fox.tree())")
    first = lab.source(1)
    asked = _tasks(server)
    presets = lab.cell(1).get_by_role("combobox", name="Presets")
    presets.select_option("Change the text to …")
    field = lab.cell(1).get_by_role("textbox", name="Edit")
    expect(field).to_have_value("Change the text to HELLO")
    expect(presets).to_have_value("Presets")
    expect(lab.button(1, "Go ($0.06)")).to_be_visible()
    assert _tasks(server) == asked

    server.fault(STUCK + "hello again")
    field.fill("Change the text to hello again")
    lab.page.keyboard.press("Enter")
    _says(lab, "Editing … 1 s")
    expect(lab.cell(1).get_by_role("img", name="on its way")).to_be_visible()
    before = _places(lab)
    server.clear_faults()
    _is_at(lab, "v2", 2, "v1 > v2")
    lab.wait_for_text(1, "gpt-images/change-the-text-to-hello-again")
    assert _places(lab) == before
    second = lab.source(1)
    assert second != first

    server.fault(STUCK + "red hat")
    _submit(lab, "Edit", "add a red hat")
    _says(lab, "Editing … 1 s")
    before = _places(lab)
    server.clear_faults()
    _is_at(lab, "v3", 3, "v1 > v2 > v3")
    _says(lab, "The next edit would be pass 3 on this line")
    _says(lab, "Measured: sharpness")
    assert _places(lab) == before

    _thumbnail(lab, "v1").click()
    _is_at(lab, "v1", 3, "v1")
    assert lab.source(1) == first
    expect(lab.button(1, "From the original ($0.06)")).not_to_be_visible()
    _submit(lab, "Edit", "make it green")
    _is_at(lab, "v4", 4, "v1 > v4")
    lab.click(1, "Previous version")
    _is_at(lab, "v3", 4, "v1 > v2 > v3")
    lab.click(1, "Previous version")
    _is_at(lab, "v2", 4, "v1 > v2")
    assert lab.source(1) == second
    lab.click(1, "Next version")
    _is_at(lab, "v3", 4, "v1 > v2 > v3")

    lab.click(1, "From the original ($0.06)")
    _is_at(lab, "v5", 5, "v1 > v5")
    (from_v1,) = server.bodies("Make all of these changes:")
    assert from_v1["prompt"].splitlines()[1:] == [
        "1. Change the text to hello again",
        "2. add a red hat",
    ]
    (from_v1_too,) = server.bodies("make it green")
    (from_v2,) = server.bodies("add a red hat")[:1]
    assert from_v1["source_image_urls"] == from_v1_too["source_image_urls"]
    assert from_v1["source_image_urls"] != from_v2["source_image_urls"]

    _thumbnail(lab, "v3").click()
    _is_at(lab, "v3", 5, "v1 > v2 > v3")
    lab.click(1, "Refine with Flux Kontext")
    field = lab.cell(1).get_by_role("textbox", name="Refine with Flux Kontext")
    field.fill("softer light")
    expect(lab.button(1, "Go ($0.05)")).to_be_visible()
    lab.page.keyboard.press("Enter")
    _is_at(lab, "v6", 6, "v1 > v2 > v3 > v6")
    (refined,) = server.bodies("softer light")
    assert refined["model"] == "flux-kontext-pro"
    assert refined["source_image_url"] != from_v2["source_image_urls"][0]

    lab.run(2)
    lab.wait_for_text(2, "├─ v2")
    tree = lab.cell(2).locator(".jp-OutputArea-output").inner_text()
    starts = re.findall(r"^([ │├└─]*v\d)", tree, re.MULTILINE)
    assert starts == ["v1", "├─ v2", "│  └─ v3", "│     └─ v6", "├─ v4", "└─ v5"]


@pytest.fixture
def open_lab_of_old(open_lab):
    """A function that opens a notebook whose kernel takes in all messages on one thread."""
    way = "way => { window.jupyterapp.serviceManager.kernels.commsOverSubshells = way }"
    opened = []

    def open_(*cells):
        opened.append(open_lab(*cells))
        opened[-1].page.evaluate(way, "disabled")
        return opened[-1]

    yield open_
    for lab in opened:
        lab.page.evaluate(way, "perCommTarget")  # JupyterLab's default


def test_a_click_does_not_overtake_what_was_typed(open_lab_of_old, server, release):
    """Go sends what stands in the field, also while the kernel, as ipykernel 6, is busy."""
    lab = _show(open_lab_of_old, "%%gpt_image -a 1:1\na hill to type on", BLOCK_KERNEL)
    lab.click(1, "Edit")
    field = lab.cell(1).get_by_role("textbox", name="Edit")
    expect(field).to_be_focused()
    expect(lab.button(1, "Go ($0.06)")).to_be_visible()
    lab.run(2)
    for text in ("an older instruction", "a newer instruction"):
        field.fill(text)
        lab.page.keyboard.press("Tab")
    lab.click(1, "Go ($0.06)")
    assert lab.input_prompt(2) == "[*]:"
    release()
    _is_at(lab, "v2", 2, "v1 > v2")
    assert server.bodies("an older instruction") == []
    assert len(server.bodies("a newer instruction")) == 1


def test_who_goes_on_elsewhere_stays_there(open_lab_of_old, server, release):
    """What opens when the kernel is free again takes nobody out of another cell."""
    lab = _show(open_lab_of_old, "%%gpt_image -a 1:1\na hill to leave", BLOCK_KERNEL, "40 + 2")
    lab.run(2)
    lab.click(1, "Edit")
    lab.cell(3).locator(lab.editor).click()
    release()
    expect(lab.cell(1).get_by_role("textbox", name="Edit")).to_be_visible()
    lab.page.keyboard.press("Control+Enter")
    lab.wait_for_text(3, "42")


def test_what_closes_takes_nobody_back(open_lab_of_old, server, release):
    """Who sends an instruction and goes on in another cell is not brought back to its button."""
    lab = _show(open_lab_of_old, "%%gpt_image -a 1:1\na hill to send", BLOCK_KERNEL, "40 + 2")
    lab.click(1, "Edit")
    lab.type(1, "make it rain on who left")
    lab.run(2)
    lab.cell(1).get_by_role("textbox", name="Edit").press("Enter")
    lab.cell(3).locator(lab.editor).click()
    release()
    _is_at(lab, "v2", 2, "v1 > v2")
    lab.page.keyboard.press("Control+Enter")
    lab.wait_for_text(3, "42")


def test_upscale_compare_and_copy(open_lab, server):  # noqa: PLR0915 (one story)
    """Upscale says sizes and prices; versions are compared in three ways; cells cost nothing."""
    lab = _show(open_lab, "%%gpt_image -a 16:9 -o hill\na hill to compare", "", "", "")
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.click(1, "Compare")
    _says(lab, "There is one version only")
    lab.click(1, "Upscale")
    expect(lab.button(1, "4 times: 4096 x 2304 px ($0.20)")).to_be_visible()
    lab.click(1, "2 times: 2048 x 1152 px ($0.10)")
    _is_at(lab, "v2", 2, "v1 > v2")
    lab.wait_for_text(1, "2048 x 1152 px")
    _thumbnail(lab, "v1").click()
    _is_at(lab, "v1", 2, "v1")
    _submit(lab, "Refine", "make it pink")
    _is_at(lab, "v3", 3, "v1 > v3")
    shown = lab.source(1)

    lab.click(1, "Compare")
    other = lab.cell(1).get_by_role("combobox", name="Compare with")
    expect(other).to_be_focused()
    line = lab.cell(1).get_by_role("slider", name="How much of v1 is shown; the rest is v3")
    line.focus()
    lab.page.keyboard.press("ArrowRight")
    expect(line).to_have_value("51")
    choose(other, "v2")
    line = lab.cell(1).get_by_role("slider", name="How much of v2 is shown; the rest is v3")
    expect(line).to_have_value("50")
    way = lab.cell(1).get_by_role("combobox", name="Shown as")
    way.select_option("Side by side")
    expect(lab.cell(1).get_by_role("img", name=re.compile("^Side by side"))).to_be_visible()
    way.select_option("Difference")
    expect(lab.cell(1).get_by_role("img", name=re.compile("^Difference"))).to_be_visible()
    way.focus()
    lab.page.keyboard.press("Escape")
    expect(lab.button(1, "Compare")).to_be_focused()

    lab.click(1, "Copy as cell")
    _says(lab, "Copied; paste it into a new cell.")
    step = lab.page.evaluate("navigator.clipboard.readText()")
    alone = re.fullmatch(
        r"%%gpt_edit gpt-images/\S+\.png (-m flux-kontext-pro -a 16:9 -o \w+\nmake it pink)", step
    )
    assert alone, step
    expect(lab.cell(1).get_by_role("textbox", name="Cell")).to_have_value(step)
    lab.click(1, "Copy whole line")
    expect(lab.cell(1).get_by_role("textbox", name="Cell")).to_have_value(
        re.compile("^%%gpt_image")
    )
    lab.page.wait_for_function(
        "async step => (await navigator.clipboard.readText()) !== step", arg=step
    )
    line = lab.page.evaluate("navigator.clipboard.readText()")
    assert re.search(rf"\n\n%%gpt_edit \w+ {re.escape(alone[1])}\Z", line), line
    asked = _tasks(server)
    for number, cell in enumerate([*line.split("\n\n"), step], 2):
        lab.page.evaluate("text => navigator.clipboard.writeText(text)", cell)
        lab.cell(number).locator(".cm-content").click()
        lab.page.keyboard.press("Control+v")
        lab.run(number)
        lab.wait_for_images(number)
        lab.wait_for_text(number, "from disk")
    assert lab.source(3) == shown
    assert _tasks(server) == asked


@pytest.mark.versions
def test_escape_closes_and_focus_returns(open_lab, server):
    """Escape closes what each button opens and its button has the focus; nothing is sent."""
    lab = _show(open_lab, "%%gpt_image -a 1:1\na hill to escape from", "")
    _submit(lab, "Edit", "make it teal")
    _is_at(lab, "v2", 2, "v1 > v2")
    asked = _tasks(server)
    opened = {
        "Edit": ("textbox", "Edit"),
        "Upscale": ("button", re.compile("^2 times")),
        "Refine": ("textbox", "Refine with Flux Kontext"),
        "Compare": ("combobox", "Compare with"),
        "Save as": ("textbox", "Save as"),
        "Copy as cell": ("textbox", "Cell"),
    }
    for button, (role, name) in opened.items():
        lab.button(1, button).focus()
        lab.page.keyboard.press("Enter")
        first = lab.cell(1).get_by_role(role, name=name)
        expect(first).to_be_focused()
        lab.page.keyboard.press("Escape")
        expect(first).not_to_be_visible()
        expect(lab.button(1, button)).to_be_focused()
        lab.page.keyboard.press("Space")
        expect(first).to_be_focused()
        lab.click(1, "Close")
        expect(first).not_to_be_visible()
        expect(lab.button(1, button)).to_be_focused()
    assert _tasks(server) == asked


@pytest.mark.versions
def test_waiting_failing_and_two_at_once(open_lab, server, workspace):
    """Waiting can be stopped, two edits go on at once, and a failed one keeps the picture."""
    lab = _show(open_lab, "%%gpt_image -a 1:1\na hill to wait for", "")
    first = lab.source(1)
    server.fault(STUCK + "never comes")
    _submit(lab, "Edit", "never comes")
    _says(lab, "Editing …")
    lab.click(1, "Stop waiting")
    _says(lab, "Stopped waiting")
    _says(lab, "may be charged")
    expect(lab.button(1, "Stop waiting")).not_to_be_visible()
    assert lab.source(1) == first

    server.fault(f"status=failed,match=against,message={XSS}")
    _submit(lab, "Edit", f"against the rules {XSS}")
    _says(lab, "<b>bold</b>")
    _says(lab, "not charged")
    assert lab.source(1) == first
    expect(lab.button(1, "Edit")).to_be_visible()

    server.fault(STUCK + "twin")
    _submit(lab, "Edit", f"one twin {XSS}")
    _says(lab, "Editing …")
    _submit(lab, "Edit", "other twin")
    _says(lab, "(2 under way)")
    server.clear_faults()
    expect(lab.cell(1).get_by_text(re.compile("^v[23] of 3$"))).to_be_visible()
    expect(lab.button(1, "Stop waiting")).not_to_be_visible()
    twin = lab.cell(1).get_by_role("button", name=f"(from v1): one twin {XSS}")
    other_twin = lab.cell(1).get_by_role("button", name="(from v1): other twin")
    twin.click()
    expect(twin).to_have_attribute("aria-current", "true")
    lab.click(1, "Copy as cell")
    expect(lab.cell(1).get_by_role("textbox", name="Cell")).to_have_value(re.compile("<b>bold</b>"))
    other_twin.click()
    expect(other_twin).to_have_attribute("aria-current", "true")
    lab.click(1, "Compare")
    other = lab.cell(1).get_by_role("combobox", name="Compare with")
    name = other.get_by_role("option", name=": one twin <img").get_attribute("value")[:2]
    choose(other, name)
    expect(lab.cell(1).get_by_role("slider", name=f"How much of {name} is")).to_be_attached()
    assert lab.page.evaluate("window.hacked") is None
    outputs = lab.page.locator(".jp-OutputArea-output")
    assert outputs.locator("img[src=x]").count() == 0
    assert outputs.locator("b").count() == 0
