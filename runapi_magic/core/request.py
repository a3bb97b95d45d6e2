"""Requests for images, and the JSON bodies that are sent for them.

Pure: this module reads no clock, no file and no network.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from runapi_magic.core.catalog import (
    COUNTS_IN_ONE_TASK,
    Action,
    Family,
    Model,
    find_model,
    similar_models,
)
from runapi_magic.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runapi_magic.core.protocols import FinishedImage

_PART_OF_A_PATH = re.compile(r"[A-Za-z0-9_-]+")


class PendingImage(Protocol):
    """A request whose first image will be a source. ``Generation`` implements this."""

    @property
    def request(self) -> ImageRequest:
        """The request."""

    @property
    def image(self) -> FinishedImage:
        """The first image.

        Raises:
            RunAPIError: There is no image yet, or the request failed.
        """

    async def wait(self) -> object:
        """Wait for the images.

        Raises:
            RunAPIError: The request failed.
        """


@dataclass(frozen=True, slots=True)
class Source:
    """An image to start from.

    Attributes:
        label: The user's name for it, for captions and messages.
        digest: SHA-256 of its content, or of its URL if the content is not known. Two sources
            with the same digest are the same image.
        url: A public URL, which is sent as it is.
        path: A local file, which is uploaded.
        content: An encoded image without a file, which is uploaded.
        image: The GeneratedImage that this source is, for its lineage.
        pending: The Generation whose image will be the source. Until then there is no digest.
        note: How the image is converted before it is sent, for the user. Empty if it is not
            converted.
    """

    label: str
    digest: str
    url: str | None = None
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    image: FinishedImage | None = field(default=None, repr=False)
    pending: PendingImage | None = field(default=None, repr=False)
    note: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request for images: one prompt, which may need several tasks.

    Attributes:
        prompt: The prompt, or the instruction of an edit.
        model: RunAPI's name of the model.
        fields: The fields of the model by RunAPI's names, without prompt, model and sources.
        count: The number of images, 1 or more.
        sources: The images to start from.
        mask: The part to change, for models that accept a mask.
        service: The service that the user gave, for a model that is not in the catalogue.
        action_name: The action that the user gave, for such a model.
    """

    prompt: str
    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1
    sources: tuple[Source, ...] = ()
    mask: Source | None = None
    service: str | None = None
    action_name: str | None = None

    @property
    def aspect_ratio(self) -> str | None:
        """The requested aspect ratio, or None for the default of the model."""
        value = self.fields.get("aspect_ratio")
        return None if value is None else str(value)

    @property
    def output_resolution(self) -> str | None:
        """The requested resolution, or None for the default of the model."""
        value = self.fields.get("output_resolution")
        return None if value is None else str(value)

    @property
    def title(self) -> str:
        """The prompt. Without one, the action and the names of the sources."""
        if self.prompt:
            return self.prompt
        labels = " ".join(source.label for source in self.sources)
        return f"{self.action.name.replace('_', ' ')}: {labels}"

    @property
    def catalogue(self) -> Model:
        """The entry of the model in the catalogue."""
        return find_model(self.model, self.service, self.action_name)

    @property
    def route(self) -> tuple[str, str]:
        """The service and the action for the request.

        Raises:
            InvalidRequestError: They are not known, or the user gave others than the catalogue.
        """
        model, action = self.catalogue, self.action.name
        named = {"--service": self.service, "--action": self.action_name}
        if not model.known:
            _check_named(self.model, named)
        elif (self.service or model.service, self.action_name or action) != (model.service, action):
            raise InvalidRequestError(
                f"{model.name} has the service {model.service} and the action {action}.",
                todo="Leave out --service and --action. They are for models that are not in the"
                " catalogue.",
            )
        return model.service, action

    @property
    def action(self) -> Action:
        """The action of the model.

        Raises:
            InvalidRequestError: The model has no action with, or without, sources.
        """
        model = self.catalogue
        action = model.action(with_sources=bool(self.sources))
        if action is None and self.sources:
            raise InvalidRequestError(
                f"{self.model} does not accept source images.",
                todo="Use gpt-image-2 for an edit, or leave out the source.",
            )
        if action is None:
            raise InvalidRequestError(
                f"{self.model} needs a source image.", todo="Give an image to start from."
            )
        return action

    @property
    def task_counts(self) -> tuple[int, ...]:
        """The number of images of each task. It is 1 if the model makes one image per task."""
        if not self.action.count_field:
            return (1,) * self.count
        left, counts = self.count, []
        for size in sorted(COUNTS_IN_ONE_TASK, reverse=True):
            many, left = divmod(left, size)
            counts += [size] * many
        return tuple(counts)

    @property
    def estimate(self) -> float | None:
        """The price of the whole request by the catalogue, in USD; None if it is not known."""
        prices = [
            self.catalogue.estimate({**self.fields, "output_count": count})
            for count in self.task_counts
        ]
        return None if None in prices else sum(price for price in prices if price is not None)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that determines what an image of this request looks like.

        The number of images is left out, so a request for three images can use a cached image of
        a request for one. Sources are compared by their content.
        """
        canonical = {
            "model": self.catalogue.name_in("namespaced", self.action.name),
            "action": self.action.name,
            "prompt": self.prompt,
            "fields": dict(self.fields),
            "sources": [source.digest for source in self.sources],
            "mask": self.mask.digest if self.mask else None,
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def body(
        self,
        family: Family,
        *,
        count: int = 1,
        source_urls: Sequence[str] = (),
        mask_url: str | None = None,
    ) -> dict[str, Any]:
        """Return the JSON body of one task. It has the requested fields and no others.

        A blank text counts as no value, as in RunAPI's SDK.

        Args:
            family: The route family of the path. The model may have another name in it.
            count: Number of images of this task.
            source_urls: The URLs of the sources, in order.
            mask_url: The URL of the mask.
        """
        action = self.action
        body: dict[str, Any] = {"model": self.catalogue.name_in(family, action.name)}
        if action.prompt != "unused":
            body["prompt"] = self.prompt
        body.update(self.fields)
        source_field = action.source_field_in(family)
        if source_field and source_urls:
            one = source_field.endswith("url")
            body[source_field] = source_urls[0] if one else list(source_urls)
        if action.mask_field and mask_url:
            body[action.mask_field] = mask_url
        if action.count_field and count > 1:
            body[action.count_field] = count
        return {name: value for name, value in body.items() if not _is_blank(value)}


def _check_named(model: str, named: Mapping[str, str | None]) -> None:
    """Check the service and the action of a model that is not in the catalogue."""
    missing = [option for option, value in named.items() if not value]
    if missing:
        similar = similar_models(model)
        proposal = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise InvalidRequestError(
            f"{model} is not in the catalogue (%runapi models), so its"
            f" {' and '.join(option[2:] for option in missing)} must be named.{proposal}",
            todo="Write for example --service flux_2 --action text_to_image; in Python"
            ' service="flux_2", action="text_to_image".',
        )
    for option, value in named.items():
        if not _PART_OF_A_PATH.fullmatch(value or ""):
            raise InvalidRequestError(
                f'{option} "{value}" is not a valid part of a path.',
                todo="Use letters, digits and underscores, for example flux_2.",
            )


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


@dataclass(frozen=True, slots=True)
class Attempt:
    """One create request. A repeat sends exactly this body with this key.

    Attributes:
        idempotency_key: The service returns the same task for each request with this key.
        family: The route family.
        path: The path of the POST.
        body: The encoded JSON.
        status_paths: The paths that may return the status of the task, with ``{id}`` for its id.
    """

    idempotency_key: str
    family: Family
    path: str
    body: bytes
    status_paths: tuple[str, ...]

    def paths_of(self, task_id: str) -> tuple[str, ...]:
        """Return the paths that may return the status of a task that this attempt created."""
        return tuple(path.replace("{id}", quote(task_id, safe="")) for path in self.status_paths)
