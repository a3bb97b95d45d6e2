"""Buttons and panels. Nothing here is needed to see a picture."""

from __future__ import annotations

from pathlib import Path


def read_script(*names: str) -> str:
    """Return scripts of this folder as one module for the page, in this order."""
    return "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in names)
