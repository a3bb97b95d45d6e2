"""What stands for a picture where it is not seen, and which of nbconvert's templates say it."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.lineage import plant
from runapi_magic.media.comparison import compare_images

EVIL = 'a fox" onerror="hacked()"><script>hacked()</script> & <b>more</b>'


class _Page(HTMLParser):
    """Collects the pictures' attributes, and the elements that a prompt could have smuggled in."""

    def __init__(self, html):
        super().__init__()
        self.pictures, self.others = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes))
        elif tag == "b":
            self.others.append(tag)


def _image(prompt, *parents):
    path = Path(f"{len(parents)}.png")
    Image.new("RGB", (40, 30), "orange").save(path)
    sources = tuple(Source(str(one.path), "", image=one) for one in parents)
    return GeneratedImage(
        id=f"image-{len(parents)}", path=path, width=40, height=30, task_id="task", digest="",
        request=ImageRequest(prompt, "gpt-image-2", sources=sources), created=float(len(parents)),
    )  # fmt: skip


def _output(bundle):
    data, metadata = bundle
    return nbformat.v4.new_output(
        "display_data",
        {
            mime: base64.b64encode(one).decode() if isinstance(one, bytes) else one
            for mime, one in data.items()
        },
        metadata=metadata,
    )


@pytest.fixture
def pictures():
    """A picture of a bad prompt, an edit of it, their tree, and their comparison."""
    first = _image(EVIL)
    edit = _image("make  it\nnight", first)
    thumbnail = first.path.read_bytes()
    tree = plant([first, edit], lambda _: thumbnail, lambda _: None)
    grey = Image.new("RGB", (40, 30), "grey")
    return first, edit, tree, compare_images(grey, grey)


def _notebook(pictures):
    cells = [nbformat.v4.new_code_cell("", outputs=[_output(one._repr_mimebundle_())])
             for one in pictures]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.validate(notebook)
    return notebook


def test_nbconvert_says_what_each_picture_is(pictures):
    """In a valid notebook each picture has its alt; nbconvert's classic HTML has it, escaped."""
    html, _ = HTMLExporter(template_name="classic").from_notebook_node(_notebook(pictures))
    page = _Page(html)
    assert [picture["alt"] for picture in page.pictures] == [
        f"Generated picture: {EVIL}",
        f"Generated picture: {EVIL}; then make it night",
        f"Tree of 2 versions: {EVIL[:59]}…",
        "before and after, compared at 40 x 30 px: no difference",
    ]
    assert "No description has been provided" not in html
    assert all("onerror" not in picture for picture in page.pictures)
    assert page.others == []
    assert "<script>hacked()" not in html


def test_a_long_line_has_a_short_alt():
    """However long the prompt is, its alt has 300 characters at most."""
    alt = _image("a fox and " * 100).alt
    assert len(alt) == 300
    assert alt.endswith("…")
