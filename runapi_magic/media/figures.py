"""Matplotlib figures, their parts and their axes as images."""

from __future__ import annotations

import io
import sys
from typing import Any

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.pixel_values import check_size

_PAD = 0.1  # inches around what stands outside of a figure, as savefig(bbox_inches="tight") has

_MOST = 4  # times a figure's own width or height, with what stands outside of it


def is_figure(value: Any) -> bool:
    """Whether a value is a matplotlib Figure or SubFigure."""
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.FigureBase)


def is_axes(value: Any) -> bool:
    """Whether a value is a matplotlib Axes."""
    axes = sys.modules.get("matplotlib.axes")
    return axes is not None and isinstance(value, axes.Axes)


def encode_figure(value: Any) -> bytes:
    """Return a Figure, a SubFigure or an Axes as a PNG; it stays as it is.

    A Figure is saved in its own size, with what stands outside of it, such as a legend, added. A
    SubFigure and an Axes are their own parts of the figure, with titles and labels.

    Raises:
        InvalidRequestError: It cannot be drawn.
    """
    figure = value.figure
    if figure is None:
        raise InvalidRequestError(
            "The Axes belongs to no figure any more.", todo="Use the figure, or draw it again."
        )
    figure = figure.figure  # of an Axes in a SubFigure, the Figure that holds both
    check_size(tuple(int(side) for side in figure.bbox.size), "The figure")
    try:
        whole = _save(figure, None)  # which lays it out, so that it is known where things are
        part = _part(value, figure)
        return whole if part is None else _save(figure, part)
    except InvalidRequestError:
        raise
    except Exception as error:  # noqa: BLE001 (drawing may raise anything, as for a wrong formula)
        reason = str(error).strip().partition("\n")[0]
        raise InvalidRequestError(
            f"The figure cannot be drawn ({type(error).__name__}: {reason}).",
            todo='figure.savefig("figure.png") shows the whole error.',
        ) from None


def _save(figure: Any, part: Any) -> bytes:
    buffer = io.BytesIO()
    # Without the version in it, the same figure is the same picture tomorrow.
    figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches=part)
    return buffer.getvalue()


def _part(value: Any, figure: Any) -> Any:
    """Return the part of a figure to save, a Bbox in inches; None for its own size."""
    import numpy as np
    from matplotlib.transforms import Bbox

    to_inches = figure.dpi_scale_trans.inverted()
    tight = value.get_tightbbox()
    if tight is None:  # an invisible Axes
        tight = value.bbox
    if value is not figure:  # of a Figure it is in inches already
        tight = tight.transformed(to_inches)
    if is_axes(value):
        return tight.padded(_PAD)
    own, pixel = value.bbox.transformed(to_inches), 1 / figure.dpi
    below = tight.min < own.min - pixel  # by axis, x and y
    above = tight.max > own.max + pixel
    if value is figure and not (below.any() or above.any()):
        return None
    low = np.where(below, tight.min - _PAD, own.min)
    high = np.where(above, tight.max + _PAD, own.max)
    if any(high - low > _MOST * (own.max - own.min)):
        raise InvalidRequestError(
            "Something stands far outside of the figure: with it, the figure has"
            f" {high[0] - low[0]:.0f} x {high[1] - low[1]:.0f} inches.",
            todo="Remove it, or leave it out by its set_in_layout(False).",
        )
    return Bbox([low, high])
