"""The README does what it says: every cell and every command in it runs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

import runapi_magic
from runapi_magic.batch import Batch
from runapi_magic.commands import COMMANDS
from runapi_magic.generation import Generation
from runapi_magic.images import GeneratedImage
from runapi_magic.items import Item
from runapi_magic.magics import RunAPIMagics
from runapi_magic.requests import ImageRequest
from runapi_magic.settings import Settings
from runapi_magic.sweeps import Sweep
from tests.conftest import KEY, ROOT, serve_simulator

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    """Return the code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMAND_LINES = [line for block in blocks("bash") for line in block.splitlines()]
MAKE_TARGETS = [line.split()[1] for line in COMMAND_LINES if line.startswith("make ")]


@pytest.mark.kernel
def test_every_cell_runs(home, simulator_server, monkeypatch):
    """All cells of the README, run in their order in one kernel, end without an error."""
    monkeypatch.setenv("RUNAPI_BASE_URL", simulator_server.url)
    monkeypatch.setenv("RUNAPI_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(block) for block in blocks("python")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(home / "work")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    assert {body["prompt"] for body in simulator_server.bodies("bird")} == {
        "A red bird",
        "A blue bird",
    }
    text = str([cell.outputs for cell in notebook.cells])
    assert "(1536, 2048)" in text
    assert "a teal sailing boat" in text
    assert "((2048, 2048), 'RGBA')" in text
    assert "├─ v2  Make it night, with a full moon · gpt-image-2" in text
    assert "compared at 576 x 768 px" in text
    assert "(['Add a blue hat'], (1536, 2048))" in text
    assert "%%gpt_edit a_ginger_cat_" in text
    assert "6 of 6 pictures" in text
    assert "('completed', 6, {'animal': ['fox', 'cat'], 'time': ['dawn', 'noon', 'night']})" in text
    assert "[contact sheet] A red fox" in text
    assert "3 pictures: $0.48 (quoted). Nothing was sent." in text
    assert "Budget of the day  $5.00" in text
    assert "(0, 0.12)" in text
    assert "The panel needs a notebook with somebody in front of it" in text


def test_commands_are_the_known_ones():
    """Every command line of the README is one that a test below, or CI itself, runs."""
    targets = ("demo", "lab", "test", "check", "kill-test N=200")
    known = {f"make {target}" for target in targets}
    server = "python -m runapi_magic.simulator --port 0 --speed 20"
    assert set(COMMAND_LINES) == known | {"pip install .", server}


@pytest.mark.parametrize(
    "target", [*MAKE_TARGETS, "test-lowest", "matrix", "notebooks", "screenshots", "bench"]
)
def test_make_targets_exist(target):
    """Every make target that the README names exists and knows what it would do."""
    run = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_the_simulator_is_a_server():
    """The command for the server, as written, answers with its address."""
    with serve_simulator("--speed", "20") as server:
        assert server.state()["tasks_created"] == 0


def test_pip_installs_the_package(tmp_path):
    """``pip install .`` builds a wheel with the package, its type marker and the simulator."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("runapi_magic-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"runapi_magic/py.typed", "runapi_magic/simulator/__main__.py"} <= names


def test_options_are_documented():
    """The README's table has every option of the cells, and no other."""
    magics = RunAPIMagics(InteractiveShell.instance())
    options = {
        name
        for action in magics.gpt_image.parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }
    table = README.split("| option | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(--[a-z-]+)`", table)) == options


def test_commands_are_documented():
    """The README's table has every command of %runapi."""
    documented = re.findall(r"`%runapi ([a-z]+)", README.split("## Reference")[1])
    assert set(documented) == set(COMMANDS)


def test_settings_are_documented():
    """The README's table has every setting with its default, and no other; the key has none."""
    table = README.split("| setting | default | meaning |")[1].split("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE))
    traits = Settings.class_own_traits(config=True)
    real = {name: str(trait.default_value) for name, trait in traits.items() if name != "api_key"}
    assert told.pop("api_key") == "none"
    assert {name: value.replace("empty", "") for name, value in told.items()} == {
        name: value.removesuffix(".0") for name, value in real.items()
    }


def test_public_names_are_documented():
    """The README's reference names everything that the package exports for users."""
    reference = README.split("## Reference")[1].split("## Development")[0]
    hooks = {"load_ipython_extension", "unload_ipython_extension", "RunAPIError"}
    missing = [name for name in runapi_magic.__all__ if f"`{name}" not in reference]
    assert set(missing) == hooks


ITEM = Item(0, ImageRequest("a cat", "gpt-image-2", {}), {"animal": "cat"})


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        ("Generation", Generation),
        ("GeneratedImage", GeneratedImage),
        ("Batch", Batch([ITEM])),
        ("Sweep", Sweep([ITEM])),
    ],
)
def test_attributes_are_documented(name, thing):
    """What the README says that a thing of the Python door has, it has."""
    reference = README.split("## Reference")[1].split("## Development")[0]
    (words,) = re.findall(rf"A `{name}` has (.+?)\.\n\n", reference, re.DOTALL)
    names = set(re.findall(r"`(\w+)(?:\(\))?`", words.split("and can be awaited")[0]))
    assert names
    assert {name for name in names if not hasattr(thing, name)} == set()


def test_items_are_documented():
    """What the README says that an item of a Batch has, it has."""
    (words,) = re.findall(r"Its\sitems have (.+?)\.\n\n", README, re.DOTALL)
    names = re.findall(r"`(\w+)`", words)
    assert names
    assert {name for name in names if not hasattr(ITEM, name)} == set()


@pytest.mark.parametrize("name", re.findall(r"\]\(((?:docs|notebooks)/[^)#]+)\)", README))
def test_linked_files_exist(name):
    """Every file of the project that the README links to is there."""
    assert (ROOT / name).is_file()


def test_modules_are_documented():
    """The README's table of modules names each module of the package, and no other."""
    table = README.split("| module | job |")[1].split("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    named = set(re.findall(r"`(\w+)`", " ".join(cells)))
    package = ROOT / "runapi_magic"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert named == modules | {"widgets", "simulator"}
