"""Prompts, rows and data frames as the items of a batch; ``df.gpt_image`` for pandas."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from runapi_magic.errors import InvalidRequestError
from runapi_magic.items import Item
from runapi_magic.namespace import interpolate
from runapi_magic.requests import validate
from runapi_magic.sources import as_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runapi_magic.requests import ImageRequest

_COLUMN = re.compile(r"(?<!\{)\{([^\W\d]\w*)\}(?!\})")  # other braces stay as typed
_PROMPT = "prompt"  # the column that counts where no prompt is given


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
        sources: Pictures to start from; texts may hold ``{column}`` too.
        fields: The request's fields; texts may hold ``{column}`` too.
        make: Makes a request of a prompt, sources and fields.

    Raises:
        InvalidRequestError: A row cannot be right; it says which.
    """
    items = []
    rows = _rows(prompts)
    # A frame's rows go by the frame's own names for them.
    names = prompts.index if is_frame(prompts) else itertools.count()
    for index, (name, row) in enumerate(zip(names, rows, strict=False)):
        try:
            text = _own_prompt(row) if prompt is None else _fill(prompt, row)
            request = make(
                text,
                sources=[as_source(_fill(source, row)) for source in sources],
                **{name: _field(value, row) for name, value in fields.items()},
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


def _own_prompt(row: Mapping[str, Any]) -> str:
    if _PROMPT not in row:
        raise InvalidRequestError(
            "There is no prompt, and no column of that name.",
            todo='Give one with columns in it: prompt="A {colour} {animal}".',
        )
    text = _known(_PROMPT, row)
    if not isinstance(row[_PROMPT], str):  # a column of another kind of table, a list in a list
        raise InvalidRequestError(
            f"The prompt is of type {type(row[_PROMPT]).__name__}.",
            todo="Give texts, dicts or a pandas DataFrame.",
        )
    return text


def _fill(value: Any, row: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    for name in _COLUMN.findall(value):
        if name not in row:
            raise InvalidRequestError(
                f"There is no column {name}.", todo=f"There are {', '.join(map(str, row))}."
            )
        _known(name, row)
    return interpolate(value, row)


def _field(value: Any, row: Mapping[str, Any]) -> Any:
    """Return a field's value; a column alone gives its own: a number stays a number."""
    text = _fill(value, row)
    match = _COLUMN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return text
    given = row[match[1]]
    given = given.item() if hasattr(given, "item") else given  # a number of numpy's
    return given if isinstance(given, int | float) else text


def _known(name: str, row: Mapping[str, Any]) -> str:
    """Return a column's value as text; a picture of "nan" is not what anybody wants."""
    value, pandas = row[name], sys.modules.get("pandas")
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or is_nan or (pandas is not None and pandas.isna(value) is True):
        raise InvalidRequestError(
            "There is no prompt." if name == _PROMPT else f"There is no value in column {name}.",
            todo="Fill it in, or leave the row out: pandas does with dropna().",
        )
    return str(value)


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
