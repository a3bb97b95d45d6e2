"""Sweeps: one prompt with several values for some of its parts. Each combination is a request.

The functions are pure: they read no clock, no file and no network. ``Sweep`` itself is a Batch.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.core.catalog import CATALOGUE
from runapi_magic.core.templates import interpolate, is_reference, look_up
from runapi_magic.core.text import shorten
from runapi_magic.core.validation import parse_param, validate
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import short_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.engine.image import GeneratedImage

_MOST = 10_000  # combinations; more than that is a mistake
_LONGEST_CELL = 60  # characters in a table's column
_EXAMPLE = "For example: --sweep style=oil,pixel, or --sweep style={styles} with a list."
_OPTIONS = {"model": "-m", "aspect_ratio": "-a", "output_resolution": "-r"}
_FIELDS = {*_OPTIONS} | {
    parameter.name
    for model in CATALOGUE
    for action in (model.text, model.edit)
    if action is not None
    for parameter in action.parameters
}

_QUOTED = r""""(?:[^"]|"")*"|'(?:[^']|'')*'"""
_VALUE = re.compile(rf"\s*(?:({_QUOTED})|([^,]*?))\s*(,|$)")
_WORD = rf"""(?:{_QUOTED}|\{{[^{{}}]*\}}|[^\s,"'][^\s,]*)?"""  # one value in the line of a magic
_IN_LINE = re.compile(
    rf"""--sweep(?:\s+|=)("[^"]*"(?=\s|$)|'[^']*'(?=\s|$)|[^\s="']+={_WORD}(?:,\s*{_WORD})*)"""
)


def sweep_at(line: str, at: int) -> tuple[str, int] | None:
    """Read the ``--sweep`` option that begins at a position in the line of a magic.

    Quotes around a value are kept for ``parse_sweep``; quotes around all of ``NAME=VALUES`` are
    removed.

    Returns:
        The text after ``--sweep``, and the position after it; None if the option has no values.
    """
    match = _IN_LINE.match(line, at)
    if match is None:
        return None
    text = match.group(1)
    return (text[1:-1] if text[0] in "\"'" else text), match.end()


