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

from runapi_magic.notebook.cell_code import MAGICS, magic_call, may_call_magics, parse, surround

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    tree = parse(code) if may_call_magics(code) else None
    if tree is None:
        return code
    found = []
    for call in _magic_calls(tree):
        name, line, *cell = magic_call(call)
        if waits(name, line):
            found.append((call, *_AWAIT))
        elif (
            settles and name not in MAGICS and any(our in "".join([line, *cell]) for our in MAGICS)
        ):
            found.append((call, *_SETTLE))
    return surround(code, found)


def settle_first(code: str) -> str:
    """Return a cell's code that waits for what earlier cells could not wait for.

    The wait stands at the end, so that each line keeps its number and ``from __future__`` stays
    the first statement; ``SettlesFirst`` moves it to the beginning of what runs.
    """
    if parse(code) is None:
        return code
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


def _magic_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield calls of magics that stand in the cell itself, not in a function or already awaited."""
    left = [tree]
    while left:  # a long sum is nested deeper than Python calls
        node = left.pop()
        if isinstance(node, ast.Call) and magic_call(node):
            yield node
        elif not isinstance(node, (*_OWN_SCOPE, ast.Await)):
            left.extend(ast.iter_child_nodes(node))
