"""A generated image: its attributes, its pixels, its edits and how it is shown."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import InvalidRequestError


class _Editor:
    """An editor that notes the edits."""

    def __init__(self):
        self.requested = []

    def edit(self, source, instruction, **fields):
        self.requested.append((source, instruction, fields))


@pytest.fixture
def generated(make_image):
    """Return a function that creates a generated image on disk."""
    path = Path("fox.png")
    path.write_bytes(make_image((30, 20), mode="RGBA", color=(1, 2, 3, 4)))

    def make(parent=None, editor=None, prompt="a fox"):
        sources = (Source("s", "d", image=parent),) if parent else ()
        request = ImageRequest(prompt, "gpt-image-2", {"aspect_ratio": "3:2"}, sources=sources)
        return GeneratedImage(
            id="i", path=path, request=request, width=30, height=20, task_id="t", digest="d",
            editor=editor, url="https://secret.example/x",
        )  # fmt: skip

    return make


def test_attributes_of_an_image(generated):
    """An image has its prompt, model, fields, size and lineage."""
    first = generated()
    second = generated(parent=first, prompt="brighter")
    assert (first.prompt, first.model, first.fields) == (
        "a fox", "gpt-image-2", {"aspect_ratio": "3:2"},
    )  # fmt: skip
    assert (first.size, first.parent, first.version) == ((30, 20), None, 1)
    assert (second.parent, second.version) == (first, 2)
    assert generated(parent=second).version == 3


def test_pil_and_numpy(generated):
    """The original is available as a loaded Pillow image and as an array of bytes."""
    image = generated()
    assert image.pil().getpixel((0, 0)) == (1, 2, 3, 4)
    array = image.numpy()
    assert (array.shape, array.dtype) == ((20, 30, 4), np.uint8)
    assert array[0, 0].tolist() == [1, 2, 3, 4]


def test_numpy_without_transparency(generated, make_image):
    """An image without transparency is an array with three channels."""
    image = generated()
    image.path.write_bytes(make_image((30, 20), mode="RGBA", color=(1, 2, 3, 255)))
    assert image.numpy().shape == (20, 30, 3)


def test_edits_go_to_the_session(generated):
    """The edit methods of an image call its session with the right models."""
    editor = _Editor()
    image = generated(editor=editor)
    image.edit("brighter", output_resolution="2k")
    image.upscale()
    image.upscale(4)
    image.remove_background()
    assert editor.requested == [
        (image, "brighter", {"output_resolution": "2k"}),
        (image, "", {"model": "topaz-upscale-image", "upscale_factor": 2}),
        (image, "", {"model": "topaz-upscale-image", "upscale_factor": 4}),
        (image, "", {"model": "recraft-remove-background"}),
    ]


def test_an_image_without_a_session(generated):
    """An image without a session says how to edit it."""
    with pytest.raises(InvalidRequestError, match="no session") as caught:
        generated().edit("brighter")
    assert "runapi_magic.edit" in caught.value.todo


def test_mime_bundle_of_an_image(generated):
    """As the value of a cell, an image shows its preview, its size and a text."""
    data, metadata = generated()._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert Image.open(io.BytesIO(data["image/png"])).size == (30, 20)
    about = {"width": 30, "height": 20, "alt": "Generated picture: a fox"}
    assert metadata == {"image/png": about}
    assert "fox.png 30x20 'a fox'" in data["text/plain"]
    assert "secret.example" not in data["text/plain"]
