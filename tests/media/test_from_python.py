"""Picture-like Python values become the pictures that they show."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.from_python import encode_value

RAMP = np.linspace(0, 1, 24).reshape(4, 6)


def _decoded(value):
    return Image.open(io.BytesIO(encode_value(value)))


@pytest.mark.parametrize(
    ("array", "mode", "last"),
    [
        (RAMP, "L", 255),
        (RAMP.astype("float32"), "L", 255),
        (RAMP[..., None], "L", 255),
        ((RAMP * 255).astype("uint8"), "L", 255),
        ((RAMP * 65535).astype("uint16"), "L", 255),
        (RAMP > 0.5, "L", 255),
        (np.dstack([RAMP, RAMP]), "LA", (255, 255)),
        (np.dstack([RAMP, RAMP * 0, RAMP]), "RGB", (255, 0, 255)),
        (np.dstack([RAMP, RAMP * 0, RAMP, RAMP]), "RGBA", (255, 0, 255, 255)),
        (np.dstack([RAMP] * 3)[:, ::-1][:, ::-1], "RGB", (255, 255, 255)),
    ],
)
def test_arrays(array, mode, last):
    """Every shape and type of array that shows a picture keeps its size, channels and values."""
    image = _decoded(array)
    assert (image.size, image.mode) == ((6, 4), mode)
    assert image.getpixel((5, 3)) == last


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(6), "(6,)"),
        (np.zeros((2, 2, 5)), "(2, 2, 5)"),
        (np.zeros((0, 4)), "(0, 4)"),
        (np.zeros((2, 2, 2, 3)), "(2, 2, 2, 3)"),
        (RAMP * 255, "go from 0 to 255"),
        (RAMP - 0.5, "go from -0.5 to 0.5"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.zeros((2, 2), dtype="int64"), "int64"),
        (np.zeros((2, 2), dtype="complex128"), "complex128"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    """An array that is no picture is refused with what it is, and what would do."""
    with pytest.raises(InvalidRequestError) as error:
        encode_value(array)
    assert words in error.value.what
    assert error.value.todo


def test_open_files(tmp_path):
    """A file that was read already is taken from its start; one open as text is refused."""
    path = Path(tmp_path, "a.png")
    Image.new("RGB", (3, 2)).save(path)
    with path.open("rb") as file:
        file.read()
        assert encode_value(file) == path.read_bytes()
    text = Path(tmp_path, "a.txt")
    text.write_text("hello")
    with text.open() as file, pytest.raises(InvalidRequestError, match="open as text"):
        encode_value(file)


def test_a_closed_file(tmp_path):
    """A file that was closed is refused, with advice."""
    path = Path(tmp_path, "a.png")
    path.write_bytes(b"x")
    with path.open("rb") as file:
        pass
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        encode_value(file)


class _Stream:
    """A reader that cannot go back, and knows of no such thing."""

    def read(self):
        return b"content"


class _Broken:
    """A reader with an error of its own."""

    def read(self):
        raise RuntimeError("no connection")


def _released():
    view = memoryview(b"x")
    view.release()
    return view


def test_other_readers():
    """Whatever has ``read`` is read, and its errors are told in words."""
    assert encode_value(_Stream()) == b"content"
    for unreadable in (_Broken(), _released()):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            encode_value(unreadable)


def test_figures(monkeypatch, tmp_path):
    """A matplotlib figure becomes the same picture each time, of the figure's size."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=50)
    figure.subplots().plot([1, 3, 2])
    assert _decoded(figure).size == (200, 150)
    assert encode_value(figure) == encode_value(figure)


@pytest.mark.parametrize("value", [None, 3, object(), {"a": 1}])
def test_other_values(value):
    """What is no picture-like value is not taken for one."""
    assert encode_value(value) is None
