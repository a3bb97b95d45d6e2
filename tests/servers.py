"""Servers on loopback, and sessions that send requests to them."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import ssl
import threading
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from runapi_magic.engine import session as session_module
from runapi_magic.engine.session import Session
from runapi_magic.engine.settings import Settings
from tests.conftest import serve_simulator

KEY = "sk-test-0123456789abcdef"
_TIMEOUT = 10.0


_certificates = functools.cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def _short_pauses(request, monkeypatch):
    """Shorten the client's own pauses in tests that start servers. Read certificates once.

    Pauses that a service asks for stay.
    """
    if request.node.get_closest_marker("server"):
        monkeypatch.setattr("runapi_magic.core.polling._FIRST_POLL", 0.1)
        monkeypatch.setattr("runapi_magic.core.polling._SHORTEST", 0.05)
        monkeypatch.setattr("runapi_magic.core.polling._LONGEST", 0.1)
        monkeypatch.setattr("runapi_magic.http.retry._FIRST_BACKOFF", 0.05)
        monkeypatch.setattr("runapi_magic.core.rate._SHORTEST_PAUSE", 0.05)
        monkeypatch.setattr("runapi_magic.engine.image_store._FIRST_PAUSE", 0.02)
        monkeypatch.setattr("ssl.create_default_context", _certificates)


class Service:
    """A simulator's server for one test, without faults. Only what the test sends is counted."""

    def __init__(self, server):
        self._server = server
        self.url = server.url
        request = urllib.request.Request(f"{self.url}/_simulator/faults", method="DELETE")
        urllib.request.urlopen(request).close()
        state = server.state()
        self._before = len(state["tasks"]), len(state["requests"])

    def fault(self, *specs):
        """Add faults."""
        self._server.fault(*specs)

    def clear_faults(self):
        """Remove all faults."""
        self._server.clear_faults()

    @property
    def charged(self):
        """USD that the service has charged for tasks created since the test began."""
        completed = (task for task in self.tasks if task["status"] == "completed")
        return sum(task["cents"] for task in completed) / 100

    @property
    def tasks(self):
        """The tasks that were created since the test began."""
        return self._server.state()["tasks"][self._before[0] :]

    @property
    def requests(self):
        """The requests since the test began."""
        return self._server.state()["requests"][self._before[1] :]

    def paths(self, method="POST"):
        """The paths of the requests with one method, in order."""
        return [each["path"] for each in self.requests if each["method"] == method]


@pytest.fixture(scope="session")
def _servers():
    running = {}
    with ExitStack() as stack:

        def start(family):
            if family not in running:
                options = ("--speed", "200", "--family", family)
                running[family] = stack.enter_context(serve_simulator(*options))
            return running[family]

        yield start


@pytest.fixture
def service(_servers):
    """Return a simulator that serves both route families."""
    return Service(_servers("both"))


@pytest.fixture
def guide(_servers):
    """Return a simulator that serves only the guide's routes."""
    return Service(_servers("guide"))


@pytest.fixture
def namespaced(_servers):
    """Return a simulator that serves only the SDK's routes."""
    return Service(_servers("namespaced"))


class Scripted:
    """A server on loopback that sends scripted responses and records its requests.

    Attributes:
        answers: Lists of responses by ``METHOD /path``. The last one is repeated. A response is
            (status, headers, body), or None to close the connection without one.
        seen: Method, path, headers by lower-case name, and body of every request.
    """

    def __init__(self):
        self.answers = {}
        self.seen = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _TIMEOUT

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = (self.command, self.path, headers, self.rfile.read(length))
                scripted.seen.append(request)
                script = scripted.answers.get(f"{self.command} {self.path}", [(404, {}, b"")])
                answer = script.pop(0) if len(script) > 1 else script[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, more, body = answer
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815 (http.server's names)

            def log_message(self, *_):
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self):
        """Stop the server."""
        self._server.shutdown()
        self._thread.join(_TIMEOUT)
        self._server.server_close()

    def received(self, method):
        """Return the requests with one method."""
        return [request for request in self.seen if request[0] == method]


@pytest.fixture
def scripted():
    """Return a function that starts a scripted server."""
    servers = []

    def start():
        servers.append(Scripted())
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def png():
    """Return an encoded image of 8 by 6 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "orange").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def answering(scripted, png):
    """Return a function that starts a server whose response to a create is a finished image."""

    def start(create):
        server = scripted()
        images = [{"url": f"{server.url}/a.png"}]
        done = {"id": "tsk_1", "status": "completed", "images": images}
        server.answers = {create: [(200, {}, done)], "GET /a.png": [(200, {}, png)]}
        return server

    return start


@pytest.fixture
def use():
    """Return a function that runs a coroutine function with a new session on a server."""

    def run(server, body, *, key=KEY, **settings):
        async def main():
            session = Session(Settings(base_url=server.url, api_key=key, **settings))
            try:
                return await asyncio.wait_for(body(session), 60)
            finally:
                await session.service().client.transport.close()
                session.journal.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def make(use):
    """Return a function that makes one image and returns its Generation."""

    def run(server, prompt="a fox", *, fields=None, **settings):
        async def body(session):
            return await session.generate(prompt, **(fields or {}))

        return use(server, body, **settings)

    return run


@pytest.fixture
def fail(use):
    """Return a function that requests an image that fails.

    It returns the Generation, its error, and the task's row in the journal.
    """

    def run(server, prompt="a fox", *, fields=None, **settings):
        async def body(session):
            generation = session.generate(prompt, **(fields or {}))
            await generation.ended()
            (error,) = generation.errors
            return generation, error, session.journal.task(generation.tasks[0].id)

        return use(server, body, **settings)

    return run


@pytest.fixture
def run(use, monkeypatch):
    """Return a function that runs a coroutine function with the session of this process."""

    def start(server, body, **settings):
        async def owned(session):
            monkeypatch.setitem(session_module._current, "session", session)
            return await body(session)

        return use(server, owned, **settings)

    return start


@pytest.fixture(scope="session")
def _slow_server():
    with serve_simulator("--speed", "20") as server:
        yield server


@pytest.fixture
def slow(_slow_server):
    """Return a simulator whose tasks take about half a second, so that a test can fail them."""
    return Service(_slow_server)
