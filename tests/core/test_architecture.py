"""The rooms of the package: who may import whom, and what is loaded when."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runapi_magic

PACKAGE = Path(runapi_magic.__file__).parent

# A module imports at run time only from rooms above it.
ROOMS = [
    "colours", "printing", "errors", "task_state", "interrupts", "steps", "models", "requests",
    "tasks", "stores", "home", "settings",
    "certificates", "proxies", "bodies", "addresses", "retrying", "rates", "connections",
    "transport", "client", "polling", "durations",
    "glance", "owners", "rows", "database", "matching", "journal", "recording",
    "history", "ledger",
    "experience",
    "colour_profiles", "pixel_values", "figures", "encoding", "uploads", "exif", "provenance",
    "previews", "filing", "thumbnails", "quality", "drawing",
    "comparison", "sheet", "images", "events", "generation", "namespace", "cells", "records",
    "revisions", "tree", "sources", "quotes", "service", "purse", "following", "keeping",
    "shelf", "shown_versions", "storage_check", "posting",
    "pipeline", "archive", "album", "items", "table", "batch", "frames", "sweeps", "batches",
    "drafts", "assembly", "session",
    "errands", "cluster", "loop", "display", "progress", "sheetview", "terminal", "attention",
    "controls",
    "widgets", "widgets.desk", "widgets.placed", "widgets.bridge", "widgets.slider",
    "widgets.form",
    "widgets.drawers", "widgets.prices", "widgets.confirm", "asking", "widgets.strip",
    "widgets.guard", "widgets.toolbar",
    "widgets.stage", "widgets.gallery", "widgets.queue", "widgets.picker", "widgets.updates",
    "widgets.panel",
    "widgets.sheet",
    "api", "waiting", "unawaited", "accounts", "options", "scope",
    "recovery_commands", "commands", "reporting", "magics", "question_mark", "loading",
]  # fmt: skip
SIMULATOR = "runapi_magic.simulator"
STARTS_THE_SIMULATOR = {"service"}
SHOWS = {"display", "sheetview", "terminal", "controls", "magics", "options", "reporting", "loop",
         "api", "progress", "attention", "unawaited", "question_mark", "waiting"}  # fmt: skip
FRONT_ENDS = {"IPython", "ipywidgets", "anywidget"}
HEAVY = {"httpx", "aiohttp", "PIL", "ipywidgets", "anywidget", "starlette", "uvicorn", "tenacity",
         "numpy", "yaml", "dotenv", "filelock", "fsspec", "dask", "distributed",
         "pandas", "tqdm"}  # fmt: skip


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def _imports(path, *, module_level=False):
    """Full names of what a file imports at run time, or as soon as it is imported itself."""
    package = ("runapi_magic", *path.relative_to(PACKAGE).parent.parts)
    found = set()

    def visit(node):
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                for other in node.orelse:
                    visit(other)
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if module_level:
                return
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else ()
                name = ".".join([*base, *([node.module] if node.module else [])])
                found.add(name)
                found.update(f"{name}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


OURS = [(name, path) for name, path in _modules() if name and not name.startswith("simulator")]
THEIRS = [(name, path) for name, path in _modules() if name.startswith("simulator")]
IDS = [name for name, _ in OURS]


def test_every_module_has_its_room():
    """A new module gets its place in the order above, deliberately."""
    assert set(IDS) <= set(ROOMS)
    assert {"errors", "session", "magics"} <= set(IDS)


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_imports_lead_upwards(name, path):
    """A module imports only from rooms above its own."""
    above = set(ROOMS[: ROOMS.index(name)])
    used = {full.removeprefix("runapi_magic.") for full in _imports(path)
            if full.startswith("runapi_magic.") and not full.startswith(SIMULATOR)}  # fmt: skip
    rooms = {next((room for room in (full, full.rpartition(".")[0]) if room in ROOMS), full)
             for full in used}  # fmt: skip
    assert rooms - above - {name} == set()


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_who_starts_the_simulator(name, path):
    """Only the place that switches it on imports the simulator: no code is shared with it."""
    uses = any(full.startswith(SIMULATOR) for full in _imports(path))
    assert uses == (name in STARTS_THE_SIMULATOR)


@pytest.mark.parametrize(("name", "path"), THEIRS, ids=[name for name, _ in THEIRS])
def test_the_simulator_stands_alone(name, path):
    """The simulator imports nothing of the rest: a shared parser would hide a mistake twice."""
    ours = {full for full in _imports(path) if full.split(".")[0] == "runapi_magic"}
    assert {full for full in ours if not full.startswith(SIMULATOR)} == set()


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_who_knows_the_front_end(name, path):
    """Only what shows things and what runs in a cell knows IPython and widgets."""
    used = {full.split(".")[0] for full in _imports(path)} & FRONT_ENDS
    assert used == set() or name in SHOWS or name.startswith("widgets")


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_heavy_packages_are_imported_on_first_use(name, path):
    """No module imports a heavy package when it is itself imported; widgets are heavy anyway."""
    used = {full.split(".")[0] for full in _imports(path, module_level=True)} & HEAVY
    allowed = {"ipywidgets", "anywidget"} if name.startswith("widgets.") else set()
    if name == "connections":  # which transport.py imports when it opens its first connection
        allowed = {"httpx", "aiohttp"}
    assert used <= allowed


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_only_settings_reads_the_environment(name, path):
    """Only settings.py reads the environment, and home.py, for one variable."""
    reads = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}}  # fmt: skip
    assert reads == set() or name in {"settings", "home"}


def _run(code, home):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RUNAPI_")}
    environ |= {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        capture_output=True, text=True, check=False, env=environ, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


_LOAD = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
before = set(sys.modules)
import runapi_magic
runapi_magic.load_ipython_extension(shell)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_loading_the_extension_is_light(home):
    """``%load_ext`` in a fresh shell loads none of the heavy packages, and no database."""
    loaded = set(_run(_LOAD, home))
    heavy = HEAVY | {"sqlite3", "_sqlite3", "httpcore", "anyio", "widgetsnbextension"}
    assert loaded & heavy == set()
    assert "runapi_magic" in loaded


def test_loading_the_extension_loads_few_rooms(home):
    """``%load_ext`` opens no journal and makes no client: their rooms are not even entered."""
    code = _LOAD + "print(*(name for name in sys.modules if name.startswith('runapi_magic.')))"
    loaded = set(_run(code, home))
    rooms = {"journal", "session", "transport", "client", "display", "simulator", "pipeline"}
    assert {f"runapi_magic.{room}" for room in rooms} & loaded == set()


_NEW = """
import sys
{first}
before = set(sys.modules)
{then}
print(*sorted(set(sys.modules) - before))
"""


def test_importing_the_package_loads_nothing(home):
    """``import runapi_magic`` loads none of its rooms, nobody's package, and few modules at all."""
    loaded = _run(_NEW.format(first="", then="import runapi_magic"), home)
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"runapi_magic"}
    assert [name for name in loaded if name.startswith("runapi_magic.")] == []
    assert len(loaded) <= 40  # 27 with Python 3.11, none of them ours: typing and what it needs


