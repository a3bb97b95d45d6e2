"""One request under faults: ask, look at what is left, resume, ask again, count.

A trial is a person's way through trouble. A first kernel asks; then the faults end, a second one
resumes, and the cell is run once more. At every point the server's tasks, the journal's rows and
the folder's files are counted, and what left this machine is kept byte by byte.
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
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings, resolve_access
from runapi_magic.errors import CHARGED, NOT_CHARGED, NOT_SENT, RunAPIError, TaskFailedError
from runapi_magic.http.aiohttp_transport import Connections
from runapi_magic.journal.task_log import Journal
from tests.conftest import KEY

PATIENCE = 30.0  # seconds until a trial counts as hanging
NEVER_CHARGED = {NOT_CHARGED, NOT_SENT, TaskFailedError.default_charged}
_SETTLED = 0.02  # seconds between two looks at the server
_FINAL = {"completed", "failed"}


@dataclass(frozen=True)
class Sent:
    """One request as it left this machine."""

    method: str
    path: str
    key: str | None
    authorized: bool
    body: bytes


@dataclass(frozen=True)
class Count:
    """What there is at one moment, since the trial began."""

    tasks: int
    completed: int
    cents: int
    journal: tuple[str, ...]
    files: int
    left_over: tuple[str, ...]


@dataclass
class Outcome:
    """What a trial showed.

    Attributes:
        error: Why there was no picture at first; None where there was.
        first: The counts after the first attempt, when the server was done.
        creates: The POSTs of the first attempt that create.
        uploads: The POSTs and PUTs of the first attempt that upload.
        resumed: How many pictures the resuming brought; None where nothing was left to resume.
        second: The counts after the resuming.
        again: Why the same request had no picture in the end; None where it had.
        last: The counts at the end.
        creates_in_all: All POSTs that create.
        foreign: Requests that went elsewhere with the key.
        notices: What the user was told besides.
    """

    error: RunAPIError | None = None
    first: Count | None = None
    creates: list[Sent] = field(default_factory=list)
    uploads: list[Sent] = field(default_factory=list)
    resumed: int | None = None
    second: Count | None = None
    again: RunAPIError | None = None
    last: Count | None = None
    creates_in_all: list[Sent] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def picture(self):
        """Whether the first attempt ended in the picture."""
        return self.error is None

    def complaints(self):
        """Return what must never be, whatever the fault: an empty list, if all is well."""
        counts = [self.first, self.second, self.last]
        found = {
            "a half file stays": [name for count in counts for name in count.left_over],
            "an unexpected exception": _unexpected(self.error) + _unexpected(self.again),
            "the key went elsewhere": self.foreign,
            "a repeat is not identical": _unlike(self.creates_in_all),
            "an upload's repeat is not identical": _unlike(self.uploads),
            "paid twice": [] if self.last.completed <= 1 else [self.last],
            "no picture in the end": [] if self.again is None else [self.again],
            "not one file in the end": [] if self.last.files == 1 else [self.last],
            "an error without three parts": _incomplete(self.error),
            "the charge is misstated": _misstated(self.error, self.first),
            "a paid task is not resumed": self._lost(),
        }
        return [f"{name}: {what}" for name, what in found.items() if what]

    def _lost(self):
        """A task that the server completed and that resuming did not get."""
        has_task = self.first.completed > 0
        return [self.second] if has_task and self.second.files != 1 else []


def _unlike(posts):
    """Idempotency keys that went out with more than one path or body."""
    shapes = {}
    for post in posts:
        shapes.setdefault(post.key, set()).add((post.path, post.body))
    return [key for key, found in shapes.items() if key is not None and len(found) > 1]


def _unexpected(error):
    """An exception that nobody thought of, packed into an error for the user."""
    return [error.what] if error is not None and type(error) is RunAPIError else []


def _incomplete(error):
    good = error is None or (
        isinstance(error, RunAPIError)
        and all(part.strip() for part in (error.what, error.charged, error.todo))
    )
    return [] if good else [repr(error)]


def _misstated(error, count):
    """Whether the words about the charge are untrue once the server is done."""
    if error is None:
        return []
    said_no, said_yes = error.charged in NEVER_CHARGED, error.charged == CHARGED
    untrue = (said_no and count.cents > 0) or (said_yes and count.cents == 0)
    vague = not said_no and not said_yes and "may" not in error.charged
    return [f"{error.charged} ({count.cents} cents)"] if untrue or vague else []


class Wire:
    """Keeps what leaves this machine, by port. Put in front of the network."""

    def __init__(self, monkeypatch):
        self.sent = {}
        real = Connections.handle_async_request

        async def keep(transport, request):
            target = request.headers.get("host", "")
            await request.aread()
            self.sent.setdefault(request.url.port, []).append((target, request))
            return await real(transport, request)

        monkeypatch.setattr(Connections, "handle_async_request", keep)

    def since(self, port, start):
        """Return the requests to a port from the nth on."""
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

    def foreign(self, port, start, origin):
        """Return the hosts other than the service's own that were shown the key."""
        return [
            target
            for target, request in self.sent.get(port, [])[start:]
            if "authorization" in request.headers and f"http://{target}" != origin
        ]


