"""Text and lines have enough contrast on the background of any front end."""

from __future__ import annotations

import re

import pytest
from PIL import ImageColor

from runapi_magic.display import theme
from runapi_magic.media import contact_sheet, tree_drawing
from tests.contrast import contrast

# Text and background: JupyterLab without its colours, nbconvert; VS Code's Dark Modern and Dark+;
# Colab's dark theme; a black page.
GROUNDS = {
    "white": ("#000000", "#ffffff"),
    "grey words on white": ("#212121", "#ffffff"),
    "VS Code, Dark Modern": ("#cccccc", "#1f1f1f"),
    "VS Code, Dark+": ("#d4d4d4", "#1e1e1e"),
    "Colab, dark": ("#e3e3e3", "#383838"),
    "black": ("#ffffff", "#000000"),
}


def test_contrast():
    """Black on white has a contrast of 21, and a grey in the texts of WCAG has 4.48."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("ground", GROUNDS)
def test_muted_text(ground):
    """The second line of a caption has a contrast of 4.5 in every front end."""
    assert f"currentColor {theme.MUTED_SHARE}%,transparent" in theme.MUTED
    words, below = GROUNDS[ground]
    pairs = zip(ImageColor.getrgb(words), ImageColor.getrgb(below), strict=True)
    share = theme.MUTED_SHARE / 100
    mixed = (round(share * one + (1 - share) * other) for one, other in pairs)
    assert contrast("#{:02x}{:02x}{:02x}".format(*mixed), below) >= 4.5


@pytest.mark.parametrize("ground", ["#ffffff", "#1f1f1f", "#1e1e1e", "#000000"])
@pytest.mark.parametrize("line", ["ACCENT", "LINE", "FAULT"])
def test_lines(line, ground):
    """Lines, bars and rings have a contrast of 3 in front ends without theme colours."""
    (without_theme,) = re.findall(r",(#\w{6})\)$", getattr(theme, line))
    assert contrast(without_theme, ground) >= 3


@pytest.mark.parametrize(
    ("words", "ground"),
    [
        (tree_drawing.INK, "#ffffff"),
        (tree_drawing.MUTED, "#ffffff"),
        (tree_drawing.ACCENT, "#ffffff"),
        (tree_drawing.MUTED, contact_sheet._EMPTY),
        (tree_drawing.MUTED, contact_sheet._RUNNING),
        (contact_sheet._FAULT, contact_sheet._FAULT_BACKGROUND),
        ("#ffffff", tree_drawing.INK),
    ],
)
def test_drawn_text(words, ground):
    """Text in trees, comparisons and sheets has a contrast of 4.5."""
    assert contrast(words, ground) >= 4.5


def test_drawn_lines():
    """The lines of a tree and the frames of images have a contrast of 3."""
    assert contrast(tree_drawing.LINE, "#ffffff") >= 3
