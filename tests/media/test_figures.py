"""Matplotlib figures and their parts are saved as images and are not changed."""

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
def test_a_figure_has_its_own_size(layout):
    """A figure without artists outside of it is saved as by ``savefig``."""
    figure = _figure(layout=layout, facecolor="red")
    figure.subplots().plot([1, 3, 2])
    expected = io.BytesIO()
    figure.savefig(expected, format="png", metadata={"Software": None})
    before = _state(figure)
    assert encode_value(figure) == expected.getvalue()
    assert _state(figure) == before


@pytest.mark.parametrize("anchor", [(1.05, 0.5), (-0.6, 0.5), (0.2, 1.3), (0.2, -0.6)])
def test_a_legend_outside(anchor):
    """An artist outside of the figure, on any side, is complete in the image."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot([1, 3, 2], label="a line")
    whole = _decoded(figure)
    legend = axes.legend(bbox_to_anchor=anchor, loc="lower left", fancybox=False)
    legend.get_frame().set(facecolor="red", alpha=1, linewidth=0)
    before, made = _state(figure), _decoded(figure)
    assert _state(figure) == before
    assert made.width >= whole.width
    assert made.height >= whole.height
    assert made.size != whole.size
    red = np.argwhere(np.all(np.asarray(made) == RED, axis=-1))
    edges = [*red.min(axis=0), *(np.array(made.size[::-1]) - 1 - red.max(axis=0))]
    assert min(edges) > 2  # it has a white border


def test_an_axes():
    """Of an Axes, only its own part with its title is saved."""
    figure = _figure()
    left, right = figure.subplots(1, 2)
    left.set(facecolor="red", title="left")
    right.set_facecolor("blue")
    before, made = _state(figure), _decoded(left)
    assert _state(figure) == before
    assert made.width < 120
    assert _share(made, RED) > 0.4
    assert _share(made, (0, 0, 255)) == 0


def test_a_subfigure():
    """Of a SubFigure, or an Axes in it, only its own part is saved."""
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
    """Polar and three-dimensional Axes work, too."""
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
def test_figures_that_cannot_be_drawn(make):
    """A figure that matplotlib cannot draw is refused with a reason."""
    with pytest.raises(InvalidRequestError) as caught:
        encode_value(make())
    assert caught.value.todo


def test_an_array_of_axes():
    """The array that ``subplots`` returns for several Axes is refused."""
    with pytest.raises(InvalidRequestError, match="array of object"):
        encode_value(_figure().subplots(2, 2))
