"""The names that a magic's line can use: those of the function around it, then the notebook's.

IPython hands a magic the variables of the function that calls it. A function inside another one
sees that one's variables, too, but a text in a magic's line does not make Python pass them on: in
a cell ``pass_on_names`` sees to that, and elsewhere they are looked for in the calls under way.
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
_BETWEEN = "IPython.core.interactiveshell"  # what calls a magic


def names_in_reach(
    local_ns: Mapping[str, Any] | None, user_ns: dict[str, Any]
) -> ChainMap[str, Any]:
    """Return the variables that the code around a magic sees, the innermost first.

    Args:
        local_ns: What IPython hands the magic; None outside of IPython.
        user_ns: The notebook's variables.
    """
    scopes: list[Any] = [] if local_ns is None or local_ns is user_ns else [local_ns]
    caller = _caller()
    if caller is not None and (scopes or caller.f_globals is user_ns):
        scopes += [*_scopes(caller), caller.f_globals]
    return ChainMap(*scopes, user_ns)


def _caller() -> FrameType | None:
    """Return the frame of the code that the user wrote around the magic."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (as IPython finds the local scope)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != _BETWEEN and not module.startswith("runapi_magic."):
            return frame
        frame = frame.f_back
    return None


def _scopes(caller: FrameType) -> Iterator[Mapping[str, Any]]:
    """Yield the variables of a call, and of the calls of the functions that it stands in."""
    yield caller.f_locals
    code, frame = caller.f_code, caller.f_back
    while frame is not None:
        if code in frame.f_code.co_consts:
            code = frame.f_code
            if (
                code.co_flags & inspect.CO_OPTIMIZED
            ):  # not a class's body, which functions pass over
                yield frame.f_locals
        frame = frame.f_back


def pass_on_names(code: str) -> str:
    """Return a cell's code in which functions pass on the names that magics inside them use.

    ``('gpt_image', lambda: (city,))[0]`` in place of the magic's name is that name; the lambda is
    never called. It makes the function inside keep the variable ``city`` of the one around it.
    No line changes its number.

    Args:
        code: Python, as IPython's own transformations leave it.
    """
    tree = parse(code) if "lambda" in code or "def " in code else None
    if tree is None:
        return code
    return surround(
        code,
        [(name, "(", f", lambda: ({', '.join(used)},))[0]") for name, used in _nested_magics(tree)],
    )


def _nested_magics(tree: ast.AST) -> Iterator[tuple[ast.expr, list[str]]]:
    """Yield the names of magics inside functions, with the names that outer functions may have."""
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
    """Return the names that are given a value somewhere in a function; a few more do no harm."""
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
