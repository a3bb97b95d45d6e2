"""docs/reference.md is up to date, and the docstrings that it shows are complete."""

from __future__ import annotations

import inspect
import re

import pytest

import runapi_magic
from runapi_magic.engine.settings import Settings
from runapi_magic.notebook.commands import COMMANDS
from tests.docs.docstrings import entries, sections
from tests.docs.reference import (
    CLASSES,
    ENVIRONMENT,
    FUNCTIONS,
    INTERNAL,
    PAGE,
    error_tree,
    members,
    page,
    variables,
)

ERRORS = [kind for _, kind in error_tree()]
DRAWN_ERROR = r"^│?[ │]*[├└]── (\w+)|^    (RunAPIError)$"


def test_page_is_up_to_date():
    """docs/reference.md is the page that ``make docs`` writes."""
    assert PAGE.read_text("utf-8") == page()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_docstrings_of_functions_are_complete(function):
    """The docstring of a public function has all arguments, the result and the exceptions."""
    found = sections(function)
    assert list(entries(found["Args"])) == list(inspect.signature(function).parameters)
    assert found["Returns"]
    assert entries(found["Raises"])
    assert found[""]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_docstrings_of_classes_are_complete(cls):
    """Each member of a public class has a type and a sentence, or is listed as internal."""
    found = list(members(cls))
    assert found
    assert [name for name, _, text in found if not text.endswith((".", "?"))] == []
    nothing_returned = {"cancel()"}
    assert {name for name, kind, _ in found if not kind} <= nothing_returned


@pytest.mark.parametrize("cls", INTERNAL, ids=lambda cls: cls.__name__)
def test_internal_members_exist(cls):
    """The class has each member that is listed as internal."""
    known = set(dir(cls)) | set(entries(sections(cls)["Attributes"]))
    assert set(INTERNAL[cls].split()) <= known


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_docstrings_of_errors_are_complete(kind):
    """The docstring of each error says when it is raised."""
    assert sections(kind)[""]


def test_drawing_of_the_tree_of_errors():
    """The tree in the docstring of errors.py has all errors in their order."""
    drawn = re.findall(DRAWN_ERROR, inspect.getmodule(ERRORS[0]).__doc__, re.MULTILINE)
    assert [below or top for below, top in drawn] == [kind.__name__ for kind in ERRORS]


def test_page_is_complete():
    """The page has each public name, command and setting."""
    text = page()
    hooks = {"load_ipython_extension", "unload_ipython_extension"}
    assert {
        name
        for name in runapi_magic.__all__
        if not re.search(rf"^### {name}$|`{name}`", text, re.MULTILINE)
    } == hooks
    assert [name for name in COMMANDS if f"`%runapi {name}`" not in text] == []
    assert [
        name for name in Settings.class_own_traits(config=True) if f"| `{name}` |" not in text
    ] == []


def test_fields_of_models():
    """A field has two rows if its values differ for generate and edit, else one row."""
    of_flux = page().split("### flux-kontext-pro\n")[1].split("\n### ")[0]
    assert re.findall(r"^\| (`safety_tolerance`.*?) \| (.*?) \|", of_flux, re.MULTILINE) == [
        ("`safety_tolerance` (generate)", "`0`, `1`, `2`, `3`, `4`, `5`, `6`"),
        ("`safety_tolerance` (edit)", "`0`, `1`, `2`"),
    ]
    assert len(re.findall(r"^\| `", of_flux, re.MULTILINE)) == 7


def test_variables_are_documented():
    """The page has exactly the environment variables that the package reads."""
    assert variables() == set(ENVIRONMENT)
