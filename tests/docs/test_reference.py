"""The reference is what the code says, and the code says enough."""

from __future__ import annotations

import inspect
import re

import pytest

import runapi_magic
from runapi_magic.engine.settings import Settings
from runapi_magic.notebook.commands import COMMANDS
from tests.docs.reference import (
    CLASSES,
    ENVIRONMENT,
    FUNCTIONS,
    INSIDE,
    PAGE,
    entries,
    error_tree,
    members,
    page,
    sections,
    variables,
)

ERRORS = [kind for _, kind in error_tree()]
OF_ERRORS = r"^│?[ │]*[├└]── (\w+)|^    (RunAPIError)$"


def test_page_is_up_to_date():
    """docs/reference.md says what the code says: ``make docs`` writes it."""
    assert PAGE.read_text("utf-8") == page()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions_say_everything(function):
    """A public function's docstring names every argument, what it returns, and what it raises."""
    found = sections(function)
    assert list(entries(found["Args"])) == list(inspect.signature(function).parameters)
    assert found["Returns"]
    assert entries(found["Raises"])
    assert found[""]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_classes_say_everything(cls):
    """Every member of a public class has a type and a sentence, or is marked as wiring."""
    found = list(members(cls))
    assert found
    assert [name for name, _, text in found if not text.endswith((".", "?"))] == []
    nothing_returned = {"cancel()"}
    assert {name for name, kind, _ in found if not kind} <= nothing_returned


@pytest.mark.parametrize("cls", INSIDE, ids=lambda cls: cls.__name__)
def test_wiring_is_there(cls):
    """What is left out of the page as the package's own wiring exists."""
    known = set(dir(cls)) | set(entries(sections(cls)["Attributes"]))
    assert set(INSIDE[cls].split()) <= known


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_errors_say_everything(kind):
    """Every error says when it is raised."""
    assert sections(kind)[""]


def test_the_tree_of_errors():
    """The tree that is drawn in errors.py names the errors that there are, in their order."""
    drawn = re.findall(OF_ERRORS, inspect.getmodule(ERRORS[0]).__doc__, re.MULTILINE)
    assert [below or top for below, top in drawn] == [kind.__name__ for kind in ERRORS]


def test_everything_is_on_the_page():
    """The page has every public name, command and setting."""
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
    """A field that takes other values in an edit has a row for each, any other field one row."""
    of_flux = page().split("### flux-kontext-pro\n")[1].split("\n### ")[0]
    assert re.findall(r"^\| (`safety_tolerance`.*?) \| (.*?) \|", of_flux, re.MULTILINE) == [
        ("`safety_tolerance` (generate)", "`0`, `1`, `2`, `3`, `4`, `5`, `6`"),
        ("`safety_tolerance` (edit)", "`0`, `1`, `2`"),
    ]
    assert len(re.findall(r"^\| `", of_flux, re.MULTILINE)) == 7


def test_variables_are_documented():
    """The page has every environment variable that the package reads, and no other."""
    assert variables() == set(ENVIRONMENT)
