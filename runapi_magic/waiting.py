"""Lets a cell wait for its pictures: puts ``await`` before calls of our magics.

A magic is a plain function and cannot wait while the kernel's loop goes on. IPython turns
``%%gpt_image`` into ``get_ipython().run_cell_magic('gpt_image', ...)``; a call that is to wait
gets an ``await`` before it, and IPython runs such a cell as a coroutine.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLS = {"run_cell_magic", "run_line_magic"}
_OWN_SCOPE = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.JoinedStr, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def await_magics(code: str, waits: Callable[[str, str], bool]) -> str:
    """Return a cell's code with ``await`` before the magic calls that are to wait.

    Args:
        code: Python, as IPython's own transformations leave it.
        waits: Says for a magic's name and its line whether the call is to wait.
    """
    if not any(call in code for call in _CALLS):
        return code
    try:
        tree = ast.parse(code)
        found = [call for call in _magic_calls(tree) if waits(*_name_and_line(call))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # IPython reports it better
    lines = code.encode().splitlines(keepends=True)
    for call in sorted(found, key=_start, reverse=True):
        end_row, end_column = (call.end_lineno or 1) - 1, call.end_col_offset or 0
        lines[end_row] = lines[end_row][:end_column] + b")" + lines[end_row][end_column:]
        row, column = _start(call)
        lines[row] = lines[row][:column] + b"(await " + lines[row][column:]
    return b"".join(lines).decode()


def _start(call: ast.Call) -> tuple[int, int]:
    return call.lineno - 1, call.col_offset  # columns count bytes of UTF-8


def _magic_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield calls of magics that stand in the cell itself, not in a function or already awaited."""
    left = [tree]
    while left:  # a long sum is nested deeper than Python calls
        node = left.pop()
        if isinstance(node, ast.Call) and _name_and_line(node)[0]:
            yield node
        elif not isinstance(node, (*_OWN_SCOPE, ast.Await)):
            left.extend(ast.iter_child_nodes(node))


def _name_and_line(call: ast.Call) -> tuple[str, str]:
    function = call.func
    if (
        isinstance(function, ast.Attribute)
        and function.attr in _CALLS
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        texts = [value.value for value in call.args[:2] if isinstance(value, ast.Constant)]
        if len(texts) == len(call.args[:2]) == 2:  # noqa: PLR2004 (name and line)
            return str(texts[0]), str(texts[1])
    return "", ""
