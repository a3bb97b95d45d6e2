"""One request under faults: run, resume, run again; and check the counts after each step.

A trial does what a user would do. A first kernel runs the request. Then the faults end, a second
kernel resumes what is left, and a third runs the request again. After each step the trial counts
the server's tasks, the journal's rows and the folder's files. It also records all sent requests.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import httpx
from PIL import Image

from runapi_magic.engine.backend import Service, remote_service
from runapi_magic.engine.credentials import resolve_access
from runapi_magic.engine.resume import resume_tasks
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from runapi_magic.errors import CHARGED, NOT_CHARGED, NOT_SENT, RunAPIError, TaskFailedError
from runapi_magic.http.aiohttp_transport import Connections
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY

TIMEOUT = 30.0  # seconds until a trial fails as hanging
NEVER_CHARGED = {NOT_CHARGED, NOT_SENT, TaskFailedError.default_charged}
_POLL_INTERVAL = 0.02  # seconds between two polls of the server's state
_FINAL = {"completed", "failed"}


@dataclass(frozen=True)
class Sent:
    """One request as it was sent."""

    method: str
    path: str
    key: str | None
    authorized: bool
    body: bytes


@dataclass(frozen=True)
class Counts:
    """Counts since the start of the trial."""

    tasks: int
    completed: int
    cents: int
    journal: tuple[str, ...]
    files: int
    partial_files: tuple[str, ...]


@dataclass
class Outcome:
    """The result of a trial.

    Attributes:
        error: Error of the first attempt; None if the image was saved.
        first: Counts after the first attempt, when all tasks had ended.
        creates: Create requests of the first attempt.
        uploads: Upload requests (POST and PUT) of the first attempt.
        resumed: Number of images saved by resuming; None if nothing was left to resume.
        second: Counts after resuming.
        repeat_error: Error of the repeated request; None if the image was saved.
        last: Counts at the end.
        all_creates: All create requests.
        foreign_hosts: Other hosts that received the key.
        notices: Notices to the user.
    """

    error: RunAPIError | None = None
    first: Counts | None = None
    creates: list[Sent] = field(default_factory=list)
    uploads: list[Sent] = field(default_factory=list)
    resumed: int | None = None
    second: Counts | None = None
    repeat_error: RunAPIError | None = None
    last: Counts | None = None
    all_creates: list[Sent] = field(default_factory=list)
    foreign_hosts: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def violations(self):
        """Return what went wrong; an empty list if everything is correct."""
        counts = [self.first, self.second, self.last]
        found = {
            "a partial file is left": [name for count in counts for name in count.partial_files],
            "an unexpected exception": _unexpected(self.error) + _unexpected(self.repeat_error),
            "another host received the key": self.foreign_hosts,
            "a repeated request is not identical": _changed_repeats(self.all_creates),
            "a repeated upload is not identical": _changed_repeats(self.uploads),
            "charged twice": [] if self.last.completed <= 1 else [self.last],
            "no image at the end": [] if self.repeat_error is None else [self.repeat_error],
            "not exactly one file at the end": [] if self.last.files == 1 else [self.last],
            "an error without three parts": _incomplete(self.error),
            "the reported charge is wrong": _wrong_charge(self.error, self.first),
            "a charged task is not resumed": self._lost(),
        }
        return [f"{name}: {what}" for name, what in found.items() if what]

    def _lost(self):
        """Return the counts if resuming did not save the image of a completed task."""
        has_task = self.first.completed > 0
        return [self.second] if has_task and self.second.files != 1 else []


def _changed_repeats(posts):
    """Return the idempotency keys that were sent with more than one path or body."""
    shapes = {}
    for post in posts:
        shapes.setdefault(post.key, set()).add((post.path, post.body))
    return [key for key, found in shapes.items() if key is not None and len(found) > 1]


def _unexpected(error):
    """Return the text of an error that wraps an unexpected exception."""
    return [error.what] if error is not None and type(error) is RunAPIError else []


def _incomplete(error):
    good = error is None or (
        isinstance(error, RunAPIError)
        and all(part.strip() for part in (error.what, error.charged, error.todo))
    )
    return [] if good else [repr(error)]


def _wrong_charge(error, counts):
    """Return the error's text about the charge if it is wrong."""
    if error is None:
        return []
    said_no, said_yes = error.charged in NEVER_CHARGED, error.charged == CHARGED
    untrue = (said_no and counts.cents > 0) or (said_yes and counts.cents == 0)
    vague = not said_no and not said_yes and "may" not in error.charged
    return [f"{error.charged} ({counts.cents} cents)"] if untrue or vague else []


class RequestRecorder:
    """Records all requests that are sent, by port."""

    def __init__(self, monkeypatch):
        self.sent = {}
        real = Connections.handle_async_request

        async def record(transport, request):
            target = request.headers.get("host", "")
            await request.aread()
            self.sent.setdefault(request.url.port, []).append((target, request))
            return await real(transport, request)

        monkeypatch.setattr(Connections, "handle_async_request", record)

    def since(self, port, start):
        """Return the requests to a port, starting with number ``start``."""
        return [
            Sent(
                request.method,
                request.url.path,
                request.headers.get("idempotency-key"),
                "authorization" in request.headers,
                request.content if request.method in {"POST", "PUT"} else b"",
            )
            for _, request in self.sent.get(port, [])[start:]
        ]

    def foreign_hosts(self, port, start, origin):
        """Return the hosts other than the service that received the key."""
        return [
            target
            for target, request in self.sent.get(port, [])[start:]
            if "authorization" in request.headers and f"http://{target}" != origin
        ]


