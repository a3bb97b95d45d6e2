"""Downloads are checked and saved under unique names."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from runapi_magic.errors import DownloadError
from runapi_magic.media import files
from runapi_magic.media.files import create_part, file_stem, finish_part
from runapi_magic.media.limits import Limits
from tests.properties import PROPERTY

LIMITS = Limits(178, 768, 85)


def _part(content, unique="u"):
    part = create_part(Path("images").absolute(), unique)
    part.write_bytes(content)
    return part


def _opened(preview):
    return Image.open(io.BytesIO(preview.data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_finish_part(make_image, kind):
    """A valid image keeps its bytes, and gets its name, its size and a preview."""
    content = make_image((40, 30), kind=kind)
    part = _part(content)
    saved = finish_part(part, "a-fox-12345678", kind.lower(), LIMITS)
    assert saved.path == Path("images").absolute() / f"a-fox-12345678.{kind.lower()}"
    assert saved.path.read_bytes() == content
    assert (saved.width, saved.height) == (40, 30)
    assert saved.digest == hashlib.sha256(content).hexdigest()
    assert not part.exists()


def _bomb():
    """Return a valid PNG of 400 million pixels in 50 kB."""
    packer, row = zlib.compressobj(9), bytes(1 + 20_000 // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(200)) + packer.flush()
    header = (20_000).to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
        for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_incomplete_images(make_image, kind, share):
    """An image without its end is refused."""
    content = make_image((300, 200), kind=kind, noise=True)
    part = _part(content[: int(len(content) * share)])
    with pytest.raises(DownloadError, match="damaged or incomplete"):
        finish_part(part, "x", kind.lower(), LIMITS)
    assert list(Path("images").iterdir()) == []


NO_IMAGES = {
    "page": b"<!doctype html><html><title>Sign in</title></html>",
    "nothing": b"",
    "text": b"gone",
    "PNG's start alone": b"\x89PNG\r\n\x1a\n",
    "PNG's start and rubbish": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10,
    "TIFF": None,
}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
def test_files_that_are_not_images(make_image, content):
    """A web page, an empty file, rubbish and other formats are refused and removed."""
    part = _part(make_image(kind="TIFF") if content is None else content)
    with pytest.raises(DownloadError, match="damaged or incomplete"):
        finish_part(part, "x", "png", LIMITS)
    assert list(Path("images").iterdir()) == []


def test_a_damaged_middle(make_image):
    """An image with the right length and a damaged middle is refused."""
    content = bytearray(make_image((300, 200), noise=True))
    third = len(content) // 3
    content[third:-third] = bytes(len(content) - 2 * third)
    with pytest.raises(DownloadError, match="damaged"):
        finish_part(_part(bytes(content)), "x", "png", LIMITS)


def test_a_bomb():
    """A small file of 400 million pixels is kept but not decoded. Its preview is grey."""
    saved = finish_part(_part(_bomb()), "x", "png", LIMITS)
    assert (saved.width, saved.height) == (20_000, 20_000)
    assert (saved.preview.width, saved.preview.height) == (768, 768)
    assert _opened(saved.preview).convert("RGB").getpixel((700, 700)) == (158, 158, 158)
    assert saved.path.read_bytes() == _bomb()


def test_an_image_above_the_limit(make_image):
    """The grey preview of an image above the limit keeps the aspect ratio."""
    saved = finish_part(_part(make_image((2000, 1500))), "x", "png", Limits(2, 768, 85))
    assert (saved.width, saved.height) == (2000, 1500)
    assert (saved.preview.width, saved.preview.height) == (768, 576)
    middle = _opened(saved.preview).convert("RGB").getpixel((384, 400))
    assert max(middle) - min(middle) <= 2


def test_a_large_image_without_a_warning():
    """An image of 100 million pixels, such as an upscaled one, gives no warning."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        saved = finish_part(_part(buffer.getvalue()), "x", "png", LIMITS)
    assert (saved.width, seen) == (10_000, [])


def test_names_do_not_collide(make_image):
    """Another image with the same name gets another name. Nothing is overwritten."""
    contents = [make_image(color=color) for color in ("red", "green", "blue")]
    paths = [finish_part(_part(content), "fox", "png", LIMITS).path for content in contents]
    assert [path.name for path in paths] == ["fox.png", "fox-2.png", "fox-3.png"]
    assert [path.read_bytes() for path in paths] == contents


def test_the_same_image_keeps_its_name(make_image):
    """The same bytes with the same name are one file, for example after a crash."""
    first = finish_part(_part(make_image()), "fox", "png", LIMITS).path
    assert finish_part(_part(make_image()), "fox", "png", LIMITS).path == first
    assert [path.name for path in first.parent.iterdir()] == ["fox.png"]


def test_a_users_file_is_not_overwritten(make_image):
    """A file of the user with that name is not changed."""
    Path("images").mkdir()
    Path("images/fox.png").write_text("mine")
    assert finish_part(_part(make_image()), "fox", "png", LIMITS).path.name == "fox-2.png"
    assert Path("images/fox.png").read_text() == "mine"


def test_nothing_is_overwritten_without_hard_links(make_image, monkeypatch):
    """Without hard links, an existing file is not changed, either."""

    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    Path("images").mkdir()
    Path("images/fox.png").write_text("mine")
    content = make_image()
    path = finish_part(_part(content), "fox", "png", LIMITS).path
    assert Path("images/fox.png").read_text() == "mine"
    assert path.read_bytes() == content


