"""The buttons under a picture: Edit, Again, Save as, and the way through its versions."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.display import display

from runapi_magic.display import short_path
from runapi_magic.errors import InvalidRequestError, RunAPIError
from runapi_magic.loop import hand_over, running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runapi_magic.generation import Generation, Slot
    from runapi_magic.images import GeneratedImage
    from runapi_magic.session import Session

_TICK = 1.0  # seconds between two updates of the progress
_BUTTON = {"width": "auto", "height": "28px"}


class Toolbar:
    """The buttons of one place. They appear when its picture does.

    Every callback hands over to the kernel's loop: it may run on another thread.
    """

    def __init__(self, generation: Generation, slot: Slot, session: Session) -> None:
        loop = running_loop()
        assert loop is not None, "buttons need a kernel"
        self._loop: asyncio.AbstractEventLoop = loop
        self._generation = generation
        self._slot = slot
        self._session = session
        self._working: set[asyncio.Task[None]] = set()

        self.edit = self._button("Edit", "Change this picture by an instruction", self._open_edit)
        self.again = self._button("Again", "Make a new picture from the same request", self._again)
        self.save = self._button("Save as", "Save a copy of the original", self._open_save)
        self.back = self._button("◀", "Previous version", lambda: self._turn(-1))
        self.forward = self._button("▶", "Next version", lambda: self._turn(1))
        self.cancel = self._button("Cancel", "Stop waiting for this picture", generation.cancel)
        self.version = widgets.Label()
        self.entry = widgets.Text(layout=widgets.Layout(width="min(480px, 60%)"))
        self.go = self._button("Go", "Send", self._submit)
        self.close = self._button("Close", "Close this field", self._close)
        self.status = widgets.Label()
        self.entry.on_msg(self._on_entry_message)
        self._entry_row = widgets.HBox([self.entry, self.go, self.close])
        self._versions = widgets.HBox([self.back, self.version, self.forward])
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.cancel, self.edit, self.again, self.save, self._versions]),
                self._entry_row,
                self.status,
            ]
        )
        self._mode = ""
        self._close()
        self._refresh()
        generation.subscribe(self._refresh)

    def _button(self, text: str, hint: str, act: Callable[[], None]) -> Any:
        button = widgets.Button(description=text, tooltip=hint, layout=widgets.Layout(**_BUTTON))
        button.on_click(lambda _: hand_over(self._loop, act))
        return button

    def _on_entry_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if isinstance(content, dict) and content.get("event") == "submit":  # the Enter key
            hand_over(self._loop, self._submit)

    def _refresh(self) -> None:
        shown, count = self._slot.shown, len(self._slot.versions)
        failed = shown is None and self._slot.part.is_done
        self.widget.layout.display = "none" if failed else ""
        # The row of buttons is as high before the picture comes as after: nothing moves.
        self.cancel.layout.display = "none" if shown else ""
        for button in (self.edit, self.again, self.save):
            button.layout.display = "" if shown else "none"
        self._versions.layout.display = "" if count > 1 else "none"
        self.version.value = f"{self._slot.index + 1} of {count}"
        self.back.disabled = self._slot.index == 0
        self.forward.disabled = self._slot.index >= count - 1

    # What the buttons do, on the kernel's loop

    def _turn(self, step: int) -> None:
        self._slot.index = min(max(self._slot.index + step, 0), len(self._slot.versions) - 1)
        self._generation.changed()

    def _open_edit(self) -> None:
        self._open("edit", "What to change, for example: make it night", "")

    def _open_save(self) -> None:
        if self._slot.shown is not None:
            self._open("save", "Path of the copy", f"copy-of-{self._slot.shown.path.name}")

    def _open(self, mode: str, hint: str, value: str) -> None:
        self._mode = mode
        self.entry.placeholder, self.entry.value = hint, value
        self._entry_row.layout.display = ""
        self.entry.focus()

    def _close(self) -> None:
        self._mode = ""
        self._entry_row.layout.display = "none"

    def _submit(self) -> None:
        text, image = self.entry.value.strip(), self._slot.shown
        if image is None:
            return
        if self._mode == "save":
            self._work(self._save(image, text))
        elif self._mode == "edit" and not text:
            self.status.value = "Write what to change. Nothing was sent."
        elif self._mode == "edit":
            self._work(self._add(lambda: self._session.revise(image, text), "Editing"))

    def _again(self) -> None:
        image = self._slot.shown
        if image is not None:
            self._work(self._add(lambda: self._session.repeat(image), "Making another"))

    def _work(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _add(self, start: Callable[[], Generation], doing: str) -> None:
        """Start a request and show its picture as this place's next version."""
        try:
            child = start()
            self._close()
            begun, end = time.monotonic(), asyncio.ensure_future(child.ended())
            while not end.done():
                part = child.parts[0]
                elapsed = time.monotonic() - begun
                about = part.expectation.median
                self.status.value = f"{doing} … {elapsed:.0f} s, usually about {about:.0f} s"
                await asyncio.wait([end], timeout=_TICK)
            await child.wait()
        except RunAPIError as error:
            self.status.value = " ".join(error.parts)
            return
        self.status.value = ""
        self._generation.add_version(self._slot, child.image)

    async def _save(self, image: GeneratedImage, text: str) -> None:
        try:
            path = await asyncio.to_thread(save_copy, image, text)
        except RunAPIError as error:
            self.status.value = " ".join(error.parts)
            return
        self._close()
        self.status.value = f"Saved: {short_path(path)}"


def save_copy(image: GeneratedImage, target: str) -> Path:
    """Copy a picture's original, in the format that the new name asks for; return the path.

    Raises:
        InvalidRequestError: There is such a file already, or it cannot be written.
    """
    if not target:
        raise InvalidRequestError("There is no name to save to.", todo="Type a path.")
    path = Path(target).expanduser().absolute()
    if path.is_dir():
        path /= image.path.name
    if not path.suffix:
        path = path.with_suffix(image.path.suffix)
    if path.exists():
        raise InvalidRequestError(f"There is a file {path} already.", todo="Type another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == image.path.suffix.lower():
            shutil.copyfile(image.path, path)
        else:
            picture = image.pil()
            if path.suffix.lower() in {".jpg", ".jpeg"}:
                picture = picture.convert("RGB")
            picture.save(path)
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise InvalidRequestError(
            f"The picture cannot be saved as {path} ({error}).",
            todo="Type another name ending in .png, .jpg or .webp.",
        ) from None
    return path


def show_toolbar(generation: Generation, slot: Slot, session: Session) -> None:
    """Make the buttons of one place and display them in the cell that runs now."""
    display(Toolbar(generation, slot, session).widget)
