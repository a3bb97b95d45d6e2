"""Lets a cell wait for its pictures: puts ``await`` before calls of our magics.

A magic is a plain function and cannot wait while the kernel's loop goes on. IPython turns
``%%gpt_image`` into ``get_ipython().run_cell_magic('gpt_image', ...)``; a call that is to wait
gets an ``await`` before it, and IPython runs such a cell as a coroutine. A magic of others, such
as ``%%time``, that runs ours cannot wait either: what it started is waited for after it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from IPython.core.displayhook import DisplayHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLS = {"run_cell_magic", "run_line_magic"}
_OURS = ("gpt_image", "gpt_edit", "runapi")
_AWAIT = ("(await ", ")")
_SETTLE = ("(await __import__('runapi_magic.notebook.pending').notebook.pending.settle(", "))")
_WAIT = "None".join(_SETTLE)
_OWN_SCOPE = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.JoinedStr, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def await_magics(code: str, waits: Callable[[str, str], bool], *, settles: bool = False) -> str:
    """Return a cell's code with ``await`` before the magic calls that are to wait.

    Args:
        code: Python, as IPython's own transformations leave it.
        waits: Says for a magic's name and its line whether the call is to wait.
        settles: Whether to wait, after a magic of others, for what ours have started in it.
    """
    if not any(call in code for call in _CALLS):
        return code
    try:
        calls = list(_magic_calls(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # IPython reports it better
    lines = code.encode().splitlines(keepends=True)
    for call in sorted(calls, key=_start, reverse=True):
        name, line, *cell = texts_of_magic(call)
        if waits(name, line):
            before, after = _AWAIT
        elif settles and name not in _OURS and any(our in "".join([line, *cell]) for our in _OURS):
            before, after = _SETTLE
        else:
            continue
        end_row, end_column = (call.end_lineno or 1) - 1, call.end_col_offset or 0
        lines[end_row] = lines[end_row][:end_column] + after.encode() + lines[end_row][end_column:]
        row, column = _start(call)
        lines[row] = lines[row][:column] + before.encode() + lines[row][column:]
    return b"".join(lines).decode()


def settle_first(code: str) -> str:
    """Return a cell's code that waits for what earlier cells could not wait for.

    The wait stands at the end, so that each line keeps its number and ``from __future__`` stays
    the first statement; ``SettlesFirst`` moves it to the beginning of what runs.
    """
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # IPython reports it better
    ending = "" if code.endswith("\n") else "\n"
    silence = ";" if DisplayHook.semicolon_at_end_of_expression(code) else ""
    return f"{code}{ending}{_WAIT}{silence}\n"


class SettlesFirst:
    """Moves the wait of ``settle_first`` from the end of a cell's tree to its beginning."""

    @staticmethod
    def visit(tree: ast.Module) -> ast.Module:
        """Return the tree of a cell, as IPython's list of AST transformers asks for it."""
        last = tree.body[-1] if tree.body else None
        if (
            isinstance(last, ast.Expr)
            and isinstance(last.value, ast.Await)
            and ast.unparse(last) == ast.unparse(ast.parse(_WAIT))
        ):
            tree.body.insert(0, tree.body.pop())
        return tree


def _start(call: ast.Call) -> tuple[int, int]:
    return call.lineno - 1, call.col_offset  # columns count bytes of UTF-8


def _magic_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield calls of magics that stand in the cell itself, not in a function or already awaited."""
    left = [tree]
    while left:  # a long sum is nested deeper than Python calls
        node = left.pop()
        if isinstance(node, ast.Call) and texts_of_magic(node):
            yield node
        elif not isinstance(node, (*_OWN_SCOPE, ast.Await)):
            left.extend(ast.iter_child_nodes(node))


def texts_of_magic(call: ast.Call) -> list[str]:
    """Return a magic's name, its line and, of a cell magic, the cell; nothing for other calls."""
    function = call.func
    if (
        isinstance(function, ast.Attribute)
        and function.attr in _CALLS
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        texts = [str(value.value) for value in call.args if isinstance(value, ast.Constant)]
        if len(texts) == len(call.args) > 1:
            return texts
    return []