class Trial:
    """One request on one simulator, which nobody else uses meanwhile.

    Args:
        server: The simulator.
        wire: What leaves this machine.
        folder: A folder of its own, for the journal, the pictures and the source.
        name: A word that makes the prompt one of its own.
        fields: The request's fields.
        source: Whether it is an edit of a local picture.
        patience: Seconds that one answer may take; None for as many as usual.
        timeout: Seconds for the task.
    """

    def __init__(
        self,
        server,
        wire,
        folder,
        name,
        *,
        fields=None,
        source=False,
        patience=None,
        timeout=20.0,
    ):
        self.server = server
        self.wire = wire
        self.folder = folder
        self.prompt = f"trial {name}"
        self.fields = fields or {}
        self.patience = patience
        self.timeout = timeout
        self.source = folder / "source.png" if source else None
        self.port = httpx.URL(server.url).port

    async def run(self, *specs):
        """Go the whole way under these faults; return what it showed."""
        self.folder.mkdir(parents=True)
        if self.source:
            Image.frombytes("L", (8, 8), f"{self.prompt:>64.64}".encode()).save(self.source)
        outcome = Outcome()
        await self._control("DELETE")
        before = await self._state()
        self._before = before["tasks_created"], before["charged_cents"]
        start = len(self.wire.sent.get(self.port, []))
        await self._control("POST", specs)
        async with asyncio.timeout(PATIENCE):
            outcome.error, outcome.notices = await self._ask()
        outcome.first = await self._count()
        sent = self.wire.since(self.port, start)
        outcome.creates = [one for one in sent if _creates(one)]
        outcome.uploads = [one for one in sent if _uploads(one)]
        await self._control("DELETE")
        self.patience, self.timeout = None, PATIENCE
        async with asyncio.timeout(PATIENCE):
            outcome.resumed = await self._resume()
        outcome.second = await self._count()
        async with asyncio.timeout(PATIENCE):
            outcome.again, _ = await self._ask()
        outcome.last = await self._count()
        sent = self.wire.since(self.port, start)
        outcome.creates_in_all = [one for one in sent if _creates(one)]
        outcome.foreign = self.wire.foreign(self.port, start, self.server.url)
        return outcome

    async def _ask(self):
        """Ask in a kernel of its own; return the error, None where the picture came."""
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
            generation = session.resume()
            await generation.ended()
            return len(generation.images)

    # The simulator's other door

    async def _control(self, method, specs=()):
        body = json.dumps(list(specs)).encode() if specs else None
        if method == "DELETE" or specs:
            await self._open(method, "faults", body)

    async def _state(self):
        return json.loads(await self._open("GET", "state"))

    async def _open(self, method, name, body=None):
        """One request over a connection of its own, past everything that is under test."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} /_simulator/{name} HTTP/1.0\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Content-Length: {len(body or b'')}\r\n\r\n"
        writer.write(head.encode() + (body or b""))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        status, _, rest = answer.partition(b"\r\n")
        assert b" 20" in status, answer
        return rest.partition(b"\r\n\r\n")[2]

    async def _count(self):
        """Count, once the server is done with all it was asked."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = await self._state()
            tasks = state["tasks"][self._before[0] :]
            if all(task["status"] in _FINAL for task in tasks):
                break
            assert time.monotonic() < deadline, tasks
            await asyncio.sleep(_SETTLED)
        with closing(sqlite3.connect(self.folder / "data" / "journal.sqlite")) as journal:
            states = [state for (state,) in journal.execute("SELECT state FROM tasks")]
        pictures = self.folder / "pictures"
        names = [path.name for path in pictures.iterdir()] if pictures.is_dir() else []
        half = tuple(name for name in names if name.startswith("."))
        return Count(
            len(tasks),
            Counter(task["status"] for task in tasks)["completed"],
            state["charged_cents"] - self._before[1],
            tuple(states),
            len(names) - len(half),
            half,
        )


class _Kernel:
    """A session of its own on the trial's journal; it lets go of everything when it ends."""

    def __init__(self, trial):
        settings = Settings(
            base_url=trial.server.url,
            api_key=KEY,
            timeout=trial.timeout,
            image_dir=str(trial.folder / "pictures"),
        )
        self.session = Session(settings, Journal(trial.folder / "data"))
        self._patience = trial.patience
        service: Service = remote_service(resolve_access(settings, {}))
        self.session._service = service
        self._transport = service.client.transport

    async def __aenter__(self):
        clients = await self._transport._open()
        for client in clients if self._patience else ():
            client.timeout = httpx.Timeout(self._patience)
        return self.session

    async def __aexit__(self, *_):
        await self._transport.close()
        self.session.journal.close()


def _creates(sent):
    names = ("text_to_image", "edit_image", "upscale_image", "remove_background")
    return sent.method == "POST" and sent.path.endswith(names)


def _uploads(sent):
    return sent.method == "PUT" or (sent.method == "POST" and "/files/" in sent.path)
