"""Python values that are images are encoded as image files."""

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
    """Arrays of all supported shapes and types keep their size, channels and values."""
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
        (RAMP * 255, "floats from 0 to 255"),
        (RAMP - 0.5, "floats from -0.5 to 0.5"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.zeros((2, 2), dtype="int64"), "int64"),
        (np.zeros((2, 2), dtype="complex128"), "complex128"),
    ],
)
def test_arrays_that_are_not_images(array, words):
    """An array that is not an image is refused with its reason and advice."""
    with pytest.raises(InvalidRequestError) as error:
        encode_value(array)
    assert words in error.value.what
    assert error.value.todo


def test_open_files(tmp_path):
    """A file is read from its start. A file in text mode is refused."""
    path = Path(tmp_path, "a.png")
    Image.new("RGB", (3, 2)).save(path)
    with path.open("rb") as file:
        file.read()
        assert encode_value(file) == path.read_bytes()
    text = Path(tmp_path, "a.txt")
    text.write_text("hello")
    with text.open() as file, pytest.raises(InvalidRequestError, match="open in text mode"):
        encode_value(file)


def test_a_closed_file(tmp_path):
    """A closed file is refused with advice."""
    path = Path(tmp_path, "a.png")
    path.write_bytes(b"x")
    with path.open("rb") as file:
        pass
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        encode_value(file)


class _Stream:
    """A reader that cannot seek and has no ``seekable``."""

    def read(self):
        return b"content"


class _Broken:
    """A reader that raises its own exception."""

    def read(self):
        raise RuntimeError("no connection")


def _released():
    view = memoryview(b"x")
    view.release()
    return view


def test_other_readers():
    """Any object with ``read`` is read. Its exceptions become errors with advice."""
    assert encode_value(_Stream()) == b"content"
    for unreadable in (_Broken(), _released()):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            encode_value(unreadable)


def test_figures(monkeypatch, tmp_path):
    """A figure always gives the same image, with the size of the figure."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=50)
    figure.subplots().plot([1, 3, 2])
    assert _decoded(figure).size == (200, 150)
    assert encode_value(figure) == encode_value(figure)


@pytest.mark.parametrize("value", [None, 3, object(), {"a": 1}])
def test_other_values(value):
    """A value that is not an image gives None."""
    assert encode_value(value) is None
