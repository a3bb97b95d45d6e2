"""Simulators for tests: one in process with a clock that tests move, and one on a socket."""

import asyncio
import io
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from PIL import Image

from runapi_magic.simulator import Simulator, create_app
from tests.conftest import serve_simulator

BASE = "http://simulator.localhost"
KEY = {"authorization": "Bearer sk-test"}


class Clock:
    """A clock that only moves when a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += seconds


@dataclass
class Api:
    """A synchronous client for a simulator in process, through its ASGI app."""

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
        """Send a GET."""
        return self.request("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> httpx.Response:
        """Send a POST with JSON."""
        return self.request("POST", path, json=json, **kwargs)

    def create(self, path: str = "/api/v1/gpt_image_2/text_to_image", **fields: Any) -> str:
        """Create a task and return its id."""
        body = {"model": "gpt-image-2", "prompt": "a red fox"} | fields
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return response.json()["id"]

    def finish(self) -> None:
        """Move the clock until all tasks have ended."""
        self.clock.advance(600)

    def status(self, task_id: str) -> dict[str, Any]:
        """Return a task's JSON, from the route that accepts any id."""
        return self.get(f"/v1/tasks/{task_id}").json()

    def create_image(self, path: str = "/api/v1/gpt_image_2/text_to_image", **fields: Any) -> str:
        """Create an image and return its URL."""
        task_id = self.create(path, **fields)
        self.finish()
        return self.status(task_id)["images"][0]["url"]

    def fetch_image(self, url: str) -> Image.Image:
        """Download an image without the key, and decode it."""
        response = self.get(url, headers={})
        assert response.status_code == 200, response.text
        with Image.open(io.BytesIO(response.content)) as opened:
            opened.load()
            return opened.copy()


def make_api(**options: Any) -> Api:
    """Make a simulator with its own clock, at real speed by default."""
    clock = Clock()
    return Api(Simulator(**{"speed": 1.0, "clock": clock} | options), clock)


@pytest.fixture
def api() -> Api:
    """Return a simulator in process."""
    return make_api()


@pytest.fixture(scope="session")
def shared_server():
    """Run one server for all tests that need a socket."""
    with serve_simulator("--speed", "50") as server:
        yield server


@pytest.fixture
def server(shared_server):
    """Return the shared server, without faults."""
    shared_server.clear_faults()
    yield shared_server
    shared_server.clear_faults()


def png_bytes(size: tuple[int, int] = (64, 48), colour: str = "teal") -> bytes:
    """Return a small PNG."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()
