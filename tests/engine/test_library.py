"""The record in an image file: it is written, read, moved, copied and converted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import stat
import time
from datetime import datetime
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from PIL import Image, ImageChops, ImageStat

import runapi_magic
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import DownloadError, InvalidRequestError
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.metadata import embed, extract
from runapi_magic.media.metadata_note import Note
from runapi_magic.notebook import commands
from tests.media import profiles

pytestmark = pytest.mark.server

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def line(service, use):
    """The lineage of four images: a fox, an edit, a JPEG edit of that, and an upscale."""

    async def body(session):
        fox = await session.generate("a fox", aspect_ratio="3:4")
        snow = await fox.image.edit("make it snow")
        soft = await snow.image.refine("softer light", output_format="jpeg")
        large = await soft.image.upscale(2)
        return [one.image for one in (fox, snow, soft, large)]

    return use(service, body)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another computer: another journal and folder, no key, and no service."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", str(tmp_path / "another journal"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def opened():
    """Return a function that opens an image file in a new session."""
    sessions = []

    def open_image(path):
        sessions.append(Session(Settings()))
        return sessions[-1].library.open(Path(path))

    yield open_image
    for session in sessions:
        session.journal.close()


def _facts(image):
    return [
        (one.id, one.prompt, one.model, dict(one.fields), one.task_id, one.digest, one.size,
         one.origin, one.cost)
        for one in image.line
    ]  # fmt: skip


def test_the_record_of_a_file(line, service):
    """Each file has the prompt, model, fields, task, parent, time, package and lineage."""
    assert [image.path.suffix for image in line] == [".png", ".png", ".jpg", ".png"]
    before = []
    for image, task in zip(line, service.tasks, strict=True):
        record = extract(image.path)
        assert record["prompt"] == image.prompt
        assert record["model"] == image.model
        assert record["fields"] == dict(image.fields)
        assert record["task"] == task["id"]
        assert record["parent"] == (before[-1].id if before else None)
        assert record["origin"] == service.url
        assert abs(datetime.fromisoformat(record["created"]).timestamp() - image.created) < 30
        assert [(one["image"], one["prompt"], one["file"]) for one in record["line"]] == [
            (one.id, one.prompt, one.path.name) for one in before
        ]
        assert hashlib.sha256(image.path.read_bytes()).hexdigest() == image.digest
        before.append(image)
    software = f"runapi_magic {runapi_magic.__version__}"
    with Image.open(line[0].path) as png, Image.open(line[2].path) as jpeg:
        assert (png.info["Description"], png.info["Software"]) == ("a fox", software)
        exif = jpeg.getexif()
        assert (exif[0x010E], exif[0x0131]) == ("softer light", software)


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
def test_the_key_is_never_written(service, make, output_format):
    """The key is not written, even if the prompt, a label or a field contains it."""
    fields = {
        "model": "flux-kontext-pro", "output_format": output_format, "watermark": f"x{KEY}x",
        "callback_url": f"https://example.com/{KEY}?key={KEY}",
    }  # fmt: skip
    image = make(service, f"a fox named {KEY}", fields=fields).image
    record = extract(image.path)
    assert record["prompt"] == "a fox named ***"
    assert record["fields"]["callback_url"] == "https://example.com/***"
    assert record["fields"]["watermark"] == "x***x"
    content = image.path.read_bytes()
    assert KEY.encode() not in content
    assert KEY.encode("utf-16-le") not in content


def test_private_data_is_not_in_a_file(service, use, png):
    """The folder of a source and the query of a URL are not in the file or its name."""
    Path("hideout").mkdir()
    Path("hideout/cat.png").write_bytes(png)
    url = "https://example.com/a.png?token=hideout"

    async def body(session):
        large = await session.edit(
            "hideout/cat.png", "", model="topaz-upscale-image", upscale_factor=2
        )
        then = await large.image.edit("make it snow")
        again = await session.edit(url, "make it rain")
        cut = await session.edit(url, "", model="recraft-remove-background")
        return [one.image for one in (large, then, again, cut)]

    images = use(service, body)
    assert "cat.png" in extract(images[0].path)["sources"][0]["label"]
    for image in images:
        with Image.open(image.path) as opened:
            texts = json.dumps([extract(image.path), opened.info.get("Description")])
        assert "hideout" not in texts
        assert b"hideout" not in image.path.read_bytes()
        assert "hideout" not in image.path.name


def test_without_provenance(service, use):
    """With ``provenance`` off, the file has exactly the bytes of the service."""

    async def body(session):
        fox = await session.generate("a fox")
        await session.service().client.download(fox.image.url, into, max_megabytes=50)
        return fox.image

    into = Path("as sent")
    image = use(service, body, provenance=False)
    assert image.path.read_bytes() == into.read_bytes()
    assert extract(image.path) is None


def test_the_record_does_not_change_pixels(service, use):
    """The record in a file does not change its pixels."""

    async def body(session):
        fox = await session.generate("a fox", model="flux-kontext-pro", output_format="jpeg")
        await session.service().client.download(fox.image.url, into, max_megabytes=50)
        return fox.image.pil()

    into = Path("as sent")
    image = use(service, body)
    with Image.open(into) as sent:
        assert sent.tobytes() == image.tobytes()


def test_the_same_file_after_a_crash(service, use, monkeypatch):
    """A download that is repeated after a crash gives the same file."""

    async def body(session):
        fox = await session.generate("a fox")
        before = fox.image.path.read_bytes(), list(fox.image.path.parent.iterdir())
        with session.journal.transaction() as connection:  # the kernel died before it recorded this
            connection.execute("DELETE FROM images")
            connection.execute("UPDATE tasks SET state = 'completed', owner = NULL")
        session.library._image_store._images.clear()
        later = time.time() + 600
        monkeypatch.setattr("time.time", lambda: later)
        resumed = await resume_tasks(session)
        return fox.image, before, resumed.image

    image, (content, files), resumed = use(service, body)
    assert resumed.path == image.path
    assert resumed.path.read_bytes() == content
    assert list(image.path.parent.iterdir()) == files
    assert len(service.tasks) == 1


def test_opened_by_the_journal(line, opened):
    """A file under any name is the image that the journal knows, with its lineage."""
    moved = Path("moved.png").absolute()
    copied = Path("folder/copied.png").absolute()
    copied.parent.mkdir()
    shutil.copy(line[3].path, copied)
    line[3].path.rename(moved)
    for path in (moved, copied):
        image = opened(path)
        assert _facts(image) == _facts(line[3])
        assert image.path == path
        assert image.is_on_disk
        assert [one.path for one in image.parent.line] == [one.path for one in line[:3]]


@pytest.mark.parametrize("read", ["pil", "numpy"])
def test_the_pixels_of_a_missing_file(line, read):
    """If the file is missing, its pixels are a DownloadError, which says how to get it again."""
    line[3].path.unlink()
    with pytest.raises(DownloadError, match="is missing") as caught:
        getattr(line[3], read)()
    assert "image.cell()" in caught.value.todo


@pytest.mark.parametrize("number", range(4))
def test_opened_on_another_machine(line, elsewhere, opened, number):
    """On another computer, a file and the files beside it give the lineage."""
    for image in line:
        shutil.copy(image.path, elsewhere)
    image = opened(line[number].path.name)
    assert [one[:5] for one in _facts(image)] == [one[:5] for one in _facts(line[number])]
    assert [one[5:] for one in _facts(image)] == [one[5:] for one in _facts(line[number])]
    assert [one.path for one in image.line] == [
        elsewhere / one.path.name for one in line[: number + 1]
    ]
    assert len(image.tree()) == number + 1
    assert "file is missing" not in str(image.tree())


def test_the_last_file_alone_on_another_machine(line, elsewhere, opened):
    """On another computer, the last file alone has the lineage; the other files are missing."""
    shutil.copy(line[3].path, "alone.png")
    image = opened("alone.png")
    assert [one.prompt for one in image.line] == ["a fox", "make it snow", "softer light", ""]
    assert [one.is_on_disk for one in image.line] == [False, False, False, True]
    assert str(image.tree()).count("file is missing") == 3
    assert image.instructions == ["make it snow", "softer light"]


def test_an_edit_on_another_machine(line, elsewhere, service, use):
    """An image of another computer can be edited, and the new file has the whole lineage."""
    shutil.copy(line[3].path, "alone.png")

    async def body(session):
        image = session.library.open(Path("alone.png"))
        edited = await session.revise(image, "add a moon")
        return edited.image, str(edited.tree())

    edited, tree = use(service, body)
    assert edited.model == "flux-kontext-pro"
    assert [step["prompt"] for step in extract(edited.path)["line"]] == [
        "a fox", "make it snow", "softer light", "",
    ]  # fmt: skip
    assert [row.split()[0] for row in tree.replace("└─", "").splitlines()] == [
        "v1", "v2", "v3", "v4", "v5",
    ]  # fmt: skip


def test_an_edit_on_another_machine_after_a_restart(line, elsewhere, service, use):
    """A new session finds the edit of an image of another computer."""
    shutil.copy(line[3].path, "alone.png")

    async def body(session):
        edited = await session.revise(session.library.open(Path("alone.png")), "add a moon")
        return edited.image.id

    image_id = use(service, body)

    async def later(session):
        return session.library.find(image_id), session.library.forest(limit=5)

    found, forest = use(service, later)
    assert found.prompt == "add a moon"
    assert [node.image.id for node in forest] == [image_id]


def _broken(line, kind):
    path = Path(f"{kind}.png")
    content = line[0].path.read_bytes()
    match kind:
        case "no record":
            Image.new("RGB", (8, 6)).save(path)
        case "text":
            path.write_text("no picture at all")
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "cut":
            path.write_bytes(content[: content.index(b"IDAT") - 40])
        case "odd record":
            path.write_bytes(content)
            embed(path, "png", Note({"line": 5}, "x", "y", 0.0))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no record", "has no record of how it was made"),
        ("text", "not an image"),
        ("empty", "not an image"),
        ("folder", "cannot be read"),
        ("missing", "There is no file"),
        ("cut", "damaged"),
        ("odd record", "cannot be read"),
    ],
)
def test_files_without_a_record(line, opened, kind, words):
    """A file that cannot be opened has an error with all its parts, also in the magic."""
    path = _broken(line, kind)
    with pytest.raises(InvalidRequestError, match=words) as caught:
        opened(path)
    assert (bool(caught.value.what), bool(caught.value.todo)) == (True, True)
    assert "Nothing was sent" in caught.value.charged
    assert kind in caught.value.what


@pytest.mark.parametrize("path", ["~nobody-of-this-name/a.png", "a\0b.png", "x" * 5000])
def test_invalid_paths(opened, path):
    """An invalid path is an error."""
    with pytest.raises(InvalidRequestError):
        opened(path)


def _run(session, *arguments):
    command, rest = commands.find(f"show {' '.join(arguments)}")
    return command(session, rest)


def test_show(line, opened, service, use):
    """%runapi show prints the record of an image, and the cells of its lineage."""

    async def body(session):
        image = session.library.open(line[3].path)
        return _run(session, f'"{line[3].path}"'), session.library.cells(image)

    text, cells = use(service, body)
    shown = [row.split(maxsplit=1) for row in text.splitlines()[:9]]
    where = line[3].path.relative_to(Path.cwd())
    assert shown[0] == ["File", f"{where}, {line[3].width} x {line[3].height} px"]
    assert shown[1][0] == "Prompt"
    assert shown[2] == ["Model", "topaz-upscale-image (upscale_factor=2)"]
    assert shown[3][0] == "Created"
    assert shown[3][1].endswith("$0.10")
    assert shown[4] == ["Task", f"{line[3].task_id} at {service.url}"]
    assert shown[5] == ["Lineage", "1. a fox"]
    assert [" ".join(row) for row in shown[6:8]] == ["2. make it snow", "3. softer light"]
    assert text.endswith("\n\n".join(cells))
    assert KEY not in text


def test_show_a_file_that_completion_escaped(line, service, use):
    """%runapi show accepts the backslashes that completion puts before spaces."""
    shutil.copy(line[1].path, "a fox (1).png")

    async def body(session):
        return _run(session, r"a\ fox\ \(1\).png")

    assert use(service, body).startswith("File     a fox (1).png, ")


@pytest.mark.parametrize("arguments", [[], ["a.png", "b.png"]])
def test_show_wants_one_path(use, service, arguments):
    """%runapi show with no path or several paths is a usage error."""

    async def body(session):
        with pytest.raises(UsageError, match="one image"):
            _run(session, *arguments)

    use(service, body)


def _by_button(image, target):
    """Save a copy like the toolbar does it."""
    return image.editor.save_copy(image, target)


@pytest.fixture(params=[_by_button, GeneratedImage.save], ids=["button", "Python"])
def save(request):
    """Save a copy of an image, with the button and from Python."""
    return request.param


def test_save_as_keeps_the_record(line, opened, elsewhere, save):
    """A copy in any format has the record, and can be opened on another computer."""
    for name in ("a.png", "b.jpg", "c.webp", "d.JPEG", "e.gif"):
        path = save(line[0], name)
        assert path == elsewhere / name
        image = opened(name)
        assert (image.id, image.prompt, image.task_id) == (line[0].id, "a fox", line[0].task_id)
        with Image.open(path) as saved:
            assert saved.size == line[0].size
    assert Path("a.png").read_bytes() == line[0].path.read_bytes()


def test_a_copy_in_the_same_format(line, save):
    """A JPEG that is saved as .jpeg has the same bytes."""
    path = save(line[2], "copy.jpeg")
    assert path.read_bytes() == line[2].path.read_bytes()


def test_transparency_becomes_white(service, use):
    """The transparent pixels of an image are white in a JPEG."""

    async def body(session):
        fox = await session.generate("a fox")
        cut = await fox.image.remove_background()
        return cut.image, cut.image.save("cut.jpg")

    cut, path = use(service, body)
    alpha = cut.pil().convert("RGBA").getchannel("A")
    left, top = next(
        (x, y) for y in range(8, cut.height, 16) for x in range(8, cut.width, 16)
        if alpha.crop((x - 8, y - 8, x + 8, y + 8)).getextrema() == (0, 0)
    )  # fmt: skip
    with Image.open(path) as saved:
        assert saved.format == "JPEG"
        assert min(saved.convert("RGB").getpixel((left, top))) > 250
    assert extract(path)["model"] == "recraft-remove-background"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "path is empty"),
        ("taken.png", "already"),
        ("a.unknown", "cannot be saved"),
        ("taken.png/a.png", "cannot be saved"),
        ("~nobody-of-this-name/a.png", "no folder"),
        ("a\0b.png", "cannot be saved"),
    ],
)
def test_paths_that_cannot_be_saved_to(line, target, words, save):
    """A path that cannot be written is an error, and no partial file is left."""
    Path("taken.png").write_text("mine")
    before = sorted(Path.cwd().iterdir())
    with pytest.raises(InvalidRequestError, match=words):
        save(line[0], target)
    assert sorted(Path.cwd().iterdir()) == before
    assert Path("taken.png").read_text() == "mine"


def test_a_missing_original(line, save):
    """An image whose file is missing cannot be copied, and no file is left."""
    line[0].path.unlink()
    for name in ("a.png", "new/b.jpg"):
        with pytest.raises(InvalidRequestError, match=r"a-fox-\w+\.png is missing") as caught:
            save(line[0], name)
        assert "image.cell()" in caught.value.todo
    assert not Path("a.png").exists()
    assert not Path("new").exists()


def test_save_by_a_path(line):
    """In Python the path may be a Path."""
    assert line[0].save(Path("new") / "fox.webp") == Path("new/fox.webp").absolute()


def test_the_quality_of_a_jpeg(line, save):
    """A JPEG copy has quality 95 and full colour resolution."""
    with Image.open(save(line[0], "a.jpg")) as saved:
        assert [layer[1:3] for layer in saved.layer] == [(1, 1)] * 3
        assert saved.quantization[0][0] == 2  # 16 x 10 %: the table for quality 95
        difference = ImageChops.difference(saved.convert("RGB"), line[0].pil().convert("RGB"))
    assert max(ImageStat.Stat(difference).rms) < 3


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif"])
def test_a_profile_stays_in_a_copy(line, name):
    """A copy in another format keeps the colour profile."""
    profile = profiles.rgb(profiles.DISPLAY_P3)
    image = line[0].pil()
    line[0].path.unlink()
    image.save(line[0].path, icc_profile=profile)
    with Image.open(line[0].save(name)) as saved:
        assert saved.info["icc_profile"] == profile


def test_a_copy_of_16_bits(line):
    """A 16-bit grey image is as grey in a JPEG copy."""
    line[0].path.unlink()
    Image.new("I;16", (32, 32), 30000).save(line[0].path)
    with Image.open(line[0].save("a.jpg")) as saved:
        assert abs(saved.convert("L").getpixel((1, 1)) - 116) <= 2


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_file_that_appears_during_a_copy(line, monkeypatch, name, links):
    """A file that appears while the copy is written is not overwritten."""
    link = os.link

    def late(part, path):
        Path(path).write_text("mine")
        if not links:
            raise OSError(95, "no links here")
        link(part, path)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(InvalidRequestError, match="already"):
        line[0].save(name)
    assert Path(name).read_text() == "mine"
    assert list(Path.cwd().glob(".*.part")) == []


@pytest.mark.parametrize("name", ["x" * 300, f"{'x' * 300}.png", "closed/a.png", "x" * 5000])
def test_a_name_that_the_disk_refuses(line, name, monkeypatch):
    """A name that is too long, or a folder without permission, is an error."""
    is_dir = Path.is_dir

    def closed(path):
        if "closed" in path.parts:  # the tests may run as root, who may enter any folder
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(InvalidRequestError, match="cannot be saved as") as caught:
        line[0].save(name)
    assert str(caught.value).count(name) == 1
    assert list(Path.cwd().glob(".*.part")) == []


@pytest.mark.posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_copy_follows_the_umask(line, umask, mode, save):
    """A copy has the permissions of other new files of the user."""
    before = os.umask(umask)
    try:
        paths = [save(line[0], name) for name in ("a.png", "b.jpg")]
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [mode, mode]


def test_save_into_a_folder(line, save):
    """In a folder the copy gets the original's name, and a missing suffix is added."""
    Path("folder").mkdir()
    first = save(line[0], "folder")
    second = save(line[2], "new/deep/soft")
    assert first == Path("folder", line[0].path.name).absolute()
    assert second == Path("new/deep/soft.jpg").absolute()


