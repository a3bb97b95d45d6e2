"""Cells wait where they are to wait, and mean otherwise exactly what they meant."""

from __future__ import annotations

import ast
import asyncio
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager

from runapi_magic.notebook.await_transform import SettlesFirst, await_magics, settle_first
from tests.properties import PROPERTY

CALL = "get_ipython().run_cell_magic('gpt_image', '', 'a fox')"
LINE = "get_ipython().run_line_magic('gpt_image', 'a fox')"


def _always(name, line):
    return True


def _unawaited(code):
    """The cell's meaning with every ``await`` taken away again."""

    class Strip(ast.NodeTransformer):
        def visit_Await(self, node):
            return self.generic_visit(node).value

    return ast.dump(Strip().visit(ast.parse(code)))


AWAITED = {
    "cell magic": (CALL, f"(await {CALL})"),
    "line magic": (LINE, f"(await {LINE})"),
    "assigned": (f"cat = {LINE}", f"cat = (await {LINE})"),
    "attribute": (f"{LINE}.image", f"(await {LINE}).image"),
    "argument": (f"print({LINE}, 1)", f"print((await {LINE}), 1)"),
    "two": (f"{LINE}\n{CALL}\n", f"(await {LINE})\n(await {CALL})\n"),
    "two in a line": (f"{LINE}; {CALL}", f"(await {LINE}); (await {CALL})"),
    "in a block": (f"if x:\n    {LINE}\n", f"if x:\n    (await {LINE})\n"),
    "in a loop": (f"for i in y:\n\tz = {LINE}", f"for i in y:\n\tz = (await {LINE})"),
    "after letters of two bytes": (f"'größe ✓'; {LINE}", f"'größe ✓'; (await {LINE})"),
    "with Windows line ends": (f"a = 1\r\n{LINE}\r\n", f"a = 1\r\n(await {LINE})\r\n"),
    "text over lines": (
        'get_ipython().run_cell_magic(\'gpt_image\', \'\', """é\nfox""")  # é',
        '(await get_ipython().run_cell_magic(\'gpt_image\', \'\', """é\nfox"""))  # é',
    ),
}


TIMED = "get_ipython().run_cell_magic('time', '', '%gpt_image a fox')"


def test_a_magic_of_others_that_runs_ours():
    """What ``%%time`` returns stays its result, after a wait; other magics are left alone."""
    code = f"x = {TIMED}\n{LINE}\nget_ipython().run_line_magic('pwd', '')"

    def waits(name, _line):
        return name == "gpt_image"

    settled = await_magics(code, waits, settles=True)
    pending = "__import__('runapi_magic.notebook.pending').notebook.pending"
    assert settled == (
        f"x = (await {pending}.settle({TIMED}))\n"
        f"(await {LINE})\nget_ipython().run_line_magic('pwd', '')"
    )
    assert await_magics(code, waits) == f"x = {TIMED}\n(await {LINE})" + code[code.rindex("\n") :]


@pytest.mark.parametrize(("code", "expected"), AWAITED.values(), ids=AWAITED)
def test_calls_are_awaited(code, expected):
    """A call of a magic that is to wait is awaited, wherever in the cell it stands."""
    assert await_magics(code, _always) == expected


KEPT = {
    "no magic": "x = 1\n",
    "in a function": f"def f():\n    return {LINE}\n",
    "in a coroutine": f"async def f():\n    return {LINE}\n",
    "in a lambda": f"f = lambda: {LINE}\n",
    "in a class": f"class A:\n    x = {LINE}\n",
    "in a comprehension": f"[{LINE} for x in y]\n",
    "awaited already": f"await {LINE}\n",
    "awaited inside": f"await gather({LINE})\n",
    "in a text": f'x = "{LINE}"\n',
    "in a comment": f"# {LINE}\n",
    "on another shell": "shell.run_line_magic('gpt_image', 'a fox')\n",
    "a name from elsewhere": "get_ipython().run_line_magic(name, 'a fox')\n",
    "a line from elsewhere": "get_ipython().run_line_magic('gpt_image', line)\n",
    "no arguments": "get_ipython().run_line_magic()\n",
    "no call": "get_ipython().run_line_magic\n",
    "broken": f"{LINE}\nx = (\n",
    "empty": "",
}


