"""Parse the code of a cell, recognize calls of magics in it, and put text around them.

The code is Python code, after IPython's own transformations: ``%%gpt_image`` has become
``get_ipython().run_cell_magic('gpt_image', ...)``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGICS = ("gpt_image", "gpt_edit", "runapi")
_CALLS = ("run_cell_magic", "run_line_magic")


def parse(code: str) -> ast.Module | None:
    """Return the syntax tree of a cell; None for invalid code, which IPython will report."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def may_call_magics(code: str) -> bool:
    """Return quickly, from its text, whether a cell can contain a call of a magic."""
    return any(call in code for call in _CALLS)


def magic_call(call: ast.Call) -> list[str]:
    """Return the name of a called magic, its line and, for a cell magic, the cell.

    The list is empty for any other call, also if an argument is not a literal.
    """
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


def surround(code: str, insertions: Iterable[tuple[ast.expr, str, str]]) -> str:
    """Return a cell's code with text before and after some expressions.

    Args:
        code: The code.
        insertions: Expressions, each with the text before it and the text after it. No expression
            contains another one.
    """
    lines = code.encode().splitlines(keepends=True)  # columns count bytes of UTF-8

    def insert(row: int, column: int, text: str) -> None:
        lines[row] = lines[row][:column] + text.encode() + lines[row][column:]

    # From the end, so that the earlier columns stay valid.
    for node, before, after in sorted(insertions, key=lambda one: _start(one[0]), reverse=True):
        insert((node.end_lineno or 1) - 1, node.end_col_offset or 0, after)
        insert(*_start(node), before)
    return b"".join(lines).decode()


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno - 1, node.col_offset