def test_the_first_function_is_light(home):
    """``from runapi_magic import generate`` enters few rooms and loads little but IPython."""
    then = "from runapi_magic import generate"
    loaded = set(_run(_NEW.format(first="", then=then), home))
    assert {name.split(".")[0] for name in loaded} & (HEAVY | {"sqlite3", "httpcore"}) == set()
    assert {name.removeprefix("runapi_magic.") for name in loaded if "runapi_magic." in name} == {
        "api", "asking", "assembly", "drafts", "errors", "events", "generation", "home", "loop",
        "models", "polling", "printing", "requests", "session", "settings", "task_state",
    }  # fmt: skip
    beyond = _run(_NEW.format(first="import IPython", then=then), home)
    assert {name.split(".")[0] for name in beyond} - sys.stdlib_module_names == {"runapi_magic"}
    assert len(beyond) <= 100  # 76 with Python 3.11; asyncio is most of them


def test_public_names():
    """The public names are these and no others, and each is there."""
    assert runapi_magic.__all__ == [
        "GeneratedImage", "Generation", "RunAPIError", "compare", "edit", "forget",
        "generate", "generate_many", "load_ipython_extension", "open_image", "remove_background",
        "resume", "resume_batch", "unload_ipython_extension", "upscale",
    ]  # fmt: skip
    assert all(getattr(runapi_magic, name) for name in runapi_magic.__all__)
    assert set(runapi_magic.__all__) <= set(dir(runapi_magic))


def test_other_names_are_missing():
    """A name that the package has not is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="nothing"):
        _ = runapi_magic.nothing
