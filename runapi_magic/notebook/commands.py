"""The commands of ``%runapi``. Each one is a function that returns what to show."""

from __future__ import annotations

import getpass
import shlex
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from runapi_magic.core.catalog import CATALOGUE, Action
from runapi_magic.display.environment import user_variables
from runapi_magic.display.gallery import LARGEST, Album
from runapi_magic.display.generation_view import money, nothing_found
from runapi_magic.engine.credentials import resolve_access, save_key
from runapi_magic.engine.image import GeneratedImage
from runapi_magic.engine.sources import find_source
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import short_path
from runapi_magic.notebook.arguments import split_line, usage_error
from runapi_magic.notebook.money_commands import balance, budget, spending
from runapi_magic.notebook.recovery_commands import cancel, forget, resume

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.lineage import Tree
    from runapi_magic.engine.session import Session

    Command = Callable[
        [Session, list[str]], "str | Tree[GeneratedImage] | Album | Awaitable[str] | Generation"
    ]

_SHORT_HISTORY, _GALLERY, _LONGEST_HISTORY = 10, 20, 10_000  # images


def find(line: str) -> tuple[Command, list[str]]:
    """Return the command on a line, and its arguments.

    Raises:
        UsageError: There is no such command, or the command takes no arguments.
    """
    name, *arguments = _split(line) or ["status"]
    if name not in COMMANDS:
        raise usage_error(
            f"%runapi has no command {name!r}.", f"The commands: {', '.join(COMMANDS)}."
        )
    if arguments and name in _ALONE:
        raise usage_error(
            f"%runapi {name} takes no arguments (got {' '.join(arguments)!r}).",
            f"Run it without arguments: %runapi {name}",
        )
    return COMMANDS[name], arguments


def _split(line: str) -> list[str]:
    """Return the words of a line as the image magics read them, or as completion escapes them."""
    if "\\" in line:
        with suppress(ValueError):
            return shlex.split(line)
    return [str(word) for word in split_line(line)]


def status(session: Session, _arguments: list[str]) -> str:
    """Show the service, the key, the model and the folders; so does ``%runapi`` alone."""
    settings = session.settings
    if session.simulator is not None:
        speed = session.simulator.speed
        lines = [
            f"Service    simulator in this kernel, {speed:g} times as fast as RunAPI",
            "           Images and costs are simulated; nothing leaves this machine.",
        ]
    else:
        access = resolve_access(settings)
        key = f"{access.key} from {access.key_source}" if access.key else "none"
        lines = [
            f"Service    {access.base_url} ({access.base_url_source})",
            f"Key        {key}",
        ]
        if not access.key:
            lines.append("           %runapi login saves a key; %runapi simulator on needs no key.")
    lines += [
        f"Model      {settings.model}",
        f"Images     {short_path(settings.image_location())}",
        f"Journal    {session.journal.path}",
    ]
    return "\n".join([*lines, *(f"Note: {notice}" for notice in session.take_notices())])


def models(_session: Session, arguments: list[str]) -> str:
    """List models with their actions, fields and estimated prices: ``models [WORDS]``.

    WORDS restrict the list to models that have all of them in their name or title.
    """
    lines = []
    words = [word.lower() for word in arguments]
    found = [
        model
        for model in CATALOGUE
        if all(word in f"{model.name} {model.title}".lower() for word in words)
    ]
    if not found:
        lines.append(f"The catalogue has no model with {' '.join(arguments)!r} in its name.")
    for model in found:
        lines.append(f"{model.name}  ({model.title})")
        for verb, action in (("generate", model.text), ("edit", model.edit)):
            if action is not None:
                lines.append(f"    {verb}: {_fields(action)}")
        if model.price is not None:
            prices = ", ".join(
                f"{value} {usd:.2f}".strip() for value, usd in model.price.usd.items()
            )
            by = f" by {model.price.by}" if model.price.by else ""
            lines.append(f"    USD a task{by}: {prices} (estimate, mid 2026)")
    lines.append("Other models need --service and --action; -p sets any other field.")
    return "\n".join(lines)


