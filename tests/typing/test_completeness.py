"""Every public name has a complete type."""

from __future__ import annotations

import json
import subprocess
import sys

import runapi_magic
from tests.conftest import ROOT, clean_environment

# The modules of the types that the public functions return.
_MODULES = (
    "errors",
    "engine.generation",
    "engine.image",
    "batch.item",
    "batch.batch",
    "batch.sweep",
    "media.comparison",
    "engine.lineage",
)


def test_public_types_are_complete(tmp_path):
    """Pyright finds a complete type for every public name and for the classes behind it."""
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson",
         "--ignoreexternal", "--verifytypes", "runapi_magic"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, PYTHONPATH=str(ROOT), PYRIGHT_PYTHON_IGNORE_WARNINGS="1"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    symbols = json.loads(run.stdout)["typeCompleteness"]["symbols"]
    public = tuple(f"runapi_magic.{name}" for name in (*runapi_magic.__all__, *_MODULES))
    found = [one for one in symbols if f"{one['name']}.".startswith(tuple(f"{n}." for n in public))]
    assert {one["name"] for one in found} >= {f"runapi_magic.{n}" for n in runapi_magic.__all__}
    assert len(found) > 200
    assert [one["name"] for one in found if not one["isTypeKnown"] or one["isTypeAmbiguous"]] == []
