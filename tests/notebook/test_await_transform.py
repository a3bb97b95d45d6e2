"""Cells get ``await`` where they wait, and otherwise keep their meaning."""

from __future__ import annotations

import ast
import asyncio
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager

from runapi_magic.notebook.await_transform import WaitFirst, await_magics, wait_first
from tests.properties import PROPERTY

CALL = "get_ipython().run_cell_magic('gpt_image', '', 'a fox')"
LINE = "get_ipython().run_line_magic('gpt_image', 'a fox')"


def _always(name, line):
    return True


def _unawaited(code):
    """Return the meaning of a cell with every ``await`` removed."""

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


def test_other_magics_that_run_ours():
    """The cell waits after ``%%time`` and keeps its result. Unrelated magics stay as they are."""
    code = f"x = {TIMED}\n{LINE}\nget_ipython().run_line_magic('pwd', '')"

    def waits(name, _line):
        return name == "gpt_image"

    settled = await_magics(code, waits, after_others=True)
    pending = "__import__('runapi_magic.notebook.pending').notebook.pending"
    assert settled == (
        f"x = (await {pending}.wait_for_all({TIMED}))\n"
        f"(await {LINE})\nget_ipython().run_line_magic('pwd', '')"
    )
    assert await_magics(code, waits) == f"x = {TIMED}\n(await {LINE})" + code[code.rindex("\n") :]


@pytest.mark.parametrize(("code", "expected"), AWAITED.values(), ids=AWAITED)
def test_calls_are_awaited(code, expected):
    """A call that the cell waits for is awaited, wherever it is in the cell."""
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
    """Code without such a call in the cell itself does not change at all."""
    assert await_magics(code, _always) == code


def test_the_decision():
    """Whether to wait is decided for each call from its magic and its line."""
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
def test_cells_as_typed(cell):
    """Cells as a person types them are awaited and valid after IPython's transformation."""
    code = TransformerManager().transform_cell(cell)
    changed = await_magics(code, _always)
    assert changed.count("(await ") == 1
    assert _unawaited(changed) == _unawaited(code)


def test_an_awaited_cell_runs():
    """A changed cell runs as a coroutine and has the awaited value."""

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
            lambda text: (
                text.count("'") == 2 and "\n" not in text
            )  # other texts are valid only from Python 3.12
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
    """In any cell, only the awaits are added: without them the meaning is the same."""
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
    """A call in an f-string keeps the meaning of the cell, awaited or not."""
    assert _unawaited(await_magics(code, _always)) == _unawaited(code)


@PROPERTY
@given(st.text())
def test_any_text(text):
    """Any text without a call of a magic does not change."""
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
    """Code that Python cannot parse does not change and causes no error."""
    assert await_magics(code, _always).replace("(await ", "").replace("))", ")") == code.replace(
        "))", ")"
    )


def test_a_long_sum():
    """A very long expression that Python accepts causes no error."""
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
def test_wait_first(code):
    """The wait runs first, and the cell keeps its lines and their order."""
    made = wait_first(code)
    assert made.startswith(code)
    tree = ast.parse(made)
    lines = [(type(node), node.lineno) for node in tree.body[:-1]]
    compile(made, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    moved = WaitFirst().visit(tree)
    assert "wait_for_all(None)" in ast.unparse(moved.body[0])
    assert [(type(node), node.lineno) for node in moved.body[1:]] == lines
    assert lines == [(type(node), node.lineno) for node in ast.parse(code).body]


@pytest.mark.parametrize("code", ["x = (", "def f(:\n", "if x:\n", "'''open"])
def test_invalid_code_gets_no_wait(code):
    """Invalid code gets no wait, so the error message shows only the user's code."""
    assert wait_first(code) == code


@pytest.mark.parametrize("code", ["", "x = 1\n", "await x\n", f"await {LINE}\n"])
def test_other_trees_stay(code):
    """A tree without the wait does not change."""
    assert ast.unparse(WaitFirst().visit(ast.parse(code))) == ast.unparse(ast.parse(code))


@pytest.mark.parametrize(("code", "is_silent"), [("x;", True), ("x;  # c\n", True), ("x\n", False)])
def test_a_semicolon_still_silences(code, is_silent):
    """A semicolon at the end still hides the value, also with a wait."""
    assert DisplayHook.semicolon_at_end_of_expression(wait_first(code)) is is_silent
