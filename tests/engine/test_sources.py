"""Values of any kind become sources, or an error says which kinds are allowed."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from runapi_magic.core.polling import expect
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.generation import Generation, GenerationTask
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.sources import as_source, find_source
from runapi_magic.errors import NOT_SENT, InvalidRequestError
from runapi_magic.media.files import short_path

URL = "https://example.com/cat.png"


def _digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(make_image):
    """An image file in the working directory."""
    path = Path("cat.png")
    path.write_bytes(make_image())
    return path


@pytest.fixture
def generated(file):
    """A finished generated image."""
    return GeneratedImage(
        id="i1", path=file.absolute(), request=ImageRequest("a cat", "gpt-image-2"),
        width=8, height=6, task_id="t", digest=_digest(file.read_bytes()),
    )  # fmt: skip


def _generation(*images, status="completed", error=None):
    request = ImageRequest("a cat", "gpt-image-2")
    task = GenerationTask("p1", request, 1, expect("1k"), status=status, error=error)
    task.images = list(images)
    generation = Generation(request, [task])
    generation.set_tasks([task])
    return generation


def test_a_url():
    """A URL is used unchanged, and is not downloaded."""
    source = as_source(URL)
    assert (source.url, source.label, source.path, source.content) == (URL, URL, None, None)
    assert source.digest == as_source(URL, label="cat").digest != as_source(URL + "?2").digest


class _InBytes:
    """A path-like object whose path is bytes, as in some libraries."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return bytes(self._path)


@pytest.mark.parametrize("kind", [str, Path, lambda path: str(path.absolute()), _InBytes])
def test_a_path(file, kind):
    """A file is identified by its content, in all spellings of its path."""
    source = as_source(kind(file))
    assert source.digest == _digest(file.read_bytes())
    assert source.path.samefile(file)
    assert source.url is None


def test_a_relative_path(file, make_image, tmp_path, monkeypatch):
    """A relative path does not depend on later changes of the working directory."""
    source = as_source("cat.png")
    (tmp_path / "cat.png").write_bytes(make_image(color="blue"))
    monkeypatch.chdir(tmp_path)
    assert source.path.read_bytes() == (tmp_path / "work" / "cat.png").read_bytes()
    assert as_source("work/../cat.png").digest != source.digest


def test_a_path_is_shown_as_it_was_typed(file, tmp_path, monkeypatch):
    """The label of a path is the path as the user wrote it."""
    folder = tmp_path / "work" / "deep"
    folder.mkdir()
    assert short_path(as_source("cat.png").path) == "cat.png"
    monkeypatch.chdir(folder)
    assert short_path(as_source("../cat.png").path) == "../cat.png"


def test_a_path_in_the_home(home, make_image):
    """``~`` in a path is the home folder."""
    (home / "cat.png").write_bytes(make_image())
    assert as_source("~/cat.png").path == home / "cat.png"


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes(make_image, kind):
    """The bytes of an encoded image are used unchanged."""
    content = make_image(kind="JPEG")
    source = as_source(kind(content))
    assert (source.content, source.digest, source.path) == (content, _digest(content), None)


def test_the_same_content_is_the_same_source(file):
    """A file and its bytes are the same source."""
    assert as_source(file).digest == as_source(file.read_bytes()).digest


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV"]
)
def test_a_pillow_image(mode):
    """A Pillow image of any usual mode becomes an encoded image of the same size."""
    source = as_source(Image.new(mode, (5, 4)))
    with Image.open(io.BytesIO(source.content)) as image:
        assert image.size == (5, 4)
    assert source.digest == _digest(source.content)


def test_a_generated_image(generated):
    """The source of a generated image has the image and its file."""
    source = as_source(generated)
    assert (source.image, source.path, source.label) == (generated, generated.path, "a cat")


def test_a_finished_generation(generated):
    """The source of a finished Generation is the image that it shows."""
    source = as_source(_generation(generated), label="cat")
    assert (source.image, source.pending, source.label) == (generated, None, "cat")


def test_a_running_generation():
    """The source of a running Generation is pending."""
    generation = _generation(status="processing")
    source = as_source(generation)
    assert (source.pending, source.digest, source.label) == (generation, "", "a cat")


def test_a_failed_generation():
    """A failed Generation raises its error."""
    error = InvalidRequestError("no luck")
    with pytest.raises(InvalidRequestError, match="no luck"):
        as_source(_generation(status="failed", error=error))


def test_a_source_is_a_source():
    """A Source is used unchanged."""
    source = as_source(URL)
    assert as_source(source, label="other") is source


@pytest.mark.parametrize("value", [None, 3, 1.5, [], {}, object(), int, [URL]])
def test_values_that_are_no_images(value):
    """The error of another type names the type and the allowed kinds."""
    with pytest.raises(InvalidRequestError) as caught:
        as_source(value, label="x")
    assert type(value).__name__ in caught.value.what
    assert "a URL, a path" in caught.value.todo
    assert caught.value.charged == NOT_SENT


