"""Read docstrings and signatures for docs/reference.md."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap


def sections(thing: object) -> dict[str, str]:
    """Return the sections of a docstring by name; the text before the first one has the name ''."""
    parts = re.split(
        r"^(Args|Returns|Raises|Attributes):\n", inspect.getdoc(thing) or "", flags=re.MULTILINE
    )
    found = dict(zip(parts[1::2], map(textwrap.dedent, parts[2::2]), strict=True))
    return {"": parts[0].strip(), **found}


def entries(section: str) -> dict[str, str]:
    """Return the entries of a section, such as ``name: text``, with their indented lines."""
    found = re.findall(r"^(\w+): (.*(?:\n[ \n].*)*)", section, re.MULTILINE)
    return {name: prose(text) for name, text in found}


def prose(text: str) -> str:
    """Return a text of a docstring as one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def paragraph(thing: object) -> str:
    """Return a docstring's text and its exceptions, for the cell of a table."""
    found = sections(thing)
    raised = entries(found.get("Raises", ""))
    return " ".join(
        [prose(found[""]), *(f"Raises `{name}`: {why}" for name, why in raised.items())]
    )


def attribute_types(cls: type) -> dict[str, str]:
    """Return the types of a class's attributes, from its fields or from ``__init__``."""
    if "__init__" not in vars(cls) or hasattr(cls, "__dataclass_fields__"):
        return dict(cls.__annotations__)
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__))).body
    given = {one.arg: one.annotation for one in (*function.args.args, *function.args.kwonlyargs)}
    types = {}
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            types[node.target.attr] = ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and given.get(node.value.id):
                    types[target.attr] = ast.unparse(given[node.value.id])
    return types


def arguments(function) -> str:
    """Return the arguments of a method as they are written, without types."""
    signature = inspect.signature(function)
    shown = [
        str(one.replace(annotation=inspect.Parameter.empty)).replace(" = ", "=")
        for name, one in signature.parameters.items()
        if name != "self"
    ]
    return f"({', '.join(shown)})"


def return_type(function) -> str:
    """Return the return type of a function as it is written; empty for None."""
    kind = str(inspect.signature(function).return_annotation)
    return "" if kind == "None" else kind
