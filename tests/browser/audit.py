"""Check the outputs of cells with axe-core, in both themes of JupyterLab."""

from __future__ import annotations

import re

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect

from tests.browser.lab import LOAD, STUCK

THEMES = ("JupyterLab Light", "JupyterLab Dark")
IMPACTS = ("critical", "serious", "moderate", "minor")
REASON = "The filter refused it"
CELLS = (
    f"{LOAD}\n%config RunAPIMagics.ask_above_count = 5",
    "%%gpt_image -a 16:9 -o fox\na fox to listen to",
    "%gpt_image a fox that is stuck",
    "%gpt_image a fox that is refused",
    "%gpt_image --sweep animal=fox,cat --sweep time=noon,dusk a {animal} heard at {time}",
    "%gpt_image --sweep number=1,2,3,4,5,6 a fox with the number {number}",
    "%gpt_panel",
)
FAULTS = (
    STUCK + "stuck",
    f"status=failed,match=refused,message={REASON}",
    f"status=failed,match=cat heard at dusk,message={REASON}",
)
_FORMS = ("Edit", "Upscale", "Refine", "Compare", "Save as", "Copy as cell")

_CHANGE_THEME = """async theme => {
    await window.jupyterapp.commands.execute('apputils:change-theme', {theme});
    return true;
}"""
_IS_THEME = "theme => document.body.dataset.jpThemeName === theme"
_MARK = """outputs => {
    for (const one of document.querySelectorAll('[data-audited]')) delete one.dataset.audited;
    for (const one of outputs) one.dataset.audited = '';
}"""
# JupyterLab changes the colours of a button gradually, and axe-core reads them at once. For that
# reason transitions are off during a check.
_RUN = """async () => {
    const still = document.createElement('style');
    still.textContent = '* {transition:none !important; animation-duration:0s !important}';
    document.head.append(still);
    const found = await axe.run({include: [['[data-audited]']]}, {resultTypes: ['violations']});
    still.remove();
    return {version: found.testEngine.version, violations: found.violations};
}"""


class Auditor:
    """Checks cells with axe-core and collects the violations.

    Attributes:
        version: The version of axe-core.
        found: The violations by state and theme, as pairs of the impact and a description.
    """

    def __init__(self, lab):
        self._lab = lab
        self.version = ""
        self.found = {}

    def check(self, state, number):
        """Check the outputs of a cell in both themes.

        Args:
            state: A description of what the outputs show.
            number: The number of the cell.
        """
        page = self._lab.page
        if not page.evaluate("'axe' in window"):
            page.evaluate(AXE_SCRIPT)
        # The current theme comes first, because a change of the theme is slow.
        for theme in sorted(THEMES, key=lambda name: not page.evaluate(_IS_THEME, name)):
            change_theme(page, theme)
            outputs = self._lab.cell(number).locator(".jp-OutputArea-output")
            outputs.locator("visible=true").first.wait_for()
            outputs.evaluate_all(_MARK)
            report = page.evaluate(_RUN)
            self.version = report["version"]
            self.found[state, theme] = [
                (rule["impact"], f"{rule['id']}: {node['html'][:200]}")
                for rule in report["violations"]
                for node in rule["nodes"]
            ]


def change_theme(page, theme):
    """Change the theme of JupyterLab and wait until the page shows it."""
    page.evaluate(_CHANGE_THEME, theme)
    page.wait_for_function(_IS_THEME, arg=theme)


def audit(lab, server):
    """Check all outputs and controls with axe-core and return the auditor.

    Args:
        lab: A notebook with ``CELLS``.
        server: The simulator server.
    """
    auditor = Auditor(lab)
    server.fault(*FAULTS)
    lab.run(0)
    lab.wait_until_done(0)
    _check_cells(lab, auditor)
    _check_versions(lab, auditor)
    _check_sheets(lab, auditor)
    _check_panel(lab, auditor)
    server.clear_faults()
    return auditor


