"""What the lower rooms need of the objects that the engine makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class FinishedImage(Protocol):
    """A finished image, as a request and the journal see it; see ``GeneratedImage``."""

    @property
    def id(self) -> str:
        """Unique and stable across kernels."""

    @property
    def path(self) -> Path:
        """The original on disk."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the original's bytes."""

    @property
    def width(self) -> int:
        """Pixels of the original."""

    @property
    def height(self) -> int:
        """Pixels of the original."""

    @property
    def created(self) -> float:
        """Unix time in seconds."""

    @property
    def stored(self) -> str:
        """Its URL in an object store, else empty."""

    @property
    def prompt(self) -> str:
        """The prompt, or the instruction of an edit."""

    @property
    def parent(self) -> FinishedImage | None:
        """The image that this one is an edit of, where there is one."""


class TaskRow(Protocol):
    """A task as the journal has it; see ``StoredTask``."""

    @property
    def state(self) -> str:
        """Its state in the journal."""

    @property
    def task_id(self) -> str | None:
        """RunAPI's id of the task, where it is known."""

    @property
    def cost(self) -> float | None:
        """USD."""
