"""The hosted workflows: what they run exists, what they use is pinned, and they may do little."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yml"))}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {
    f"{name}-{job}": body
    for name, workflow in WORKFLOWS.items()
    for job, body in workflow["jobs"].items()
}
COMMANDS = sorted(
    {step["run"] for job in JOBS.values() for step in job.get("steps", []) if "run" in step}
)
ON = True  # what YAML 1.1 makes of the key "on"


def make(*words):
    """Return what make would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def pytest_words(text):
    """Return the options and the paths of the last pytest command in a text."""
    line = [line for line in text.splitlines() if " -m pytest " in line][-1]
    words = shlex.split(line.partition(" -m pytest ")[2])
    return words, {word for word in words if word.startswith("tests/")}


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned(name):
    """Every action of others is named by its commit, with its version beside it."""
    used = re.findall(r"uses: (\S+)(?:  # (\S+))?$", TEXTS[name], re.MULTILINE)
    assert used
    for action, version in used:
        if action.startswith("./"):
            assert (ROOT / action).is_file()
        else:
            assert re.fullmatch(r"[\w-]+/[\w.-]+@[0-9a-f]{40}", action)
            assert re.fullmatch(r"v\d+\.\d+\.\d+", version)


@pytest.mark.parametrize("name", JOBS)
def test_jobs_may_only_read_or_publish(name):
    """A job reads the repository, or it asks for the identity that publishes: never both."""
    publishes = {"permissions": {"id-token": "write"}, "environment": "pypi"}
    reads = {"permissions": {"contents": "read"}, "environment": None}
    allowed = {key: JOBS[name].get(key) for key in reads}
    assert allowed == (publishes if name == "release.yml-publish" else reads)
    assert WORKFLOWS[name.partition("-")[0]]["permissions"] == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    """A job runs the script of the project, a target of make, or tests that are there."""
    program, *words = shlex.split(command)
    match program:
        case "make":
            assert make(*words)
        case "python" if words[:2] == ["-m", "pytest"]:
            assert all((ROOT / path).exists() for path in pytest_words(f"python {command}")[1])
        case ".ci/run":
            assert os.access(ROOT / program, os.X_OK)
        case _:
            assert program in {"python", "pipx", "test"}


def test_the_three_systems():
    """Linux runs everything, macOS all but the browser, Windows at least the quick tests."""
    systems = WORKFLOWS["ci.yml"]["jobs"]
    runs = {name: job["steps"][-1]["run"] for name, job in systems.items()}
    assert runs["linux"] == ".ci/run"
    assert runs["macos"] == "make test-without-browser"
    options, paths = pytest_words(runs["windows"])
    quick = pytest_words(make("test-fast"))[1]
    assert quick <= paths
    assert options[:2] == ["-m", "not kernel and not posix"]


def test_a_release_waits_for_all_tests():
    """A tag runs the tests of a push, builds and tries the wheel, and only then publishes it."""
    release, ci = WORKFLOWS["release.yml"], WORKFLOWS["ci.yml"]
    assert release[ON] == {"push": {"tags": ["v*"]}}
    assert release["jobs"]["tests"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in ci[ON]
    assert release["jobs"]["publish"]["needs"] == ["tests", "build"]
    built = [step["run"] for step in release["jobs"]["build"]["steps"] if "run" in step]
    assert "make test-wheel" in built
    assert any("twine check --strict build/wheel/*.whl" in command for command in built)
