"""Displayed text: everything from a prompt or from the service is escaped."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runapi_magic import errors
from runapi_magic.core.polling import Expectation
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.core.status import Phase
from runapi_magic.display import generation_view, theme
from runapi_magic.engine.generation import Generation, GenerationTask, Slot
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.lineage import Node, Tree
from runapi_magic.errors import RunAPIError
from runapi_magic.http.responses import error_from_response
from runapi_magic.media.preview import Preview
from runapi_magic.widgets import drawers, gallery, queue, slider, strip
from tests.conftest import KEY

EVIL = "<img src=x onerror=alert(1)>"
ESCAPES = [
    EVIL,
    "</div></div><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--",
    "--><b>",
    "&lt;img src=x&gt;",
    "<style>*{display:none}</style>",
    "<iframe src=javascript:alert(1)>",
    "</code><a href='javascript:alert(1)'>x</a>",
    "<table><td background='javascript:alert(1)'>",
    "\0<\0img src=x>",
]
OUR_TAGS = {"div", "br", "code", "strong"}
OUR_ATTRIBUTES = {
    "style", "role", "title", "aria-label", "aria-live", "aria-valuemin", "aria-valuemax",
    "aria-valuenow",
}  # fmt: skip


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.attributes = []
        self.styles = []
        self.text = ""
        self.open = 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, value in attrs if value != theme.AS_TYPED]
        self.styles += [value for name, value in attrs if name == "style"]
        self.open += tag != "br"

    def handle_endtag(self, _):
        self.open -= 1

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, _):
        self.tags.append("comment")

    def handle_decl(self, _):
        self.tags.append("declaration")


def _read(bundle):
    elements = _Elements()
    elements.feed(bundle.data["text/html"])
    elements.close()
    return elements


def _request(evil):
    source = Source(evil, "digest", url=f"https://files.example/{evil}")
    fields = {"aspect_ratio": evil, "output_resolution": evil}
    return ImageRequest(evil, evil, fields, sources=(source,))


def _image(evil):
    return GeneratedImage(
        id="id",
        path=Path("/folder") / evil.replace("/", "").replace("\0", ""),
        request=_request(evil),
        width=8,
        height=6,
        task_id=evil,
        digest="digest",
        cost=0.06,
        seconds=1.0,
        created=1.0,
        _preview=Preview(b"", "image/jpeg", 8, 6),
    )


def _slot(evil):
    request = _request(evil)
    task = GenerationTask("id", request, 1, Expectation(12.0))
    task.state.know(evil)
    return Generation(request, [task]), Slot(task, 0)


def _error(evil):
    return RunAPIError(evil, charged=evil, todo=evil, task_id=evil, request_id=evil)


def _placeholder(evil):
    generation, slot = _slot(evil)
    return generation_view.placeholder_bundle(generation, slot, 1.0, 768)


SHOWN = {
    "caption": lambda evil: generation_view.caption_bundle(_image(evil), [evil], evil),
    "caption of a reused image": lambda evil: generation_view.caption_bundle(_reused(evil), [evil]),
    "error": lambda evil: generation_view.error_bundle(_error(evil)),
    "placeholder": _placeholder,
    "waiting caption": lambda evil: generation_view.placeholder_caption(_slot(evil)[1]),
}


def _reused(evil):
    image = _image(evil)
    image.reused = True
    return image


@pytest.mark.parametrize("evil", ESCAPES)
@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_everything_is_escaped(show, evil):
    """Prompt, model, ratio, file name, task id, error and note create no HTML element."""
    elements = _read(show(evil))
    assert set(elements.tags) <= OUR_TAGS
    assert set(elements.attributes) <= OUR_ATTRIBUTES
    assert elements.open == 0


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_escaped_text_is_readable(show):
    """The displayed text is the original text."""
    assert EVIL in _read(show(EVIL)).text


@settings(deadline=None, database=None, derandomize=True, max_examples=200)
@given(st.text(alphabet=st.sampled_from("<>&\"'/=! imgscriptx\n`\\-\0"), min_size=1, max_size=40))
def test_no_text_becomes_an_element(text):
    """No text in a prompt or an error creates an element."""
    for show in SHOWN.values():
        elements = _read(show(text))
        assert set(elements.tags) <= OUR_TAGS
        assert set(elements.attributes) <= OUR_ATTRIBUTES
        assert elements.open == 0


@pytest.mark.parametrize("evil", ESCAPES)
def test_no_style_contains_request_data(evil):
    """An invalid ratio does not change any style."""
    plain = _read(_placeholder("plain")).styles
    assert _read(_placeholder(evil)).styles == plain


@pytest.mark.parametrize(
    "ratio", ["1:1", "1e308:1", "nan:1", "0:0", "-1:1", "1:0", "inf:inf", "9:x"]
)
def test_any_ratio_gives_a_box(ratio):
    """An invalid or extreme ratio gives a box of whole pixels within the longest side."""
    width, height = generation_view._box(ratio, 768)
    assert 1 <= width <= 768
    assert 1 <= height <= 768


def test_steps_have_no_markup():
    """The texts of the steps contain no markup."""
    assert [phase.value for phase in Phase if "<" in phase.value] == []


SHAPES = {
    "error": lambda evil: json.dumps({"error": evil}).encode(),
    "message": lambda evil: json.dumps({"error": {"code": evil, "message": evil}}).encode(),
    "fields": lambda evil: json.dumps({"errors": {evil: [evil]}}).encode(),
    "text": lambda evil: evil.encode(),
    "title": lambda evil: f"<html><title>{evil}</title>".encode(),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("evil", ESCAPES)
def test_errors_of_the_service_are_escaped(shape, evil):
    """An error of the service in any shape is displayed as text."""
    headers = {"x-runapi-task-id": evil, "x-request-id": evil}
    bundle = generation_view.error_bundle(error_from_response(422, headers, shape(evil)))
    elements = _read(bundle)
    assert set(elements.tags) <= OUR_TAGS
    assert elements.open == 0


TERMINAL = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\b\b\b", "\r", "\x1b]8;;http://evil\x1b\\x"]


@pytest.mark.parametrize("evil", TERMINAL)
@pytest.mark.parametrize("shape", [SHAPES["error"], SHAPES["message"], SHAPES["text"]])
def test_errors_of_the_service_do_not_control_a_terminal(shape, evil):
    """Control characters in an error of the service are removed."""
    headers = {"x-runapi-task-id": f"t{evil}", "x-request-id": f"r{evil}"}
    text = str(error_from_response(422, headers, shape(f"before{evil}after")))
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert "before" in text


def test_the_length_of_an_error_is_limited():
    """An error of one megabyte is shortened in every part."""
    huge = "x" * 1_000_000
    headers = {"x-runapi-task-id": huge, "x-request-id": huge}
    for shape in SHAPES.values():
        assert len(str(error_from_response(500, headers, shape(huge)))) < 2000


def test_reprs_have_no_html():
    """Images and generations have text and image reprs, but no HTML."""
    image = _image(EVIL)
    data, _ = image._repr_mimebundle_()
    assert set(data) == {"image/jpeg", "text/plain"}
    for value in (image, _slot(EVIL)[0], _error(EVIL)):
        assert not any(hasattr(value, f"_repr_{kind}_") for kind in ("html", "javascript", "svg"))


def test_no_class_has_an_html_repr():
    """No error class has an HTML repr."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert [kind for kind in kinds if hasattr(kind, "_repr_html_")] == []


