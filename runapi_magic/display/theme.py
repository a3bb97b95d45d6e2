"""Colours and fonts of the outputs.

JupyterLab and Notebook provide the colours of their theme as CSS variables. Other front ends use
the second value of each ``var(...)``: it has a contrast of at least 4.5 for text and 3 for lines on
any light or dark background (WCAG 2.2, 1.4.3 and 1.4.11). Drawings made with Pillow have a white
background.
"""

from __future__ import annotations

from html import escape

FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5"

# Classes that MathJax 3 (JupyterLab) and 2 (elsewhere) ignore: dollars are not formulas here.
AS_TYPED = "mathjax_ignore tex2jax_ignore"

# No single grey is readable on white and on dark backgrounds. A share of the text colour is.
MUTED_SHARE = 75  # percent
QUIET = f"var(--jp-ui-font-color2,color-mix(in srgb,currentColor {MUTED_SHARE}%,transparent))"
MUTED = f"color:{QUIET}"

ANY_ACCENT, ANY_LINE, ANY_FAULT = "#1976d2", "#8a8a8a", "#d32f2f"
ACCENT = f"var(--jp-brand-color1,{ANY_ACCENT})"
LINE = f"var(--jp-border-color1,{ANY_LINE})"
FAULT = f"var(--jp-error-color1,{ANY_FAULT})"

# A checkerboard behind a transparent image. The image is plain output without HTML, so its caption
# has the style for the output before it. The selectors are for JupyterLab, Notebook 7 and nbconvert
# and for nbclassic. Front ends that remove styles show their own background.
CHECKERBOARD = (
    '<style class="runapi-checkerboard">'
    ":is(.jp-OutputArea-child,.output_area):has(+ * .runapi-checkerboard) img"
    "{background:repeating-conic-gradient(#c4c4c4 0 25%,#f2f2f2 0 50%) 0 0/16px 16px}"
    "</style>"
)


def progress_bar(share: float, name: str, layout: str = "") -> str:
    """Return a bar as HTML.

    Args:
        share: The progress, 0 to 1.
        name: The name of the progress, for screen readers.
        layout: More CSS for the whole bar.
    """
    percent = f"{share * 100:.0f}"
    return (
        f'<div role="progressbar" aria-label="{escape(name)}" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{percent}" style="box-sizing:border-box;height:8px;border-radius:4px;'
        f'border:1px solid {QUIET};overflow:hidden;{layout}"><div style="height:100%;'
        f'width:{percent}%;background:{ACCENT};forced-color-adjust:none"></div></div>'
    )
