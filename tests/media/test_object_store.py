"""Object stores, tested with file:// and memory://."""

from __future__ import annotations

import hashlib
import stat
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from runapi_magic.core.task_state import TaskState
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED, ConfigurationError, DownloadError
from runapi_magic.media.files import short_path
from runapi_magic.media.object_store import (
    SaveLocation,
    check_image_dir,
    check_writable,
    download,
    put,
    save_location,
)

FOX, CAT = b"a fox", b"a cat"


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """Return an empty store in memory."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return MemoryFileSystem.store


@pytest.fixture(params=["memory://bucket/images", "file://{}/new/images"])
def store(request, tmp_path):
    """Return the URL of an empty store."""
    return request.param.format(tmp_path)


def digest(content):
    """Return the hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def keep(tmp_path):
    """Put bytes into a store and return their location."""

    def put_it(content, store, name="fox.png"):
        path = tmp_path / name
        path.write_bytes(content)
        return put(path, digest(content), store)

    return put_it


def test_save_location(home):
    """A folder becomes absolute. A URL has its local copies in the data folder."""
    assert save_location("pictures", Path("/data")) == SaveLocation(Path.cwd() / "pictures")
    assert save_location("~/pictures", Path("/data")) == SaveLocation(home / "pictures")
    store = SaveLocation(Path("/data/pictures"), "s3://bucket/x")
    assert save_location("s3://bucket/x/", Path("/data")) == store


@pytest.mark.posix
def test_put_and_download(keep, store, tmp_path):
    """A downloaded file is equal and private, and no partial file is left."""
    location = keep(FOX, store)
    assert location == f"{store}/fox.png"
    back = tmp_path / "elsewhere" / "fox.png"
    download(location, back, digest(FOX))
    assert back.read_bytes() == FOX
    assert stat.S_IMODE(back.stat().st_mode) == 0o600
    assert list(back.parent.iterdir()) == [back]


def test_put_never_replaces_a_file(keep, store, tmp_path):
    """Another file with the same name is kept. The same file is not uploaded twice."""
    locations = [keep(FOX, store), keep(CAT, store), keep(FOX, store), keep(CAT, store)]
    assert locations == [f"{store}/fox.png", f"{store}/fox-2.png"] * 2
    for location, content in zip(locations, (FOX, CAT, FOX, CAT), strict=True):
        download(location, tmp_path / "back.png", digest(content))


def test_put_at_the_same_time(keep, monkeypatch, tmp_path):
    """A file that appears between check and upload is kept, if the store detects it."""
    original, overtaken = MemoryFileSystem.put_file, []

    def put_file(self, source, target, **options):
        if not overtaken:
            overtaken.append(target)
            self.pipe_file(target, CAT)
        return original(self, source, target, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    assert keep(FOX, "memory://bucket") == "memory://bucket/fox-2.png"
    download("memory://bucket/fox.png", tmp_path / "back.png", digest(CAT))


def test_changed_in_the_store(keep, store, tmp_path):
    """A file that was changed in the store is refused."""
    location = keep(FOX, store)
    with pytest.raises(DownloadError, match="was changed after it was saved"):
        download(location, tmp_path / "back.png", digest(CAT))
    assert not (tmp_path / "back.png").exists()


def test_deleted_from_the_store(store, tmp_path):
    """The error for a deleted file names its location."""
    with pytest.raises(DownloadError) as caught:
        download(f"{store}/fox.png", tmp_path / "back.png", digest(FOX))
    assert f"{store}/fox.png" in caught.value.what
    assert "%runapi resume" in caught.value.todo


def test_a_store_that_cannot_be_written(keep, tmp_path):
    """The error names the store, what was charged and what to do."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError) as caught:
        keep(FOX, f"file://{tmp_path}/file")
    state = TaskState()
    state.finish(has_images=True)
    what, charged, todo = state.explain(caught.value).parts
    assert f"file://{tmp_path}/file cannot be written to" in what
    assert charged == CHARGED
    assert "credentials" in todo


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nope://bucket", "nope"),
        ("s3://me:secret@bucket/x", "a password or a query"),
        ("https://store/x?sig=secret", "a password or a query"),
        ("s3://me:secret@[bucket/x", "not a valid URL"),
        ("s3://me:secret@bucket\N{ACCOUNT OF}/x", "not a valid URL"),
    ],
)
def test_invalid_image_dir(url, words):
    """An invalid URL is refused when it is set, before anything is charged."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Settings(image_dir=url)
    assert "secret" not in str(caught.value)
    assert caught.value.todo


def test_without_fsspec(monkeypatch, keep):
    """Without fsspec, the error names the extra to install, at the setting and at the upload."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigurationError) as caught:
        Settings(image_dir="s3://bucket/x")
    assert "runapi-magic[stores]" in caught.value.todo
    with pytest.raises(DownloadError) as later:
        keep(FOX, "memory://bucket")
    assert "runapi-magic[stores]" in later.value.todo
    with pytest.raises(ConfigurationError) as checked:
        check_writable("memory://bucket")
    assert "runapi-magic[stores]" in checked.value.todo


def test_a_store_without_a_connection(monkeypatch, keep):
    """A client that raises its own exception gives an error with its reason, at any time."""

    def refuse(*_, **__):
        raise RuntimeError("no route to the store")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    for use in (check_image_dir, check_writable):
        with pytest.raises(ConfigurationError, match="no route to the store") as caught:
            use("memory://bucket/x")
        assert "credentials" in caught.value.todo
    with pytest.raises(DownloadError, match="no route to the store") as later:
        keep(FOX, "memory://bucket")
    assert "%runapi resume" in later.value.todo


def test_a_folder_needs_no_fsspec(monkeypatch):
    """A folder with any name works without fsspec."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    check_image_dir("C:\\pictures")
    assert Settings(image_dir="my pictures").image_dir == "my pictures"


def test_short_path_of_a_url():
    """Captions show a URL in full, and a path relative to the working directory."""
    assert short_path("s3://bucket/x/fox.png") == "s3://bucket/x/fox.png"
    assert short_path(str(Path.cwd() / "x" / "fox.png")) == "x/fox.png"
