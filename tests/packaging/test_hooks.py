"""The hooks of .pre-commit-config.yaml: they are valid, work, and agree with ``make check``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from tests.conftest import ROOT

CONFIG = ROOT / ".pre-commit-config.yaml"
(REPOSITORY,) = yaml.safe_load(CONFIG.read_text("utf-8"))["repos"]
HOOKS = {hook["id"]: hook for hook in REPOSITORY["hooks"]}


def notebook(**metadata):
    """Return a notebook with one executed cell that has this metadata."""
    output = nbformat.v4.new_output("stream", text="made\n")
    cell = nbformat.v4.new_code_cell("made = True", execution_count=1, outputs=[output])
    cell["id"] = "first"
    cell.metadata.update(metadata)
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell])) + "\n"


TIMES = {"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}}
REFUSED = {
    "ruff-check": ("bad.py", '"""An unused import."""\n\nimport os\n'),
    "ruff-format": ("bad.py", '"""Extra spaces."""\n\nleft  =  1\n'),
    "import-linter": ("runapi_magic/core/bad.py", "import runapi_magic.engine\n"),
    "codespell": ("bad.md", "A picture of t\u0065h cat.\n"),  # escaped for the check of this file
    "nbstripout": ("bad.ipynb", notebook(**TIMES)),
}
ACCEPTED = {
    "good.py": '"""A valid file."""\n',
    "good.md": "A picture of the cat.\n",
    "good.ipynb": notebook(tags=["kept"]),
}


@pytest.fixture
def commit(tmp_path):
    """Return a function that runs a hook on files to be committed, in a new repository."""
    environment = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    repository = tmp_path / "repository"
    repository.mkdir()
    for path in (CONFIG, ROOT / "pyproject.toml"):
        shutil.copy(path, repository)
    (repository / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "runapi_magic", repository / "runapi_magic")

    def run(*words):
        return subprocess.run(
            words, cwd=repository, env=environment, capture_output=True, text=True, check=False
        )

    def commit(hook, files):
        for name, text in files.items():
            (repository / name).write_text(text, "utf-8")
        run("git", "add", "pyproject.toml", CONFIG.name, *files)
        return run(sys.executable, "-m", "pre_commit", "run", hook)

    assert run("git", "init", "--quiet").returncode == 0
    return commit


def test_the_configuration_is_valid():
    """pre-commit reads the configuration without an error or a warning."""
    words = (sys.executable, "-m", "pre_commit", "validate-config", CONFIG)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_lets_good_files_pass(hook, commit):
    """A hook accepts valid files. A notebook can have outputs, counts and tags."""
    done = commit(hook, ACCEPTED)
    assert "Passed" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_refuses_a_bad_file(hook, commit):
    """A hook stops a commit with a bad file and names the file."""
    name, text = REFUSED[hook]
    done = commit(hook, ACCEPTED | {name: text})
    assert "Failed" in done.stdout
    named = name.removesuffix(".py").replace("/", ".") if hook == "import-linter" else name
    assert named in done.stdout or hook == "ruff-format"  # which counts files
    assert done.returncode == 1


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_make_check_runs_the_same(hook):
    """``make check`` runs the check of each hook on all files, with the same options."""
    words = ["make", "--dry-run", "--always-make", "check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    tool = hook["entry"].removeprefix(".venv/bin/python ").removesuffix(" --force-exclude")
    assert f"/.venv/bin/python {tool}" in done.stdout
