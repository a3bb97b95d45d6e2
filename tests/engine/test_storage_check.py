"""Folders and object stores that refuse images are found before anything is paid for."""

from __future__ import annotations

import collections
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.begin import begin_batch
from runapi_magic.batch.item import Item
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.errors import ConfigurationError

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402 (an extra)

pytestmark = pytest.mark.server


@pytest.fixture
def store(monkeypatch):
    """An object store that a test can make refuse writes; it counts its requests."""

    class Store(MemoryFileSystem):
        protocol = "shop"
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]
        asked: ClassVar = collections.Counter()
        refuses: ClassVar = False

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("shop://", "memory://"))

        def pipe_file(self, path, value, **more):
            Store.asked["tests"] += 1
            if Store.refuses:
                raise PermissionError("Access Denied")
            super().pipe_file(path, value, **more)

    fsspec.register_implementation("shop", Store, clobber=True)
    return Store


def _batch(session, count=10):
    return begin_batch(
        session, Batch([Item(n, session.request(f"a fox {n}")) for n in range(count)])
    )


@pytest.mark.posix
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere", "/dev/null/x"])
def test_a_folder_that_cannot_be_written(service, use, place):
    """If the image folder cannot be written, a batch sends nothing and has one reason."""
    Path("file").write_text("not a folder")

    async def body(session):
        batch = _batch(session)
        await batch.ended()
        return batch, session.journal.unfinished()

    batch, rest = use(service, body, image_dir=place)
    assert [item.status for item in batch.items] == ["failed"] * 10
    (error,) = batch.errors
    assert isinstance(error, ConfigurationError)
    assert "cannot be written to" in error.what
    assert "Nothing was sent" in error.charged
    assert service.paths() == []
    assert rest == []


def test_no_upload_without_a_folder(service, use, png):
    """If the image folder cannot be written, an edit uploads nothing."""
    Path("file").write_text("not a folder")
    Path("a.png").write_bytes(png)

    async def body(session):
        generation = session.edit("a.png", "redder")
        await generation.ended()
        return generation.errors

    (error,) = use(service, body, image_dir="file")
    assert "cannot be written to" in error.what
    assert service.paths() == []


def test_a_full_disk(service, fail, monkeypatch):
    """With one megabyte left on the disk, nothing is sent."""
    usage = SimpleNamespace(total=10**9, free=10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    _, error, _ = fail(service)
    assert "has only 1 MB left" in error.what
    assert service.paths() == []


def test_a_store_that_refuses_a_batch(service, use, store):
    """A store that refuses is checked once for ten requests, and none is sent."""
    store.refuses = True

    async def body(session):
        batch = _batch(session)
        await batch.ended()
        asked = store.asked["tests"]
        store.refuses = False  # the owner has granted the permission
        batch.retry_failed()
        await batch.ended()
        return batch, asked

    batch, asked = use(service, body, image_dir="shop://pictures")
    assert asked == 1
    assert [item.status for item in batch.items] == ["completed"] * 10
    assert len(service.tasks) == 10


def test_the_error_of_a_store_that_refuses(service, fail, store):
    """The error has the store and its reason, and says that nothing was sent."""
    store.refuses = True
    _, error, _ = fail(service, image_dir="shop://pictures")
    assert isinstance(error, ConfigurationError)
    assert "shop://pictures" in error.what
    assert "Access Denied" in error.what
    assert "Nothing was sent" in error.charged
    assert service.paths() == []


def test_a_store_is_checked_once(service, use, store):
    """A store is checked once for several requests, and no test object stays there."""

    async def body(session):
        for prompt in ("a fox", "a hare"):
            await session.generate(prompt)

    use(service, body, image_dir="shop://pictures")
    assert store.asked["tests"] == 1
    assert [name for name in store.store if "write-test" in name] == []
    assert len(store.store) == 2


def test_images_on_disk_need_no_writable_folder(service, use):
    """An image on disk is shown, even if the image folder cannot be written."""
    Path("file").write_text("not a folder")

    async def body(session):
        await session.generate("a fox")
        session.settings.image_dir = "file"
        return (await session.generate("a fox")).image

    assert use(service, body).reused
    assert len(service.tasks) == 1


def test_resume_without_a_folder(service, use):
    """If the image folder cannot be written, an unanswered request stays resumable."""
    Path("file").write_text("not a folder")
    service.fault("create=drop_after,times=5")

    async def body(session):
        await session.generate("a fox").ended()
        session.settings.image_dir = "file"
        blocked = resume_tasks(session)
        await blocked.ended()
        session.settings.image_dir = "pictures"
        return blocked.errors, len(service.paths()), await resume_tasks(session)

    (error,), posts, resumed = use(service, body)
    assert error.doubtful
    assert "cannot be written to" in error.what
    assert posts == 5
    assert len(resumed.images) == 1
    assert len(service.tasks) == 1


def test_no_test_file_is_left_in_a_folder(service, make):
    """After a request, the folder contains only the image."""
    image = make(service).image
    assert list(image.path.parent.iterdir()) == [image.path]


@pytest.mark.posix
def test_local_copies_are_private(service, use, store):
    """The folder of local copies of a store is private, even after the check."""

    async def body(session):
        return (await session.generate("a fox")).image

    image = use(service, body, image_dir="shop://pictures")
    assert image.path.parent.name == "pictures"
    assert stat.S_IMODE(image.path.parent.stat().st_mode) == 0o700