def _widget_html(title):
    """Yield all HTML that the widgets make for an image with this title."""
    image = GeneratedImage(
        id=title, path=Path("x.png"), request=ImageRequest(title, title), width=1, height=1,
        task_id="t", digest="d",
    )  # fmt: skip
    tree = Tree([Node("v1", image, None), Node("v2", image, 0)], lambda _: b"small")
    image_store = gallery.Gallery(
        SimpleNamespace(thumbnail=lambda _: b"small"), None, None, lambda *_: None, None
    )
    yield strip.strip_html(tree, image, lambda _: b"small", 1)
    yield image_store._tile(image)
    yield image_store._html([], title)
    yield queue._html(title)
    yield theme.progress_bar(0.5, title)
    yield slider.slider_html(b"a", b"b", names=(title, title), width=9, height=9)
    yield drawers._plain_html(Image.new("RGB", (4, 4)), title)


@pytest.mark.parametrize("evil", ESCAPES)
def test_the_widgets_escape_text(evil):
    """Markup in a prompt adds no element and no attribute to the widgets' HTML."""
    for harmless, hostile in zip(_widget_html("harmless"), _widget_html(evil), strict=True):
        read = []
        for html in (harmless, hostile):
            elements = _Elements()
            elements.feed(html)
            elements.close()
            read.append((elements.tags, elements.attributes, elements.open))
        assert read[0] == read[1]


def test_no_bundle_contains_the_key():
    """An error with the settings' key shows only the end of the key."""
    from runapi_magic.core.access import Access, Secret

    access = Access("https://runapi.ai", Secret(KEY), "x", "y")
    bundle = generation_view.error_bundle(
        RunAPIError(f"{access}", charged=f"{access.key!r}", todo="x")
    )
    assert KEY not in json.dumps(bundle.data)
    assert SimpleNamespace(key=access.key).__repr__().count(KEY) == 0
