"""Test the package on many versions: ``make matrix`` runs this and writes docs/matrix.md.

No session installs an interpreter. If the machine does not have a Python, its sessions are skipped
and the table says so. Each session saves its result in build/matrix, so you can add the result of
another machine: ``python -m nox --session "matrix(py314-kernel7.4-ipython9)" table``.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
RESULTS = ROOT / "build" / "matrix"
TABLE = ROOT / "docs" / "matrix.md"
PACKAGES = ("ipykernel", "ipython", "jupyterlab", "ipywidgets", "httpx", "pillow")
KERNEL_TESTS, BROWSER_TESTS = "tests/kernel", "tests/browser"


@dataclass(frozen=True)
class Combination:
    """The versions that a session installs; for an empty version the installer chooses."""

    python: str
    ipykernel: str = ""
    ipython: str = ""
    jupyterlab: str = ""
    browser: bool = False
    lowest: bool = False

    @property
    def name(self) -> str:
        """The name of the session."""
        if self.lowest:
            return f"py{self.python.replace('.', '')}-lowest"
        words = [f"py{self.python.replace('.', '')}", f"kernel{self.ipykernel}"]
        return "-".join([*words, f"ipython{self.ipython}"] if self.ipython else words)

    @property
    def requirements(self) -> list[str]:
        """The requirements that are installed with the package."""
        versions = {
            "ipykernel": self.ipykernel,
            "ipython": self.ipython,
            "jupyterlab": self.jupyterlab,
        }
        return [f"{name}=={version}.*" for name, version in versions.items() if version]


# A selection: each version of ipykernel, and the oldest and newest IPython 8 and 9, with old or new
# versions of the others. Browser tests run where clicks are handled differently: ipykernel 6 has no
# subshells, 7.0 to 7.3 run callbacks in the thread of a subshell, 7.4 runs them in the main thread.
COMBINATIONS = [
    Combination("3.11", browser=True, lowest=True),
    Combination("3.11", "6.29", "8"),
    Combination("3.11", "7.4", "8.18"),
    Combination("3.12", "6.31", "9", browser=True),
    Combination("3.12", "7.0", "9.0", "4.4", browser=True),
    Combination("3.12", "7.1", "8.18", "4.5"),
    Combination("3.12", "7.2", "9"),
    Combination("3.13", "6.29", "9.0"),
    Combination("3.13", "7.0", "8"),
    Combination("3.13", "7.3", "9", browser=True),
    Combination("3.13", "7.4", "9", browser=True),
    Combination("3.14", "6.31", "9"),
    Combination("3.14", "7.4", "9"),
]


@nox.session
@nox.parametrize(
    ("python", "combination"),
    [nox.param(one.python, one, id=one.name) for one in COMBINATIONS],
)
def matrix(session: nox.Session, combination: Combination) -> None:
    """Install the package with some versions and run the version-dependent tests."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / f"{combination.name}.json"
    record = {"date": datetime.now(UTC).date().isoformat()}
    result.write_text(json.dumps(record | {"reason": "did not install"}))
    constraints = ["--constraint", "tests/lowest.txt"] if combination.lowest else []
    tools = nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), "test")
    session.install(*constraints, "--editable", ".[lab]", *tools, *combination.requirements)
    report = RESULTS / f"{combination.name}.xml"
    report.unlink(missing_ok=True)
    result.write_text(json.dumps(record | {"reason": "the tests did not end"}))
    session.run(
        *("python", "-m", "pytest", "-m", "versions", "--numprocesses=2", "--dist=loadfile"),
        *("-o", "junit_family=xunit2", f"--junit-xml={report}", *session.posargs),
        *([KERNEL_TESTS, BROWSER_TESTS] if combination.browser else [KERNEL_TESTS]),
        success_codes=[0, 1],
    )
    record |= {"versions": _versions(session), "counts": _counts(report)}
    result.write_text(json.dumps(record, indent=1))
    if record["counts"]["failed"]:
        session.error("tests failed")


def _versions(session: nox.Session) -> dict[str, str]:
    """Return the versions that are installed."""
    code = (
        "import json, platform, importlib.metadata as metadata\n"
        f"found = {{name: metadata.version(name) for name in {PACKAGES}}}\n"
        "print(json.dumps({'python': platform.python_version(), **found}))"
    )
    return json.loads(session.run("python", "-c", code, silent=True))


def _counts(report: Path) -> dict[str, int]:
    """Return the numbers of passed, failed and skipped tests in pytest's report."""
    root = ET.parse(report).getroot()  # noqa: S314 (pytest wrote it)
    suites = list(root.iter("testsuite"))
    sums = {
        kind: sum(int(suite.get(kind, 0)) for suite in suites)
        for kind in ("tests", "failures", "errors", "skipped")
    }
    failed = sums["failures"] + sums["errors"]
    passed = sums["tests"] - failed - sums["skipped"]
    return {"passed": passed, "failed": failed, "skipped": sums["skipped"]}


@nox.session(venv_backend="none")
def table(session: nox.Session) -> None:
    """Write the results of the sessions into docs/matrix.md."""
    rows = [_row(one) for one in COMBINATIONS]
    TABLE.write_text(HEAD + "".join(rows), encoding="utf-8")
    session.log(f"wrote {TABLE.relative_to(ROOT)}")


def _row(combination: Combination) -> str:
    """Return the row of a combination in the table."""
    result = RESULTS / f"{combination.name}.json"
    record = json.loads(result.read_text()) if result.exists() else {}
    requested = ", ".join([f"Python {combination.python}", *combination.requirements])
    if combination.lowest:
        requested += ", all at their lowest"
    if "versions" in record:
        where = "kernel, browser" if combination.browser else "kernel"
        cells = [*record["versions"].values(), where, *map(str, record["counts"].values())]
    else:
        python = f"python{combination.python}"
        missing = "not run" if shutil.which(python) else f"skipped: no {python} on the machine"
        reason = f"failed: {record['reason']}" if record else missing
        cells = [*[""] * (len(PACKAGES) + 1), reason, "", "", ""]
    return f"| {' | '.join([requested, *cells, record.get('date', '')])} |\n"


HEAD = f"""\
# Tested versions

Written by `make matrix`. Each row is a fresh environment, in which the tests that depend on these
versions ran (`pytest -m versions`): cells in a live kernel, clicks from other threads, runners with
nobody there, terminal IPython, loading; in some rows a browser's clicks in JupyterLab, too. The
versions are those that were installed.

| asked for | Python | {" | ".join(PACKAGES)} | tests | passed | failed | skipped | on |
|{"---|" * (len(PACKAGES) + 7)}
"""
