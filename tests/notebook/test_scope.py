"""The line of a magic sees the variables that the code around it sees, the innermost first."""

from __future__ import annotations

import ast
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runapi_magic.notebook.scope import names_in_reach, pass_on_names
from tests.properties import PROPERTY

NOTEBOOK = {"city": "Oslo", "pets": ["Rex"]}


def _seen(code):
    """Run a cell in which ``see()`` is the magic; return the values of ``city`` that it saw."""
    seen = []

    class Shell:
        def run_line_magic(self, name, line):
            assert (name, line) == ("gpt_image", "A poster of {city}")
            seen.append(names_in_reach(sys._getframe(1).f_locals, namespace)["city"])

    namespace = {"get_ipython": Shell, "see": seen, "__name__": "__main__", **NOTEBOOK}
    exec(pass_on_names(code), namespace)
    return seen


CALL = "get_ipython().run_line_magic('gpt_image', 'A poster of {city}')"

CELLS = {
    "in the cell": (CALL, ["Oslo"]),
    "an argument": (f"def f(city):\n    {CALL}\nf('Rome')", ["Rome"]),
    "a variable": (f"def f():\n    city = 'Bonn'\n    x = {CALL}\nf()", ["Bonn"]),
    "a global": (f"def f():\n    {CALL}\nf()", ["Oslo"]),
    "a class": (f"class A:\n    city = 'Kiel'\n    {CALL}", ["Kiel"]),
    "a class around": (f"class A:\n    city = 'Kiel'\n    def f(self):\n        {CALL}\nA().f()",
                       ["Oslo"]),
    "a function around": (f"def f(city):\n    def g():\n        {CALL}\n    g()\nf('Rome')",
                          ["Rome"]),
    "a function around that has ended":
        (f"def f(city):\n    def g():\n        {CALL}\n    return g\nf('Rome')()", ["Rome"]),
    "two functions around":
        (f"def f(city):\n    def g():\n        return lambda: {CALL}\n    return g()\nf('Rome')()",
         ["Rome"]),
    "a part of a match that has ended":
        ((f"def f(x):\n    match x:\n        case [city, *_]:\n            return lambda: {CALL}"
         "\nf(['Rome'])()"), ["Rome"]),
    "the rest of a match that has ended":
        ((f"def f(x):\n    match x:\n        case {{**city}}:\n            return lambda: {CALL}"
         "\nf({1: 2})()"), [{1: 2}]),
    "a starred part of a match that has ended":
        ((f"def f(x):\n    match x:\n        case [_, *city]:\n            return lambda: {CALL}"
         "\nf([1, 2])()"), [[2]]),
    "an import that has ended":
        (f"def f():\n    from sys import byteorder as city\n    return lambda: {CALL}\nf()()",
         [sys.byteorder]),
    "a class's name, after it has ended":
        ((f"def f():\n    class city:\n        pass\n    return city, lambda: {CALL}\n"
         "made, g = f()\ng()\nassert see[0] is made\nsee[0] = 'it'"), ["it"]),
    "an inner name": (f"def f(city):\n    def g(city):\n        {CALL}\n    g('Pisa')\nf('Rome')",
                      ["Pisa"]),
    "a lambda": (f"(lambda city: {CALL})('Rome')", ["Rome"]),
    "a comprehension": (f"[{CALL} for city in ('Rome', 'Pisa')]", ["Rome", "Pisa"]),
    "a comprehension in a function":
        (f"def f(city):\n    [{CALL} for _ in 'ab']\nf('Rome')", ["Rome", "Rome"]),
    "a generator": (f"list({CALL} for city in ['Rome'])", ["Rome"]),
    "recursion":
        (f"def f(city):\n    {CALL}\n    city and f(city[1:])\nf('ab')", ["ab", "b", ""]),
    "a name that has no value yet":
        (f"def f():\n    def g():\n        {CALL}\n    g()\n    city = 1\nf()", ["Oslo"]),
    "a coroutine":
        (f"import asyncio\nasync def f(city):\n    {CALL}\nasyncio.run(f('Rome'))", ["Rome"]),
    "a function of the user's between":
        (f"def g():\n    {CALL}\ndef f(city):\n    g()\nf('Rome')", ["Oslo"]),
}  # fmt: skip


@pytest.mark.parametrize(("code", "seen"), CELLS.values(), ids=CELLS)
def test_what_a_line_sees(code, seen):
    """A line sees the variables of the function, of outer functions, then of the notebook."""
    assert _seen(code) == seen


def test_outside_of_ipython():
    """Without a local scope, a line sees only the variables of the notebook."""
    city = "Rome"
    assert names_in_reach(None, NOTEBOOK)["city"] == "Oslo" != city


@pytest.mark.parametrize(
    "code",
    [CALL, f"x = {CALL}\n", f"def f(city):\n    {CALL}\n",
     f"def f(town):\n    def g():\n        {CALL}\n",
     "def f(city):\n    print('{city}')\n",
     "def f(city): return get_ipython().run_line_magic('time', '{city}')\n", "def broken(:\n"],
)  # fmt: skip
def test_code_that_stays(code):
    """Only a magic of ours that uses a variable of a function is changed."""
    assert pass_on_names(code) == code


@PROPERTY
@given(st.lists(st.sampled_from([CALL, "x = 'ü'; " + CALL, "y = (\n        1,\n    )"])))
def test_lines_keep_their_numbers(statements):
    """In changed code each statement keeps its line, and the code stays valid."""
    body = "".join(f"        {one}\n" for one in [*statements, "pass"])
    code = f"def f(city):\n    def g():\n{body}"
    made = pass_on_names(code)
    assert (made == code) is not any(CALL in one for one in statements)
    assert _statements(made) == _statements(code)


def _statements(code):
    return [node.lineno for node in ast.walk(ast.parse(code)) if isinstance(node, ast.stmt)]
