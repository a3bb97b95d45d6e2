"""The buttons under an image in JupyterLab: versions, branches, comparison, cells and errors."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import BLOCK_KERNEL, LOAD, STUCK, XSS, choose

BUTTONS = ("Edit", "Again ($0.06)", "Upscale", "Refine", "Compare", "Save as", "Copy as cell")


def _show(open_lab, *cells):
    """Open a notebook, load the extension, run the first cell and wait for its image."""
    lab = open_lab(LOAD, *cells)
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    expect(lab.button(1, "Edit")).to_be_visible()
    return lab


def _submit(lab, button, text):
    """Open a button's text field, fill it and press Enter."""
    lab.click(1, button)
    field = lab.cell(1).get_by_role("textbox", name=button)
    expect(field).to_be_focused()
    field.fill(text)
    lab.page.keyboard.press("Enter")


def _wait_for_text(lab, text):
    lab.wait_for_text(1, text, ".runapi-toolbar")


def _wait_for_version(lab, version, count, path):
    """Wait until a version is shown, with the number of versions and its lineage in the caption."""
    expect(lab.cell(1).get_by_text(f"{version} of {count}", exact=True)).to_be_visible()
    expect(lab.cell(1).get_by_text(re.compile(rf"^{path} · "))).to_be_visible()
    shown = lab.cell(1).locator(".runapi-strip [aria-current=true]")
    expect(shown).to_have_accessible_name(re.compile(rf"^{version}\b"))


def _thumbnail(lab, version):
    return lab.cell(1).get_by_role("button", name=re.compile(rf"^{version}[: ]"))


def _count_tasks(server):
    return len(server.state()["tasks"])


def _positions(lab):
    """Return the positions of an image's buttons and of the next cell."""
    shown = [lab.button(1, name) for name in (*BUTTONS, "Previous version", "Next version")]
    return [one.bounding_box() for one in (*shown, lab.cell(2))]


def test_presets_branch_and_guard(open_lab, server):  # noqa: PLR0915 (one session)
    """Presets fill the field, branches keep all versions, and a third pass gives a warning."""
    lab = _show(open_lab, "%%gpt_image -a 16:9 -o fox\na fox with presets", "print(fox.tree())")
    first = lab.source(1)
    before = _count_tasks(server)
    presets = lab.cell(1).get_by_role("combobox", name="Presets")
    presets.select_option("Change the text to …")
    field = lab.cell(1).get_by_role("textbox", name="Edit")
    expect(field).to_have_value("Change the text to HELLO")
    expect(presets).to_have_value("Presets")
    expect(lab.button(1, "Go ($0.06)")).to_be_visible()
    assert _count_tasks(server) == before

    server.fault(STUCK + "hello again")
    field.fill("Change the text to hello again")
    lab.page.keyboard.press("Enter")
    _wait_for_text(lab, "Editing … 1 s")
    expect(lab.cell(1).get_by_role("img", name="on its way")).to_be_visible()
    positions = _positions(lab)
    server.clear_faults()
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    lab.wait_for_text(1, "gpt-images/change-the-text-to-hello-again")
    assert _positions(lab) == positions
    second = lab.source(1)
    assert second != first

    server.fault(STUCK + "red hat")
    _submit(lab, "Edit", "add a red hat")
    _wait_for_text(lab, "Editing … 1 s")
    positions = _positions(lab)
    server.clear_faults()
    _wait_for_version(lab, "v3", 3, "v1 > v2 > v3")
    _wait_for_text(lab, "The next edit would be pass 3 on this line")
    _wait_for_text(lab, "Measured: sharpness")
    assert _positions(lab) == positions

    _thumbnail(lab, "v1").click()
    _wait_for_version(lab, "v1", 3, "v1")
    assert lab.source(1) == first
    expect(lab.button(1, "From the original ($0.06)")).not_to_be_visible()
    _submit(lab, "Edit", "make it green")
    _wait_for_version(lab, "v4", 4, "v1 > v4")
    lab.click(1, "Previous version")
    _wait_for_version(lab, "v3", 4, "v1 > v2 > v3")
    lab.click(1, "Previous version")
    _wait_for_version(lab, "v2", 4, "v1 > v2")
    assert lab.source(1) == second
    lab.click(1, "Next version")
    _wait_for_version(lab, "v3", 4, "v1 > v2 > v3")

    lab.click(1, "From the original ($0.06)")
    _wait_for_version(lab, "v5", 5, "v1 > v5")
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
    _wait_for_version(lab, "v3", 5, "v1 > v2 > v3")
    lab.click(1, "Refine with Flux Kontext")
    field = lab.cell(1).get_by_role("textbox", name="Refine with Flux Kontext")
    field.fill("softer light")
    expect(lab.button(1, "Go ($0.05)")).to_be_visible()
    lab.page.keyboard.press("Enter")
    _wait_for_version(lab, "v6", 6, "v1 > v2 > v3 > v6")
    (refined,) = server.bodies("softer light")
    assert refined["model"] == "flux-kontext-pro"
    assert refined["source_image_url"] != from_v2["source_image_urls"][0]

    lab.run(2)
    lab.wait_for_text(2, "├─ v2")
    tree = lab.cell(2).locator(".jp-OutputArea-output").inner_text()
    starts = re.findall(r"^([ │├└─]*v\d)", tree, re.MULTILINE)
    assert starts == ["v1", "├─ v2", "│  └─ v3", "│     └─ v6", "├─ v4", "└─ v5"]


