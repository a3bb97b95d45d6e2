"""Trees of edits: which image is an edit of which, as text and as a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from runapi_magic.core.protocols import FinishedImage
from runapi_magic.core.text import shorten
from runapi_magic.media.metrics import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL.Image import Image

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.media.metrics import Quality

_LONGEST_TITLE = 60  # characters
_QUALITY = 85  # of the JPEG


class Version(FinishedImage, Protocol):
    """What a tree needs to know about an image. ``GeneratedImage`` implements this."""

    @property
    def request(self) -> ImageRequest:
        """The request that it was generated for."""

    @property
    def model(self) -> str:
        """RunAPI's name of the model."""

    @property
    def cost(self) -> float | None:
        """USD; None if RunAPI did not report it."""

    @property
    def simulated(self) -> bool:
        """Whether the simulator generated it."""

    @property
    def took(self) -> str:
        """How long the generation took, as ``12.3 s``; empty if it is unknown."""

    @property
    def is_on_disk(self) -> bool:
        """Whether its file exists."""

    @property
    def parent(self) -> Version | None:
        """The image that this one is an edit of; None if it is no edit of a generated image."""

    @property
    def line(self) -> Sequence[Version]:
        """The lineage: the first image and all edits, up to this image itself."""


ImageT = TypeVar("ImageT", bound=Version)


@dataclass(frozen=True, slots=True)
class Node(Generic[ImageT]):
    """One version in a tree.

    Attributes:
        name: ``v1``, ``v2`` and so on, by age.
        image: The image.
        parent: The index of the version that it is an edit of; None for a first version.
        quality: Its measured sharpness and noise; None if it was not measured.
    """

    name: str
    image: ImageT
    parent: int | None
    quality: Quality | None = None


class Tree(Generic[ImageT]):
    """The versions of an image and how they are related; it may contain several trees.

    ``print`` it for the text. As the last line of a cell it shows a drawing and the text.

    Attributes:
        nodes: The versions, by age; a parent is always before its children.
    """

    def __init__(self, nodes: Sequence[Node[ImageT]], thumbnail: Callable[[ImageT], bytes]) -> None:
        self.nodes: tuple[Node[ImageT], ...] = tuple(nodes)
        self._thumbnail = thumbnail

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node[ImageT]]:
        return iter(self.nodes)

    def __str__(self) -> str:
        return "\n".join(self._lines()) or "There are no images."

    __repr__ = __str__

    @property
    def alt(self) -> str:
        """The alternative text of the drawing."""
        titles = [_title(node.image) for node in self.nodes if node.parent is None]
        count = f"{len(self)} version{'' if len(self) == 1 else 's'}"
        more = f" and {len(titles) - 1} others" if len(titles) > 1 else ""
        return f"Tree of {count}: {titles[0] if titles else 'no images'}{more}"

    def find(self, image: ImageT) -> Node[ImageT] | None:
        """Return the version with this image, None if it is not in the tree."""
        return next((node for node in self.nodes if node.image.id == image.id), None)

    def path(self, node: Node[ImageT]) -> list[Node[ImageT]]:
        """Return the versions from the first one to this one."""
        path = [node]
        while path[0].parent is not None:
            path.insert(0, self.nodes[path[0].parent])
        return path

    def worth(self, node: Node[ImageT]) -> str:
        """Return how a version's quality differs from the first version's; may be empty."""
        first = self.path(node)[0]
        if node is first or node.quality is None or first.quality is None:
            return ""
        return hint(node.quality, first.quality, first.name)

    def _lines(self) -> Iterator[str]:
        children: dict[int | None, list[int]] = {}
        for index, node in enumerate(self.nodes):
            children.setdefault(node.parent, []).append(index)
        # A stack instead of recursion: a lineage may be longer than Python's recursion limit.
        stack = [(index, "", "") for index in reversed(children.get(None, []))]
        while stack:
            index, prefix, indent = stack.pop()
            node = self.nodes[index]
            yield f"{prefix}{node.name}  {' · '.join(self._facts(node))}"
            own = children.get(index, [])
            for child in reversed(own):
                branch, more = ("└─ ", "   ") if child == own[-1] else ("├─ ", "│  ")
                stack.append((child, indent + branch, indent + more))

    def _facts(self, node: Node[ImageT]) -> list[str]:
        image = node.image
        return [
            _title(image),
            image.model,
            *([f"${image.cost:.2f}" + (" simulated" if image.simulated else "")]
              if image.cost is not None else []),
            *([image.took] if image.took else []),
            *([difference] if (difference := self.worth(node)) else []),
            *([] if image.is_on_disk else ["file is missing"]),
        ]  # fmt: skip

    def draw(self) -> Image:
        """Return the drawing of the tree, an RGB image."""
        import io

        from PIL import Image

        from runapi_magic.media.tree_drawing import TreeNode, draw_tree

        return draw_tree(
            [
                TreeNode(
                    node.name,
                    (" ".join(node.image.request.title.split()), node.image.model),
                    Image.open(io.BytesIO(self._thumbnail(node.image))),
                    node.parent,
                )
                for node in self.nodes
            ]
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if not self.nodes:
            return {"text/plain": str(self)}, {}
        import io

        buffer = io.BytesIO()
        drawn = self.draw()
        drawn.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        # Drawn twice as large as it is shown, for sharp text.
        about = {"width": drawn.width // 2, "height": drawn.height // 2, "alt": self.alt}
        return {"image/jpeg": buffer.getvalue(), "text/plain": str(self)}, {"image/jpeg": about}


def _title(image: Version) -> str:
    return shorten(image.request.title, _LONGEST_TITLE)


def build_tree(
    images: Sequence[ImageT],
    thumbnail: Callable[[ImageT], bytes],
    quality: Callable[[ImageT], Quality | None],
    *,
    apart: bool = False,
) -> Tree[ImageT]:
    """Return the tree of images.

    Args:
        images: The images; a parent that is not among them is ignored.
        thumbnail: Returns a small JPEG of an image.
        quality: Returns the measured quality of an image, None if it was not measured.
        apart: Whether each of several trees counts its versions from 1.
    """
    indexes: dict[str, int] = {}
    nodes: list[Node[ImageT]] = []
    roots: list[int] = []
    counts: dict[int, int] = {}
    for image in _parents_first(images):
        parent = indexes.get(image.parent.id) if image.parent else None
        index = indexes[image.id] = len(nodes)
        roots.append(index if parent is None else roots[parent])
        tree = roots[index] if apart else 0
        counts[tree] = counts.get(tree, 0) + 1
        nodes.append(Node(f"v{counts[tree]}", image, parent, quality(image)))
    return Tree(nodes, thumbnail)


def _parents_first(images: Sequence[ImageT]) -> list[ImageT]:
    """Return images by age, but each parent before its children."""
    by_id = {image.id: image for image in images}
    depths = {image.id: sum(one.id in by_id for one in image.line) for image in images}
    ages: dict[str, tuple[float, int]] = {}
    for image in sorted(by_id.values(), key=lambda one: depths[one.id]):
        parent = ages.get(image.parent.id, (0.0, 0)) if image.parent else (0.0, 0)
        ages[image.id] = max(image.created, parent[0]), depths[image.id]
    return sorted(by_id.values(), key=lambda one: (ages[one.id], one.id))