def _fields(action: Action) -> str:
    words = []
    if action.source_field:
        most = action.sources[1]
        words.append("1 source" if most == 1 else f"1 to {most} sources")
    for parameter in action.parameters:
        values = "|".join(map(str, parameter.choices)) or parameter.kind.__name__
        needed = " (required)" if parameter.required else ""
        words.append(f"{parameter.name}={values}{needed}")
    return "; ".join(words) or "no fields"


def batches(session: Session, _arguments: list[str]) -> str:
    """List the newest batches and sweeps, for ``resume_batch``."""
    from runapi_magic.batch.saved import saved_batches

    found = saved_batches(session).newest(_SHORT_HISTORY)
    lines = [
        f"{batch}  {datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M}"
        f"  {size:5d} requests  {title}"
        for batch, created, title, size in found
    ]
    return "\n".join(lines) or "There are no batches yet."


def simulator(session: Session, arguments: list[str]) -> str:
    """Turn the simulator on or off: ``simulator on [--speed X]``, ``simulator off``.

    The simulator needs no key. X is how many times as fast as RunAPI it is, 1 by default.
    """
    match arguments:
        case ["on", *rest]:
            session.connection.simulator_on(_speed(rest))
            assert session.simulator is not None
            return (
                f"Simulator on, {session.simulator.speed:g} times as fast as RunAPI. Images and"
                " costs are simulated: nothing is sent, nothing is charged."
            )
        case ["off"]:
            session.connection.simulator_off()
            return "Simulator off. From now on RunAPI makes the images and charges for them."
        case _:
            raise usage_error(
                "%runapi simulator needs on or off.", "%runapi simulator on [--speed X]"
            )


def _speed(arguments: list[str]) -> float:
    match arguments:
        case []:
            return 1.0
        case ["--speed", value]:
            try:
                return float(value)
            except ValueError:
                pass
    raise usage_error(
        f"%runapi simulator on takes --speed and a number (got {' '.join(arguments)!r}).",
        "%runapi simulator on --speed 10",
    )


def freeze(session: Session, _arguments: list[str]) -> str:
    """Remove the buttons from the notebook, so that it can be saved and opened anywhere."""
    from runapi_magic.widgets import availability

    if availability.lack() is None:
        from runapi_magic.widgets.placed import remove_all

        were_there = remove_all()
    else:
        were_there = False
    if not were_there:
        return "There are no buttons in the outputs of this kernel."
    when = (
        "Images that are still running will have no buttons: save the notebook when they are done."
        if session.is_busy
        else "Save the notebook now: it opens anywhere."
    )
    return (
        f"The buttons were removed; images and captions stay. {when}\n"
        "To get its buttons back, run a cell again, at no cost."
    )


def login(session: Session, arguments: list[str]) -> str:
    """Ask for the key without showing it, and save it in the RunAPI CLI's private file."""
    if arguments:  # not part of the message: they may be the key
        raise usage_error(
            "%runapi login takes no key in the cell: the notebook would save the key.",
            "Remove it from the cell and run %runapi login. It asks for the key and hides it.",
            charged="Nothing was sent, nothing was saved.",
        )
    path = save_key(getpass.getpass("RunAPI key (hidden): "))
    session.connection.forget_access()
    return f"The key is in {path}, which only you can read. %runapi status shows the key in use."


def history(session: Session, arguments: list[str]) -> Tree[GeneratedImage] | str:
    """Show the newest images in their trees: ``history [WORDS] [--limit N] [--cost]``.

    WORDS are searched in prompts and models. N is 10 by default. ``--cost`` shows a list of their
    costs instead.
    """
    words, limit = _limit([word for word in arguments if word != "--cost"])
    if "--cost" not in arguments:
        return session.library.forest(words, limit=limit) or _none(words)
    images, count = session.library.page(words, limit=limit)
    lines = [
        f"{datetime.fromtimestamp(image.created).astimezone():%Y-%m-%d %H:%M}"
        f"  {money(image.cost, simulated=image.simulated):<12}  {image.model}"
        f"  {image.request.title[:60]}"
        for image in images
    ]
    more = [f"{count - len(images)} older images: --limit {count}"] if count > len(images) else []
    return "\n".join([*(lines or [_none(words)]), *more, "", spending(session)])


