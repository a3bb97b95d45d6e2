"""The variables that a magic's line can use: those of the function around it, then the notebook's.

IPython passes the variables of the calling function to a magic. An inner function also sees the
variables of the outer function, but only if its code uses them, and the text in a magic's line is
not code. In cells, ``pass_on_names`` adds such a use. Elsewhere the variables are looked up in the
frames of the current calls.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from runapi_magic.notebook.cell_code import MAGICS, magic_call, parse, surround

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

_NAME = re.compile(r"[^\W\d]\w*")
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
_BETWEEN = "IPython.core.interactiveshell"  # the module that calls magics


def names_in_reach(
    local_ns: Mapping[str, Any] | None, user_ns: dict[str, Any]
) -> ChainMap[str, Any]:
    """Return the variables that the code around a magic sees, the innermost first.

    Args:
        local_ns: The variables that IPython passes to the magic; None outside of IPython.
        user_ns: The variables of the notebook.
    """
    scopes: list[Any] = [] if local_ns is None or local_ns is user_ns else [local_ns]
    caller = _caller()
    if caller is not None and (scopes or caller.f_globals is user_ns):
        scopes += [*_scopes(caller), caller.f_globals]
    return ChainMap(*scopes, user_ns)


def _caller() -> FrameType | None:
    """Return the frame of the user's code around the magic."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (IPython does the same)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != _BETWEEN and not module.startswith("runapi_magic."):
            return frame
        frame = frame.f_back
    return None


def _scopes(caller: FrameType) -> Iterator[Mapping[str, Any]]:
    """Yield the variables of a call, and of the calls of the functions around it."""
    yield caller.f_locals
    code, frame = caller.f_code, caller.f_back
    while frame is not None:
        if code in frame.f_code.co_consts:
            code = frame.f_code
            if code.co_flags & inspect.CO_OPTIMIZED:  # a function; methods do not see a class body
                yield frame.f_locals
        frame = frame.f_back


def pass_on_names(code: str) -> str:
    """Return the code of a cell in which inner functions keep the variables that magics use.

    The name of a magic is replaced by ``('gpt_image', lambda: (city,))[0]``, which has the same
    value. The lambda is never called, but makes the inner function keep the variable ``city`` of
    the outer one. No line changes its number.

    Args:
        code: Python code, after IPython's own transformations.
    """
    tree = parse(code) if "lambda" in code or "def " in code else None
    if tree is None:
        return code
    return surround(
        code,
        [(name, "(", f", lambda: ({', '.join(used)},))[0]") for name, used in _nested_magics(tree)],
    )


def _nested_magics(tree: ast.AST) -> Iterator[tuple[ast.expr, list[str]]]:
    """Yield the name nodes of magics inside functions, with the variables of outer functions."""
    left: list[tuple[ast.AST, set[str], set[str]]] = [(tree, set(), set())]
    while left:
        node, outer, own = left.pop()
        if isinstance(node, ast.Call) and (texts := magic_call(node)):
            words = set(_NAME.findall(" ".join(texts[1:])))
            if texts[0] in MAGICS and outer & words:
                yield node.args[0], sorted(outer & words)
            continue
        if isinstance(node, _SCOPES):
            outer, own = outer | own, _bound(node)
        left.extend((child, outer, own) for child in ast.iter_child_nodes(node))


def _bound(scope: ast.AST) -> set[str]:
    """Return the names that a function assigns anywhere. Some extra names do no harm."""
    names = set()
    for node in ast.walk(scope):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case (
                ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.alias(name=path, asname=name):
                names.add(name or path.partition(".")[0])
    return names
