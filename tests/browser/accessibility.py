"""Write docs/accessibility.md: ``python -m tests.browser.accessibility``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.audit import CELLS, IMPACTS, THEMES, audit
from tests.browser.lab import (
    Lab,
    find_browser,
    make_notebook,
    open_browser,
    serve_lab,
    write_notebook,
)
from tests.conftest import KEY, ROOT, clean_environment, serve_simulator

PAGE = ROOT / "docs" / "accessibility.md"

_TEXT = """\
# Accessibility

What the extension does for those who see little or nothing, who use no pointer, or who want other
colours. It was checked by programs, in JupyterLab with Chromium; nobody has tried it with a screen
reader yet.

## Keys

Every control can be reached with Tab, in the order in which the controls stand, and has a name.
From a cell press Escape and then Tab to get into its output.

| where | key | does |
|---|---|---|
| everywhere | Tab, Shift+Tab | go to the next control, to the one before |
| buttons, versions, pictures of the history | Enter, Space | press |
| buttons under a picture | arrow left, arrow right | show the version before, the next one |
| **Edit**, **Refine**, **Save as** | Enter | send, save |
| whatever a button has opened | Escape | close it; the focus goes back to the button |
| **Compare**'s slider | arrow keys, Home, End | move the line |
| menus | arrow keys | choose; **Open** below a contact sheet does what a click on it does |

These keys count only where the focus is in our controls. JupyterLab's own shortcuts rest there,
except those with Ctrl, Alt or Cmd. A control that goes away while it has the focus hands it on.

## Screen readers

A picture's caption says what it was asked for, and is read like any text. The **alt text** says the
same: the first prompt and the edits since. It does not say what is to be seen: nobody has looked.

What changes every second, such as the progress, is not read by itself. Said are: that an edit has
begun, which picture is there now, how a sweep ended, what a button did, and errors.

Where the alt text gets to:

- **JupyterLab 4 and Notebook 7** leave it out by themselves
  ([a proposal](https://github.com/jupyter/enhancement-proposals/issues/120) would change that).
  Pictures with buttons and contact sheets get it from the buttons, as long as those work. A tree, a
  comparison, a picture as a cell's value, and a notebook without its kernel have none there.
- **VS Code** takes the output's text
  ([since 2023](https://github.com/microsoft/vscode/issues/180970)), which names the picture.
- **nbconvert** has it with `--template classic`
  ([the pull request](https://github.com/jupyter/nbconvert/pull/1112)). The HTML that it makes
  otherwise, of its template `lab`, says "No description has been provided for this image" whatever
  the notebook holds (7.17); the caption is below.

## Colours

JupyterLab's themes give the colours. Where there is no theme, words have a contrast of at least 4.5
and lines and bars of at least 3 on light and dark grounds; a test computes them. What has the focus
has a ring. Nothing moves by itself, so there is nothing to stop for `prefers-reduced-motion`. In
the system's high-contrast colours the chosen version, shape and picture are marked, too.

## axe-core's report

`make accessibility` brings everything that can be seen before
[axe-core](https://github.com/dequelabs/axe-core) {version}, in both of JupyterLab's themes, with
all its usual rules, and writes this page. It looks at the outputs of our cells; the rest is
JupyterLab's. `make test` does the same, and fails where there is anything.

**{totals}.**

| what is seen | theme | {impacts} |
|---|---|{lines}|
"""


def page_of(auditor):
    """Return the text of the page.

    Args:
        auditor: The auditor with its results.
    """
    found = [impact for violations in auditor.found.values() for impact, _ in violations]
    text = _TEXT.format(
        version=auditor.version,
        totals=", ".join(f"{found.count(impact)} {impact}" for impact in IMPACTS),
        impacts=" | ".join(IMPACTS),
        lines="|".join("---" for _ in IMPACTS),
    )
    for state in dict.fromkeys(state for state, _ in auditor.found):
        for theme in THEMES:
            impacts = [impact for impact, _ in auditor.found[state, theme]]
            counts = " | ".join(str(impacts.count(impact)) for impact in IMPACTS)
            text += f"| {state} | {theme.split()[-1].lower()} | {counts} |\n"
    return text


def main():
    """Check all states and write the page."""
    browser = find_browser()
    if browser is None:
        raise SystemExit("There is no Chromium on this machine.")
    expect.set_options(timeout=60_000)
    with tempfile.TemporaryDirectory() as folder:
        notebooks = Path(folder) / "notebooks"
        notebooks.mkdir()
        write_notebook(notebooks / "audit.ipynb", make_notebook(*CELLS))
        with serve_simulator("--speed", "20", "--balance-cents", "100000") as server:
            environment = clean_environment(
                Path(folder), RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY
            )
            with serve_lab(notebooks, environment) as url, open_browser(browser) as opened:
                page = opened.new_page(viewport={"width": 1280, "height": 1200})
                auditor = audit(Lab(page, url, "audit.ipynb"), server)
    PAGE.write_text(page_of(auditor), "utf-8")
    for (state, theme), violations in auditor.found.items():
        for impact, violation in violations:
            print(f"{impact}: {state}, {theme}: {violation}")  # noqa: T201
    print(f"{PAGE.relative_to(ROOT)}: {len(auditor.found)} checks")  # noqa: T201


if __name__ == "__main__":
    main()