def gallery(session: Session, arguments: list[str]) -> Album | str:
    """Show the newest images on one sheet: ``gallery [WORDS] [--limit N]``. N is 20 by default."""
    words, limit = _limit(arguments, _GALLERY, most=LARGEST)
    images, count = session.library.page(words, limit=limit)
    if not images:
        return _none(words)
    return Album(images, session.library, session.settings.preview_size, count)


def _none(words: str) -> str:
    return nothing_found(words) if words else "There are no images."


def _limit(
    arguments: list[str], usual: int = _SHORT_HISTORY, *, most: int = _LONGEST_HISTORY
) -> tuple[str, int]:
    """Separate ``--limit N`` from the words to search for."""
    limit = usual
    if "--limit" in arguments:
        at = arguments.index("--limit")
        number = "".join(arguments[at + 1 : at + 2])
        if not number.isdecimal() or not 0 < int(number) <= most:
            raise usage_error(
                f"--limit needs a number from 1 to {most} (got {number!r}).",
                "For example: --limit 20",
            )
        arguments, limit = arguments[:at] + arguments[at + 2 :], int(number)
    for word in arguments:
        if word.startswith("--"):
            raise usage_error(f"There is no option {word}.", "Use --limit 20, or words to search.")
    return " ".join(arguments), limit


def show(session: Session, arguments: list[str], names: Mapping[str, Any] | None = None) -> str:
    """Show how an image was made, and the cells that make it: ``show SOURCE``.

    SOURCE is a variable, such as ``cat``, ``cat.images[1]``, ``{cat}`` or ``$cat``, or a file path.
    """
    if len(arguments) != 1:
        raise usage_error(
            "%runapi show takes one image, as a variable or a path.",
            "%runapi show cat, or %runapi show gpt-images/cat.png",
        )
    image = _find_image(session, arguments[0], user_variables() if names is None else names)
    made = datetime.fromtimestamp(image.created).astimezone().strftime("%Y-%m-%d %H:%M")
    lineage = [f"{number}. {one.request.title}" for number, one in enumerate(image.line, 1)]
    fields = ", ".join(f"{name}={value}" for name, value in image.fields.items())
    return "\n".join(
        [
            f"File     {short_path(image.location)}, {image.width} x {image.height} px",
            f"Prompt   {image.request.title}",
            f"Model    {image.model}{fields and f' ({fields})'}",
            f"Created  {made}, {money(image.cost, simulated=image.simulated)}",
            f"Task     {image.task_id} at {image.origin}",
            f"Lineage  {chr(10).join(lineage).replace(chr(10), chr(10) + ' ' * 9)}",
            "",
            "These cells make it again, or load it from disk at no cost:",
            *(f"\n{cell}" for cell in session.library.cells(image)),
        ]
    )


def _find_image(session: Session, word: str, names: Mapping[str, Any]) -> GeneratedImage:
    """Return the image with a variable's name or a path.

    Raises:
        InvalidRequestError: There is no such image, or it does not say how it was made.
    """
    source = find_source(word, names)
    # A Generation without an image raises an error here.
    image = source.pending.image if source.pending is not None else source.image
    if isinstance(image, GeneratedImage):
        return image
    if source.path is None:
        raise InvalidRequestError(
            f"{word} is not a file and does not say how it was made.",
            todo="Give an image that was made here, or its file.",
        )
    return session.library.open(source.path)


_ALONE = {"status", "balance", "batches", "freeze"}  # commands without arguments

COMMANDS: dict[str, Command] = {
    "status": status,
    "models": models,
    "balance": balance,
    "budget": budget,
    "batches": batches,
    "history": history,
    "gallery": gallery,
    "show": show,
    "simulator": simulator,
    "freeze": freeze,
    "login": login,
    "resume": resume,
    "cancel": cancel,
    "forget": forget,
}
