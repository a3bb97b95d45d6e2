"""Let a cell wait for its images: put ``await`` before calls of magics.

A magic is a plain function: it cannot wait without blocking the kernel's event loop. IPython turns
``%%gpt_image`` into ``get_ipython().run_cell_magic('gpt_image', ...)``. If the cell waits, this
call gets an ``await`` before it, and IPython runs the cell as a coroutine. A magic such as
``%%time`` that runs one of ours cannot wait either, so the cell waits after it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from IPython.core.displayhook import DisplayHook

from runapi_magic.notebook.cell_code import MAGICS, magic_call, may_call_magics, parse, surround

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AWAIT = ("(await ", ")")
_PENDING = "__import__('runapi_magic.notebook.pending').notebook.pending"
_WAIT_AFTER = (f"(await {_PENDING}.wait_for_all(", "))")
_WAIT = "None".join(_WAIT_AFTER)
_OWN_SCOPE = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.JoinedStr, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def await_magics(
    code: str, waits: Callable[[str, str], bool], *, after_others: bool = False
) -> str:
    """Return the code of a cell with ``await`` before the magics that the cell waits for.

    Args:
        code: Python code, after IPython's own transformations.
        waits: Returns for the name and the line of a magic whether the cell waits for it.
        after_others: Whether the cell also waits after other magics that run one of ours.
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
            after_others
            and name not in MAGICS
            and any(our in "".join([line, *cell]) for our in MAGICS)
        ):
            found.append((call, *_WAIT_AFTER))
    return surround(code, found)


def wait_first(code: str) -> str:
    """Return the code of a cell that first waits for what earlier cells could not wait for.

    The wait is added at the end, so each line keeps its number and ``from __future__`` stays the
    first statement. ``WaitFirst`` moves it to the beginning of the syntax tree.
    """
    if parse(code) is None:
        return code
    ending = "" if code.endswith("\n") else "\n"
    silence = ";" if DisplayHook.semicolon_at_end_of_expression(code) else ""
    return f"{code}{ending}{_WAIT}{silence}\n"


class WaitFirst:
    """Moves the wait of ``wait_first`` from the end of the syntax tree to its beginning."""

    @staticmethod
    def visit(tree: ast.Module) -> ast.Module:
        """Return the changed tree. IPython calls this as one of its AST transformers."""
        last = tree.body[-1] if tree.body else None
        if (
            isinstance(last, ast.Expr)
            and isinstance(last.value, ast.Await)
            and ast.unparse(last) == ast.unparse(ast.parse(_WAIT))
        ):
            tree.body.insert(0, tree.body.pop())
        return tree


def _magic_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield calls of magics in the cell itself: not in a function, and not awaited already."""
    left = [tree]
    while left:  # not recursive: a long sum is nested deeper than Python can call
        node = left.pop()
        if isinstance(node, ast.Call) and magic_call(node):
            yield node
        elif not isinstance(node, (*_OWN_SCOPE, ast.Await)):
            left.extend(ast.iter_child_nodes(node))
