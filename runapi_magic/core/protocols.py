"""The attributes that the lower rooms need of objects from higher rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class FinishedImage(Protocol):
    """A finished image. ``GeneratedImage`` implements this."""

    @property
    def id(self) -> str:
        """A unique id, the same in all kernels."""

    @property
    def path(self) -> Path:
        """The file of the original image."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the original file."""

    @property
    def width(self) -> int:
        """Width of the original in pixels."""

    @property
    def height(self) -> int:
        """Height of the original in pixels."""

    @property
    def created(self) -> float:
        """Unix time in seconds at which it was created."""

    @property
    def stored(self) -> str:
        """Its URL in an object store. Empty if it is not in one."""

    @property
    def prompt(self) -> str:
        """The prompt, or the instruction of an edit."""

    @property
    def parent(self) -> FinishedImage | None:
        """The image that this one is an edit of; None if there is none."""


class TaskRow(Protocol):
    """A task in the journal. ``StoredTask`` implements this."""

    @property
    def state(self) -> str:
        """The state in the journal, such as ``sent`` or ``saved``."""

    @property
    def task_id(self) -> str | None:
        """RunAPI's id of the task; None if it is not known."""

    @property
    def cost(self) -> float | None:
        """The cost in USD; None if it is not known."""