def parse_sweep(text: str, namespace: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Read ``NAME=V1,V2,...`` or ``NAME={variable}``.

    A value with a comma needs quotes; double a quote inside quotes. Spaces around a value are
    removed unless it is in quotes. ``{variable}`` must be a list, tuple, range, set (which is
    sorted), array or Series of texts and numbers. No expression is evaluated.

    Args:
        text: The text after ``--sweep``.
        namespace: The user's variables.

    Raises:
        InvalidRequestError: The text has another form, or a value is missing or given twice.
    """
    name, equals, rest = text.partition("=")
    name, rest = name.strip(), rest.strip()
    if not equals or not name.isidentifier():
        raise InvalidRequestError(
            f"--sweep {text} does not have the form NAME=V1,V2.", todo=_EXAMPLE
        )
    variable = rest[1:-1].strip() if rest[:1] == "{" and rest[-1:] == "}" else ""
    if is_reference(variable):
        values = _from_variable(name, variable, namespace)
    else:
        values = [
            part if quoted else interpolate(part, namespace) for part, quoted in _split(name, rest)
        ]
    return name, _checked(name, values)


def _split(name: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield each value between commas, and whether it was in quotes."""
    at, goes_on = 0, bool(text)
    while goes_on:
        match = _VALUE.match(text, at)
        assert match is not None, "a value without quotes may be any text"
        quoted, plain, comma = match.groups()
        if plain and plain[0] in "\"'":
            raise InvalidRequestError(
                f"--sweep {name}: the quotes in {plain} are not closed, or there is text beside"
                " them.",
                todo=f'Put the whole value in quotes: --sweep {name}="oil, thick",pixel.',
            )
        text_of = quoted[1:-1].replace(quoted[0] * 2, quoted[0]) if quoted else plain
        yield text_of, bool(quoted)
        at, goes_on = match.end(), bool(comma)


def _from_variable(name: str, variable: str, namespace: Mapping[str, Any]) -> list[Any]:
    try:
        value = look_up(variable, namespace)
    except LookupError:
        raise InvalidRequestError(
            f"--sweep {name}: there is no variable {variable}.",
            todo="Define it in a cell above, or write the values: --sweep style=oil,pixel.",
        ) from None
    if isinstance(value, str | bool | int | float):
        return [value]
    if hasattr(value, "tolist"):  # numpy and pandas, without importing them
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if not isinstance(value, list | tuple | range):
        raise InvalidRequestError(
            f"--sweep {name}: {variable} is of type {type(value).__name__}.",
            todo="Use a list, tuple, range, set, array or Series of texts or numbers.",
        )
    _check_number(len(value))
    return list(value)


def _checked(name: str, values: list[Any]) -> list[Any]:
    if not values:
        raise InvalidRequestError(f"--sweep {name} has no values.", todo=_EXAMPLE)
    known: set[str] = set()
    for at, given in enumerate(values):
        try:
            value = given.item() if hasattr(given, "item") else given  # a numpy number
        except (ValueError, RuntimeError):  # several numbers, from numpy, pandas or torch
            value = given
        if not isinstance(value, str | bool | int | float):
            raise InvalidRequestError(
                f"--sweep {name} has a value of type {type(value).__name__}.",
                todo="Values must be text, numbers, True or False.",
            )
        if not str(value).strip():
            raise InvalidRequestError(f"--sweep {name} has an empty value.", todo=_EXAMPLE)
        if str(value) in known:
            raise InvalidRequestError(
                f"--sweep {name} has the value {value} twice.", todo="Remove one of them."
            )
        known.add(str(value))
        values[at] = value
    return values


def combine(sweeps: Sequence[tuple[str, Sequence[Any]]]) -> list[dict[str, Any]]:
    """Return every combination of values by name; the first variable changes slowest.

    Raises:
        InvalidRequestError: A name is given twice, or there are more than 10,000 combinations.
    """
    names = [name for name, _ in sweeps]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequestError(
            f"--sweep {twice} is given twice.", todo="Put all its values into one --sweep."
        )
    _check_number(math.prod(len(values) for _, values in sweeps))
    combinations = itertools.product(*(values for _, values in sweeps))
    return [dict(zip(names, values, strict=True)) for values in combinations]


def _check_number(combinations: int) -> None:
    if combinations > _MOST:
        raise InvalidRequestError(
            f"The sweep has {combinations:,} combinations; at most {_MOST:,} are allowed.",
            todo="Sweep fewer values at a time.",
        )


def sweep_items(
    template: str,
    sweeps: Sequence[tuple[str, Sequence[Any]]],
    make: Callable[[str, dict[str, Any]], ImageRequest],
    *,
    namespace: Mapping[str, Any],
    options: Mapping[str, str | None] | None = None,
    params: Sequence[str] = (),
) -> list[Item]:
    """Return the items of a sweep, with valid requests.

    A sweep variable fills ``{name}`` in the prompt and in option values; it hides a user's variable
    with the same name. If ``{name}`` is used nowhere, the variable sets the field with this name:
    the model, or a field of the model.

    Args:
        template: The prompt as typed.
        sweeps: Names and values; the first variable is the outermost.
        make: Makes a request from a prompt and fields, which may include ``model``.
        namespace: The user's variables.
        options: ``model``, ``service``, ``action``, ``aspect_ratio`` and ``output_resolution`` as
            typed; None if not given.
        params: The values of ``-p``, ``KEY=VALUE`` as typed.

    Raises:
        InvalidRequestError: A name is neither used nor a field, or a request is not valid. The
            message names the combination.
    """
    given = {name: text for name, text in (options or {}).items() if text is not None}
    texts = [template, *given.values(), *params]
    varied = [name for name, values in sweeps if not _is_used(name, values, texts)]
    for name in varied:
        _check_field(name, given, params)
    items = []
    for index, combination in enumerate(combine(sweeps)):
        names = ChainMap(combination, cast("dict[str, Any]", namespace))
        try:
            fields = dict(parse_param(interpolate(param, names)) for param in params)
            fields |= {name: interpolate(text, names) for name, text in given.items()}
            fields |= {name: _read(name, combination[name]) for name in varied}
            request = make(interpolate(template, names), fields)
            _check_has_fields(request, varied)
            validate(request)
        except InvalidRequestError as error:
            raise InvalidRequestError(
                f"{', '.join(f'{name}={value}' for name, value in combination.items())}:"
                f" {error.what}",
                charged=error.charged,
                todo=error.todo,
            ) from None
        items.append(Item(index, request, combination))
    return items


def _is_used(name: str, values: Sequence[Any], texts: Sequence[str]) -> bool:
    return any(interpolate(text, {name: value}) != text for text in texts for value in values)


def _check_field(name: str, given: Mapping[str, str], params: Sequence[str]) -> None:
    """Refuse a variable that is not a field, or whose field has a value already."""
    if name == "count":
        raise InvalidRequestError(
            "A sweep cannot vary count.", todo="Use -n for several images of each combination."
        )
    if name not in _FIELDS:
        raise InvalidRequestError(
            f"--sweep {name}: there is no {{{name}}} in the prompt or in an option,"
            f" and no model has the field {name}.",
            todo=f"Write {{{name}}} where its values belong, or sweep a field:"
            f" model, {', '.join(sorted(_FIELDS - {'model'}))}.",
        )
    option = _OPTIONS[name] if name in given else None
    if any(param.partition("=")[0].strip() == name for param in params):
        option = f"-p {name}"
    if option:
        raise InvalidRequestError(
            f"{name} is given twice: by {option} and by --sweep.", todo="Remove one of them."
        )


def _check_has_fields(request: ImageRequest, varied: Sequence[str]) -> None:
    """Refuse a field that the model does not have; RunAPI would ignore it."""
    for name in varied:
        known = name == "model" or request.action.parameter(name)
        if not known and request.catalogue.known:
            fields = ", ".join(one.name for one in request.action.parameters) or "none"
            raise InvalidRequestError(
                f"{request.model} has no field {name}.", todo=f"Its fields: {fields}."
            )


def _read(name: str, value: Any) -> Any:
    """Return the value of a field as the options read it: ``-p`` may be a number, others text."""
    if name in _OPTIONS:
        return str(value)
    return parse_param(f"{name}={value}")[1] if isinstance(value, str) else value


class NoImageError(InvalidRequestError, KeyError):
    """There is no image for these values."""


NoPictureError = NoImageError  # the name in version 0.1.0


class Sweep(Batch):
    """A batch with one request for every combination of some values.

    ``sweep["oil", "dawn"]`` is the item with these values, in the order of ``variables``, and
    ``sweep.images["oil", "dawn"]`` is its first image. You can also give a value as text.

    Attributes:
        variables: The values of each variable, in order.
    """

    def __init__(self, items: Sequence[Item], **more: Any) -> None:
        super().__init__(items, **more)
        self.variables: dict[str, list[Any]] = {}
        for item in self.items:
            for name, value in item.variables.items():
                values = self.variables.setdefault(name, [])
                if str(value) not in map(str, values):
                    values.append(value)
        self._by_values = {_texts(item.variables.values()): item for item in self.items}

    def __getitem__(self, values: Any) -> Item:
        texts = _texts(values if isinstance(values, tuple) else (values,))
        if texts not in self._by_values:
            names = ", ".join(self.variables)
            first = self.items[0].variables.values()
            raise NoImageError(
                f"There is no combination {', '.join(texts)} of {names}.",
                charged="The sweep and its images are not changed.",
                todo=f"Give one value of each: [{', '.join(map(repr, first))}].",
            )
        return self._by_values[texts]

    @property
    def images(self) -> SweepImages:  # type: ignore[override]  # public since 0.1.0
        """The first image of each combination, by its values."""
        return SweepImages(self)

    def table(self) -> str:
        """Return the results as a text table: variables, status, cost, and the files or error."""
        return text_table(self.items)


class SweepImages(Mapping[Any, "GeneratedImage"]):
    """The first images of a sweep by their values: a tuple, or the value of the only variable.

    A missing image raises NoImageError, which contains the reason.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __getitem__(self, values: Any) -> GeneratedImage:
        item = self._sweep[values]
        if item.images:
            return item.images[0]
        name = ", ".join(map(str, item.variables.values()))
        if item.error is not None:
            raise NoImageError(
                f"There is no image of {name}: {item.error.what}",
                charged=item.error.charged,
                todo="sweep.retry_failed() requests the missing images again.",
            )
        raise NoImageError(
            f"There is no image of {name} yet ({item.status}).",
            charged="The sweep continues.",
            todo="Wait for it: await the sweep.",
        )

    def __iter__(self) -> Iterator[Any]:
        for item in self._sweep.items:
            if item.images:
                values = tuple(item.variables.values())
                yield values if len(values) > 1 else values[0]

    def __len__(self) -> int:
        return sum(bool(item.images) for item in self._sweep.items)

    def __repr__(self) -> str:
        return f"<{len(self)} images by {', '.join(self._sweep.variables)}>"


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(str, values))


def text_table(items: Sequence[Item]) -> str:
    """Return items as a text table, one line for each."""
    names = list(items[0].variables)
    head = ["", *(names or ["prompt"]), "status", "USD", "image"]
    rows = [
        [
            str(item.index + 1),
            *([str(item.variables.get(name, "")) for name in names] or [item.request.title]),
            item.status,
            "" if item.cost is None else f"{item.cost:.2f}",
            ", ".join(short_path(image.location) for image in item.images)
            or (item.error.what if item.error else ""),
        ]
        for item in items
    ]
    lines = [
        [shorten(text, _LONGEST_CELL) for text in row[:-1]] + [row[-1]] for row in [head, *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
