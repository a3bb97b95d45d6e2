"""Files: where they are written, their names and their permissions."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runapi_magic.core import polling
from runapi_magic.engine.credentials import save_key
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import ConfigurationError, DownloadError
from runapi_magic.http.client import new_idempotency_key
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.files import create_part, file_stem, finish_part
from runapi_magic.media.limits import DEFAULT_LIMITS
from tests.conftest import KEY
from tests.faults.fake_service import FakeService, json_response

PROPERTY = settings(deadline=None, database=None, derandomize=True, max_examples=300)
HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "~/x",
    "~root",
    "C:\\Windows\\win.ini",
    "\\\\server\\share",
    "a\0b",
    "a\nb",
    "a/b",
    "con",
    "NUL",
    "com1.png",
    "aux.",
    "x" * 5000,
    "猫" * 300,
    "é\u0301",
    "\u202egnp.exe",
    "-rf",
    "--help",
    ".hidden",
    "name.png.exe",
    "a:b",
    "a*b?c",
    "%2e%2e%2f",
    "$(touch x)",
    "`touch x`",
    "<img src=x onerror=alert(1)>",
    "\ud800",
    " ",
    "file with blanks ",
]
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{name}{n}" for name in ("com", "lpt") for n in range(10)),
}


def _is_safe(name):
    return (
        0 < len(name.encode()) <= 120
        and name.isascii()
        and not set(name) & set('/\\:*?"<>|%$`\0\n\r\t ')
        and name.isprintable()
        and not name.startswith((".", "-"))
        and not name.endswith(".")
        and name.partition(".")[0].lower() not in DEVICES
        and PurePosixPath(name).name == PureWindowsPath(name).name == name
    )


@pytest.mark.parametrize("prompt", HOSTILE)
@pytest.mark.parametrize("unique", ["tsk_1", "../../x"])
def test_names_of_hostile_prompts(prompt, unique):
    """A hostile prompt and id give a file name that is safe on every system."""
    assert _is_safe(file_stem(prompt, unique) + ".png")


@PROPERTY
@given(st.text(max_size=300), st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_names_of_any_prompt(prompt, unique):
    """Any prompt and id give a file name that is safe on every system."""
    assert _is_safe(file_stem(prompt, unique) + ".webp")


@PROPERTY
@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=2))
def test_names_of_one_prompt_differ(uniques):
    """Images of the same prompt have different names."""
    assert len({file_stem("a fox", unique) for unique in uniques}) == len(uniques)


@pytest.fixture
def make(tmp_path, make_image, home, monkeypatch):
    """Return a function that makes an image; the service returns the given task id."""
    for name in ("_FIRST_POLL", "_SHORTEST", "_LONGEST"):
        monkeypatch.setattr(polling, name, 0.0)

    def call(prompt, task_id="tsk_1", *, edit=False, name="source.png"):
        fake = FakeService(make_image())
        status = {"status": "completed", "images": [{"url": "http://service.localhost/a.png"}]}
        fake.responses["create"] = json_response({"id": task_id, "status": "pending"})
        fake.responses["status"] = json_response(status)

        async def main():
            session = Session(Settings(timeout=5), Journal(tmp_path / "journal"))
            session.connection.simulator = fake.service()
            try:
                if edit:
                    source = tmp_path / "work" / name
                    source.write_bytes(make_image())
                    return await session.edit(source, prompt)
                return await session.generate(prompt)
            finally:
                session.journal.close()
                await session.simulator.client.transport.close()

        return asyncio.run(main())

    return call


@pytest.mark.parametrize("task_id", [one for one in HOSTILE if one and "\ud800" not in one])
def test_hostile_task_ids_stay_inside(make, tmp_path, task_id):
    """For any task id, the image is in its folder and no other file is written."""
    before = {*tmp_path.rglob("*")}
    generation = make("a fox", task_id)
    made = {*tmp_path.rglob("*")} - before
    outside = {path for path in made if not path.is_relative_to(tmp_path / "journal")}
    assert outside == {tmp_path / "work" / "gpt-images", generation.image.path}
    assert _is_safe(generation.image.path.name)


@pytest.mark.parametrize(
    "prompt", [one for one in HOSTILE if one.strip() and "\ud800" not in one and "\0" not in one]
)
def test_prompts_stay_inside(make, tmp_path, prompt):
    """For any prompt, the image is in its folder under a safe name."""
    generation = make(prompt)
    assert generation.image.path.parent == tmp_path / "work" / "gpt-images"
    assert _is_safe(generation.image.path.name)


@pytest.mark.posix
def test_an_existing_file_is_never_replaced(tmp_path, make_image):
    """An existing file with the image's name is kept. The image gets another name."""
    (tmp_path / "same.png").write_text("the user's own")
    (tmp_path / "same-2.png").symlink_to(tmp_path / "nowhere")
    part = create_part(tmp_path, "unique")
    part.write_bytes(make_image())
    saved = finish_part(part, "same", "png", DEFAULT_LIMITS)
    assert saved.path.name == "same-3.png"
    assert (tmp_path / "same.png").read_text() == "the user's own"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.posix