@pytest.mark.parametrize("code", KEPT.values(), ids=KEPT)
def test_other_code_stays(code):
    """Code that is no such call in the cell itself is not touched, not even by a blank."""
    assert await_magics(code, _always) == code


def test_who_is_asked():
    """Whether to wait is asked for each call with its magic and its line, and obeyed."""
    asked = []

    def waits(name, line):
        asked.append((name, line))
        return name == "gpt_edit"

    other = "get_ipython().run_line_magic('gpt_edit', '--wait cat')"
    code = await_magics(f"{LINE}\n{other}\n", waits)
    assert sorted(asked) == [("gpt_edit", "--wait cat"), ("gpt_image", "a fox")]
    assert code == f"{LINE}\n(await {other})\n"


@pytest.mark.parametrize(
    "cell",
    [
        "%%gpt_image -o fox\na fox in the \"snow\"\nwith 'quotes' and {braces} é",
        "%gpt_image a fox",
        "x = %gpt_image a fox",
        "if True:\n    %gpt_image a fox\n    y = 1",
        "x = 1\n\n%gpt_image a fox\n# end",
    ],
)
def test_what_ipython_makes_of_magics(cell):
    """Cells as a person types them, after IPython's own transformation, are awaited and valid."""
    code = TransformerManager().transform_cell(cell)
    changed = await_magics(code, _always)
    assert changed.count("(await ") == 1
    assert _unawaited(changed) == _unawaited(code)


def test_an_awaited_cell_runs():
    """A changed cell runs as a coroutine and has the value of what was waited for."""

    class Shell:
        async def run_line_magic(self, name, line):
            await asyncio.sleep(0)
            return f"{name}: {line}"

    code = await_magics(f"x = {LINE}.upper()", _always)
    body = textwrap.indent(code, "    ")
    names = {"get_ipython": Shell}
    exec(f"async def cell():\n{body}\n    return x", names)
    assert asyncio.run(names["cell"]()) == "GPT_IMAGE: A FOX"


_CALLS = st.sampled_from([CALL, LINE])
_EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "1", "'é'", "'''a\nb'''"]) | _CALLS,
    lambda inside: st.one_of(
        st.tuples(inside, inside).map("({0[0]} + {0[1]})".format),
        st.tuples(inside, inside).map("[{0[0]},\n {0[1]}]".format),
        inside.map("f({})".format),
        inside.map("f'é{{{}}}'".format).filter(
            lambda text: text.count("'") == 2 and "\n" not in text  # else for Python 3.12 alone
        ),
        inside.map("({}).y[0]".format),
        inside.map("(lambda: {})".format),
        inside.map("[{} for x in y]".format),
        inside.map("(not {})".format),
    ),
    max_leaves=6,
)
_STATEMENTS = st.one_of(
    _EXPRESSIONS,
    _EXPRESSIONS.map("é = {}".format),
    _EXPRESSIONS.map("if {}:\n    pass".format),
    _EXPRESSIONS.map("for i in {}: pass".format),
    _EXPRESSIONS.map("def f(x={}): pass".format),
    _EXPRESSIONS.map("with {} as w:\n\tpass".format),
    _EXPRESSIONS.map("# {}".format).map(lambda text: text.replace("\n", " ")),
)