def test_names_of_many_at_once(make_image):
    """Images that are finished at the same time with one name all get a name."""
    contents = [make_image(color=(number, 0, 0)) for number in range(16)]
    parts = [_part(content, f"u{number}") for number, content in enumerate(contents)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: finish_part(part, "fox", "png", LIMITS).path, parts))
    assert len(set(found)) == 16
    assert [path.read_bytes() for path in found] == contents


def test_a_full_disk(make_image, monkeypatch):
    """On a full disk, the error says so, and no file is left."""

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DownloadError) as caught:
        finish_part(_part(make_image()), "x", "png", LIMITS)
    assert "No space left on device" in caught.value.what
    assert "resume" in caught.value.todo
    assert list(Path("images").iterdir()) == []


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    """is_intact reads an unchanged file once, and a changed one again."""
    path, reads = tmp_path / "fox.png", []

    def read(path):
        reads.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(files, "digest_of", read)
    path.write_bytes(b"one")
    digest = read(path)
    later = time.time() + 60
    monkeypatch.setattr(files, "time", SimpleNamespace(time=lambda: later))
    assert [files.is_intact(path, digest) for _ in range(3)] == [True] * 3
    assert len(reads) == 2
    path.write_bytes(b"two")
    os.utime(path, (1.0, 1.0))
    assert not files.is_intact(path, digest)
    path.unlink()
    assert not files.is_intact(path, digest)


def test_a_recently_changed_file_is_read_again(tmp_path):
    """Two changes within the resolution of the file system's clock are noticed."""
    path = tmp_path / "fox.png"
    path.write_bytes(b"one")
    state = path.stat()
    digest = hashlib.sha256(b"one").hexdigest()
    assert files.is_intact(path, digest)
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not files.is_intact(path, digest)


@pytest.mark.posix
def test_flush_an_image(make_image, monkeypatch):
    """The file is flushed before it gets its name, then the name is flushed."""
    steps, flush, link = [], os.fsync, os.link

    def flushed(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("folder" if is_folder else "file")
        flush(handle)

    def named(*paths):
        steps.append("name")
        link(*paths)

    part = _part(make_image())
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "link", named)
    finish_part(part, "fox", "png", LIMITS)
    assert steps == ["file", "name", "folder"]


@pytest.mark.posix
def test_flush_new_folders(tmp_path, monkeypatch):
    """New folders are flushed, each in its parent folder."""
    flushed, flush = [], os.fsync

    def note(handle):
        flushed.append(os.fstat(handle).st_ino)
        flush(handle)

    monkeypatch.setattr(os, "fsync", note)
    create_part(tmp_path / "a" / "b", "u")
    assert set(flushed) == {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino}


@pytest.mark.posix
@pytest.mark.parametrize("step", ["open", "fsync"])
def test_folders_that_cannot_be_flushed(make_image, monkeypatch, step):
    """Images can be saved on platforms and file systems that cannot flush folders."""
    real = getattr(os, step)

    def refuse(what, *rest):
        is_folder = what.is_dir() if step == "open" else stat.S_ISDIR(os.fstat(what).st_mode)
        if is_folder:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(what, *rest)

    part = _part(make_image())
    monkeypatch.setattr(os, step, refuse)
    assert finish_part(part, "fox", "png", LIMITS).path.is_file()


def test_a_failed_rename_leaves_no_file(make_image, monkeypatch):
    """Without hard links, a failed rename leaves no empty file."""

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    part = _part(make_image())
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DownloadError):
        finish_part(part, "fox", "png", LIMITS)
    assert list(Path("images").iterdir()) == []


def test_a_folder_that_cannot_be_created():
    """The error names the file in place of the folder, and the setting to change."""
    Path("images").write_text("a file")
    with pytest.raises(DownloadError) as caught:
        create_part(Path("images").absolute(), "u")
    assert "images" in caught.value.what
    assert "image_dir" in caught.value.todo


def test_a_part_is_hidden_and_empty():
    """A download uses a hidden, empty file, even if an ended kernel left one."""
    part = _part(b"old rubbish")
    again = create_part(part.parent, "u")
    assert again.name.startswith(".")
    assert again.read_bytes() == b""


@PROPERTY
@given(st.text(), st.text())
@example("../../etc/passwd", "x")
@example("C:\\Windows\\System32", "x")
@example("/", "x")
@example("con.png\x00.exe", "x")
@example("\ud800", "x")
@example("a" * 5000, "x")
def test_names_stay_in_their_folder(prompt, unique):
    """For any prompt, the name is short and plain and stays in the folder."""
    stem = file_stem(prompt, "".join(c for c in unique if not "\ud800" <= c <= "\udfff"))
    assert re.fullmatch(r"[a-z0-9_-]{1,48}-[0-9a-f]{8}", stem)
    assert not stem.startswith("-")
    assert Path("folder", stem).parent == Path("folder")


@PROPERTY
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=20, unique=True))
def test_names_of_different_images(uniques):
    """Images of one prompt have different names, which do not change."""
    stems = [file_stem("a fox", unique) for unique in uniques]
    assert len(set(stems)) == len(stems)
    assert stems == [file_stem("a fox", unique) for unique in uniques]


@pytest.mark.parametrize(
    ("prompt", "start"),
    [("A fox, running!", "a-fox-running-"), ("", "image-"), ("???", "image-"),
     ("x" * 100, "x" * 48 + "-"), ("__init__", "init-")],
)  # fmt: skip
def test_names_are_readable(prompt, start):
    """A name begins with the words of the prompt."""
    assert file_stem(prompt, "u").startswith(start)