def test_from_the_original(line, service, use):
    """The first image is edited with all instructions of the lineage, without the upscale."""
    before = len(service.tasks)

    async def body(session):
        large = session.library.find(line[3].id)
        one = await session.from_original(large)
        two = await large.from_original()
        return one.image, two.image

    one, two = use(service, body)
    assert one.prompt == "Make all of these changes:\n1. make it snow\n2. softer light"
    assert (one.parent.id, one.version, one.model) == (line[0].id, 2, "gpt-image-2")
    assert one.fields == {"aspect_ratio": "3:4"}
    assert (two.path, two.reused) == (one.path, True)
    assert len(service.tasks) == before + 1


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_instructions(line, service, use, number):
    """With fewer than two instructions, ``from_original`` is refused."""
    before = len(service.requests)

    async def body(session):
        with pytest.raises(InvalidRequestError, match="at least two edit instructions") as caught:
            session.from_original(session.library.find(line[number].id))
        return caught.value

    error = use(service, body)
    assert "Nothing was sent" in error.charged
    assert "line[0].edit" in error.todo
    assert len(service.requests) == before


@pytest.mark.parametrize(
    ("model", "steps", "goes_on"),
    [
        ("gpt-image-2", ["upscale"], "gpt-image-2"),
        ("flux-kontext-pro", ["remove_background"], "flux-kontext-pro"),
        ("flux-kontext-max", ["upscale", "remove_background"], "flux-kontext-max"),
        ("gpt-image-2-text-to-image", ["upscale"], "gpt-image-2-image-to-image"),
        ("gpt-image-2", ["refine", "upscale"], "flux-kontext-pro"),
    ],
)
def test_an_edit_after_an_upscale(service, use, model, steps, goes_on):
    """An edit after an upscale uses the model before the upscale."""
    calls = {
        "upscale": lambda image: image.upscale(2),
        "remove_background": lambda image: image.remove_background(),
        "refine": lambda image: image.refine("softer"),
    }

    async def body(session):
        image = (await session.generate("a fox", model=model)).image
        for step in steps:
            image = (await calls[step](image)).image
        return (await session.revise(image, "make it snow")).image

    edited = use(service, body)
    assert edited.model == goes_on
    assert edited.prompt == "make it snow"
    assert service.tasks[-1]["model"] == goes_on


def test_an_edit_after_an_upscale_of_an_upload(service, use, png):
    """An edit after an upscale of an uploaded image uses the default model."""

    async def body(session):
        large = await session.edit(png, "", model="topaz-upscale-image", upscale_factor=2)
        return (await session.revise(large.image, "make it snow")).image.model

    assert use(service, body) == "gpt-image-2"


def test_two_kernels_read_one_lineage(line, service):
    """Two sessions on one journal see the same lineage at the same time."""

    async def main():
        journals = [Journal(Path("../data")) for _ in range(2)]
        sessions = [Session(Settings(base_url=service.url, api_key=KEY), each) for each in journals]
        found = await asyncio.gather(
            *(asyncio.to_thread(one.library.find, line[3].id) for one in sessions)
        )
        for journal in journals:
            journal.close()
        return [_facts(image) for image in found]

    one, other = asyncio.run(main())
    assert one == other == _facts(line[3])
