"""Images in an object store: paid for once, and downloaded again when they are needed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from runapi_magic.display.generation_view import caption_bundle
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import current_session
from runapi_magic.errors import CHARGED, DownloadError
from runapi_magic.notebook import commands

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """An empty object store in memory."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return MemoryFileSystem.store


STORE = "memory://bucket/pictures"


def test_an_image_goes_to_the_store(make, service, memory, tmp_path):
    """An image is in the store under its readable name, and in the data folder."""
    image = make(service, "a fox", image_dir=STORE).image
    ((name, kept),) = memory.items()
    assert name == f"/bucket/pictures/{image.path.name}"
    assert image.path.name.startswith("a-fox-")
    assert kept.getvalue() == image.path.read_bytes()
    assert image.path.parent == tmp_path / "data" / "pictures"
    assert image.location == f"{STORE}/{image.path.name}"
    caption = caption_bundle(image, [])
    assert image.location in caption.data["text/plain"]
    assert image.location in caption.data["text/html"]
    assert f"File     {image.location}, " in commands.show(current_session(), ["it"], {"it": image})


def test_a_folder_has_no_store(make, service):
    """Without a store, the location of an image is its path."""
    image = make(service).image
    assert image.location == str(image.path)
    assert image.stored == ""


def test_a_lost_copy_is_fetched(make, service, tmp_path):
    """If the local copy of an image is missing, it is downloaded from the store."""
    image = make(service, image_dir=STORE).image
    image = replace(image, _preview=None)
    shutil.rmtree(tmp_path / "data" / "pictures")
    assert image.pil().size == image.size
    image.path.unlink()
    assert image.preview.data
    assert image.is_on_disk


def test_reuse_from_the_store(make, use, service, tmp_path):
    """An image in the store is free, and is downloaded only when it is used."""
    first = make(service, "a fox", image_dir=STORE).image
    shutil.rmtree(tmp_path / "data" / "pictures")

    async def price_and_make(session):
        cost = await session.cost([session.request("a fox")])
        is_fetched = (tmp_path / "data" / "pictures").exists()
        return cost.new, is_fetched, (await session.generate("a fox")).image

    new, is_fetched, second = use(service, price_and_make)
    assert (new, is_fetched) == (0, False)
    assert second.reused
    assert (second.id, second.location) == (first.id, first.location)
    assert second.pil().tobytes() == first.pil().tobytes()
    assert len(service.tasks) == 1


def test_the_price_of_an_image_that_the_store_has_lost(make, use, service, memory, tmp_path):
    """A maximum cost counts an image that the store has lost."""
    make(service, "a fox", image_dir=STORE)
    shutil.rmtree(tmp_path / "data" / "pictures")
    memory.clear()

    async def prices(session):
        requests = [session.request("a fox")]
        return [(await session.cost(requests, fetching=each)).new for each in (False, True)]

    assert use(service, prices) == [0, 1]


def test_an_image_that_is_missing_everywhere(make, service, memory, tmp_path):
    """An image that is neither on disk nor in the store is generated again."""
    make(service, "a fox", image_dir=STORE)
    shutil.rmtree(tmp_path / "data" / "pictures")
    memory.clear()
    assert not make(service, "a fox", image_dir=STORE).image.reused
    assert len(service.tasks) == 2


def test_a_store_that_cannot_be_written(fail, use, service, tmp_path, monkeypatch):
    """If the store cannot be written, the error has all its parts, and resume gets the image."""
    store = tmp_path / "store"
    # The store can be written when it is checked, but not when the image comes.
    spoil = lambda _: store.write_bytes(b"in the way")  # noqa: E731 (short)
    monkeypatch.setattr("runapi_magic.engine.storage_check.check_writable", spoil)
    generation, error, row = fail(service, "a fox", image_dir=f"file://{store}")
    assert isinstance(error, DownloadError)
    assert error.charged == CHARGED
    assert "%runapi resume" in error.todo
    assert generation.images == []
    assert row.state == "completed"
    store.unlink()

    async def resume(session):
        return (await resume_tasks(session)).image

    image = use(service, resume, image_dir=f"file://{store}")
    assert image.location == f"file://{store}/{image.path.name}"
    assert [path.name for path in store.iterdir()] == [image.path.name]
    assert len(service.tasks) == 1