def test_a_link_at_the_part_file_is_not_followed(tmp_path):
    """A link at the path of the part file is replaced, and its target is not changed."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".unique.part").symlink_to(victim)
    part = create_part(tmp_path / "images", "unique")
    part.write_text("image")
    assert victim.read_text() == "untouched"
    assert not part.is_symlink()


def test_a_file_in_place_of_the_folder(tmp_path):
    """If the image folder is a file, the error names it."""
    (tmp_path / "images").write_text("")
    with pytest.raises(DownloadError, match="images"):
        create_part(tmp_path / "images", "unique")


# Permissions


def _mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def open_mask():
    """Set a umask that makes files readable and writable for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.posix
@pytest.mark.usefixtures("open_mask")
def test_the_journal_is_private(make, tmp_path, monkeypatch):
    """Only the user can read the journal and its folder. Images follow the umask."""
    seen = {}
    real = Journal.mark_saved

    def look(journal, *values):
        real(journal, *values)
        seen.update({path.name: _mode(path) for path in journal.path.parent.glob("journal*")})

    monkeypatch.setattr(Journal, "mark_saved", look)
    generation = make("a fox")
    assert _mode(generation.image.path) == "0o666"
    assert _mode(generation.image.path.parent) == "0o777"
    assert _mode(tmp_path / "journal") == "0o700"
    assert seen.keys() == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
    assert set(seen.values()) == {"0o600"}


@pytest.mark.posix
@pytest.mark.usefixtures("open_mask")
def test_copies_of_a_store_are_private(tmp_path):
    """Only the user can read the local copies of images in an object store."""
    part = create_part(tmp_path / "images", "unique", private=True)
    assert (_mode(part), _mode(part.parent)) == ("0o600", "0o700")


@pytest.mark.posix
def test_a_strict_umask_is_obeyed(make):
    """A strict umask makes images private."""
    before = os.umask(0o077)
    try:
        generation = make("a fox")
    finally:
        os.umask(before)
    assert _mode(generation.image.path) == "0o600"
    assert _mode(generation.image.path.parent) == "0o700"


@pytest.mark.posix
@pytest.mark.usefixtures("open_mask")
def test_no_data_folder_is_open(make, tmp_path):
    """Other users have no access to folders under the data folder."""
    make("a fox")
    opened = {
        path.name: _mode(path)
        for path in (tmp_path / "journal").rglob("*")
        if path.is_dir() and path.stat().st_mode & 0o077
    }
    assert opened == {}


@pytest.mark.posix
@pytest.mark.usefixtures("open_mask")
def test_the_key_file_is_private(tmp_path):
    """Only the user can read the key's file and folder, even if they were open before."""
    environ = {"RUNAPI_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path)}
    path = save_key(KEY, environ)
    assert (_mode(path), _mode(path.parent)) == ("0o600", "0o700")
    path.chmod(0o644)
    assert _mode(save_key(KEY, environ)) == "0o600"


@pytest.mark.parametrize(
    ("place", "error"),
    [("pathlib.Path.replace", OSError(16, "busy")), ("pathlib.Path.replace", KeyboardInterrupt()),
     ("json.dump", OSError(28, "No space left on device")), ("json.dump", KeyboardInterrupt())],
)  # fmt: skip
def test_a_failed_save_leaves_no_key(tmp_path, monkeypatch, place, error):
    """If writing the key's file fails, no temporary file with the key is left."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, fail)
    environ = {"RUNAPI_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path)}
    with pytest.raises((ConfigurationError, KeyboardInterrupt)):
        save_key(KEY, environ)
    assert list((tmp_path / "config").iterdir()) == []


def test_a_folder_in_place_of_the_key_file(tmp_path):
    """If the key's file is a folder, the error says so, and the key is in no file."""
    config = tmp_path / "config"
    (config / "config.json").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        save_key(KEY, {"RUNAPI_CONFIG_DIR": str(config), "HOME": str(tmp_path)})
    assert [path.name for path in config.rglob("*")] == ["config.json"]


def test_no_key_in_any_file(make, tmp_path):
    """No file contains the key: not the journal, not an image."""
    make("a fox", edit=True)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and KEY in _text(path)]
    assert found == []


def _text(path):
    return path.read_bytes().decode("latin-1")


def test_idempotency_keys_are_not_guessable():
    """Idempotency keys are random and unique."""
    keys = {new_idempotency_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.isascii() and len(key) <= 512 for key in keys)
