"""What is said of versions agrees: pyproject.toml, the lowest versions, the table of the matrix."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("stores", "dask", "lab")
TABLE = (ROOT / "docs" / "matrix.md").read_text("utf-8")


def _only(requirement, operator):
    """The version that a requirement names with this one operator."""
    (specifier,) = requirement.specifier
    assert specifier.operator == operator, requirement
    return specifier.version


def test_the_lowest_versions_are_the_stated_ones():
    """tests/lowest.txt pins all that users install at the bound of pyproject.toml, and no more."""
    stated = [*PROJECT["dependencies"]]
    for extra in EXTRAS:
        stated += PROJECT["optional-dependencies"][extra]
    bounds = {one.name: _only(one, ">=") for one in map(Requirement, stated)}
    lines = (ROOT / "tests" / "lowest.txt").read_text("utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {one.name: _only(one, "==") for one in pinned}
    assert found.pop("ipykernel") == "6.29"  # the kernel is the user's, not the package's
    assert found == bounds


def test_each_classifier_was_tried():
    """Each Python of the classifiers has a row in the table of the matrix; no row has failures."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in TABLE.splitlines()]
    tried = [row for row in rows if row and row[0].startswith("Python ") and row[1]]
    assert {row[-3] for row in tried} == {"0"}
    assert {re.match(r"3\.\d+", row[1])[0] for row in tried} == set(named)
