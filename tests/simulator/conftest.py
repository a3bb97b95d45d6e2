"""A simulator in this process with a clock that tests move, and one on a socket."""

import asyncio
import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from PIL import Image

from runapi_magic.simulator import Simulator, create_app

BASE = "http://simulator.localhost"
KEY = {"authorization": "Bearer sk-test"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@dataclass
class Api:
    """A synchronous client of a simulator in this process, over its ASGI app."""

    sim: Simulator
    clock: Clock
    headers: dict[str, str] = field(default_factory=lambda: dict(KEY))

    def __post_init__(self) -> None:
        self._app = create_app(self.sim)

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request, with the key unless other headers are given."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                return await client.request(method, path, **kwargs)

        kwargs["headers"] = self.headers if kwargs.get("headers") is None else kwargs["headers"]
        return asyncio.run(send())

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> httpx.Response:
        """POST JSON."""
        return self.request("POST", path, json=json, **kwargs)

    def create(self, path: str = "/api/v1/gpt_image_2/text_to_image", **fields: Any) -> str:
        """Create a task and return its id."""
        body = {"model": "gpt-image-2", "prompt": "a red fox"} | fields
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def finish(self) -> None:
        """Let all the tasks there are come to their end."""
        self.clock.pass_by(600)

    def status(self, task_id: str) -> dict[str, Any]:
        """A task's JSON, by the route that takes any id."""
        return self.get(f"/v1/tasks/{task_id}").json()

    def picture(self, path: str = "/api/v1/gpt_image_2/text_to_image", **fields: Any) -> str:
        """Make a picture and return its URL."""
        task_id = self.create(path, **fields)
        self.finish()
        return self.status(task_id)["images"][0]["url"]

    def image(self, url: str) -> Image.Image:
        """Fetch a picture, without the key, and decode it."""
        answer = self.get(url, headers={})
        assert answer.status_code == 200, answer.text
        with Image.open(io.BytesIO(answer.content)) as opened:
            opened.load()
            return opened.copy()


def make_api(**options: Any) -> Api:
    """A simulator at real speed (unless told) with a clock of its own."""
    clock = Clock()
    return Api(Simulator(**{"speed": 1.0, "clock": clock} | options), clock)


@pytest.fixture
def api() -> Api:
    """A simulator in this process."""
    return make_api()


@contextlib.contextmanager
def serving(*arguments: str):
    """A simulator as a server of its own; yields its base URL and process."""
    command = [sys.executable, "-m", "runapi_magic.simulator", "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            yield line.removeprefix("listening on ").strip(), process
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def shared_server():
    """One server for all the tests that need a socket."""
    with serving("--speed", "50") as (base, _):
        yield base


@pytest.fixture
def server(shared_server):
    """The shared server without faults; returns its base URL."""
    httpx.delete(f"{shared_server}/_simulator/faults")
    yield shared_server
    httpx.delete(f"{shared_server}/_simulator/faults")


def picture_bytes(size: tuple[int, int] = (64, 48), colour: str = "teal") -> bytes:
    """A small PNG."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()
