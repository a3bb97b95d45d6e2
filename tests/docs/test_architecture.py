"""docs/architecture.md names the rooms, the modules and the states that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import runapi_magic
from runapi_magic.journal import schema
from tests.conftest import ROOT

PAGE = "docs/architecture.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
PACKAGE = Path(runapi_magic.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def section(heading):
    """Return the text under a heading, up to the next heading of any level."""
    return re.split(r"^#+ ", TEXT.split(f"\n{heading}\n")[1], flags=re.MULTILINE)[0]


def first_cells(text):
    """Return the names in the first cells of a table."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def test_rooms():
    """The table of rooms has each folder of the package, and no other."""
    assert sorted(first_cells(section("## Rooms"))) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_modules(room):
    """The table of a room has a row for each of its modules, and no other."""
    paths = [path.relative_to(PACKAGE / room) for path in (PACKAGE / room).rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.stem != "__init__"}
    rows = first_cells(section(f"### {room}"))
    missing, unknown = sorted(modules - {*rows}), sorted({*rows} - modules)
    assert not missing, f'add to {PAGE}, section "{room}" of "Modules": ' + " ".join(
        f"| `{name}` | (what it does) |" for name in missing
    )
    assert not unknown, f'remove from {PAGE}, section "{room}": {", ".join(unknown)}'
    assert len(rows) == len(set(rows))


def test_states():
    """The diagram and the table have the states of a task that the journal knows."""
    states = set(re.findall(r"^- ``(\w+)``", schema.__doc__, re.MULTILINE))
    life = section("## The life of a request")
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", life, re.DOTALL)
    assert set(re.findall(r"--> (\w+)", diagram)) == states
    assert set(first_cells(life)) == states
    final = set(re.findall(r"(\w+) --> \[\*\]", diagram))
    unfinished = set(re.findall(r"'(\w+)'", schema.IS_UNFINISHED))
    assert final == states - unfinished


@pytest.mark.parametrize("page", [PAGE, "CONTRIBUTING.md"])
def test_paths_exist(page):
    """Every file of the project that the page names in backticks exists."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+|[\w-]+\.(?:py|toml|cff|md))`", text))
    assert named
    folders = (ROOT, PACKAGE, ROOT / "docs")
    missing = [name for name in named if not any((folder / name).exists() for folder in folders)]
    assert missing == []
