"""Trees of edits: which image is an edit of which, in all kernels and at any size."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.lineage import build_tree
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.metrics import Quality, measure
from runapi_magic.media.thumbnails import Thumbnails
from tests.properties import PROPERTY
from tests.sessions import record_image, simulate, write_image

THUMBNAILS = Thumbnails(Path("thumbnails"))


def _image(number, prompt, parent=None, *, created=None, model="gpt-image-2", **more):
    sources = () if parent is None else (Source(parent.request.title, parent.digest, image=parent),)
    return GeneratedImage(
        id=f"i{number}", path=Path(f"{number}.png"), width=8, height=6, task_id="tsk_1",
        request=ImageRequest(prompt, model, {}, sources=sources), digest=f"{number:064x}",
        created=float(number if created is None else created), **more,
    )  # fmt: skip


def _tree(images, quality=lambda _: None, **more):
    return build_tree(
        images, lambda image: THUMBNAILS.get(image.path, image.digest), quality, **more
    )


def _shape(tree):
    """Return the prompts with the names of the parent versions."""
    return [
        (node.name, node.image.request.title.split(":")[0],
         None if node.parent is None else tree.nodes[node.parent].name)
        for node in tree
    ]  # fmt: skip


def test_the_text():
    """The text has names, instructions, models, costs, durations, quality and missing files."""
    for name in ("1.png", "2.png", "4.png", "5.png"):
        Path(name).touch()
    fox = _image(1, "a fox\nin the snow", cost=0.06, seconds=12.34)
    rain = _image(2, "x" * 61, fox, cost=0.05, seconds=3.0, model="flux-kontext-pro")
    large = _image(3, "", rain, cost=0.1, simulated=True, model="topaz-upscale-image")
    night = _image(4, "make it night", fox)
    again = _image(5, "a fox\nin the snow", cost=0.06)
    figures = {"i1": Quality(100, 2), "i2": Quality(90, 5), "i5": Quality(50, 2)}
    tree = _tree([again, night, large, rain, fox], lambda image: figures.get(image.id))
    long = "x" * 59 + "…"
    assert (
        str(tree)
        == repr(tree)
        == (
            "v1  a fox in the snow · gpt-image-2 · $0.06 · 12.3 s\n"
            f"├─ v2  {long} · flux-kontext-pro · $0.05 · 3.0 s"
            " · sharpness 0.90x, noise 2.5x of v1\n"
            f"│  └─ v3  upscale image: {'x' * 44}… · topaz-upscale-image · $0.10 simulated"
            " · file is missing\n"
            "└─ v4  make it night · gpt-image-2\n"
            "v5  a fox in the snow · gpt-image-2 · $0.06"
        )
    )


def test_a_tree_without_images():
    """A tree without images has a text for that, and no drawing."""
    tree = _tree([])
    assert str(tree) == "There are no images."
    assert tree._repr_mimebundle_() == ({"text/plain": "There are no images."}, {})


def test_a_forest():
    """Each of several trees can count its versions from 1."""
    fox, hen = _image(1, "a fox"), _image(2, "a hen")
    images = [fox, hen, _image(3, "snow", hen), _image(4, "rain", fox)]
    names = [(node.name, node.image.prompt) for node in _tree(images, apart=True)]
    assert names == [("v1", "a fox"), ("v1", "a hen"), ("v2", "snow"), ("v2", "rain")]


def test_find_and_path():
    """A version is found by its image, with its path from the first version."""
    fox = _image(1, "a fox")
    snow = _image(2, "snow", fox)
    tree = _tree([fox, snow, _image(3, "rain", fox)])
    node = tree.find(snow)
    assert [step.name for step in tree.path(node)] == ["v1", "v2"]
    assert tree.find(_image(9, "elsewhere")) is None


@PROPERTY
@given(data=st.data())
def test_any_tree(data):
    """With any clock times, each image is in the tree once, after its parent."""
    images = []
    for number in range(data.draw(st.integers(1, 12))):
        parent = data.draw(st.sampled_from([None, *images]))
        created = data.draw(st.sampled_from([0.0, 1.0, 5.0, -3.0]))
        images.append(_image(number, f"picture {number}", parent, created=created))
    left_out = data.draw(st.sets(st.sampled_from(images), max_size=len(images) - 1))
    kept = data.draw(st.permutations([image for image in images if image not in left_out]))
    tree = _tree(kept)
    assert sorted(node.image.id for node in tree) == sorted(image.id for image in kept)
    assert [node.name for node in tree] == [f"v{n + 1}" for n in range(len(kept))]
    known = {image.id for image in kept}
    for place, node in enumerate(tree):
        parent = node.image.parent
        expected = parent.id if parent is not None and parent.id in known else None
        assert (None if node.parent is None else tree.nodes[node.parent].image.id) == expected
        assert node.parent is None or node.parent < place
    shown = [line.lstrip("│├└─ ").split()[0] for line in str(tree).splitlines()]
    assert sorted(shown) == sorted(node.name for node in tree)


@pytest.fixture
def edited():
    """The images of a session: a fox, two edits in a row, a branch and an upscale."""

    async def body(session):
        fox = await session.generate("a fox")
        snow = await fox.image.edit("make it snow")
        moon = await snow.image.edit("add a moon")
        rain = await fox.image.edit("make it rain")
        large = await moon.image.upscale(2)
        images = [one.image for one in (fox, snow, moon, rain, large)]
        return images, _shape(images[0].tree()), [image.path.read_bytes() for image in images]

    return simulate(body)


SHAPE = [
    ("v1", "a fox", None),
    ("v2", "make it snow", "v1"),
    ("v3", "add a moon", "v2"),
    ("v4", "make it rain", "v1"),
    ("v5", "upscale image", "v3"),
]


def test_a_session(edited):
    """An edit of an earlier version is a branch, and nothing is overwritten."""
    images, shape, contents = edited
    assert shape == SHAPE
    assert len({image.path for image in images}) == len(set(contents)) == 5
    assert [image.version for image in images] == [1, 2, 3, 2, 4]


@pytest.mark.parametrize("number", range(5))
def test_after_a_restart(edited, number):
    """A new session has the whole tree, from any of its versions."""
    images, _, _ = edited

    async def body(session):
        found = session.library.find(images[number].id)
        return found, found.tree()

    found, tree = simulate(body)
    assert _shape(tree) == SHAPE
    assert [one.id for one in found.line] == [one.id for one in images[number].line]
    assert tree.find(images[number]).image.path == images[number].path


def test_again(edited):
    """A repeated first image is another root, and a repeated edit another child."""
    images, _, _ = edited

    async def body(session):
        fox, snow = (session.library.find(image.id) for image in images[:2])
        takes = [await session.repeat(one) for one in (fox, snow)]
        generation = await session.generate("a fox")
        generation.show_version(generation.slots[0], takes[0].image)
        return _shape(generation.tree()), generation.image is takes[0].image

    shape, shown = simulate(body)
    assert shape == [*SHAPE, ("v6", "a fox", None), ("v7", "make it snow", "v1")]
    assert shown


def test_edits_of_other_kernels(edited):
    """Edits by another kernel, by a path or by a copy of the file are in the tree."""
    images, _, _ = edited
    shutil.copy(images[1].path, "copy of snow.png")

    async def body(session):
        await session.edit(str(images[0].path), "make it day")
        await session.edit("copy of snow.png", "make it night")
        return _shape(session.library.find(images[0].id).tree())

    expected = [*SHAPE, ("v6", "make it day", "v1"), ("v7", "make it night", "v2")]
    assert simulate(body) == expected


def test_a_changed_file_is_no_edit(edited):
    """A file with changed pixels is a new first image."""
    images, _, _ = edited
    images[0].pil().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(images[0].path)

    async def body(session):
        flipped = await session.edit(str(images[0].path), "make it day")
        return flipped.image.parent, _shape(session.library.find(images[4].id).tree())

    assert simulate(body) == (None, SHAPE)


def _delete_metrics(session):
    """Delete the metrics that were measured when the tree was first built."""
    with session.journal.transaction() as connection:
        connection.execute("UPDATE images SET sharpness = NULL, noise = NULL")


def test_a_deleted_file(edited):
    """An image whose file was deleted stays in the tree, with a note."""
    images, _, _ = edited
    images[1].path.unlink()

    async def body(session):
        _delete_metrics(session)
        return session.library.find(images[0].id).tree()

    tree = simulate(body)
    assert _shape(tree) == SHAPE
    assert [node.name for node in tree if node.quality is None] == ["v2"]
    lines = str(tree).splitlines()
    assert [line.split()[1] for line in lines if line.endswith("file is missing")] == ["v2"]
    assert tree.draw().width > 0


def test_quality_is_measured_once(edited, monkeypatch):
    """Each image is measured once, and compared with the first of its lineage."""
    images, _, _ = edited
    expected = [measure(image.path) for image in images]
    measured = []

    def count(path, **more):
        measured.append(path)
        return measure(path, **more)

    monkeypatch.setattr("runapi_magic.engine.library.measure", count)

    async def body(session):
        _delete_metrics(session)
        return session.library.find(images[0].id).tree()

    tree = simulate(body)
    assert sorted(measured) == sorted(image.path for image in images)
    assert [node.quality for node in tree] == expected
    first, second = expected[:2]
    ratio = second.sharpness / first.sharpness
    assert f"sharpness {ratio:.{1 if ratio >= 1 else 2}f}x" in tree.worth(tree.nodes[1])
    assert tree.worth(tree.nodes[0]) == ""
    measured.clear()

    async def again(session):
        return session.library.find(images[0].id).tree()

    images[1].path.unlink()
    assert [node.quality for node in simulate(again)] == expected
    assert measured == []


def test_a_single_image_is_not_measured(monkeypatch):
    """A single image cannot be compared, so it is not measured."""
    monkeypatch.setattr("runapi_magic.engine.library.measure", None)

    async def body(session):
        generation = await session.generate("a fox")
        return str(generation.tree())

    assert "sharpness" not in simulate(body)


def _read_everything(number):
    """Return everything that a new session shows of an image in the journal."""

    async def body(session):
        found = session.library.find(f"part-{number:04}-0")
        images, count = session.library.page(limit=5)
        tree = found.tree()
        forest = session.library.forest(limit=3)
        return found, images, count, tree, forest, session.cell(found)

    return simulate(body)


def _drawn(tree):
    bundle, _ = tree._repr_mimebundle_()
    assert bundle["text/plain"] == str(tree)
    with Image.open(io.BytesIO(bundle["image/jpeg"])) as drawn:
        drawn.load()
        return drawn


def test_a_long_lineage():
    """A lineage of 400 edits is found, printed and drawn."""
    journal, image = Journal(Path("../data")), None
    for number in range(400):
        image = record_image(journal, f"step {number}", image, number=number)
    journal.close()
    found, images, count, tree, forest, cell = _read_everything(399)
    assert (found.version, len(found.line), count) == (400, 400, 400)
    assert [one.prompt for one in images] == [f"step {n}" for n in range(399, 394, -1)]
    assert [node.parent for node in tree] == [None, *range(399)]
    assert str(tree) == str(forest)
    assert str(tree).splitlines()[-1].lstrip(" └─").startswith("v400  step 399 · gpt-image-2")
    assert cell.endswith("\nstep 399")
    assert max(_drawn(tree).size) <= 4000


def test_a_wide_tree():
    """An image with 300 edits is shown with all of them."""
    journal = Journal(Path("../data"))
    first = record_image(journal, "a fox")
    for number in range(1, 301):
        record_image(journal, f"edit {number}", first, number=number)
    journal.close()
    _, _, count, tree, forest, _ = _read_everything(7)
    assert (len(tree), len(forest), count) == (301, 301, 301)
    assert {node.parent for node in tree.nodes[1:]} == {0}
    assert max(_drawn(tree).size) <= 4000


def test_a_second_source_is_no_parent():
    """Only the first of several sources is the parent."""
    digests = [write_image(f"{name}.png", name) for name in ("red", "blue")]

    async def body(session):
        fox = await session.generate("a fox")
        hen = await session.generate("a hen")
        both = await session.edit([fox, hen, "red.png"], "put them together")
        return fox.image, hen.image, both.image

    fox, hen, both = simulate(body)
    assert (both.parent, both.version) == (fox, 2)
    assert [source.digest for source in both.request.sources] == [
        fox.digest,
        hen.digest,
        digests[0],
    ]

    async def later(session):
        return [_shape(session.library.find(one.id).tree()) for one in (hen, both)]

    assert simulate(later) == [
        [("v1", "a hen", None)],
        [("v1", "a fox", None), ("v2", "put them together", "v1")],
    ]