def _check_cells(lab, auditor):
    lab.run(2)
    lab.wait_for_text(2, "The service is drawing")
    auditor.check("a placeholder", 2)
    lab.run(3)
    lab.wait_for_text(3, REASON)
    auditor.check("an error", 3)
    lab.run(1)
    lab.wait_for_images(1)
    expect(lab.button(1, "Edit")).to_be_visible()
    auditor.check("a picture, its caption and its buttons", 1)


def _edit(lab, text, version):
    lab.click(1, "Edit")
    lab.type(1, text)
    lab.page.keyboard.press("Enter")
    expect(lab.cell(1).get_by_text(re.compile(f"^{version} of "))).to_be_visible()


def _check_versions(lab, auditor):
    _edit(lab, "make it red", "v2")
    auditor.check("the row of versions", 1)
    for form in _FORMS:
        lab.click(1, form)
        expect(lab.button(1, "Close").locator("visible=true")).to_be_visible()
        auditor.check(f"{form}, opened", 1)
        lab.button(1, "Close").locator("visible=true").click()
    lab.click(1, "Compare")
    menu = lab.cell(1).get_by_role("combobox", name="Shown as")
    for name in ("Side by side", "Difference"):
        menu.select_option(name)
        expect(lab.cell(1).get_by_role("img", name=re.compile(f"^{name}"))).to_be_visible()
        auditor.check(f"Compare, {name.lower()}", 1)
    lab.button(1, "Close").locator("visible=true").click()
    _edit(lab, "make it green", "v3")
    lab.wait_for_text(1, "The next edit would be pass 3")
    auditor.check("the word before a third pass", 1)
    lab.click(1, "Edit")
    lab.type(1, "a stuck edit")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "Editing …")
    auditor.check("an edit under way", 1)


def _check_sheets(lab, auditor):
    lab.run(4)
    lab.wait_for_text(4, "3 of 4 images")
    lab.cell(4).get_by_role("button", name=re.compile("^Retry failed .*0")).wait_for()
    auditor.check("a contact sheet with a failure", 4)
    lab.cell(4).get_by_role("combobox", name="Open").select_option("fox, dusk")
    lab.wait_for_images(4, 2)
    expect(lab.button(4, "Edit")).to_be_visible()
    auditor.check("a contact sheet and a picture opened from it", 4)
    lab.run(5)
    expect(lab.button(5, "Generate")).to_be_visible()
    auditor.check("the question before much is paid", 5)
    lab.click(5, "Cancel")
    lab.wait_until_done(5)


def _check_panel(lab, auditor):
    lab.run(6)
    panel = lab.cell(6).locator(".runapi-panel")
    tiles = panel.get_by_role("group", name="History").get_by_role("button")
    tiles.first.wait_for()
    auditor.check("the panel", 6)
    model = panel.get_by_role("combobox", name="Model")
    model.select_option("GPT-4o Image (gpt-4o-image)")
    lab.wait_for_text(6, "gpt-4o-image needs")
    for count in (1, 2):
        panel.get_by_role("combobox", name="or pick").select_option("variable fox")
        expect(lab.button(6, "Leave out fox")).to_have_count(count)
    lab.button(6, "Use as mask").first.click()
    expect(lab.button(6, "is the mask")).to_be_visible()
    lab.click(6, "Generate")
    lab.wait_for_text(6, "Nothing was sent")
    auditor.check("the panel with sources, a mask and an error", 6)
    for remaining in (1, 0):
        lab.button(6, "Leave out fox").first.click()
        expect(lab.button(6, "Leave out fox")).to_have_count(remaining)
    model.select_option("Flux Kontext Pro (flux-kontext-pro)")
    panel.get_by_role("textbox", name="Prompt").fill("a fox refused in the panel")
    lab.click(6, "Generate")
    lab.wait_for_text(6, REASON)
    panel.get_by_role("textbox", name="Prompt").fill("a fox stuck in the panel")
    lab.click(6, "Generate")
    panel.get_by_role("progressbar").wait_for()
    tiles.first.click()
    lab.wait_for_images(6)
    expect(lab.button(6, "Edit")).to_be_visible()
    auditor.check("the panel with a chosen picture, one under way and one refused", 6)
