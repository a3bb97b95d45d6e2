"""A prompt and its fields, validated, and the JSON bodies that they become.

Pure: nothing here reads a clock, a file or the network.
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
    """A request whose first image will be a source; see ``Generation``."""

    @property
    def request(self) -> ImageRequest:
        """What is asked for."""

    @property
    def image(self) -> FinishedImage:
        """The first image.

        Raises:
            RunAPIError: There is no image yet, or there will be none.
        """

    async def wait(self) -> object:
        """Wait for the images.

        Raises:
            RunAPIError: There is no image.
        """


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to start from.

    Attributes:
        label: What the user called it, for captions and messages.
        digest: SHA-256 of its content, or of its address where only that is known: two sources
            with one digest are the same picture.
        url: A public address, passed on as it is.
        path: A local file, to be uploaded.
        content: The encoded picture itself, to be uploaded, where there is no file.
        image: The GeneratedImage that this is, for the line from version to version.
        pending: The Generation whose picture this will be; it has no digest until then.
        note: How it is converted before it is sent, for the user; empty where it is sent as it is.
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
    """What a user asked for: one prompt, which may become several tasks.

    Attributes:
        prompt: The prompt, or the instruction of an edit.
        model: RunAPI's name of the model.
        fields: The model's own fields, by RunAPI's names, without prompt, model and sources.
        count: Number of pictures, 1 or more.
        sources: Pictures to start from.
        mask: The part to change, for models that take one.
        service: The service of a model that the catalogue does not have, as the user named it.
        action_name: What that service is asked to do, as the user named it.
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
        """The ratio asked for, or None for the model's own choice."""
        value = self.fields.get("aspect_ratio")
        return None if value is None else str(value)

    @property
    def output_resolution(self) -> str | None:
        """The resolution asked for, or None for the model's own choice."""
        value = self.fields.get("output_resolution")
        return None if value is None else str(value)

    @property
    def title(self) -> str:
        """The prompt, or what is done to which source where there is none."""
        if self.prompt:
            return self.prompt
        labels = " ".join(source.label for source in self.sources)
        return f"{self.action.name.replace('_', ' ')}: {labels}"

    @property
    def catalogue(self) -> Model:
        """What the catalogue knows of the model."""
        return find_model(self.model, self.service, self.action_name)

    @property
    def route(self) -> tuple[str, str]:
        """The service and the action that it goes to.

        Raises:
            InvalidRequestError: They are not known, or the user named others than the catalogue.
        """
        model, action = self.catalogue, self.action.name
        named = {"--service": self.service, "--action": self.action_name}
        if not model.known:
            _check_named(self.model, named)
        elif (self.service or model.service, self.action_name or action) != (model.service, action):
            raise InvalidRequestError(
                f"{model.name} has the service {model.service} and the action {action}.",
                todo="Leave out --service and --action; they are for models that are not in the"
                " catalogue.",
            )
        return model.service, action

    @property
    def action(self) -> Action:
        """What the model is asked to do.

        Raises:
            InvalidRequestError: The model does not do that.
        """
        model = self.catalogue
        action = model.action(with_sources=bool(self.sources))
        if action is None and self.sources:
            raise InvalidRequestError(
                f"{self.model} takes no source picture.",
                todo="Use gpt-image-2 for an edit, or leave the source out.",
            )
        if action is None:
            raise InvalidRequestError(
                f"{self.model} works on a picture, and there is none.",
                todo="Name a picture to start from.",
            )
        return action

    @property
    def task_counts(self) -> tuple[int, ...]:
        """Pictures of each task: one where the model cannot be asked for several at once."""
        if not self.action.count_field:
            return (1,) * self.count
        left, parts = self.count, []
        for size in sorted(COUNTS_IN_ONE_TASK, reverse=True):
            many, left = divmod(left, size)
            parts += [size] * many
        return tuple(parts)

    @property
    def estimate(self) -> float | None:
        """The catalogue's price of the whole request in USD, an estimate; None where unknown."""
        prices = [
            self.catalogue.estimate({**self.fields, "output_count": count})
            for count in self.task_counts
        ]
        return None if None in prices else sum(price for price in prices if price is not None)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides what one picture of this request looks like.

        The number of pictures is left out, and sources count by content: a request for three
        shares its pictures with a request for one.
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
        """Return the JSON body of one task: the fields that were asked for and no others.

        A blank text counts as not given, as in RunAPI's SDK.

        Args:
            family: The route family that the body goes to, for the model's name there.
            count: Number of pictures of this task.
            source_urls: The sources' addresses, in their order.
            mask_url: The mask's address.
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
    """Refuse a model that the catalogue does not have and whose service or action is not named."""
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
                f"{option} {value} is not one part of a path.",
                todo="Use letters, digits and underscores, for example flux_2.",
            )


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


@dataclass(frozen=True, slots=True)
class Attempt:
    """One create as it goes over the wire. Repeating it means these bytes and this key.

    Attributes:
        idempotency_key: Makes the service answer a repeat with the same task.
        family: The route family.
        path: The path of the POST.
        body: The JSON, encoded.
        status_paths: Where the task's status may be found; ``{id}`` stands for the task's id.
    """

    idempotency_key: str
    family: Family
    path: str
    body: bytes
    status_paths: tuple[str, ...]

    def paths_of(self, task_id: str) -> tuple[str, ...]:
        """Return where the status of the task that it created may be found."""
        return tuple(path.replace("{id}", quote(task_id, safe="")) for path in self.status_paths)