@pytest.mark.parametrize(
    "url", ["ftp://x/y.png", "file:///etc/passwd", "https://", "s3://b/c", "://"]
)
def test_other_urls(url):
    """Only http and https URLs are allowed."""
    with pytest.raises(InvalidRequestError, match="not an http or https URL"):
        as_source(url)


DAMAGED = {
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "text": b"hello",
    "empty": b"",
    "page": b"<!doctype html><title>Sign in</title>",
    "half a PNG": None,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("kind", ["file", "bytes"])
def test_damaged_images(content, kind, make_image):
    """A damaged file or damaged bytes are refused before anything is sent."""
    content = make_image(noise=True)[:100] if content is None else content
    Path("bad.png").write_bytes(content)
    with pytest.raises(InvalidRequestError) as caught:
        as_source({"file": "bad.png", "bytes": content}[kind], label="bad")
    assert caught.value.what.startswith("bad")
    assert "PNG, JPEG or WEBP" in caught.value.todo


@pytest.mark.parametrize("name", ["missing.png", "missing/cat.png", "a" * 300 + ".png", "."])
def test_files_that_cannot_be_read(name):
    """The error of a missing file has its path."""
    with pytest.raises(InvalidRequestError) as caught:
        as_source(name)
    assert name[:50] in caught.value.what
    assert "path" in caught.value.todo


@pytest.mark.parametrize(
    "name", ["~nosuchuser/cat.png", "http://[", "https://[::1/cat.png", "a\x00b", "a" * 300, ""]
)
def test_strange_words(name):
    """Any word in a cell leads to a source or to an InvalidRequestError."""
    with pytest.raises(InvalidRequestError):
        find_source(name, {})


def test_a_variable_wins_over_a_file(file, make_image):
    """A word that is a variable and a file means the variable."""
    Path("cat").write_bytes(make_image(color="blue"))
    source = find_source("cat", {"cat": file})
    assert source.digest == _digest(file.read_bytes())
    assert source.label == "cat"


@pytest.mark.parametrize("word", ["pets[0]", "box.inner['a b']"])
def test_dotted_and_indexed_variables(word, generated):
    """A variable may have dots and indexes."""
    box = type("Box", (), {"inner": {"a b": generated}})
    source = find_source(word, {"pets": [generated], "box": box})
    assert (source.image, source.label) == (generated, word)


@pytest.mark.parametrize("word", ["{pets[0]}", "$pets[0]", "{box.path}", "$box.path"])
def test_variables_in_braces(word, generated):
    """``{name}`` and ``$name`` mean the variable, and the label is its name."""
    box = type("Box", (), {"path": generated.path})
    source = find_source(word, {"pets": [generated], "box": box})
    assert source.path == generated.path
    assert source.label == word.strip("{}$")


@pytest.mark.parametrize("name", ["{cat}", "$cat"])
def test_a_file_with_braces_in_its_name(file, make_image, name):
    """A file whose name has braces is the file, even if the variable exists."""
    Path(name).write_bytes(make_image(color="blue"))
    assert find_source(name, {"cat": file}).path.samefile(name)


@pytest.mark.parametrize("word", ["{cat()}", "$cat + 1", "{{cat}}", "${cat}", "{}", "$"])
def test_nothing_is_evaluated(word):
    """An expression in braces is not evaluated."""
    with pytest.raises(InvalidRequestError, match="There is no file"):
        find_source(word, {"cat": lambda: 1 / 0})


def test_a_file_named_like_a_variable(file):
    """A word that is only a file means the file."""
    assert find_source("cat.png", {}).path.samefile(file)
    file.rename("cat")
    assert find_source("cat", {}).path.samefile("cat")


def test_an_unknown_name():
    """The error of an unknown word says what is allowed."""
    with pytest.raises(InvalidRequestError) as caught:
        find_source("nobody", {})
    assert caught.value.what == 'There is no variable or file "nobody".'
    assert "cat.images[1]" in caught.value.todo


def test_a_variable_that_is_no_image():
    """The error of a variable of another type has the variable's name."""
    with pytest.raises(InvalidRequestError, match="answer is of type int"):
        find_source("answer", {"answer": 42})


def test_a_variable_with_a_url():
    """A variable that contains a URL means the URL, and the label is its name."""
    source = find_source("cat", {"cat": URL})
    assert (source.url, source.label) == (URL, "cat")


def test_long_labels_are_cut():
    """A long label is shortened, so that it fits into a caption."""
    assert len(as_source("https://example.com/" + "a" * 500).label) == 60


def test_sources_do_not_show_their_content(make_image):
    """The repr of a source does not contain the bytes of the image."""
    assert "PNG" not in repr(Source("x", "d", content=make_image()))
