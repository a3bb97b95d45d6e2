"""Prompts, rows and data frames as the items of a batch; ``df.gpt_image`` for pandas."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from runapi_magic.batch.item import Item
from runapi_magic.core.templates import as_text, is_missing, is_reference, look_up
from runapi_magic.core.validation import validate
from runapi_magic.engine.sources import as_source
from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runapi_magic.core.request import ImageRequest, Source

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")  # a doubled brace stands for a brace
_COLUMN = re.compile(r"\{([^{}]*)\}")
_PROMPT = "prompt"  # the column that counts where no prompt is given
_FILL_IN = "Fill it in, or leave the row out: pandas does with dropna()."


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame. pandas is not imported for this."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def batch_items(
    prompts: Any,
    prompt: str | None,
    sources: Sequence[Any],
    fields: Mapping[str, Any],
    make: Callable[..., ImageRequest],
) -> list[Item]:
    """Return one item a prompt or row.

    Args:
        prompts: Texts, dicts, or a DataFrame.
        prompt: With rows, the prompt with ``{column}`` in it; by default the column ``prompt``.
            ``{{`` and ``}}`` stand for braces.
        sources: Pictures to start from; texts may hold ``{column}`` too.
        fields: The request's fields; texts may hold ``{column}`` too.
        make: Makes a request of a prompt, sources and fields.

    Raises:
        InvalidRequestError: A row cannot be right; it says which.
    """
    items = []
    rows = _rows(prompts)
    read: dict[Any, Source] = {}
    # A frame's rows go by the frame's own names for them.
    names = prompts.index if is_frame(prompts) else itertools.count()
    for index, (name, row) in enumerate(zip(names, rows, strict=False)):
        try:
            values = _by_text(row)
            text = _own_prompt(row) if prompt is None else _fill(prompt, values)
            request = make(
                text,
                sources=[_source(source, values, read) for source in sources],
                **{name: _field(value, values) for name, value in fields.items()},
            )
            validate(request)
        except InvalidRequestError as error:
            error.what = f"Row {name}: {error.what}"
            raise
        items.append(Item(index, request, row))
    return items


def _rows(prompts: Any) -> Iterable[dict[str, Any]]:
    if is_frame(prompts):
        columns = [str(name) for name in prompts.columns]
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice is not None:  # which of them a prompt means nobody can tell
            raise InvalidRequestError(
                f"There are two columns {twice}.", todo="Give one of them another name."
            )
        values = prompts.itertuples(index=False, name=None)
        return [dict(zip(columns, row, strict=True)) for row in values]
    if isinstance(prompts, str | bytes | dict) or not isinstance(prompts, Iterable):
        raise InvalidRequestError(
            f"generate_many takes many prompts, and this is one {type(prompts).__name__}.",
            todo="Put it into a list, or use generate.",
        )
    return [row if isinstance(row, dict) else {_PROMPT: row} for row in prompts]


def _by_text(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with its columns' names as text, as a template writes them."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if str(name) in values:
            raise InvalidRequestError(
                f"There are two columns {name}.", todo="Give one of them another name."
            )
        values[str(name)] = value
    return values


def _own_prompt(row: Mapping[Any, Any]) -> str:
    if _PROMPT not in row:
        raise InvalidRequestError(
            "There is no prompt, and no column of that name.",
            todo='Give one with columns in it: prompt="A {colour} {animal}".',
        )
    prompt = row[_PROMPT]
    if is_missing(prompt):
        raise InvalidRequestError("There is no prompt.", todo=_FILL_IN)
    if not isinstance(prompt, str):  # a column of another kind of table, a list in a list
        raise InvalidRequestError(
            f"The prompt is of type {type(prompt).__name__}.",
            todo="Give texts, dicts or a pandas DataFrame.",
        )
    return str(prompt)


def _fill(value: Any, row: Mapping[str, Any]) -> Any:
    """Return a value with the columns filled in that its texts name."""
    if isinstance(value, list | tuple):
        return [_fill(one, row) for one in value]
    if isinstance(value, dict):
        return {name: _fill(one, row) for name, one in value.items()}
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        if match[1] is None:
            raise InvalidRequestError(
                f"A brace {match[0]} stands alone in {value!r}.",
                todo="Write {column} for a column's value, and {{ or }} for a brace.",
            )
        return _text(match[1], row)

    return _BRACES.sub(replace, value)


def _field(value: Any, row: Mapping[str, Any]) -> Any:
    """Return a field's value; a column alone gives its own: a number stays a number."""
    text = _fill(value, row)
    match = _COLUMN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return text
    given = _value(match[1], row)
    given = given.item() if hasattr(given, "item") else given  # a number of numpy's
    return given if isinstance(given, int | float) else text


def _source(value: Any, row: Mapping[str, Any], read: dict[Any, Source]) -> Source:
    """Return a source for a row; one that several rows share is read and kept once.

    Args:
        value: A picture, or a text that may name columns; a column alone may hold a picture.
        row: The row's values by their columns' names.
        read: The sources so far, by text or by the picture's identity.
    """
    if isinstance(value, str):
        match = _COLUMN.fullmatch(value)
        held = _value(match[1], row) if match else None
        value = _fill(value, row) if match is None or is_missing(held) else held
    key = value if isinstance(value, str) else id(value)
    if key not in read:
        read[key] = as_source(value)
    return read[key]


def _value(name: str, row: Mapping[str, Any]) -> Any:
    """Return what a brace stands for: a column's value, or a part of it by a dot or an index."""
    for known in (name, name.strip()):
        if known in row:
            return row[known]
    try:
        if is_reference(name):
            return look_up(name, row)
    except LookupError:
        pass
    raise InvalidRequestError(
        f"There is no column {name}.",
        todo=f"There are {', '.join(row)}. {{{{{name}}}}} stands for the text {{{name}}}.",
    )


def _text(name: str, row: Mapping[str, Any]) -> str:
    """Return a column's value as text; a picture of "nan" is not what anybody wants."""
    value = _value(name, row)
    if is_missing(value):
        raise InvalidRequestError(f"There is no value in column {name}.", todo=_FILL_IN)
    return as_text(value, f"Column {name}")


def teach_pandas(generate_many: Callable[..., Any]) -> None:
    """Give data frames their ``gpt_image.generate``, where pandas is installed.

    Args:
        generate_many: Makes pictures of a frame's rows.
    """
    try:
        import pandas as pd
    except ImportError:
        return
    if hasattr(pd.DataFrame, "gpt_image"):
        return

    class GptImageAccessor:
        """``df.gpt_image``: pictures from the rows of a data frame."""

        def __init__(self, frame: Any) -> None:
            self._frame = frame

        def generate(self, prompt: str | None = None, **options: Any) -> Any:
            """Make a picture of each row; see ``runapi_magic.generate_many`` for the options.

            Args:
                prompt: The prompt with ``{column}`` in it; by default the column ``prompt``.
                options: As for ``generate_many``.
            """
            return generate_many(self._frame, prompt=prompt, **options)

    pd.api.extensions.register_dataframe_accessor("gpt_image")(GptImageAccessor)
