"""The alternative text of images, in the notebook and in the HTML of nbconvert."""

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
from runapi_magic.engine.lineage import build_tree
from runapi_magic.media.comparison import compare_images

EVIL = 'a fox" onerror="hacked()"><script>hacked()</script> & <b>more</b>'


class _Page(HTMLParser):
    """Collects the attributes of images, and elements that a prompt could have injected."""

    def __init__(self, html):
        super().__init__()
        self.images, self.others = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
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
def images():
    """An image of a malicious prompt, an edit of it, their tree, and their comparison."""
    first = _image(EVIL)
    edit = _image("make  it\nnight", first)
    thumbnail = first.path.read_bytes()
    tree = build_tree([first, edit], lambda _: thumbnail, lambda _: None)
    grey = Image.new("RGB", (40, 30), "grey")
    return first, edit, tree, compare_images(grey, grey)


def _notebook(images):
    cells = [nbformat.v4.new_code_cell("", outputs=[_output(one._repr_mimebundle_())])
             for one in images]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.validate(notebook)
    return notebook


def test_nbconvert(images):
    """Each image in a valid notebook has an alternative text; nbconvert's classic HTML has it."""
    html, _ = HTMLExporter(template_name="classic").from_notebook_node(_notebook(images))
    page = _Page(html)
    assert [image["alt"] for image in page.images] == [
        f"Generated picture: {EVIL}",
        f"Generated picture: {EVIL}; then make it night",
        f"Tree of 2 versions: {EVIL[:59]}…",
        "before and after, compared at 40 x 30 px: no difference",
    ]
    assert "No description has been provided" not in html
    assert all("onerror" not in image for image in page.images)
    assert page.others == []
    assert "<script>hacked()" not in html


def test_a_long_prompt():
    """The alternative text has at most 300 characters, however long the prompt is."""
    alt = _image("a fox and " * 100).alt
    assert len(alt) == 300
    assert alt.endswith("…")
