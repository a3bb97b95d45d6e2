"""What a picture's file says of how it was made, with the whole line that led to it.

A record holds no key and no local folder: a file's path is cut to its name, and an address to what
comes before its question mark, where signatures and tokens stand.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runapi_magic._version import __version__
from runapi_magic.core.request import ImageRequest, Source
from runapi_magic.engine.image import GeneratedImage, parent_of
from runapi_magic.errors import InvalidRequestError
from runapi_magic.media.files import is_intact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runapi_magic.engine.image import Editor

SOFTWARE = f"runapi_magic {__version__}"
_SCHEMA = 1
_LONGEST_LINE = 200  # pictures of a line that a file tells of
_LONGEST_NAME = 255  # bytes of a file's name that usual file systems take


def record_of(
    request: ImageRequest,
    *,
    image: str,
    task_id: str,
    position: int,
    origin: str,
    simulated: bool,
    created: float,
    cost: float | None,
) -> dict[str, Any]:
    """Return what a picture's file says.

    Args:
        request: What was asked for.
        image: The picture's id.
        task_id: The service's id of the task.
        position: Which of the task's pictures, from 0.
        origin: The service's base URL.
        simulated: Whether a simulator drew it.
        created: When it was asked for, Unix time in seconds.
        cost: USD of this picture, None where the service did not say.
    """
    parent = parent_of(request)
    ancestors = parent.line[-_LONGEST_LINE:] if parent else []
    return {
        "schema": _SCHEMA,
        "image": image,
        "position": position,
        "origin": origin,
        "simulated": simulated,
        "parent": parent.id if parent else None,
        **_step(request, task_id, created, cost),
        "line": [
            {
                "image": one.id,
                "file": one.path.name,
                "digest": one.digest,
                "width": one.width,
                "height": one.height,
                **_step(one.request, one.task_id, one.created, one.cost),
            }
            for one in ancestors
        ],
    }


def _step(
    request: ImageRequest, task_id: str, created: float, cost: float | None
) -> dict[str, Any]:
    return {
        "task": task_id,
        "created": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "cost_usd": cost,
        "prompt": request.prompt,
        "model": request.model,
        **({"service": request.service} if request.service else {}),
        **({"action": request.action_name} if request.action_name else {}),
        "fields": {
            name: _without_secrets(value) if name.endswith("url") else value
            for name, value in request.fields.items()
        },
        "sources": [_source(source) for source in request.sources],
        "mask": _source(request.mask) if request.mask else None,
    }


def public_title(request: ImageRequest) -> str:
    """Return a request's title for others to read: no local folder, no query of an address."""
    sources = tuple(replace(source, label=_public_label(source)) for source in request.sources)
    return replace(request, sources=sources).title


def _public_label(source: Source) -> str:
    if source.image:
        return source.image.prompt or source.image.path.name
    if source.url:
        return _without_secrets(source.url)
    return source.path.name if source.path else source.label


def _source(source: Source) -> dict[str, Any]:
    return {
        "label": _public_label(source),
        "digest": source.digest,
        "url": _without_secrets(source.url) if source.url else None,
        "image": source.image.id if source.image else None,
    }


def _without_secrets(url: object) -> str:
    try:
        parts = urlsplit(str(url))
        return parts._replace(
            netloc=parts.netloc.rpartition("@")[2], query="", fragment=""
        ).geturl()
    except ValueError:
        return ""


def restore(
    record: Mapping[str, Any], path: Path, digest: str, size: tuple[int, int], editor: Editor
) -> GeneratedImage:
    """Return the picture that a record tells of, with the line that led to it.

    Pictures of the line are looked for beside the file, under their names.

    Args:
        record: As ``record_of`` made it, or whatever else stands in a file.
        path: The picture's file.
        digest: Hex SHA-256 of the file.
        size: Width and height in pixels.
        editor: What it is edited with.

    Raises:
        InvalidRequestError: It is no record of ours.
    """
    try:
        known: dict[str, GeneratedImage] = {}
        for step in record["line"][-_LONGEST_LINE:]:
            _add(known, step, record, _beside(path, step), editor)
        own = {"digest": digest, "width": size[0], "height": size[1]}
        return _add(known, {**record, **own}, record, path, editor)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise InvalidRequestError(
            f"What the file {path.name} says of its making cannot be read.",
            todo="It is a picture all the same: %%gpt_edit takes its path.",
        ) from None


def _beside(path: Path, step: Mapping[str, Any]) -> Path:
    """Return where a picture of the line may be, and no other file of the user's."""
    # Only a name, so that a file from elsewhere cannot point outside of its folder.
    name = Path(str(step["file"])).name
    if len(name.encode()) > _LONGEST_NAME or "\0" in name or name == "..":
        raise ValueError(name)
    beside = path.with_name(name)
    if beside.exists() and not is_intact(beside, str(step["digest"])):
        return path.parent / "elsewhere" / name  # it is another picture's name here
    return beside


def _time(text: object) -> float:
    """Return Unix time in seconds that every time zone can show."""
    time = datetime.fromisoformat(str(text))
    if not MINYEAR < time.year < MAXYEAR:
        raise ValueError(text)
    return time.timestamp()


def _add(
    known: dict[str, GeneratedImage],
    step: Mapping[str, Any],
    whole: Mapping[str, Any],
    path: Path,
    editor: Editor,
) -> GeneratedImage:
    def source(given: Mapping[str, Any]) -> Source:
        image = known.get(str(given["image"]))
        url = given["url"]
        return Source(
            str(given["label"]),
            str(given["digest"]),
            url=None if url is None else str(url),
            path=image.path if image else None,
            image=image,
        )

    cost = step["cost_usd"]
    image = GeneratedImage(
        id=str(step["image"]),
        path=path,
        request=ImageRequest(
            str(step["prompt"]),
            str(step["model"]),
            {str(name): value for name, value in step["fields"].items()},
            sources=tuple(source(one) for one in step["sources"]),
            mask=source(step["mask"]) if step["mask"] else None,
            service=str(step["service"]) if step.get("service") else None,
            action_name=str(step["action"]) if step.get("action") else None,
        ),
        width=int(step["width"]),
        height=int(step["height"]),
        task_id=str(step["task"]),
        digest=str(step["digest"]),
        origin=str(whole["origin"]),
        cost=None if cost is None else float(cost),
        simulated=bool(whole["simulated"]),
        created=_time(step["created"]),
        editor=editor,
    )
    known[image.id] = image
    return image
