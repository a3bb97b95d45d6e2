"""Matplotlib's figures and their parts become whole pictures, and stay as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.from_python import encode_value

RED = (255, 0, 0)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))


def _figure(**options):
    from matplotlib.figure import Figure

    return Figure(figsize=(4, 3), dpi=50, **options)


def _decoded(value):
    return Image.open(io.BytesIO(encode_value(value))).convert("RGB")


def _share(image, colour):
    return np.mean(np.all(np.asarray(image) == colour, axis=-1))


def _state(figure):
    return (
        figure.dpi, figure.get_facecolor(), figure.get_size_inches().tolist(), figure.canvas,
        figure.get_layout_engine(), figure.bbox.bounds,
        [(np.round(axes.get_position().bounds, 9).tolist(), axes.get_visible())
         for axes in figure.axes],
    )  # fmt: skip


@pytest.mark.parametrize("layout", [None, "tight", "constrained"])
def test_a_figure_is_of_its_size(layout):
    """A figure in which everything has its place is saved as ``savefig`` saves it."""
    figure = _figure(layout=layout, facecolor="red")
    figure.subplots().plot([1, 3, 2])
    expected = io.BytesIO()
    figure.savefig(expected, format="png", metadata={"Software": None})
    before = _state(figure)
    assert encode_value(figure) == expected.getvalue()
    assert _state(figure) == before


@pytest.mark.parametrize("place", [(1.05, 0.5), (-0.6, 0.5), (0.2, 1.3), (0.2, -0.6)])
def test_a_legend_outside(place):
    """What stands outside of a figure, on any side, is not cut off, and nothing else is lost."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot([1, 3, 2], label="a line")
    whole = _decoded(figure)
    legend = axes.legend(bbox_to_anchor=place, loc="lower left", fancybox=False)
    legend.get_frame().set(facecolor="red", alpha=1, linewidth=0)
    before, made = _state(figure), _decoded(figure)
    assert _state(figure) == before
    assert made.width >= whole.width
    assert made.height >= whole.height
    assert made.size != whole.size
    red = np.argwhere(np.all(np.asarray(made) == RED, axis=-1))
    edges = [*red.min(axis=0), *(np.array(made.size[::-1]) - 1 - red.max(axis=0))]
    assert min(edges) > 2  # white is around it


def test_an_axes_is_its_own_part():
    """An Axes is its own part of the figure, with its title, and without the Axes beside it."""
    figure = _figure()
    left, right = figure.subplots(1, 2)
    left.set(facecolor="red", title="left")
    right.set_facecolor("blue")
    before, made = _state(figure), _decoded(left)
    assert _state(figure) == before
    assert made.width < 120
    assert _share(made, RED) > 0.4
    assert _share(made, (0, 0, 255)) == 0


def test_a_subfigure_is_its_own_part():
    """A SubFigure, and an Axes in it, are their own parts of the figure."""
    figure = _figure()
    first, second = figure.subfigures(1, 2)
    first.set_facecolor("red")
    second.set_facecolor("blue")
    axes = second.subplots()
    axes.set_facecolor("lime")
    made = _decoded(first)
    assert made.size == (100, 150)
    assert _share(made, RED) > 0.99
    assert _share(_decoded(axes), (0, 255, 0)) > 0.4


def test_other_projections():
    """Polar and three-dimensional Axes are Axes."""
    for projection in ("polar", "3d"):
        axes = _figure().add_subplot(projection=projection)
        assert min(_decoded(axes).size) > 50


def _removed():
    axes = _figure().subplots()
    axes.remove()
    return axes


def _wrong_formula():
    figure = _figure()
    figure.text(0.5, 0.5, r"$\frac{1$")
    return figure


def _huge():
    figure = _figure()
    figure.text(2000, 0.5, "far away")
    return figure


def _vast():
    figure = _figure()
    figure.set_size_inches(900, 900)
    return figure


@pytest.mark.parametrize("make", [_removed, _wrong_formula, _huge, _vast])
def test_what_cannot_be_drawn(make):
    """A figure that matplotlib cannot draw is refused in words, not by its exception."""
    with pytest.raises(InvalidRequestError) as caught:
        encode_value(make())
    assert caught.value.todo


def test_the_array_of_subplots():
    """What ``subplots`` returns for several Axes is refused as what it is."""
    with pytest.raises(InvalidRequestError, match="array of object"):
        encode_value(_figure().subplots(2, 2))
