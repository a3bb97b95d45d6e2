"""What the simulated service remembers: tasks, uploads, and where source pictures come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from .catalogue import image_count

if TYPE_CHECKING:
    from .catalogue import Contract

Status = Literal["pending", "processing", "completed", "failed"]

_PENDING_SHARE: Final = 0.2


@dataclass(frozen=True)
class Source:
    """Where the pixels of a source picture come from.

    Own outputs are named by task and index and drawn when needed; own uploads bring their bytes;
    for any other URL neither is set, and a stand-in is drawn from the URL itself.
    """

    url: str
    task_id: str | None = None
    index: int = 0
    content: bytes | None = field(default=None, repr=False)


@dataclass
class Task:
    """One generation under way or done. Times are the simulator's clock, in seconds."""

    id: str
    number: int
    contract: Contract
    model: str
    """The model's name as the request gave it."""
    body: dict[str, Any]
    idempotency_key: str | None
    created: float
    duration: float
    cents: int
    sources: tuple[Source, ...]
    mask: Source | None
    variation: int
    """How many equal requests came before; makes their pictures differ."""
    failure: str | None = None
    failed_at: float = math.inf
    is_told: bool = False
    """Whether anybody was told that it is complete; then it cannot fail any more."""
    files_expired: bool = False

    @property
    def ends(self) -> float:
        """When it ends or ended, well or badly."""
        return min(self.created + self.duration, self.failed_at)

    @property
    def prompt(self) -> str:
        """The prompt, empty where the model takes none."""
        return str(self.body.get("prompt") or "")

    @property
    def names(self) -> frozenset[str]:
        """The model's current name and the one asked for."""
        return frozenset({self.model, self.contract.model})

    @property
    def image_count(self) -> int:
        """How many pictures it makes."""
        return image_count(self.contract, self.body)

    @property
    def suffix(self) -> str:
        """File name extension of its pictures."""
        default = "jpeg" if self.contract.service == "flux_kontext" else "png"
        return "jpg" if (self.body.get("output_format") or default) == "jpeg" else "png"

    def status(self, now: float) -> Status:
        """Where it stands at this moment."""
        if now >= self.failed_at:
            return "failed"
        if now >= self.ends:
            return "completed"
        return "processing" if self.share(now) >= _PENDING_SHARE else "pending"

    def share(self, now: float) -> float:
        """How much of its time has passed, 0 to 1."""
        return min(1.0, (now - self.created) / self.duration)


@dataclass
class Upload:
    """An uploaded file, or, before its bytes came, the promise of one."""

    id: str
    name: str
    created: float
    expires: float
    byte_size: int = 0
    checksum: str = ""
    mime_type: str = ""
    content: bytes | None = field(default=None, repr=False)
    confirmed: bool = False
