"""Which modules are loaded when, and which modules read the environment."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runapi_magic

PACKAGE = Path(runapi_magic.__file__).parent

HEAVY = {"httpx", "aiohttp", "PIL", "ipywidgets", "anywidget", "starlette", "uvicorn", "tenacity",
         "numpy", "yaml", "dotenv", "filelock", "fsspec", "dask", "distributed",
         "pandas", "tqdm"}  # fmt: skip


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def _imports(path, *, module_level=False):
    """Return the full names that a file imports at run time, or already when it is imported."""
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


OURS = [(name, path) for name, path in _modules() if not name.startswith("simulator")]
IDS = [name for name, _ in OURS]


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_heavy_packages_are_imported_on_first_use(name, path):
    """Importing a module imports no heavy package, except that widgets need theirs."""
    used = {full.split(".")[0] for full in _imports(path, module_level=True)} & HEAVY
    allowed = {"ipywidgets", "anywidget"} if name.startswith("widgets.") else set()
    if name == "http.aiohttp_transport":  # imported with the first connection
        allowed = {"httpx", "aiohttp"}
    assert used <= allowed


@pytest.mark.parametrize(("name", "path"), OURS, ids=IDS)
def test_few_modules_read_the_environment(name, path):
    """Only the modules that find the key, paths and certificates read the environment."""
    reads = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}}  # fmt: skip
    assert reads == set() or name in {"core.paths", "engine.credentials", "http.certificates"}


def _run(code, home):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RUNAPI_")}
    environ |= {"IPYTHONDIR": str(home.parent / "ipython"), "PYTHONPATH": str(PACKAGE.parent)}
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
    """``%load_ext`` in a new shell loads no heavy package and no database."""
    loaded = set(_run(_LOAD, home))
    heavy = HEAVY | {"sqlite3", "_sqlite3", "httpcore", "anyio", "widgetsnbextension"}
    assert loaded & heavy == set()
    assert "runapi_magic" in loaded


def test_loading_the_extension_loads_few_rooms(home):
    """``%load_ext`` opens no journal and creates no client. It does not load their rooms."""
    code = _LOAD + "print(*(name for name in sys.modules if name.startswith('runapi_magic.')))"
    loaded = set(_run(code, home))
    rooms = {"journal.task_log", "engine.session", "http", "engine", "display", "simulator"}
    assert {f"runapi_magic.{room}" for room in rooms} & loaded == set()


_NEW = """
import sys
{first}
before = set(sys.modules)
{then}
print(*sorted(set(sys.modules) - before))
"""


def test_importing_the_package_loads_nothing(home):
    """``import runapi_magic`` loads none of its rooms, no other package, and few modules."""
    loaded = _run(_NEW.format(first="", then="import runapi_magic"), home)
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"runapi_magic"}
    assert {name for name in loaded if name.startswith("runapi_magic.")} == {
        "runapi_magic._version",
        "runapi_magic.models",  # a name for the catalogue, without a file
    }
    assert len(loaded) <= 40  # 27 with Python 3.11, for typing


def test_the_first_function_is_light(home):
    """``from runapi_magic import generate`` loads few rooms, and no package but IPython."""
    then = "from runapi_magic import generate"
    loaded = set(_run(_NEW.format(first="", then=then), home))
    assert {name.split(".")[0] for name in loaded} & (HEAVY | {"sqlite3", "httpcore"}) == set()
    assert {name.removeprefix("runapi_magic.") for name in loaded if "runapi_magic." in name} == {
        "_version", "core", "core.access", "core.catalog", "core.events", "core.paths",
        "core.polling", "core.request", "core.status", "core.task_state", "core.validation",
        "display", "display.environment", "engine", "engine.connection", "engine.credentials",
        "engine.generation", "engine.request_builder", "engine.services", "engine.session",
        "engine.settings", "engine.spending_guard", "errors", "media", "media.limits", "models",
        "notebook", "notebook.api", "notebook.display_hooks",
    }  # fmt: skip
    beyond = _run(_NEW.format(first="import IPython", then=then), home)
    assert {name.split(".")[0] for name in beyond} - sys.stdlib_module_names == {"runapi_magic"}
    assert len(beyond) <= 100  # 76 with Python 3.11, most of them for asyncio


def test_public_names():
    """The public names are exactly these, and each one exists."""
    assert runapi_magic.__all__ == [
        "GeneratedImage", "Generation", "RunAPIError", "compare", "edit", "forget",
        "generate", "generate_many", "load_ipython_extension", "open_image", "remove_background",
        "resume", "resume_batch", "unload_ipython_extension", "upscale",
    ]  # fmt: skip
    assert all(getattr(runapi_magic, name) for name in runapi_magic.__all__)
    assert set(runapi_magic.__all__) <= set(dir(runapi_magic))


def test_other_names_are_missing():
    """A name that does not exist is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="nothing"):
        _ = runapi_magic.nothing


@pytest.mark.parametrize(
    "first",
    [
        "from runapi_magic.models import find_model",
        "import runapi_magic.models\nfind_model = runapi_magic.models.find_model",
        "from runapi_magic import models\nfind_model = models.find_model",
    ],
    ids=["name", "module", "attribute"],
)
def test_the_former_module_of_models(home, first):
    """A notebook for version 0.1.0 finds the catalogue where that version had it."""
    price = "print(find_model('gpt-image-2').estimate({'output_resolution': '4k'}))"
    assert _run(f"{first}\n{price}", home) == ["0.16"]


def test_the_former_module_lacks_other_names(home):
    """A name that the catalogue does not have is an ImportError, as in any module."""
    with pytest.raises(ImportError, match="nothing"):
        from runapi_magic.models import nothing  # noqa: F401
