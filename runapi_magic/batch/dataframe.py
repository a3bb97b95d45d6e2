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
_PROMPT = "prompt"  # the column that has the prompts if no prompt is given
_FILL_IN = "Fill it in, or remove the row, for example with dropna() in pandas."


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame; pandas is not imported."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def batch_items(
    prompts: Any,
    prompt: str | None,
    sources: Sequence[Any],
    fields: Mapping[str, Any],
    make: Callable[..., ImageRequest],
) -> list[Item]:
    """Return one item for each prompt or row.

    Args:
        prompts: Texts, dicts, or a DataFrame.
        prompt: For rows, the prompt with ``{column}`` in it; by default the column ``prompt``.
            ``{{`` and ``}}`` stand for braces.
        sources: The source images; texts may contain ``{column}``.
        fields: The fields of the request; texts may contain ``{column}``.
        make: Makes a request from a prompt, sources and fields.

    Raises:
        InvalidRequestError: A row is not valid. The message names the row.
    """
    items = []
    rows = _rows(prompts)
    read: dict[Any, Source] = {}
    # Messages name a row by its index in the data frame.
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
        if twice is not None:  # {column} would be ambiguous
            raise InvalidRequestError(
                f'Two columns have the name "{twice}".', todo="Rename one of them."
            )
        values = prompts.itertuples(index=False, name=None)
        return [dict(zip(columns, row, strict=True)) for row in values]
    if isinstance(prompts, str | bytes | dict) or not isinstance(prompts, Iterable):
        raise InvalidRequestError(
            f"generate_many takes a list of prompts (got one {type(prompts).__name__}).",
            todo="Put it in a list, or use generate.",
        )
    return [row if isinstance(row, dict) else {_PROMPT: row} for row in prompts]


def _by_text(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with the names of its columns as text, as a prompt names them."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if str(name) in values:
            raise InvalidRequestError(
                f'Two columns have the name "{name}".', todo="Rename one of them."
            )
        values[str(name)] = value
    return values


def _own_prompt(row: Mapping[Any, Any]) -> str:
    if _PROMPT not in row:
        raise InvalidRequestError(
            'There is no prompt, and no column "prompt".',
            todo='Pass a prompt with columns in it: prompt="A {colour} {animal}".',
        )
    prompt = row[_PROMPT]
    if is_missing(prompt):
        raise InvalidRequestError("There is no prompt.", todo=_FILL_IN)
    if not isinstance(prompt, str):  # for example a list in a list
        raise InvalidRequestError(
            f"The prompt is of type {type(prompt).__name__}.",
            todo="Pass texts, dicts or a pandas DataFrame.",
        )
    return str(prompt)


def _fill(value: Any, row: Mapping[str, Any]) -> Any:
    """Fill the values of columns into a text, or into all texts of a list or dict."""
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
                f"There is a single {match[0]} in {value!r}.",
                todo="Write {column} for the value of a column, and {{ or }} for a brace.",
            )
        return _text(match[1], row)

    return _BRACES.sub(replace, value)


def _field(value: Any, row: Mapping[str, Any]) -> Any:
    """Return the value of a field. ``{column}`` alone keeps its type: a number stays a number."""
    text = _fill(value, row)
    match = _COLUMN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return text
    given = _value(match[1], row)
    given = given.item() if hasattr(given, "item") else given  # a numpy number
    return given if isinstance(given, int | float) else text


def _source(value: Any, row: Mapping[str, Any], read: dict[Any, Source]) -> Source:
    """Return a source for a row. A source that several rows share is read and stored once.

    Args:
        value: An image, or a text that may name columns. ``{column}`` alone may be an image.
        row: The values of the row by the names of their columns.
        read: The sources so far, by text or by the identity of the image.
    """
    if isinstance(value, str):
        match = _COLUMN.fullmatch(value)
        given = _value(match[1], row) if match else None
        value = _fill(value, row) if match is None or is_missing(given) else given
    key = value if isinstance(value, str) else id(value)
    if key not in read:
        read[key] = as_source(value)
    return read[key]


def _value(name: str, row: Mapping[str, Any]) -> Any:
    """Return the value of a column, or a part of it that a dot or an index names."""
    for known in (name, name.strip()):
        if known in row:
            return row[known]
    try:
        if is_reference(name):
            return look_up(name, row)
    except LookupError:
        pass
    raise InvalidRequestError(
        f'There is no column "{name}".',
        todo=f"The columns: {', '.join(row)}. To write {{{name}}} as text, use {{{{{name}}}}}.",
    )


def _text(name: str, row: Mapping[str, Any]) -> str:
    """Return the value of a column as text. A missing value is refused, not sent as "nan"."""
    value = _value(name, row)
    if is_missing(value):
        raise InvalidRequestError(f'The column "{name}" has no value.', todo=_FILL_IN)
    return as_text(value, f'Column "{name}"')


def add_accessor(generate_many: Callable[..., Any]) -> None:
    """Add ``gpt_image.generate`` to data frames, if pandas is installed.

    Args:
        generate_many: Makes images from the rows of a data frame.
    """
    try:
        import pandas as pd
    except ImportError:
        return
    if hasattr(pd.DataFrame, "gpt_image"):
        return

    class GptImageAccessor:
        """``df.gpt_image``: images from the rows of a data frame."""

        def __init__(self, frame: Any) -> None:
            self._frame = frame

        def generate(self, prompt: str | None = None, **options: Any) -> Any:
            """Make an image from each row; see ``runapi_magic.generate_many`` for the options.

            Args:
                prompt: The prompt with ``{column}`` in it; by default the column ``prompt``.
                options: The options of ``generate_many``.
            """
            return generate_many(self._frame, prompt=prompt, **options)

    pd.api.extensions.register_dataframe_accessor("gpt_image")(GptImageAccessor)
