"""The requests of a batch: what each was asked for, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.errors import RunAPIError
    from runapi_magic.generation import Generation
    from runapi_magic.images import GeneratedImage
    from runapi_magic.requests import ImageRequest

ItemStatus = Literal["waiting", "running", "completed", "failed", "cancelled"]


@dataclass(eq=False, slots=True)
class Item:
    """One request of a batch.

    Attributes:
        index: Its place, from 0.
        request: What is asked for.
        variables: What the user called its parts by: columns or sweep variables.
        status: Where it is.
        images: Its pictures, once on disk.
        error: Why there is none, or not all.
        cost: USD, 0 for pictures from disk; None where the service did not say.
        saved: USD that pictures from disk did not cost again.
    """

    index: int
    request: ImageRequest
    variables: dict[str, Any] = field(default_factory=dict)
    status: ItemStatus = "waiting"
    images: list[GeneratedImage] = field(default_factory=list)
    error: RunAPIError | None = None
    cost: float | None = None
    saved: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.status in {"completed", "failed", "cancelled"}


def share(generation: Generation, items: list[Item]) -> Iterator[Item]:
    """Give each item its pictures, or why there are none, and yield those that end by it."""
    kept = {image.id for item in items for image in item.images}
    slots = [slot.versions[0] if slot.versions else None for slot in generation.slots]
    slots = [image for image in slots if image is None or image.id not in kept]
    reused = [image for image in generation.images if image.reused]
    errors = list(generation.errors)
    for item in items:
        if item.is_done:
            continue
        mine, slots = slots[: item.request.count], slots[item.request.count :]
        item.images = [image for image in mine if image is not None]
        if not item.images:
            item.error = errors.pop(0) if len(errors) > 1 else errors[0] if errors else None
        item.status = "completed" if item.images else "failed"
        if generation.status == "cancelled" and not item.images:
            item.status = "cancelled"
        paid = [image.cost for image in item.images if image not in reused]
        known = [cost for cost in paid if cost is not None]
        item.cost = sum(known) if known or not paid else None
        if not item.images and len(items) == 1:
            item.cost = generation.cost  # perhaps paid for, and not fetched
        item.saved = sum(image.cost or 0.0 for image in item.images if image in reused)
        yield item
