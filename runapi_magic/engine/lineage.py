"""Trees of edits: which picture came from which, as text and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from runapi_magic.core.text import shorten
from runapi_magic.media.metrics import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL.Image import Image

    from runapi_magic.core.request import ImageRequest
    from runapi_magic.media.metrics import Quality

_LONGEST_TITLE = 60  # characters
_QUALITY = 85  # of the JPEG


class Version(Protocol):
    """What a tree needs to know of an image; see ``GeneratedImage``."""

    @property
    def id(self) -> str:
        """Unique and stable across kernels."""

    @property
    def request(self) -> ImageRequest:
        """What was asked for."""

    @property
    def model(self) -> str:
        """RunAPI's name of the model."""

    @property
    def created(self) -> float:
        """Unix time in seconds."""

    @property
    def cost(self) -> float | None:
        """USD; None where the service did not say."""

    @property
    def simulated(self) -> bool:
        """Whether a simulator drew it."""

    @property
    def took(self) -> str:
        """How long it took, as ``12.3 s``; empty where that is not known."""

    @property
    def is_on_disk(self) -> bool:
        """Whether its file is still there."""

    @property
    def parent(self) -> Version | None:
        """The image that this one is an edit of, where there is one."""

    @property
    def line(self) -> Sequence[Version]:
        """The images that led to this one, from the first to itself."""


ImageT = TypeVar("ImageT", bound=Version)


@dataclass(frozen=True, slots=True)
class Node(Generic[ImageT]):
    """One version.

    Attributes:
        name: ``v1``, ``v2`` in the order in which they were made.
        image: The picture.
        parent: The place of the version that it is an edit of, None for a first one.
        quality: What was measured of it, where it was.
    """

    name: str
    image: ImageT
    parent: int | None
    quality: Quality | None = None


class Tree(Generic[ImageT]):
    """Versions of a picture and how they came from each other; several trees make a forest.

    ``print`` it for the text; as the last line of a cell it shows itself as a picture and as text.

    Attributes:
        nodes: The versions, in the order in which they were made; a parent stands before its
            children.
    """

    def __init__(self, nodes: Sequence[Node[ImageT]], thumbnail: Callable[[ImageT], bytes]) -> None:
        self.nodes: tuple[Node[ImageT], ...] = tuple(nodes)
        self._thumbnail = thumbnail

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node[ImageT]]:
        return iter(self.nodes)

    def __str__(self) -> str:
        return "\n".join(self._lines()) or "There are no pictures."

    __repr__ = __str__

    @property
    def alt(self) -> str:
        """What stands for its picture where that cannot be seen; the text says the rest."""
        titles = [_title(node.image) for node in self.nodes if node.parent is None]
        count = f"{len(self)} version{'' if len(self) == 1 else 's'}"
        more = f" and {len(titles) - 1} others" if len(titles) > 1 else ""
        return f"Tree of {count}: {titles[0] if titles else 'no pictures'}{more}"

    def find(self, image: ImageT) -> Node[ImageT] | None:
        """Return a picture's version, None where it is not in the tree."""
        return next((node for node in self.nodes if node.image.id == image.id), None)

    def path(self, node: Node[ImageT]) -> list[Node[ImageT]]:
        """Return the versions from the first one to this one."""
        line = [node]
        while line[0].parent is not None:
            line.insert(0, self.nodes[line[0].parent])
        return line

    def worth(self, node: Node[ImageT]) -> str:
        """Return what was measured of a version against the first of its line; may be empty."""
        first = self.path(node)[0]
        if node is first or node.quality is None or first.quality is None:
            return ""
        return hint(node.quality, first.quality, first.name)

    def _lines(self) -> Iterator[str]:
        children: dict[int | None, list[int]] = {}
        for place, node in enumerate(self.nodes):
            children.setdefault(node.parent, []).append(place)
        # A stack, not recursion: a line may be longer than Python calls deep.
        stack = [(place, "", "") for place in reversed(children.get(None, []))]
        while stack:
            place, lead, below = stack.pop()
            node = self.nodes[place]
            yield f"{lead}{node.name}  {' · '.join(self._facts(node))}"
            own = children.get(place, [])
            for child in reversed(own):
                last = child == own[-1]
                stack.append(
                    (child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))
                )

    def _facts(self, node: Node[ImageT]) -> list[str]:
        image = node.image
        return [
            _title(image),
            image.model,
            *([f"${image.cost:.2f}" + (" simulated" if image.simulated else "")]
              if image.cost is not None else []),
            *([image.took] if image.took else []),
            *([worth] if (worth := self.worth(node)) else []),
            *([] if image.is_on_disk else ["file is gone"]),
        ]  # fmt: skip

    def draw(self) -> Image:
        """Return the tree as a picture, RGB."""
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
        # It is drawn twice as large as it is shown, so that its text is sharp.
        about = {"width": drawn.width // 2, "height": drawn.height // 2, "alt": self.alt}
        return {"image/jpeg": buffer.getvalue(), "text/plain": str(self)}, {"image/jpeg": about}


def _title(image: Version) -> str:
    return shorten(image.request.title, _LONGEST_TITLE)


def plant(
    images: Sequence[ImageT],
    thumbnail: Callable[[ImageT], bytes],
    quality: Callable[[ImageT], Quality | None],
    *,
    apart: bool = False,
) -> Tree[ImageT]:
    """Return the tree that pictures make.

    Args:
        images: Pictures; a parent that is not among them is left out.
        thumbnail: Returns a small JPEG of a picture.
        quality: Returns what was measured of a picture.
        apart: Whether each tree of a forest counts its versions from 1.
    """
    places: dict[str, int] = {}
    nodes: list[Node[ImageT]] = []
    roots: list[int] = []
    numbers: dict[int, int] = {}
    for image in _parents_first(images):
        parent = places.get(image.parent.id) if image.parent else None
        place = places[image.id] = len(nodes)
        roots.append(place if parent is None else roots[parent])
        counted = roots[place] if apart else 0
        numbers[counted] = numbers.get(counted, 0) + 1
        nodes.append(Node(f"v{numbers[counted]}", image, parent, quality(image)))
    return Tree(nodes, thumbnail)


def _parents_first(images: Sequence[ImageT]) -> list[ImageT]:
    """Return pictures by age, but none before the one that it came from."""
    by_id = {image.id: image for image in images}
    depth = {image.id: sum(one.id in by_id for one in image.line) for image in images}
    born: dict[str, tuple[float, int]] = {}
    for image in sorted(by_id.values(), key=lambda one: depth[one.id]):
        parent = born.get(image.parent.id, (0.0, 0)) if image.parent else (0.0, 0)
        born[image.id] = max(image.created, parent[0]), depth[image.id]
    return sorted(by_id.values(), key=lambda one: (born[one.id], one.id))