@PROPERTY
@given(st.lists(_STATEMENTS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_meaning_is_kept(statements, newline):
    """In any cell nothing changes but that calls are awaited: without the awaits it is the same."""
    code = newline.join(statements) + newline
    changed = await_magics(code, _always)
    assert _unawaited(changed) == _unawaited(code)


@pytest.mark.parametrize(
    "code",
    [
        "x = f\"{get_ipython().run_line_magic('gpt_image', 'a fox')}\"\n",
        'x = f"""é\n{get_ipython().run_line_magic(\'gpt_image\', \'a fox\')} and\n"""\n',
        "x = (f\"a\"\n  f\"é{get_ipython().run_line_magic('gpt_image', 'a fox')!r:>{9}}\")\n",
    ],
)
def test_calls_in_f_strings(code):
    """A call inside an f-string leaves the cell with its meaning, awaited or not."""
    assert _unawaited(await_magics(code, _always)) == _unawaited(code)


@PROPERTY
@given(st.text())
def test_any_text(text):
    """Arbitrary text comes back, as it was: no call of ours is in it."""
    assert await_magics(text, _always) == text


@pytest.mark.parametrize(
    "code",
    [
        "run_cell_magic\x00",
        "'\ud800'; run_cell_magic",
        f"x = {'(' * 300}{LINE}{')' * 300}",
        f"{LINE}\nx = {'-' * 20_000}1",
        "run_line_magic" + "[" * 5000,
        f"\x0c{LINE}\x0c",
        f"\ufeff{LINE}",
        f"x = 1 \\\n{LINE}",
    ],
)
def test_strange_code(code):
    """Code that Python's own parser stumbles over comes back as it was, without an error."""
    assert await_magics(code, _always).replace("(await ", "").replace("))", ")") == code.replace(
        "))", ")"
    )


def test_a_long_sum():
    """A cell with a very long expression in it is no trouble where Python takes it."""
    code = f"x = {' + '.join(['1'] * 2000)}\n{LINE}\n"
    compile(code, "cell", "exec")
    assert await_magics(code, _always).endswith(f"(await {LINE})\n")


FIRST = {
    "future": "from __future__ import annotations\nx = 1\n",
    "docstring and future": "'''Doc.'''\nfrom __future__ import annotations\nx: Nothing = 1\n",
    "comments": "# one\n\n# two\nx = 1\n",
    "decorator": "@property\ndef x(self):\n    return 1\n",
    "function": "def x(y=1):\n    return y",
    "class": "class A:\n    x = 1\n",
    "if": "if True:\n    x = 1\nelse:\n    x = 2\n",
    "try": "try:\n    x = 1\nfinally:\n    pass\n",
    "continued": "x = \\\n    1\n",
    "brackets": "x = [\n    1,\n]\n",
    "cell magic": "get_ipython().run_cell_magic('time', '', 'x = 1\\n')\n",
    "awaited": f"x = await {LINE}\n",
    "comment at the end": "x = 1  # the end",
    "nothing": "",
}


@pytest.mark.parametrize("code", FIRST.values(), ids=FIRST)
def test_the_wait_of_an_earlier_cell_comes_first(code):
    """What the cell says keeps its lines and its order; the wait is compiled, and runs first."""
    made = settle_first(code)
    assert made.startswith(code)
    tree = ast.parse(made)
    lines = [(type(node), node.lineno) for node in tree.body[:-1]]
    compile(made, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    moved = SettlesFirst().visit(tree)
    assert "settle(None)" in ast.unparse(moved.body[0])
    assert [(type(node), node.lineno) for node in moved.body[1:]] == lines
    assert lines == [(type(node), node.lineno) for node in ast.parse(code).body]


@pytest.mark.parametrize("code", ["x = (", "def f(:\n", "if x:\n", "'''open"])
def test_a_cell_that_is_no_python_gets_no_wait(code):
    """A slip of the user's is reported where it stands, and not beside words of ours."""
    assert settle_first(code) == code


@pytest.mark.parametrize("code", ["", "x = 1\n", "await x\n", f"await {LINE}\n"])
def test_other_trees_stay(code):
    """A tree without the wait is left as it is."""
    assert ast.unparse(SettlesFirst().visit(ast.parse(code))) == ast.unparse(ast.parse(code))


@pytest.mark.parametrize(("code", "is_silent"), [("x;", True), ("x;  # c\n", True), ("x\n", False)])
def test_a_semicolon_still_silences(code, is_silent):
    """IPython shows no value of a cell that ends in a semicolon, also where a wait was added."""
    assert DisplayHook.semicolon_at_end_of_expression(settle_first(code)) is is_silent
