"""Routes for files: three ways to upload, and downloads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mimetypes
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from starlette.responses import RedirectResponse, Response, StreamingResponse

from runapi_magic.simulator.responses import (
    api_error,
    drop_connection,
    foreign_base_url,
    iso_time,
    json_response,
    not_found,
    validation_error,
)
from runapi_magic.simulator.sources import resolve_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runapi_magic.simulator.faults import Fault
    from runapi_magic.simulator.records import Task, Upload
    from runapi_magic.simulator.routing import Call

MAX_FILE_BYTES: Final = 50 * 2**20
"""Maximum size of an uploaded file."""

_CHUNK: Final = 256 * 1024
_HUGE_BYTES: Final = 10 * 2**30
_BOMB_SIDE: Final = 20_000
_MD5_BYTES: Final = 16
_BASE64_STEP: Final = 2**20
_SIGNATURES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


async def create_file(call: Call) -> Response:
    """POST /api/v1/files: make a file from a URL or from base64."""
    body = call.fields()
    source = body.get("source")
    if not isinstance(source, dict) or source.get("type") not in {"url", "base64"}:
        raise validation_error({"source": ["must have a type of url or base64"]})
    if source["type"] == "url":
        found = resolve_source(call, source.get("url"), "source")
        content = await call.renderer.run_in_thread(call.renderer.source_bytes, found)
        name = urlsplit(found.url).path.rpartition("/")[2]
    else:
        content = await call.renderer.run_in_thread(_decode_base64, source.get("data"))
        name = ""
    mime_type = _image_type(content)
    name = _safe_name(body.get("file_name") or name, mime_type)
    upload = call.simulator.prepare_upload(name, byte_size=len(content), mime_type=mime_type)
    upload.content, upload.confirmed = content, True
    return json_response(_file_json(call, upload), 201)


async def prepare(call: Call) -> Response:
    """POST /api/v1/files/prepare: return the URL and the headers for a PUT of the bytes."""
    body = call.fields()
    name, size, checksum = (body.get(field) for field in ("filename", "byte_size", "checksum"))
    problems: dict[str, list[str]] = {}
    if not isinstance(name, str) or not name.strip():
        problems["filename"] = ["is required"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        problems["byte_size"] = ["must be greater than 0"]
    if not isinstance(checksum, str) or not _is_md5(checksum):
        problems["checksum"] = ["is not a base64 MD5"]
    if problems:
        raise validation_error(problems)
    _check_size(int(str(size)))
    mime_type = mimetypes.guess_type(str(name))[0] or "application/octet-stream"
    upload = call.simulator.prepare_upload(
        _safe_name(name, mime_type),
        byte_size=int(str(size)),
        checksum=str(checksum),
        mime_type=mime_type,
    )
    target = {
        "signed_id": upload.id,
        "upload_url": f"{call.base}/uploads/{upload.id}",
        "headers": _put_headers(upload),
    }
    return json_response(target, 201)


async def put(call: Call) -> Response:
    """PUT to a prepared URL. It needs exactly the returned headers, and no key."""
    upload = call.simulator.live_upload(call.path_part("upload_id"))
    if upload is None or upload.confirmed:
        raise not_found("Upload")
    headers = call.request.headers
    if "authorization" in headers:
        raise api_error(400, "bad_request", "A signed upload takes no Authorization header")
    wrong = [n for n, value in _put_headers(upload).items() if headers.get(n) != value]
    if wrong:
        raise api_error(400, "bad_request", f"Not as signed: {', '.join(wrong)}")
    _check_size(len(call.raw))
    digest = await call.renderer.run_in_thread(hashlib.md5, call.raw, usedforsecurity=False)
    if base64.b64encode(digest.digest()).decode() != upload.checksum:
        raise api_error(422, "checksum_mismatch", "The bytes do not have the announced MD5")
    if len(call.raw) != upload.byte_size:
        raise api_error(422, "size_mismatch", f"{upload.byte_size} bytes were announced")
    upload.content = call.raw
    return Response(status_code=204)


async def confirm(call: Call) -> Response:
    """POST /api/v1/files/confirm: make a file from the uploaded bytes."""
    upload = call.simulator.live_upload(str(call.fields().get("signed_id")))
    if upload is None:
        raise not_found("Upload")
    if upload.content is None:
        raise api_error(422, "not_uploaded", "The file has not been uploaded yet")
    upload.mime_type = _image_type(upload.content)
    upload.confirmed = True
    return json_response(_file_json(call, upload), 201)


async def download(call: Call) -> Response:
    """GET /files/{owner}/{name}: an output or an uploaded file. It needs no key."""
    owner, name = call.path_part("owner"), call.path_part("name")
    found = call.simulator.live_output(owner, name)
    upload = call.simulator.live_upload(owner)
    if not found and not (upload and upload.confirmed and upload.name == name):
        gone = owner in call.simulator.tasks or owner in call.simulator.uploads
        if gone:
            raise api_error(410, "gone", "This file is not available, or not any more")
        raise not_found("File")
    task = found[0] if found else None
    fault = call.simulator.match_fault(
        "download",
        path=call.path,
        models=task.model_names if task else frozenset(),
        prompt=task.prompt if task else "",
    )
    if fault and fault.effect == "redirect_foreign":
        return RedirectResponse(foreign_base_url(call.request) + call.path, status_code=302)
    if fault and fault.effect != "slow" and (response := await call.apply_fault(fault)):
        return response
    content = await call.renderer.output(*found) if found else (upload and upload.content) or b""
    mime_type = _suffix_type(task) if task else (upload and upload.mime_type) or ""
    return await _file_response(call, content, mime_type, fault)


async def _file_response(
    call: Call, content: bytes, mime_type: str, fault: Fault | None
) -> Response:
    """Return the file, changed by the fault if there is one."""
    length, seconds, dropped = len(content), 0.0, False
    match fault.effect if fault else "":
        case "html":
            page = b"<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body>"
            return Response(page + b"</html>", media_type="text/html")
        case "truncated":
            content = content[: length // 2]
        case "drop":
            content, dropped = content[: length // 2], True
        case "corrupt":
            middle = length // 3
            content = content[:middle] + bytes(length - 2 * middle) + content[-middle:]
        case "slow" if fault:
            seconds = fault.seconds
        case "bomb":
            content = await call.renderer.run_in_thread(_bomb)
            length, mime_type = len(content), "image/png"
        case "huge" if fault:
            if "mb" in fault.options:
                flood = _zeros(int(fault.options["mb"]))
                return StreamingResponse(flood, media_type=mime_type)
            length = _HUGE_BYTES
    headers = {"content-length": str(length), "accept-ranges": "none"}
    chunks = _chunks(call, content, seconds, dropped=dropped)
    return StreamingResponse(chunks, media_type=mime_type, headers=headers)


async def _chunks(
    call: Call, content: bytes, seconds: float, *, dropped: bool
) -> AsyncIterator[bytes]:
    """Yield the content in chunks, spread over ``seconds``."""
    parts = range(0, len(content), _CHUNK)
    for start in parts:
        yield content[start : start + _CHUNK]
        if seconds:
            await asyncio.sleep(seconds / len(parts))
    if dropped:
        await drop_connection(call.request)


async def _zeros(megabytes: int) -> AsyncIterator[bytes]:
    for _ in range(megabytes):
        yield bytes(2**20)


def _bomb() -> bytes:
    """Make a valid black PNG of 400 megapixels in about 50 kB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + _BOMB_SIDE // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(_BOMB_SIDE // 100)) + packer.flush()
    side = _BOMB_SIDE.to_bytes(4)
    parts = ((b"IHDR", side + side + bytes([1, 0, 0, 0, 0])), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
        for kind, body in parts
    )