@pytest.fixture
def open_lab_without_subshells(open_lab):
    """Return a function that opens a notebook whose kernel has one thread for all messages."""
    set_mode = "mode => { window.jupyterapp.serviceManager.kernels.commsOverSubshells = mode }"
    opened = []

    def open_(*cells):
        opened.append(open_lab(*cells))
        opened[-1].page.evaluate(set_mode, "disabled")
        return opened[-1]

    yield open_
    for lab in opened:
        lab.page.evaluate(set_mode, "perCommTarget")  # JupyterLab's default


def test_go_sends_the_latest_text_of_a_busy_kernel(open_lab_without_subshells, server, release):
    """Go sends the latest text of the field, even if the kernel is busy and has no subshells."""
    lab = _show(open_lab_without_subshells, "%%gpt_image -a 1:1\na hill to type on", BLOCK_KERNEL)
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
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    assert server.bodies("an older instruction") == []
    assert len(server.bodies("a newer instruction")) == 1


def test_opened_field_does_not_take_the_focus(open_lab_without_subshells, server, release):
    """A field that a busy kernel opens late does not take the focus from another cell."""
    lab = _show(
        open_lab_without_subshells, "%%gpt_image -a 1:1\na hill to leave", BLOCK_KERNEL, "40 + 2"
    )
    lab.run(2)
    lab.click(1, "Edit")
    lab.cell(3).locator(lab.editor).click()
    release()
    expect(lab.cell(1).get_by_role("textbox", name="Edit")).to_be_visible()
    lab.page.keyboard.press("Control+Enter")
    lab.wait_for_text(3, "42")


def test_closed_field_does_not_take_the_focus(open_lab_without_subshells, server, release):
    """A field that a busy kernel closes late does not take the focus from another cell."""
    lab = _show(
        open_lab_without_subshells, "%%gpt_image -a 1:1\na hill to send", BLOCK_KERNEL, "40 + 2"
    )
    lab.click(1, "Edit")
    lab.type(1, "make it rain on who left")
    lab.run(2)
    lab.cell(1).get_by_role("textbox", name="Edit").press("Enter")
    lab.cell(3).locator(lab.editor).click()
    release()
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    lab.page.keyboard.press("Control+Enter")
    lab.wait_for_text(3, "42")


def test_upscale_compare_and_copy(open_lab, server):  # noqa: PLR0915 (one session)
    """Upscale shows sizes and prices; Compare has three views; copied cells run at no cost."""
    lab = _show(open_lab, "%%gpt_image -a 16:9 -o hill\na hill to compare", "", "", "")
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.click(1, "Compare")
    _wait_for_text(lab, "There is one version only")
    lab.click(1, "Upscale")
    expect(lab.button(1, "4 times: 4096 x 2304 px ($0.20)")).to_be_visible()
    lab.click(1, "2 times: 2048 x 1152 px ($0.10)")
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    lab.wait_for_text(1, "2048 x 1152 px")
    _thumbnail(lab, "v1").click()
    _wait_for_version(lab, "v1", 2, "v1")
    _submit(lab, "Refine", "make it pink")
    _wait_for_version(lab, "v3", 3, "v1 > v3")
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
    view = lab.cell(1).get_by_role("combobox", name="Shown as")
    view.select_option("Side by side")
    expect(lab.cell(1).get_by_role("img", name=re.compile("^Side by side"))).to_be_visible()
    view.select_option("Difference")
    expect(lab.cell(1).get_by_role("img", name=re.compile("^Difference"))).to_be_visible()
    view.focus()
    lab.page.keyboard.press("Escape")
    expect(lab.button(1, "Compare")).to_be_focused()

    lab.click(1, "Copy as cell")
    _wait_for_text(lab, "Copied; paste it into a new cell.")
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
    before = _count_tasks(server)
    for number, cell in enumerate([*line.split("\n\n"), step], 2):
        lab.page.evaluate("text => navigator.clipboard.writeText(text)", cell)
        lab.cell(number).locator(".cm-content").click()
        lab.page.keyboard.press("Control+v")
        lab.run(number)
        lab.wait_for_images(number)
        lab.wait_for_text(number, "cached")
    assert lab.source(3) == shown
    assert _count_tasks(server) == before


@pytest.mark.versions
def test_escape_closes_and_focus_returns(open_lab, server):
    """Escape closes what a button opens and moves the focus to the button; nothing is sent."""
    lab = _show(open_lab, "%%gpt_image -a 1:1\na hill to escape from", "")
    _submit(lab, "Edit", "make it teal")
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    before = _count_tasks(server)
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
    assert _count_tasks(server) == before


@pytest.mark.versions
def test_stop_failure_and_two_edits_at_once(open_lab, server, workspace):
    """You can stop waiting, a failed edit keeps the image, and two edits run at once."""
    lab = _show(open_lab, "%%gpt_image -a 1:1\na hill to wait for", "")
    first = lab.source(1)
    server.fault(STUCK + "never comes")
    _submit(lab, "Edit", "never comes")
    _wait_for_text(lab, "Editing …")
    lab.click(1, "Stop waiting")
    _wait_for_text(lab, "Stopped waiting")
    _wait_for_text(lab, "may be charged")
    expect(lab.button(1, "Stop waiting")).not_to_be_visible()
    assert lab.source(1) == first

    server.fault(f"status=failed,match=against,message={XSS}")
    _submit(lab, "Edit", f"against the rules {XSS}")
    _wait_for_text(lab, "<b>bold</b>")
    _wait_for_text(lab, "not charged")
    assert lab.source(1) == first
    expect(lab.button(1, "Edit")).to_be_visible()

    server.fault(STUCK + "twin")
    _submit(lab, "Edit", f"one twin {XSS}")
    _wait_for_text(lab, "Editing …")
    _submit(lab, "Edit", "other twin")
    _wait_for_text(lab, "(2 under way)")
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
