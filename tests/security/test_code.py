"""Rules for the package's own code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import runapi_magic

PACKAGE = Path(runapi_magic.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "subprocess",
    "ctypes", "code", "codeop", "telnetlib", "xml",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN_ATTRIBUTES = {
    ("os", "system"), ("os", "popen"), ("yaml", "load"), ("yaml", "unsafe_load"),
    ("yaml", "full_load"), ("shell", "ev"), ("shell", "ex"), ("builtins", "eval"),
    ("tempfile", "mktemp"), ("np", "load"), ("numpy", "load"),
}  # fmt: skip
FORBIDDEN_ARGUMENTS = {
    "verify": False,
    "follow_redirects": True,
    "allow_pickle": True,
    "shell": True,
}


def _nodes(path, kind):
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kind)]


def test_the_package_is_found():
    """The package's files are found."""
    assert {"http/transport.py", "simulator/app.py"} <= set(NAMES)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_code_from_data(path):
    """The package uses no pickle, eval, exec or shell: it never runs data as code."""
    imported = {alias.name for node in _nodes(path, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in _nodes(path, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} & FORBIDDEN_MODULES == set()
    called = [node.func for node in _nodes(path, ast.Call)]
    assert {func.id for func in called if isinstance(func, ast.Name)} & FORBIDDEN_CALLS == set()
    dotted = {
        (node.value.id, node.attr)
        for node in _nodes(path, ast.Attribute)
        if isinstance(node.value, ast.Name)
    }
    assert dotted & FORBIDDEN_ATTRIBUTES == set()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_check_is_disabled(path):
    """Certificates are verified, redirects are not followed automatically, no shell is used."""
    given = [
        (keyword.arg, keyword.value.value)
        for node in _nodes(path, ast.Call)
        for keyword in node.keywords
        if isinstance(keyword.value, ast.Constant)
    ]
    assert [pair for pair in given if FORBIDDEN_ARGUMENTS.get(pair[0], "no") is pair[1]] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_key_is_revealed_in_few_modules(path):
    """Only the transport (for the header) and the modules of the key reveal it."""
    allowed = {"http/transport.py", "core/access.py", "engine/credentials.py"}
    reveals = [node for node in _nodes(path, ast.Attribute) if node.attr == "reveal"]
    assert reveals == [] or path.relative_to(PACKAGE).as_posix() in allowed
