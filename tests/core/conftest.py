"""A clean environment for every test, and pictures to work with."""

from __future__ import annotations

import io
import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OTHERS = ("HERMES_HOME", "XDG_CONFIG_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the user's settings: an empty home, an own data folder, an empty working directory."""
    for name in [name for name in os.environ if name.startswith("RUNAPI_") or name in _OTHERS]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RUNAPI_MAGIC_HOME", str(tmp_path / "data"))
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Return a maker of encoded pictures."""

    def make(
        size: tuple[int, int] = (8, 6),
        *,
        mode: str = "RGB",
        color: object = "orange",
        kind: str = "PNG",
        noise: bool = False,
    ) -> bytes:
        if noise:
            count = size[0] * size[1] * len(mode)
            image = Image.frombytes(mode, size, random.Random(1).randbytes(count))
        else:
            image = Image.new(mode, size, color)  # type: ignore[arg-type]
        buffer = io.BytesIO()
        image.save(buffer, kind, compress_level=1)
        return buffer.getvalue()

    return make
