"""Source URLs: whether they are outputs or uploads of this simulator, or foreign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runapi_magic.simulator.catalog import url as url_problem
from runapi_magic.simulator.records import Source
from runapi_magic.simulator.responses import validation_error

if TYPE_CHECKING:
    from runapi_magic.simulator.routing import Call

_LOOPBACK = {"localhost", "127.0.0.1"}


def resolve_source(call: Call, url: Any, field: str) -> Source:
    """Return the origin of a source URL. Fetches nothing.

    Raises:
        ApiError: A 422 that names the URL: it is invalid, or this simulator does not have the file.
    """
    if problem := url_problem(url):
        raise validation_error({field: [f"{url} {problem}"]})
    parts, own = urlsplit(url), urlsplit(call.base)
    same_host = parts.hostname == own.hostname or {parts.hostname, own.hostname} <= _LOOPBACK
    if not same_host or parts.port != own.port:
        return Source(url)
    pieces = parts.path.strip("/").split("/")
    if len(pieces) == 3 and pieces[0] == "files":  # noqa: PLR2004 - files/owner/name
        _, owner, name = pieces
        if found := call.simulator.live_output(owner, name):
            task, index = found
            return Source(url, task_id=task.id, index=index)
        upload = call.simulator.live_upload(owner)
        if upload and upload.confirmed and upload.name == name:
            return Source(url, content=upload.content)
    raise validation_error({field: [f"{url} could not be fetched: not found or expired"]})
