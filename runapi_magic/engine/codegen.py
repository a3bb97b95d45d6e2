"""Generate the code of a cell that loads an image again or regenerates it. Pure functions."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from runapi_magic.core.templates import is_name, is_reference
from runapi_magic.core.validation import parse_param
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runapi_magic.core.request import Source

_WORDS_IN_A_NAME = 3
# IPython removes these prompts of pasted sessions, and spaces in empty lines.
_PASTED = re.compile(r"^ *(?:>>>|\.\.\.|In \[)|^ +$", re.MULTILINE)
_OPTIONS = {"aspect_ratio": "-a", "output_resolution": "-r"}


class _Name(NamedTuple):
    """How a cell refers to a source: by a variable, or by a path or URL."""

    text: str
    is_variable: bool


def variable_name(image: GeneratedImage) -> str:
    """Return the variable that an image's cell sets: readable, and always the same."""
    words = re.findall(r"[a-z0-9]+", image.request.title.lower())[:_WORDS_IN_A_NAME]
    name = "_".join([*words, hashlib.sha256(image.id.encode()).hexdigest()[:4]])
    return name if is_name(name) else f"picture_{name}"


def reference(image: GeneratedImage, index: int) -> str:
    """Return the expression for an image in other cells.

    Args:
        image: The image.
        index: Its index among the images of identical requests.
    """
    name = variable_name(image)
    return f"{name}.images[{index}]" if index else name


def cell_text(
    image: GeneratedImage,
    index_of: Callable[[GeneratedImage], int],
    show_path: Callable[[Any], str],
    defined: Collection[str] = (),
) -> str:
    """Return the cell that loads an image from disk at no cost, or generates it again.

    The cell sets the variable ``variable_name(image)``. It refers to a generated source image by
    its variable if an earlier cell sets it, else by its file, so that the cell works alone. Texts
    that a magic would change, such as ``{braces}``, need a call of ``generate`` instead of a magic.
    The image may come from a stranger: whatever its record contains, the cell only makes a request.

    Args:
        image: The image.
        index_of: Returns the index of an image among the images of identical requests.
        show_path: Returns a path as a user writes it.
        defined: The IDs of the images whose cells are before this one.
    """

    def name_of(source: Source) -> _Name:
        if isinstance(source.image, GeneratedImage) and source.image.id in defined:
            return _Name(reference(source.image, index_of(source.image)), is_variable=True)
        if source.url is not None:
            return _Name(source.url, is_variable=False)
        path = source.path or (source.image.path if source.image else None)
        if path is None:
            return _Name(source.label, is_variable=is_reference(source.label))
        shown = show_path(path)
        # A file without a suffix could be read as a variable.
        return _Name(f"./{shown}" if shown.isidentifier() else shown, is_variable=False)

    request, count = image.request, index_of(image) + 1
    texts = (request.prompt, request.model, *request.fields.values())
    if any("{" in str(text) for text in texts) or not _is_plain(request.prompt):
        return _call(image, name_of, count)
    try:
        return _magic(image, name_of, count)
    except (ValueError, InvalidRequestError):
        return _call(image, name_of, count)


def _is_plain(prompt: str) -> bool:
    """Whether a cell can contain a prompt, and IPython does not change it."""
    return prompt.replace("\n", "").isprintable() and not _PASTED.search(prompt)


def _magic(image: GeneratedImage, name_of: Callable[[Source], _Name], count: int) -> str:
    request = image.request
    words = [_quoted(name_of(source).text) for source in request.sources[:1]]
    for source in request.sources[1:]:
        words += ["-i", _quoted(name_of(source).text)]
    words += ["-m", _quoted(request.model)]
    for named, word in (("--service", request.service), ("--action", request.action_name)):
        words += [named, _quoted(word)] if word else []
    for name, value in request.fields.items():
        option = _OPTIONS.get(name) if isinstance(value, str) else None
        words += [option, _quoted(value)] if option else ["-p", _param(name, value)]
    if request.mask is not None:
        words += ["--mask", _quoted(name_of(request.mask).text)]
    if count > 1:
        words += ["-n", str(count)]
    words += ["-o", variable_name(image)]
    magic = "gpt_edit" if request.sources else "gpt_image"
    line = f"{magic} {' '.join(words)}"
    return f"%%{line}\n{request.prompt}" if request.prompt else f"%{line}"


def _param(name: str, value: Any) -> str:
    """Return the argument KEY=VALUE of ``-p`` that is parsed as exactly this value.

    Raises:
        ValueError: No text is parsed as this value.
        InvalidRequestError: ``-p`` cannot set this field.
    """
    for text in (f"{name}={value}", f"{name}={json.dumps(value)}"):
        if parse_param(text) == (name, value):
            return _quoted(text)
    raise ValueError(name)


def _quoted(word: str) -> str:
    """Return a word with quotes if the line of a magic needs them.

    Raises:
        ValueError: It contains both kinds of quotes, or a line break.
    """
    if word and not re.search(r"""[\s"'\\]""", word) and not word.startswith("-"):
        return word
    quote = next((mark for mark in "\"'" if mark not in word), None)
    if quote is None or not word.isprintable() or word.startswith("-"):
        raise ValueError(word)
    return f"{quote}{word}{quote}"


def _call(image: GeneratedImage, name_of: Callable[[Source], _Name], count: int) -> str:
    request = image.request
    sources = [_expression(name_of(source)) for source in request.sources]
    arguments = [repr(request.prompt), f"model={request.model!r}"]
    for name, value in (("service", request.service), ("action", request.action_name)):
        arguments += [f"{name}={value!r}"] if value else []
    if sources:
        arguments.append(f"sources=[{', '.join(sources)}]")
    if request.mask is not None:
        arguments.append(f"mask={_expression(name_of(request.mask))}")
    if count > 1:
        arguments.append(f"count={count}")
    for field, value in request.fields.items():
        arguments.append(f"{field}={value!r}" if is_name(field) else f"**{ {field: value}!r}")
    name = variable_name(image)
    call = ",\n    ".join(arguments)
    # Awaited, so that a notebook that runs unattended contains the image.
    return f"from runapi_magic import generate\n\n{name} = await generate(\n    {call},\n)\n{name}"


def _expression(name: _Name) -> str:
    return name.text if name.is_variable else repr(name.text)
