"""Save matplotlib figures, subfigures and axes as PNG."""

from __future__ import annotations

import io
import sys
from typing import Any

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.pixel_values import check_size

_PAD = 0.1  # inches around artists outside of the figure, as in savefig(bbox_inches="tight")

_MOST = 4  # times the width or height of the figure, with the artists outside of it


def is_figure(value: Any) -> bool:
    """Whether a value is a matplotlib Figure or SubFigure."""
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.FigureBase)


def is_axes(value: Any) -> bool:
    """Whether a value is a matplotlib Axes."""
    axes = sys.modules.get("matplotlib.axes")
    return axes is not None and isinstance(value, axes.Axes)


def encode_figure(value: Any) -> bytes:
    """Return a Figure, a SubFigure or an Axes as a PNG. It is not changed.

    A Figure is saved in its own size, plus artists outside of it, for example a legend. Of a
    SubFigure or an Axes, only that part of the figure is saved, with its titles and labels.

    Raises:
        InvalidRequestError: It cannot be drawn.
    """
    figure = value.figure
    if figure is None:
        raise InvalidRequestError(
            "The Axes was removed from its figure.", todo="Use the figure, or draw the Axes again."
        )
    figure = figure.figure  # for an Axes in a SubFigure: the Figure that contains both
    check_size(tuple(int(side) for side in figure.bbox.size), "The figure")
    try:
        whole = _save(figure, None)  # this does the layout, which _part needs
        part = _part(value, figure)
        return whole if part is None else _save(figure, part)
    except InvalidRequestError:
        raise
    except Exception as error:  # noqa: BLE001 (drawing may raise any exception, for example for a wrong formula)
        reason = str(error).strip().partition("\n")[0]
        raise InvalidRequestError(
            f"The figure cannot be drawn ({type(error).__name__}: {reason}).",
            todo='figure.savefig("figure.png") shows the whole error.',
        ) from None


def _save(figure: Any, part: Any) -> bytes:
    buffer = io.BytesIO()
    # Without the version of matplotlib, the same figure always gives the same file.
    figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches=part)
    return buffer.getvalue()


def _part(value: Any, figure: Any) -> Any:
    """Return the part of a figure to save as a Bbox in inches; None for its own size."""
    import numpy as np
    from matplotlib.transforms import Bbox

    to_inches = figure.dpi_scale_trans.inverted()
    tight = value.get_tightbbox()
    if tight is None:  # an invisible Axes
        tight = value.bbox
    if value is not figure:  # for a Figure it is in inches already
        tight = tight.transformed(to_inches)
    if is_axes(value):
        return tight.padded(_PAD)
    own, pixel = value.bbox.transformed(to_inches), 1 / figure.dpi
    below = tight.min < own.min - pixel  # for x and y
    above = tight.max > own.max + pixel
    if value is figure and not (below.any() or above.any()):
        return None
    low = np.where(below, tight.min - _PAD, own.min)
    high = np.where(above, tight.max + _PAD, own.max)
    if any(high - low > _MOST * (own.max - own.min)):
        raise InvalidRequestError(
            "An artist is far outside of the figure. With it, the figure would have"
            f" {high[0] - low[0]:.0f} x {high[1] - low[1]:.0f} inches.",
            todo="Remove the artist, or exclude it: artist.set_in_layout(False).",
        )
    return Bbox([low, high])
