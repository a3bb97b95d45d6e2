"""The release: contents of the sdist and the wheel, and their use without the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from packaging.metadata import Metadata

import runapi_magic
from tests.conftest import ROOT, clean_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SHOW_PATH = "import runapi_magic\nrunapi_magic.__file__"


def run(*words, **options):
    """Run a command that must succeed. Return what it prints."""
    result = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist, and the wheel from the sdist: this shows that the sdist is complete."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return SimpleNamespace(sdist=sdist, wheel=wheel)


def tracked(*folders):
    """Return the project's files in these folders."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in found}
    generated = re.compile(r"__pycache__|\.ipynb_checkpoints|gpt-images|\.pyc$")
    return {name for name in names if not generated.search(name)}


def test_wheel_contents(built):
    """The wheel contains every file of the package, including py.typed, and nothing else."""
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (licence,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    assert names == tracked("runapi_magic")
    assert "runapi_magic/py.typed" in names
    assert built.wheel.name.startswith(f"runapi_magic-{runapi_magic.__version__}-py3-none-any")
    assert licence


def test_sdist_contents(built):
    """The sdist contains everything for building, testing and reading the documentation."""
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    pages = {path.name for path in ROOT.glob("*.md")}
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"} <= pages
    other = {"CITATION.cff", "LICENSE", "Makefile", "noxfile.py", "pyproject.toml"} | pages
    other |= {".ci/run", ".editorconfig", ".pre-commit-config.yaml"}
    assert names >= tracked("runapi_magic", "tests", "docs", "notebooks", ".github") | other
    assert not [name for name in names if name.startswith((".venv", "build", "dist"))]


def test_metadata(built):
    """The metadata is valid and matches pyproject.toml."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = Metadata.from_email(wheel.read(name), validate=True)
    assert metadata.name == "runapi-magic"
    assert str(metadata.version) == runapi_magic.__version__
    assert metadata.license_expression == "MIT"
    assert set(metadata.classifiers) == set(PROJECT["project"]["classifiers"])
    assert set(metadata.provides_extra) == {"stores", "dask", "lab"}  # what users install
    assert metadata.description == (ROOT / "README.md").read_text("utf-8")
    urls = metadata.project_urls
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    pages = re.compile(re.escape(urls["Homepage"]) + r"/(?:tree|blob)/main/(.+)")
    assert (ROOT / pages.fullmatch(urls["Documentation"])[1]).is_dir()
    assert (ROOT / pages.fullmatch(urls["Changelog"])[1]).is_file()


def test_one_version():
    """``__version__``, the citation and the changelog have the same version."""
    version = runapi_magic.__version__
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "runapi_magic/_version.py"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert released[0] == version


def test_the_format_of_the_changelog():
    """The changelog follows Keep a Changelog: Unreleased first, sections in the usual order."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    first, *versions = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    assert first.startswith("[Unreleased]\n")
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for part in (first, *versions):
        found = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert found
        assert found == [kind for kind in kinds if kind in found]


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Make an environment with the wheel. Its dependencies come from the tests' environment.

    A .pth file names the tests' environment. Python does not read the .pth files in there, so the
    editable install of the checkout is not found.
    """
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / Path(sys.executable).parent.name / Path(sys.executable).name
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps")
    run(*pip, built.wheel, cwd=folder)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(packages.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    environment = clean_environment(folder)
    environment.pop("PYTHONPATH", None)
    return SimpleNamespace(python=python, folder=folder, environment=environment)


@pytest.mark.kernel
def test_quickstart_from_the_wheel(installed):
    """The quickstart runs unattended from the wheel, without the checkout."""
    text = (ROOT / "notebooks" / "quickstart.ipynb").read_text("utf-8")
    notebook = nbformat.from_dict(json.loads(text.replace("--speed 8", "--speed 60")))
    notebook.cells.append(nbformat.v4.new_code_cell(SHOW_PATH))
    nbformat.write(notebook, installed.folder / "quickstart.ipynb")
    run(
        installed.python, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace",
        "quickstart.ipynb", cwd=installed.folder, env=installed.environment,
    )  # fmt: skip
    done = nbformat.read(installed.folder / "quickstart.ipynb", 4)
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) >= 6
    assert os.fspath(installed.folder) in outputs[-1].data["text/plain"]
    assert len(list((installed.folder / "gpt-images").glob("*.png"))) >= 6


def test_simulator_from_the_wheel(installed):
    """``python -m runapi_magic.simulator`` works without the checkout."""
    words = (installed.python, "-m", "runapi_magic.simulator", "--help")
    assert "--speed" in run(*words, cwd=installed.folder, env=installed.environment)
