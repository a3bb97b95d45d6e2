"""Files: where they may lie, what they may be called, and who may read them."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runapi_magic.core import polling
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings, save_key
from runapi_magic.errors import ConfigurationError, DownloadError
from runapi_magic.http.client import new_idempotency_key
from runapi_magic.journal.task_log import Journal
from runapi_magic.media.files import file_stem, open_part, settle
from runapi_magic.media.preview import DEFAULT_LIMITS
from tests.conftest import KEY
from tests.faults.fake import Fake, good

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
    """A file's name from a hostile prompt and id is a plain name on every system."""
    assert _is_safe(file_stem(prompt, unique) + ".png")


@PROPERTY
@given(st.text(max_size=300), st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_names_of_any_prompt(prompt, unique):
    """A file's name from any prompt and id is a plain name on every system."""
    assert _is_safe(file_stem(prompt, unique) + ".webp")


@PROPERTY
@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=2))
def test_names_of_one_prompt_differ(uniques):
    """Pictures of one prompt have names of their own."""
    assert len({file_stem("a fox", unique) for unique in uniques}) == len(uniques)


@pytest.fixture
def make(tmp_path, picture, home, monkeypatch):
    """Make a picture; the service answers with this id."""
    for name in ("_FIRST_LOOK", "_SHORTEST", "_LONGEST"):
        monkeypatch.setattr(polling, name, 0.0)

    def call(prompt, task_id="tsk_1", *, edit=False, name="source.png"):
        fake = Fake(picture())
        status = {"status": "completed", "images": [{"url": "http://service.localhost/a.png"}]}
        fake.answers["create"] = good({"id": task_id, "status": "pending"})
        fake.answers["status"] = good(status)

        async def main():
            session = Session(Settings(timeout=5), Journal(tmp_path / "journal"))
            session._simulator = fake.service()
            try:
                if edit:
                    source = tmp_path / "work" / name
                    source.write_bytes(picture())
                    return await session.edit(source, prompt)
                return await session.generate(prompt)
            finally:
                session.journal.close()
                await session.simulator.client.transport.close()

        return asyncio.run(main())

    return call


@pytest.mark.parametrize("task_id", [one for one in HOSTILE if one and "\ud800" not in one])
def test_ids_of_a_hostile_service_stay_inside(make, tmp_path, task_id):
    """Whatever id a service makes up, the picture lies in its folder, and nothing else anywhere."""
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
    """Whatever the prompt, the picture lies in its folder under a plain name."""
    generation = make(prompt)
    assert generation.image.path.parent == tmp_path / "work" / "gpt-images"
    assert _is_safe(generation.image.path.name)


def test_an_existing_file_is_never_replaced(tmp_path, picture):
    """A file of the user's with the picture's name stays as it is; the picture gets another."""
    (tmp_path / "same.png").write_text("the user's own")
    (tmp_path / "same-2.png").symlink_to(tmp_path / "nowhere")
    part = open_part(tmp_path, "unique")
    part.write_bytes(picture())
    saved = settle(part, "same", "png", DEFAULT_LIMITS)
    assert saved.path.name == "same-3.png"
    assert (tmp_path / "same.png").read_text() == "the user's own"
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_place_of_the_part_is_not_followed(tmp_path):
    """A link that somebody put where the download goes is not written through."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / ".unique.part").symlink_to(victim)
    part = open_part(tmp_path / "pictures", "unique")
    part.write_text("picture")
    assert victim.read_text() == "untouched"
    assert not part.is_symlink()


def test_a_file_in_place_of_the_folder(tmp_path):
    """A file where the folder of pictures should be is an error that names it."""
    (tmp_path / "pictures").write_text("")
    with pytest.raises(DownloadError, match="pictures"):
        open_part(tmp_path / "pictures", "unique")


# Who may read


def _mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def open_mask():
    """Files are readable by everybody unless somebody says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_mask")
def test_what_is_written_is_private(make, tmp_path, monkeypatch):
    """The journal and its folder are the user's alone; who sees the pictures is for the umask."""
    seen = {}
    real = Journal.saved

    def look(journal, *values):
        real(journal, *values)
        seen.update({path.name: _mode(path) for path in journal.path.parent.glob("journal*")})

    monkeypatch.setattr(Journal, "saved", look)
    generation = make("a fox")
    assert _mode(generation.image.path) == "0o666"
    assert _mode(generation.image.path.parent) == "0o777"
    assert _mode(tmp_path / "journal") == "0o700"
    assert seen.keys() == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
    assert set(seen.values()) == {"0o600"}


@pytest.mark.usefixtures("open_mask")
def test_copies_of_a_store_are_private(tmp_path):
    """Pictures in the data folder, which are copies of what is in a store, are the user's alone."""
    part = open_part(tmp_path / "pictures", "unique", private=True)
    assert (_mode(part), _mode(part.parent)) == ("0o600", "0o700")


def test_a_strict_umask_is_obeyed(make):
    """Who wants to have pictures private says so by the umask, as for all other files."""
    before = os.umask(0o077)
    try:
        generation = make("a fox")
    finally:
        os.umask(before)
    assert _mode(generation.image.path) == "0o600"
    assert _mode(generation.image.path.parent) == "0o700"


@pytest.mark.usefixtures("open_mask")
def test_nothing_in_the_data_folder_is_open(make, tmp_path):
    """No file or folder under the data folder can be read or written by others."""
    make("a fox")
    opened = {
        path.name: _mode(path)
        for path in (tmp_path / "journal").rglob("*")
        if path.is_dir() and path.stat().st_mode & 0o077
    }
    assert opened == {}


@pytest.mark.usefixtures("open_mask")
def test_the_key_file_is_private(tmp_path):
    """The file with the key and its folder are the user's alone, also if they were open before."""
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
def test_a_key_that_cannot_be_stored_is_nowhere(tmp_path, monkeypatch, place, error):
    """Whatever ends the writing of the key's file, no temporary file with the key stays behind."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, fail)
    environ = {"RUNAPI_CONFIG_DIR": str(tmp_path / "config"), "HOME": str(tmp_path)}
    with pytest.raises((ConfigurationError, KeyboardInterrupt)):
        save_key(KEY, environ)
    assert list((tmp_path / "config").iterdir()) == []


def test_a_folder_in_place_of_the_key_file(tmp_path):
    """A folder where the key's file should be: the error says so, and the key is in no file."""
    config = tmp_path / "config"
    (config / "config.json").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        save_key(KEY, {"RUNAPI_CONFIG_DIR": str(config), "HOME": str(tmp_path)})
    assert [path.name for path in config.rglob("*")] == ["config.json"]


def test_no_key_in_any_file(make, tmp_path):
    """The key is in no file: not in the journal, not in a picture."""
    make("a fox", edit=True)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and KEY in _text(path)]
    assert found == []


def _text(path):
    return path.read_bytes().decode("latin-1")


def test_idempotency_keys_are_not_guessable():
    """Idempotency keys are random and never the same."""
    keys = {new_idempotency_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.isascii() and len(key) <= 512 for key in keys)
