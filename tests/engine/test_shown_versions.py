"""A cell that runs again shows the version that it showed last."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from runapi_magic.engine.generation import CellLocation

pytestmark = pytest.mark.server

CELL = CellLocation("work/a.ipynb", "c1")


@pytest.fixture
def kernel(service, use):
    """Run a coroutine function with the session of a new kernel; all kernels share a journal."""
    return partial(use, service)


async def _ask(session, prompt="an owl", cell_location=CELL, *, new=False, **parts):
    return await session.start(
        session.request(prompt, **parts), cell_location=cell_location, new=new
    )


async def _choose(session, generation, image, number=0):
    """Show a version in a slot, like the buttons do."""
    slot = generation.slots[number]
    generation.show_version(slot, image)
    await session.pipeline.shown_versions.keep(generation, slot)


async def _edited(session, instruction="make it blue"):
    """Return the image of a cell, and an edit of it that the cell shows."""
    owl = await _ask(session)
    edit = (await session.revise(owl.image, instruction)).image
    await _choose(session, owl, edit)
    return owl, edit


def _ids(generation):
    return [image.id for image in generation.images]


def test_a_rerun_shows_the_version_again(kernel, service):
    """After a restart the cell shows version 2, and an edit of it is loaded from disk."""

    async def first(session):
        owl, edit = await _edited(session)
        hat = await session.start(session.request("add a hat", sources=[_source(owl)]))
        return owl.slots[0].versions[0].id, edit.id, hat.image.id

    async def second(session):
        owl = await _ask(session)
        hat = await session.start(session.request("add a hat", sources=[_source(owl)]))
        assert owl.slots[0].index == 1
        return *_ids(owl), owl.image.id, hat.image.id, owl.cost + hat.cost

    start, edit, hat = kernel(first)
    assert kernel(second) == (start, edit, edit, hat, 0)
    assert len(service.tasks) == 3


def _source(generation):
    from runapi_magic.engine.sources import as_source

    return as_source(generation)


def test_a_running_source_is_the_shown_version(kernel, service):
    """An edit of a running Generation edits the version that the cell showed last."""

    async def first(session):
        owl, _ = await _edited(session)
        return (await session.start(session.request("add a hat", sources=[_source(owl)]))).image.id

    async def second(session):
        owl = session.start(session.request("an owl"), cell_location=CELL)
        assert not owl.is_done
        hat = await session.start(session.request("add a hat", sources=[_source(owl)]))
        return hat.image.id

    assert kernel(first) == kernel(second)
    assert len(service.tasks) == 3


def test_back_to_the_first_version(kernel):
    """If the user goes back to version 1, a restart shows version 1."""

    async def first(session):
        owl, _ = await _edited(session)
        await _choose(session, owl, owl.slots[0].versions[0])
        return owl.image.id

    async def second(session):
        owl = await _ask(session)
        return owl.image.id, len(owl.images)

    assert kernel(second) == (kernel(first), 1)


def test_the_last_of_quick_clicks_counts(kernel):
    """After quick clicks, the version that the slot shows is recorded."""

    async def first(session):
        owl, edit = await _edited(session)
        slot = owl.slots[0]
        writes = []
        for _ in range(20):
            for image in (slot.versions[0], edit):
                owl.show_version(slot, image)
                writes.append(session.pipeline.shown_versions.keep(owl, slot))
        await asyncio.gather(*writes)
        return edit.id

    async def second(session):
        return (await _ask(session)).image.id

    assert kernel(first) == kernel(second)


def test_each_slot_has_its_own(kernel):
    """Each image of a request has its own shown version."""

    async def first(session):
        owls = await _ask(session, count=3)
        originals = [slot.versions[0] for slot in owls.slots]
        edits = [(await session.revise(one, "make it blue")).image for one in originals[1:]]
        for number, edit in enumerate(edits, 1):
            await _choose(session, owls, edit, number)
        return [originals[0].id, *(edit.id for edit in edits)]

    async def second(session):
        owls = await _ask(session, count=3)
        return [slot.shown.id for slot in owls.slots]

    assert kernel(first) == kernel(second)


@pytest.mark.parametrize("how", ["upscale", "again"])
def test_versions_of_other_buttons(kernel, how):
    """An upscale and a repeated image are shown again, too."""

    async def first(session):
        owl = await _ask(session)
        made = await (owl.image.upscale(2) if how == "upscale" else session.repeat(owl.image))
        await _choose(session, owl, made.image)
        return made.image.id

    async def second(session):
        owl = await _ask(session)
        return owl.image.id

    assert kernel(first) == kernel(second)


@pytest.mark.parametrize(
    "cell_location",
    [
        CellLocation("work/b.ipynb", "c1"),
        CellLocation("work/a.ipynb", "c2"),
        CellLocation("", ""),
        CellLocation("work/a.ipynb", ""),
        None,
    ],
    ids=["another notebook", "another cell", "unknown", "no cell id", "no cell"],
)
def test_other_cells_show_their_own_version(kernel, cell_location):
    """The same request in another cell shows its first version."""

    async def first(session):
        owl, _ = await _edited(session)
        return owl.slots[0].versions[0].id

    async def second(session):
        owl = await _ask(session, cell_location=cell_location)
        return owl.image.id, owl.slots[0].index

    assert (kernel(first), 0) == kernel(second)


def test_without_cell_ids_the_request_decides(kernel):
    """Without cell IDs, the notebook and the request identify the shown version."""
    cell_location = CellLocation("work/a.ipynb", "")

    async def first(session):
        owl = await _ask(session, cell_location=cell_location)
        edit = (await session.revise(owl.image, "make it blue")).image
        await _choose(session, owl, edit)
        return edit.id

    async def second(session):
        return (await _ask(session, cell_location=cell_location)).image.id

    assert kernel(first) == kernel(second)


def test_another_request_in_the_cell(kernel):
    """A changed prompt or a new image does not show the version of the old one."""

    async def first(session):
        await _edited(session)

    async def second(session):
        changed = await _ask(session, "an owl in a tree")
        fresh = await _ask(session, new=True)
        return [(one.slots[0].index, len(one.images)) for one in (changed, fresh)]

    kernel(first)
    assert kernel(second) == [(0, 1), (0, 1)]


@pytest.mark.parametrize("harm", ["gone", "damaged", "another picture"])
def test_a_version_whose_file_cannot_be_read(kernel, service, png, harm):
    """If the version's file is missing or changed, the first version is shown with a notice."""

    async def first(session):
        owl, edit = await _edited(session)
        if harm == "gone":
            edit.path.unlink()
        elif harm == "damaged":
            edit.path.write_bytes(b"no picture")
        else:
            edit.path.write_bytes(png)
        return owl.slots[0].versions[0].id, edit.path.name

    async def second(session):
        owl = await _ask(session)
        (note,) = session.take_notices()
        return owl.image.id, owl.status, note

    start, name = kernel(first)
    found, status, note = kernel(second)
    assert (found, status) == (start, "completed")
    assert name in note
    assert "nothing was charged" in note
    assert len(service.tasks) == 2


def test_without_a_journal(kernel, tmp_path):
    """Without a journal, choosing a version works, but it is not recorded."""
    (tmp_path / "data").write_text("in the way")

    async def body(session):
        owl, edit = await _edited(session)
        return owl.image is edit

    assert kernel(body)
