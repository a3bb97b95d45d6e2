"""Versions agree in pyproject.toml, tests/lowest.txt and docs/matrix.md."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("stores", "dask", "lab")
TABLE = (ROOT / "docs" / "matrix.md").read_text("utf-8")


def _version(requirement, operator):
    """Return the version of a requirement with one specifier, which has this operator."""
    (specifier,) = requirement.specifier
    assert specifier.operator == operator, requirement
    return specifier.version


def test_lowest_versions_are_the_lower_bounds():
    """tests/lowest.txt pins exactly the packages of users, at their lower bounds."""
    stated = [*PROJECT["dependencies"]]
    for extra in EXTRAS:
        stated += PROJECT["optional-dependencies"][extra]
    bounds = {one.name: _version(one, ">=") for one in map(Requirement, stated)}
    lines = (ROOT / "tests" / "lowest.txt").read_text("utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {one.name: _version(one, "==") for one in pinned}
    assert found.pop("ipykernel") == "6.29"  # not a dependency of the package
    assert found == bounds


def test_each_classifier_was_tested():
    """Each Python version of the classifiers has a row in docs/matrix.md; no row has failures."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in TABLE.splitlines()]
    tested = [row for row in rows if row and row[0].startswith("Python ") and row[1]]
    assert {row[-3] for row in tested} == {"0"}
    assert {re.match(r"3\.\d+", row[1])[0] for row in tested} == set(named)
