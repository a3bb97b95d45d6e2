"""The record in an image file: how the image and its lineage were made.

A record contains no API key and no local folder. Paths are reduced to file names. URLs are reduced
to the part before the question mark, because signatures and tokens come after it.
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
_LONGEST_LINEAGE = 200  # images in a record
_LONGEST_NAME = 255  # bytes of a file name on usual file systems


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
    """Return the record for an image file.

    Args:
        request: The request of the image.
        image: The ID of the image.
        task_id: RunAPI's ID of the task.
        position: The index of the image in the task.
        origin: The service's base URL.
        simulated: Whether the simulator generated it.
        created: When it was requested, Unix time in seconds.
        cost: USD of this image; None if RunAPI did not report it.
    """
    parent = parent_of(request)
    ancestors = parent.line[-_LONGEST_LINEAGE:] if parent else []
    return {
        "schema": _SCHEMA,
        "image": image,
        "position": position,
        "origin": origin,
        "simulated": simulated,
        "parent": parent.id if parent else None,
        **_entry(request, task_id, created, cost),
        "line": [
            {
                "image": one.id,
                "file": one.path.name,
                "digest": one.digest,
                "width": one.width,
                "height": one.height,
                **_entry(one.request, one.task_id, one.created, one.cost),
            }
            for one in ancestors
        ],
    }


def _entry(
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
    """Return a request's title without local folders and without the query of a URL."""
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
    """Return the image of a record, with its lineage.

    The files of the lineage are expected in the folder of the image, under their own names.

    Args:
        record: A record of ``record_of``, or any other JSON object from a file.
        path: The image's file.
        digest: Hex SHA-256 of the file.
        size: Width and height in pixels.
        editor: Edits the image.

    Raises:
        InvalidRequestError: The record is invalid.
    """
    try:
        known: dict[str, GeneratedImage] = {}
        for entry in record["line"][-_LONGEST_LINEAGE:]:
            _add(known, entry, record, _path_beside(path, entry), editor)
        own = {"digest": digest, "width": size[0], "height": size[1]}
        return _add(known, {**record, **own}, record, path, editor)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise InvalidRequestError(
            f"The record of how {path.name} was made cannot be read.",
            todo="You can still edit the image: use its path with %%gpt_edit.",
        ) from None


def _path_beside(path: Path, entry: Mapping[str, Any]) -> Path:
    """Return the path of an image of the lineage, in the folder of the edited image."""
    # Only the name, because a stranger's record must not point to a file in another folder.
    name = Path(str(entry["file"])).name
    if len(name.encode()) > _LONGEST_NAME or "\0" in name or name == "..":
        raise ValueError(name)
    beside = path.with_name(name)
    if beside.exists() and not is_intact(beside, str(entry["digest"])):
        return path.parent / "elsewhere" / name  # another image has this name here
    return beside


def _time(text: object) -> float:
    """Return Unix time in seconds, which must be a valid date in every time zone."""
    time = datetime.fromisoformat(str(text))
    if not MINYEAR < time.year < MAXYEAR:
        raise ValueError(text)
    return time.timestamp()


def _add(
    known: dict[str, GeneratedImage],
    entry: Mapping[str, Any],
    record: Mapping[str, Any],
    path: Path,
    editor: Editor,
) -> GeneratedImage:
    """Add the image of one entry of a record to the known images."""

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

    cost = entry["cost_usd"]
    image = GeneratedImage(
        id=str(entry["image"]),
        path=path,
        request=ImageRequest(
            str(entry["prompt"]),
            str(entry["model"]),
            {str(name): value for name, value in entry["fields"].items()},
            sources=tuple(source(one) for one in entry["sources"]),
            mask=source(entry["mask"]) if entry["mask"] else None,
            service=str(entry["service"]) if entry.get("service") else None,
            action_name=str(entry["action"]) if entry.get("action") else None,
        ),
        width=int(entry["width"]),
        height=int(entry["height"]),
        task_id=str(entry["task"]),
        digest=str(entry["digest"]),
        origin=str(record["origin"]),
        cost=None if cost is None else float(cost),
        simulated=bool(record["simulated"]),
        created=_time(entry["created"]),
        editor=editor,
    )
    known[image.id] = image
    return image