class Trial:
    """One request on one simulator that no other trial uses at the same time.

    Args:
        server: The simulator.
        recorder: The record of sent requests.
        folder: A new folder for the journal, the images and the source.
        name: A text that makes the prompt unique.
        fields: Fields of the request.
        source: Whether to edit a local image.
        response_timeout: Timeout of one response in seconds; None for the default.
        timeout: Timeout of the task in seconds.
    """

    def __init__(
        self,
        server,
        recorder,
        folder,
        name,
        *,
        fields=None,
        source=False,
        response_timeout=None,
        timeout=20.0,
    ):
        self.server = server
        self.recorder = recorder
        self.folder = folder
        self.prompt = f"trial {name}"
        self.fields = fields or {}
        self.response_timeout = response_timeout
        self.timeout = timeout
        self.source = folder / "source.png" if source else None
        self.port = httpx.URL(server.url).port

    async def run(self, *specs):
        """Run all steps of the trial under these faults."""
        self.folder.mkdir(parents=True)
        if self.source:
            Image.frombytes("L", (8, 8), f"{self.prompt:>64.64}".encode()).save(self.source)
        outcome = Outcome()
        await self._change_faults("DELETE")
        before = await self._state()
        self._before = before["tasks_created"], before["charged_cents"]
        start = len(self.recorder.sent.get(self.port, []))
        await self._change_faults("POST", specs)
        async with asyncio.timeout(TIMEOUT):
            outcome.error, outcome.notices = await self._run_request()
        outcome.first = await self._get_counts()
        sent = self.recorder.since(self.port, start)
        outcome.creates = [request for request in sent if _is_create(request)]
        outcome.uploads = [request for request in sent if _is_upload(request)]
        await self._change_faults("DELETE")
        self.response_timeout, self.timeout = None, TIMEOUT
        async with asyncio.timeout(TIMEOUT):
            outcome.resumed = await self._resume()
        outcome.second = await self._get_counts()
        async with asyncio.timeout(TIMEOUT):
            outcome.repeat_error, _ = await self._run_request()
        outcome.last = await self._get_counts()
        sent = self.recorder.since(self.port, start)
        outcome.all_creates = [request for request in sent if _is_create(request)]
        outcome.foreign_hosts = self.recorder.foreign_hosts(self.port, start, self.server.url)
        return outcome

    async def _run_request(self):
        """Run the request in a new session. Return its error (None if the image was saved)."""
        async with _Kernel(self) as session:
            if self.source:
                generation = session.edit(self.source, self.prompt, **self.fields)
            else:
                generation = session.generate(self.prompt, **self.fields)
            await generation.ended()
            if not generation.errors:
                assert generation.image.path.is_file()
            return next(iter(generation.errors), None), session.notices

    async def _resume(self):
        async with _Kernel(self) as session:
            if not session.journal.unfinished():
                return None
            generation = resume_tasks(session)
            await generation.ended()
            return len(generation.images)

    # The simulator's own routes

    async def _change_faults(self, method, specs=()):
        body = json.dumps(list(specs)).encode() if specs else None
        if method == "DELETE" or specs:
            await self._call_simulator(method, "faults", body)

    async def _state(self):
        return json.loads(await self._call_simulator("GET", "state"))

    async def _call_simulator(self, method, name, body=None):
        """Send a request on a separate connection, independent of the code under test."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} /_simulator/{name} HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Content-Length: {len(body or b'')}\r\n\r\n"
        writer.write(head.encode() + (body or b""))
        response = await reader.read()
        writer.close()
        await writer.wait_closed()
        status, _, rest = response.partition(b"\r\n")
        assert b" 20" in status, response
        return rest.partition(b"\r\n\r\n")[2]

    async def _get_counts(self):
        """Return the counts when all tasks have ended."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            state = await self._state()
            tasks = state["tasks"][self._before[0] :]
            if all(task["status"] in _FINAL for task in tasks):
                break
            assert time.monotonic() < deadline, tasks
            await asyncio.sleep(_POLL_INTERVAL)
        with closing(sqlite3.connect(self.folder / "data" / "journal.sqlite")) as journal:
            states = [state for (state,) in journal.execute("SELECT state FROM tasks")]
        images = self.folder / "images"
        names = [path.name for path in images.iterdir()] if images.is_dir() else []
        partial_files = tuple(name for name in names if name.startswith("."))
        return Counts(
            len(tasks),
            Counter(task["status"] for task in tasks)["completed"],
            state["charged_cents"] - self._before[1],
            tuple(states),
            len(names) - len(partial_files),
            partial_files,
        )


class _Kernel:
    """A session on the trial's journal that closes everything when it ends."""

    def __init__(self, trial):
        settings = Settings(
            base_url=trial.server.url,
            api_key=KEY,
            timeout=trial.timeout,
            image_dir=str(trial.folder / "images"),
        )
        self.session = Session(settings, Journal(trial.folder / "data"))
        self._response_timeout = trial.response_timeout
        service: Service = remote_service(resolve_access(settings, {}))
        self.session.connection._remote = service
        self._transport = service.client.transport

    async def __aenter__(self):
        clients = await self._transport.clients.get()
        for client in clients if self._response_timeout else ():
            client.timeout = httpx.Timeout(self._response_timeout)
        return self.session

    async def __aexit__(self, *_):
        await self._transport.close()
        self.session.journal.close()


def _is_create(sent):
    names = ("text_to_image", "edit_image", "upscale_image", "remove_background")
    return sent.method == "POST" and sent.path.endswith(names)


def _is_upload(sent):
    return sent.method == "PUT" or (sent.method == "POST" and "/files/" in sent.path)
