"""The public API for type checkers: mypy and pyright read this file, and it is never run.

``make check`` runs both in strict mode. An error here shows that a public type has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, assert_type

import numpy as np
from PIL.Image import Image

import runapi_magic
from runapi_magic import (
    GeneratedImage,
    Generation,
    RunAPIError,
    compare,
    edit,
    forget,
    generate,
    generate_many,
    open_image,
    remove_background,
    resume,
    resume_batch,
    upscale,
)
from runapi_magic.batch.batch import Batch
from runapi_magic.batch.item import Item
from runapi_magic.batch.sweep import Sweep
from runapi_magic.engine.image import Handle
from runapi_magic.engine.lineage import Node, Tree
from runapi_magic.errors import APIError, ConnectionFailedError, DownloadError, RateLimitError
from runapi_magic.media.comparison import Comparison

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
ItemStatus = Literal["waiting", "running", "completed", "partial", "failed", "cancelled"]


def functions(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Every function has its documented return type, for every kind of source."""
    assert_type(runapi_magic.__version__, str)
    cat = generate("a cat", aspect_ratio="3:4", output_resolution="2k", count=2, new=True)
    assert_type(cat, Generation)
    assert_type(generate("a cat", model="gpt-4o-image", enable_prompt_expansion=True), Generation)
    assert_type(generate("a cat", sources=[path, array, "https://example.org/a.png"]), Generation)
    assert_type(edit(cat, "a hat"), Generation)
    assert_type(edit([path, b"PNG"], "both in one", mask=path), Generation)
    assert_type(upscale(path, 4), Generation)
    assert_type(remove_background(cat.image), Generation)
    assert_type(resume(), Generation)
    assert_type(resume("tsk_1"), Generation)
    assert_type(forget("tsk_1"), list[str])
    assert_type(forget(lost=True), list[str])
    assert_type(open_image(path), GeneratedImage)
    assert_type(open_image("cat.png"), GeneratedImage)
    assert_type(compare(cat, path), Comparison)
    assert_type(generate_many(["a", "b"], concurrency=4, max_cost=0.5), Batch)
    assert_type(generate_many([{"animal": "cat"}], prompt="A {animal}", client=None), Batch)
    assert_type(resume_batch("abc"), Batch)


async def waiting(cat: Generation, batch: Batch, sweep: Sweep) -> None:
    """Awaiting an object returns the object itself."""
    assert_type(await generate("a cat"), Generation)
    assert_type(await cat, Generation)
    assert_type(await batch, Batch)
    assert_type(await sweep, Sweep)
    assert_type(batch.as_completed(), AsyncIterator[Item])
    async for item in batch.as_completed():
        assert_type(item, Item)


def generations(cat: Generation) -> None:
    """A generation has images, errors and a cost."""
    assert_type(cat.id, str)
    assert_type(cat.status, Status)
    assert_type(cat.is_done, bool)
    assert_type(cat.image, GeneratedImage)
    assert_type(cat.images, list[GeneratedImage])
    assert_type(cat.errors, list[RunAPIError])
    assert_type(cat.cost, float | None)
    assert_type(cat.task_ids, list[str])
    assert_type(cat.tree(), Tree[GeneratedImage])


def images(image: GeneratedImage) -> None:
    """An image has a file and a lineage, and can be edited further."""
    assert_type(image.path, Path)
    assert_type(image.location, str)
    assert_type(image.prompt, str)
    assert_type(image.model, str)
    assert_type(image.fields, Mapping[str, Any])
    assert_type(image.size, tuple[int, int])
    assert_type(image.cost, float | None)
    assert_type(image.seconds, float | None)
    assert_type(image.parent, GeneratedImage | None)
    assert_type(image.line, list[GeneratedImage])
    assert_type(image.version, int)
    assert_type(image.instructions, list[str])
    assert_type(image.is_on_disk, bool)
    assert_type(image.ensure_local(), Path)
    assert_type(image.pil(), Image)
    assert_type(image.numpy(), np.ndarray[Any, np.dtype[np.uint8]])
    assert_type(image.edit("a hat", model="flux-kontext-pro"), Handle)
    assert_type(image.refine("warmer light"), Handle)
    assert_type(image.upscale(2), Handle)
    assert_type(image.remove_background(), Handle)
    assert_type(image.from_original(), Handle)
    assert_type(image.tree(), Tree[GeneratedImage])
    assert_type(image.cell(), str)
    assert_type(image.save("cat.png"), Path)
    assert_type(image.save(Path("images")), Path)


def trees(tree: Tree[GeneratedImage], image: GeneratedImage) -> None:
    """A tree contains versions."""
    assert_type(len(tree), int)
    assert_type(iter(tree), Iterator[Node[GeneratedImage]])
    assert_type(tree.nodes, tuple[Node[GeneratedImage], ...])
    assert_type(tree.find(image), Node[GeneratedImage] | None)
    assert_type(tree.nodes[0].image, GeneratedImage)
    assert_type(tree.draw(), Image)


def comparisons(pair: Comparison) -> None:
    """A comparison has two images and numbers."""
    assert_type(pair.before, Image)
    assert_type(pair.side_by_side, Image)
    assert_type(pair.difference, Image)
    assert_type(pair.changed, float)
    assert_type(pair.mean_difference, float)


def batches(batch: Batch, sweep: Sweep) -> None:
    """A batch has its items in order. A sweep finds items by their values."""
    assert_type(batch.id, str)
    assert_type(batch.title, str)
    assert_type(batch.items, list[Item])
    assert_type(iter(batch), Iterator[Item])
    assert_type(batch.images, list[GeneratedImage])
    assert_type(batch.pictures, list[GeneratedImage])
    assert_type(batch.counts, dict[ItemStatus, int])
    assert_type(batch.failures, list[Item])
    assert_type(batch.errors, list[RunAPIError])
    assert_type(batch.cost, float | None)
    assert_type(batch.saved, float)
    assert_type(batch.seconds, float)
    assert_type(batch.records(), list[dict[str, Any]])
    assert_type(batch.retry_failed(), Batch)
    assert_type(sweep.retry_failed(), Sweep)
    assert_type(batch.items[0].status, ItemStatus)
    assert_type(batch.items[0].images, list[GeneratedImage])
    assert_type(batch.items[0].error, RunAPIError | None)
    assert_type(batch.items[0].cost, float | None)
    assert_type(batch.items[0].variables, dict[str, Any])
    assert_type(sweep["oil", "dawn"], Item)
    assert_type(sweep.images["oil", "dawn"], GeneratedImage)
    assert_type(sweep.variables, dict[str, list[Any]])
    assert_type(sweep.table(), str)


def errors(error: RunAPIError) -> None:
    """Every error says what happened, whether it was charged, and what to do."""
    assert_type(error.what, str)
    assert_type(error.charged, str)
    assert_type(error.todo, str)
    assert_type(error.parts, tuple[str, ...])
    assert_type(error.task_id, str | None)
    assert_type(error.request_id, str | None)
    if isinstance(error, APIError):
        assert_type(error.status_code, int)
        assert_type(error.code, str | None)
        assert_type(error.reason, str)
    if isinstance(error, RateLimitError | DownloadError):
        assert_type(error.retry_after, float | None)
    if isinstance(error, ConnectionFailedError):
        assert_type(error.arrived, bool)
