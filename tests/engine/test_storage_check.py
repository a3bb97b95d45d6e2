"""Places that take no image are found before anything is paid for."""

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
    """A store that takes what it is given until it refuses; its objects and what it was asked."""

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
def test_a_batch_pays_nothing_for_a_folder_that_takes_nothing(service, use, place):
    """Ten requests into a place where no file can be made: none is sent, and one reason is told."""
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


def test_sources_are_not_uploaded_either(service, use, png):
    """An edit whose image could not be saved uploads nothing."""
    Path("file").write_text("not a folder")
    Path("a.png").write_bytes(png)

    async def body(session):
        generation = session.edit("a.png", "redder")
        await generation.ended()
        return generation.errors

    (error,) = use(service, body, image_dir="file")
    assert "cannot be written to" in error.what
    assert service.paths() == []


def test_a_full_disk_is_found_first(service, fail, monkeypatch):
    """With a megabyte left on the disk nothing is sent."""
    usage = SimpleNamespace(total=10**9, free=10**6)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    _, error, _ = fail(service)
    assert "has only 1 MB left" in error.what
    assert service.paths() == []


def test_a_batch_tries_a_refusing_store_once_and_pays_nothing(service, use, store):
    """A store without a right to write is asked once for ten requests, and none is sent."""
    store.refuses = True

    async def body(session):
        batch = _batch(session)
        await batch.ended()
        asked = store.asked["tests"]
        store.refuses = False  # its owner has given the right
        batch.retry_failed()
        await batch.ended()
        return batch, asked

    batch, asked = use(service, body, image_dir="shop://pictures")
    assert asked == 1
    assert [item.status for item in batch.items] == ["completed"] * 10
    assert len(service.tasks) == 10


def test_the_words_for_a_store_that_refuses(service, fail, store):
    """The error names the store and its own reason, and says that nothing was sent."""
    store.refuses = True
    _, error, _ = fail(service, image_dir="shop://pictures")
    assert isinstance(error, ConfigurationError)
    assert "shop://pictures" in error.what
    assert "Access Denied" in error.what
    assert "Nothing was sent" in error.charged
    assert service.paths() == []


def test_a_good_store_is_tried_once_and_left_clean(service, use, store):
    """Several requests in a row try a store once, and no test object stays there."""

    async def body(session):
        for prompt in ("a fox", "a hare"):
            await session.generate(prompt)

    use(service, body, image_dir="shop://pictures")
    assert store.asked["tests"] == 1
    assert [name for name in store.store if "write-test" in name] == []
    assert len(store.store) == 2


def test_what_is_on_disk_needs_no_writable_folder(service, use):
    """A request that was made before is shown from its old folder, wherever new images go."""
    Path("file").write_text("not a folder")

    async def body(session):
        await session.generate("a fox")
        session.settings.image_dir = "file"
        return (await session.generate("a fox")).image

    assert use(service, body).reused
    assert len(service.tasks) == 1


def test_an_unanswered_request_stays_resumable(service, use):
    """Where the images of an unanswered request could not be saved, it is not asked for again."""
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
    """After a request the folder holds its image and nothing else."""
    image = make(service).image
    assert list(image.path.parent.iterdir()) == [image.path]


@pytest.mark.posix
def test_local_copies_are_for_their_owner_alone(service, use, store):
    """The folder of what is in a store is private, although it is tried out before."""

    async def body(session):
        return (await session.generate("a fox")).image

    image = use(service, body, image_dir="shop://pictures")
    assert image.path.parent.name == "pictures"
    assert stat.S_IMODE(image.path.parent.stat().st_mode) == 0o700
