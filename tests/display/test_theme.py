"""What is shown can be told from its ground, whatever the front end's own colours are."""

from __future__ import annotations

import re

import pytest
from PIL import ImageColor

from runapi_magic.display import theme
from runapi_magic.media import contact_sheet, tree_drawing
from tests.contrast import contrast

# Words and ground: JupyterLab without its colours and nbconvert; VS Code's Dark Modern and Dark+;
# Colab's dark theme; a black page.
GROUNDS = {
    "white": ("#000000", "#ffffff"),
    "grey words on white": ("#212121", "#ffffff"),
    "VS Code, Dark Modern": ("#cccccc", "#1f1f1f"),
    "VS Code, Dark+": ("#d4d4d4", "#1e1e1e"),
    "Colab, dark": ("#e3e3e3", "#383838"),
    "black": ("#ffffff", "#000000"),
}


def test_the_measure():
    """Black on white has 21, and a grey that WCAG's texts name has 4.48."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("ground", GROUNDS)
def test_quiet_words_can_be_read(ground):
    """The second line of a caption has 4.5 on the ground of every front end."""
    assert f"currentColor {theme.MUTED_SHARE}%,transparent" in theme.MUTED
    words, below = GROUNDS[ground]
    pairs = zip(ImageColor.getrgb(words), ImageColor.getrgb(below), strict=True)
    share = theme.MUTED_SHARE / 100
    mixed = (round(share * one + (1 - share) * other) for one, other in pairs)
    assert contrast("#{:02x}{:02x}{:02x}".format(*mixed), below) >= 4.5


@pytest.mark.parametrize("ground", ["#ffffff", "#1f1f1f", "#1e1e1e", "#000000"])
@pytest.mark.parametrize("line", ["ACCENT", "LINE", "FAULT"])
def test_lines_can_be_seen(line, ground):
    """Lines, bars and rings have 3 on the ground of front ends with no colours of their own."""
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
def test_drawn_words_can_be_read(words, ground):
    """What trees, comparisons and sheets say has 4.5 on the ground that it is drawn on."""
    assert contrast(words, ground) >= 4.5


def test_drawn_lines_can_be_seen():
    """The lines of a tree and the frames of pictures have 3."""
    assert contrast(tree_drawing.LINE, "#ffffff") >= 3
