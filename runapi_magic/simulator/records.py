"""The data of the simulated service: tasks, uploads and source images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from runapi_magic.simulator.catalog import image_count

if TYPE_CHECKING:
    from runapi_magic.simulator.catalog import Contract

Status = Literal["pending", "processing", "completed", "failed"]

_PENDING_SHARE: Final = 0.2


@dataclass(frozen=True)
class Source:
    """The origin of a source image.

    An output of the simulator has a task id and an index, and is drawn on demand. An upload has its
    bytes. Any other URL has neither: a placeholder is drawn from the URL's text.
    """

    url: str
    task_id: str | None = None
    index: int = 0
    content: bytes | None = field(default=None, repr=False)


@dataclass
class Task:
    """One generation, running or finished. Times are in seconds of the simulator's clock."""

    id: str
    number: int
    contract: Contract
    model: str
    """The model name as in the request."""
    body: dict[str, Any]
    idempotency_key: str | None
    created: float
    duration: float
    cents: int
    sources: tuple[Source, ...]
    mask: Source | None
    variation: int
    """Number of equal requests before this one; makes their images differ."""
    failure: str | None = None
    failed_at: float = math.inf
    seen_completed: bool = False
    """Whether a poll returned its images. After that it cannot fail."""
    files_expired: bool = False

    @property
    def ends(self) -> float:
        """When the task completes or fails."""
        return min(self.created + self.duration, self.failed_at)

    @property
    def prompt(self) -> str:
        """The prompt, or an empty string if the request has none."""
        return str(self.body.get("prompt") or "")

    @property
    def model_names(self) -> frozenset[str]:
        """The model's current name and the name in the request."""
        return frozenset({self.model, self.contract.model})

    @property
    def image_count(self) -> int:
        """Number of images that the task makes."""
        return image_count(self.contract, self.body)

    @property
    def suffix(self) -> str:
        """File name extension of the images."""
        default = "jpeg" if self.contract.service == "flux_kontext" else "png"
        return "jpg" if (self.body.get("output_format") or default) == "jpeg" else "png"

    def status(self, now: float) -> Status:
        """Return the status at this moment."""
        if now >= self.failed_at:
            return "failed"
        if now >= self.ends:
            return "completed"
        return "processing" if self.progress(now) >= _PENDING_SHARE else "pending"

    def progress(self, now: float) -> float:
        """Return the fraction of the duration that has passed, 0 to 1."""
        return min(1.0, (now - self.created) / self.duration)


@dataclass
class Upload:
    """An uploaded file, or a prepared upload that has no bytes yet."""

    id: str
    name: str
    created: float
    expires: float
    byte_size: int = 0
    checksum: str = ""
    mime_type: str = ""
    content: bytes | None = field(default=None, repr=False)
    confirmed: bool = False
