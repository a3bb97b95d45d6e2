"""Take the screenshots in docs/images again: ``python -m tests.browser.screenshots``."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.lab import (
    Lab,
    Notebook,
    find_browser,
    make_notebook,
    open_browser,
    serve_lab,
    write_notebook,
)
from tests.conftest import ROOT, clean_environment

FOLDER = ROOT / "docs" / "images"
WIDTH = 1180  # pixels, of the page
FOX, SWEEP, PANEL, ROWS = 1, 2, 3, 4
CELLS = (
    "%load_ext runapi_magic\n%runapi simulator on --speed 20",
    "%%gpt_image -a 16:9 -o fox\nA red fox beside a mountain lake at sunrise",
    """%%gpt_image -a 4:3 --sweep animal=fox,cat --sweep time=dawn,noon,night
A {animal} in the forest at {time}""",
    "%gpt_panel",
    """import pandas as pd

cards = pd.DataFrame({"colour": ["red", "white"], "animal": ["fox", "cat"]})
batch = await cards.gpt_image.generate(
    prompt="A {colour} {animal}", aspect_ratio="1:1", title="cards"
)
batch""",
    "",
)
PREFIXES = {Lab: "", Notebook: "notebook7-"}
_MARGIN = 4  # pixels; a larger margin would show the neighbouring cells


def take_screenshot(lab: Lab, number: int, name: str, start: str = "") -> None:
    """Save a screenshot of a cell with its outputs.

    Args:
        lab: The notebook.
        number: The number of the cell.
        name: The name of the screenshot.
        start: CSS selector of the first part to show; the whole cell by default.
    """
    lab.cell(number + 1).locator(
        lab.editor
    ).click()  # another cell is active, so this one has no frame and no icons
    lab.page.mouse.move(0, 0)
    lab.cell(number).hover(trial=True)  # the click may have scrolled it away
    cell = lab.cell(number).bounding_box()
    top = lab.cell(number).locator(start).bounding_box()["y"] if start else cell["y"]
    clip = {
        "x": cell["x"],
        "y": top - _MARGIN,
        "width": cell["width"],
        "height": cell["y"] + cell["height"] - top + 2 * _MARGIN,
    }
    shot = Image.open(io.BytesIO(lab.page.screenshot(clip=clip))).convert("RGB")
    path = FOLDER / f"{PREFIXES[type(lab)]}{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The colours of code must stay, although its text has few pixels.
    palette = shot.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1)
    shot.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}  {shot.width} x {shot.height}, {path.stat().st_size} bytes")  # noqa: T201


def take_in_both_themes(lab: Lab, number: int, name: str) -> None:
    """Save screenshots of a cell with its outputs in the light and in the dark theme."""
    take_screenshot(lab, number, name)
    lab.choose_theme("JupyterLab Dark")
    take_screenshot(lab, number, f"{name}-dark")
    lab.choose_theme("JupyterLab Light")


def take_all(lab: Lab) -> None:
    """Take the screenshots of one front end."""
    page = lab.page
    lab.run(0)
    lab.run(FOX)
    lab.wait_for_images(FOX)
    lab.wait_for_text(FOX, "gpt-images/")
    take_in_both_themes(lab, FOX, "cell")
    lab.click(FOX, "Edit")
    lab.type(FOX, "Add a balloon")
    page.keyboard.press("Enter")
    lab.wait_for_text(FOX, "v2 of 2")
    lab.wait_for_text(FOX, "gpt-images/add-a-balloon")
    take_in_both_themes(lab, FOX, "edit")
    if type(lab) is Lab:
        take_versions(lab)
    lab.run(SWEEP)
    lab.wait_for_text(SWEEP, "6 of 6 images · ")  # the caption, not the text for screen readers
    take_in_both_themes(lab, SWEEP, "sweep")
    lab.run(PANEL)
    page.locator(".runapi-gallery button").nth(2).wait_for()
    page.get_by_role("textbox", name="Prompt").fill("A paper boat on a still lake")
    page.get_by_role("button", name="3:2", exact=True).click()
    page.get_by_text("$0.06 (simulated)").wait_for()
    take_in_both_themes(lab, PANEL, "panel")
    if type(lab) is Lab:
        lab.run(ROWS)
        lab.wait_for_text(ROWS, "2 of 2 images · ")
        take_screenshot(lab, ROWS, "batch")


def take_versions(lab: Lab) -> None:
    """Take the screenshots of the versions of an image."""
    page = lab.page
    lab.click(FOX, "Compare")
    page.locator("[data-slider]").wait_for()
    take_screenshot(lab, FOX, "compare", ".runapi-toolbar")
    lab.click(FOX, "Close")
    page.get_by_role("button", name="v1: ").click()
    lab.wait_for_text(FOX, "v1 of 2")
    lab.click(FOX, "Edit")
    lab.type(FOX, "Make it night")
    page.keyboard.press("Enter")
    lab.wait_for_text(FOX, "v3 of 3")
    lab.wait_for_text(FOX, "gpt-images/make-it-night")
    take_screenshot(lab, FOX, "versions")


def main() -> None:
    """Take all screenshots."""
    browser = find_browser()
    if browser is None:
        raise SystemExit("There is no Chromium on this machine.")
    for front_end in PREFIXES:
        with tempfile.TemporaryDirectory() as folder:
            notebooks = Path(folder) / "notebooks"
            notebooks.mkdir()
            write_notebook(notebooks / "fox.ipynb", make_notebook(*CELLS))
            with (
                serve_lab(notebooks, clean_environment(Path(folder))) as url,
                open_browser(browser) as opened,
            ):
                page = opened.new_page(viewport={"width": WIDTH, "height": 3000})
                lab = front_end(page, url, "fox.ipynb")
                lab.hide_files()
                take_all(lab)
                lab.shut_down()


if __name__ == "__main__":
    main()