def _suffix_type(task: Task) -> str:
    return "image/jpeg" if task.suffix == "jpg" else "image/png"


def _put_headers(upload: Upload) -> dict[str, str]:
    return {
        "Content-Type": upload.mime_type,
        "Content-MD5": upload.checksum,
        "X-Upload-Token": upload.id[-8:],
    }


def _file_json(call: Call, upload: Upload) -> dict[str, Any]:
    return {
        "file_name": upload.name,
        "url": f"{call.base}/files/{upload.id}/{quote(upload.name)}",
        "size_bytes": len(upload.content or b""),
        "mime_type": upload.mime_type,
        "created_at": iso_time(upload.created),
        "expires_at": iso_time(upload.expires),
    }


def _safe_name(name: object, mime_type: str) -> str:
    """Return the last part of a file name, with only characters that are safe in a URL."""
    last = str(name or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in last).strip("._")
    return kept[-100:] or f"upload{mimetypes.guess_extension(mime_type) or ''}"


def _decode_base64(data: object) -> bytes:
    """Decode base64 text or a data URL. Works in steps so that other threads can run."""
    if not isinstance(data, str) or not data.strip():
        raise validation_error({"source": ["data is required"]})
    text = data.partition(",")[2] if data.startswith("data:") else data
    if len(text) * 3 // 4 > MAX_FILE_BYTES + 2:
        _check_size(len(text) * 3 // 4)
    text = "".join(text.split())
    steps = range(0, len(text), _BASE64_STEP)
    try:
        return b"".join(base64.b64decode(text[s : s + _BASE64_STEP], validate=True) for s in steps)
    except (binascii.Error, ValueError):
        raise validation_error({"source": ["data is not valid base64"]}) from None


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise api_error(413, "payload_too_large", "The file is larger than the limit of 50 MB")


def _is_md5(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _MD5_BYTES
    except (binascii.Error, ValueError):
        return False


def _image_type(content: bytes) -> str:
    """Return the image type by the first bytes. Raises a 415 for anything else."""
    for signature, mime_type in _SIGNATURES.items():
        if content.startswith(signature):
            return mime_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise api_error(415, "unsupported_media_type", "The file is not a PNG, JPEG, WEBP or GIF image")
