"""``python -m tests.browser.screenshots``: the README's pictures of JupyterLab, drawn anew."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.lab import (
    Lab,
    find_browser,
    make_notebook,
    open_browser,
    serve_lab,
    write_notebook,
)
from tests.conftest import ROOT, apart

FOLDER = ROOT / "docs" / "images"
WIDTH = 1100  # pixels
CELLS = (
    "%load_ext runapi_magic\n%runapi simulator on --speed 20",
    "%%gpt_image -a 16:9 -o fox\nA red fox beside a mountain lake at sunrise",
    "%gpt_panel",
    "",
)
_MARGIN = 4  # pixels; what is further away belongs to the neighbours


def take(lab: Lab, number: int, path: Path, start: str = "") -> None:
    """Save a picture of one cell with its outputs, as wide as the notebook.

    Args:
        lab: The notebook.
        number: The cell.
        path: Where to.
        start: CSS selector of what it begins with, where not with the cell.
    """
    lab.cell(number + 1).locator(".cm-content").click()  # no frame and no icons
    lab.page.mouse.move(0, 0)
    panel = lab.page.locator(".jp-WindowedPanel-outer").first.bounding_box()
    cell = lab.cell(number).bounding_box()
    top = lab.cell(number).locator(start).bounding_box()["y"] if start else cell["y"]
    clip = {
        "x": panel["x"],
        "y": top - _MARGIN,
        "width": min(WIDTH, panel["width"]),
        "height": cell["y"] + cell["height"] - top + 2 * _MARGIN,
    }
    shot = Image.open(io.BytesIO(lab.page.screenshot(clip=clip))).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = shot.quantize(256, kmeans=1)
    shot.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}  {shot.width} x {shot.height}, {path.stat().st_size} bytes")  # noqa: T201


def main() -> None:
    """Draw all pictures."""
    browser = find_browser()
    if browser is None:
        raise SystemExit("There is no Chromium on this machine.")
    with tempfile.TemporaryDirectory() as place:
        notebooks = Path(place) / "notebooks"
        notebooks.mkdir()
        write_notebook(notebooks / "fox.ipynb", make_notebook(*CELLS))
        with serve_lab(notebooks, apart(Path(place))) as url, open_browser(browser) as opened:
            page = opened.new_page(viewport={"width": WIDTH + 80, "height": 3000})
            lab = Lab(page, url, "fox.ipynb")
            page.keyboard.press("Control+b")  # the file browser goes away
            page.locator("#jp-left-stack").wait_for(state="hidden")
            lab.run(0)
            lab.run(1)
            lab.wait_pictures(1)
            lab.wait_text(1, "gpt-images/")
            take(lab, 1, FOLDER / "cell.png")
            lab.click(1, "Edit")
            lab.type(1, "Add a balloon")
            page.keyboard.press("Enter")
            lab.wait_text(1, "v2 of 2")
            lab.wait_text(1, "gpt-images/add-a-balloon")
            take(lab, 1, FOLDER / "edit.png")
            lab.click(1, "Compare")
            page.locator("[data-slider]").wait_for()
            take(lab, 1, FOLDER / "compare.png", ".runapi-toolbar")
            lab.click(1, "Close")
            page.get_by_role("button", name="v1: ").click()
            lab.wait_text(1, "v1 of 2")
            lab.click(1, "Edit")
            lab.type(1, "Make it night")
            page.keyboard.press("Enter")
            lab.wait_text(1, "v3 of 3")
            lab.wait_text(1, "gpt-images/make-it-night")
            take(lab, 1, FOLDER / "versions.png")
            lab.run(2)
            page.locator(".runapi-gallery button").nth(2).wait_for()
            page.get_by_role("textbox", name="Prompt").fill("A paper boat on a still lake")
            page.get_by_role("button", name="3:2", exact=True).click()
            page.get_by_text("$0.06 (simulated)").wait_for()
            take(lab, 2, FOLDER / "panel.png")


if __name__ == "__main__":
    main()
