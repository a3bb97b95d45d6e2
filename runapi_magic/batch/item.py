"""The requests of a batch and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.core.status import ItemStatus
    from runapi_magic.engine.generation import Generation, Slot
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.errors import RunAPIError


@dataclass(eq=False, slots=True)
class Item:
    """One request of a batch.

    Attributes:
        index: The position in the batch, from 0.
        request: The request.
        variables: The values of your columns or sweep variables, by name.
        status: The status. ``partial`` means that it has ended and some of its images are missing.
        images: The images that are on disk.
        error: Why images are missing.
        cost: USD of all its tasks, 0 for images from disk; None if RunAPI has not stated a cost.
        saved: USD that was not spent because images came from disk.
        paid: USD of each image by its ID, also of images that are missing.
    """

    index: int
    request: ImageRequest
    variables: dict[str, Any] = field(default_factory=dict)
    status: ItemStatus = "waiting"
    images: list[GeneratedImage] = field(default_factory=list)
    error: RunAPIError | None = None
    cost: float | None = None
    saved: float = 0.0
    paid: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether the item has ended."""
        return self.status in {"completed", "partial", "failed", "cancelled"}


def share(generation: Generation, items: list[Item]) -> Iterator[Item]:
    """Give each item its images or its error, and yield the items that end with this.

    Identical items share one generation. An item keeps its images of an earlier try; they are also
    among the images of the generation.
    """
    kept = {image.id for item in items for image in item.images}
    slots = iter([slot for slot in generation.slots if _image_id(slot) not in kept])
    for item in items:
        if item.is_done:
            continue
        mine = list(islice(slots, item.request.count - len(item.images)))
        tasks = {slot.task.id: slot.task for slot in mine}
        for slot in mine:
            task = slot.task
            image = slot.versions[0] if slot.versions else None
            image_id = _image_id(slot)
            if image is not None:
                item.images.append(image)
            if image is not None and image.reused and image_id not in item.paid:
                item.saved += image.cost or 0.0
            if task.cost is not None:
                item.paid[image_id] = max(item.paid.get(image_id, 0.0), task.cost / task.count)
        item.cost = sum(filter(None, item.paid.values())) if item.paid else None
        item.error = next((task.error for task in tasks.values() if task.error), None)
        if len(item.images) == item.request.count:
            item.status = "completed"
        elif item.images:
            item.status = "partial"
        else:
            is_cancelled = any(task.status == "cancelled" for task in tasks.values())
            item.status = "cancelled" if is_cancelled else "failed"
        yield item


def _image_id(slot: Slot) -> str:
    """Return the ID of a slot's image, also of one that is paid for and not downloaded."""
    return slot.versions[0].id if slot.versions else f"{slot.task.id}-{slot.position}"
