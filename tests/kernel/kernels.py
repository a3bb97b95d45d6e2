"""A real kernel with a front end that keeps its cells, as a notebook does."""

from __future__ import annotations

import os
import time
from ast import literal_eval
from contextlib import contextmanager
from queue import Empty
from tempfile import TemporaryDirectory

from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from traitlets.config import Config

PICTURES = ("image/jpeg", "image/png")
SECONDS = 120  # the longest wait for a condition


class Cell:
    """One run of a cell and what became of it."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.outputs: list[dict] = []
        self.reply: dict | None = None
        self.is_idle = False

    @property
    def is_done(self) -> bool:
        """Whether the cell returned."""
        return self.reply is not None and self.is_idle

    @property
    def pictures(self) -> list[dict]:
        """The outputs that are a picture now."""
        return [output for output in self.outputs if is_picture(output)]

    @property
    def result(self) -> str:
        """What the cell's last expression gave."""
        (found,) = [o for o in self.outputs if o["output_type"] == "execute_result"]
        return found["data"]["text/plain"]

    def stream(self, name: str) -> str:
        """What the cell printed on ``stdout`` or ``stderr``."""
        return "".join(o["text"] for o in self.outputs if o.get("name") == name)

    @property
    def last_stream(self) -> str | None:
        """The stream that was written to last, if nothing else came after."""
        return self.outputs[-1].get("name") if self.outputs else None

    @property
    def text(self) -> str:
        """All that a reader of the cell's outputs sees, as plain text."""
        return "\n".join(plain(output) for output in self.outputs)


def is_picture(output: dict) -> bool:
    """Whether an output shows a picture."""
    return any(kind in output.get("data", {}) for kind in PICTURES)


def plain(output: dict) -> str:
    """An output's text."""
    if "traceback" in output:
        return "\n".join(output["traceback"])
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


class Kernel:
    """A front end: it sends cells, answers questions, and applies updates to earlier outputs."""

    def __init__(self, manager, client, log) -> None:
        self.manager = manager
        self.client = client
        self._log = log
        self._cells: dict[str, Cell] = {}
        self._displays: dict[str, list[dict]] = {}
        self.answers: list[str] = []
        self.questions: list[dict] = []
        self.received: list[dict] = []

    @property
    def log(self) -> str:
        """What the kernel process wrote on its own stdout and stderr."""
        return self._log.read_text()

    def start(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Send a cell and do not wait.

        Args:
            code: The cell.
            live: Whether somebody can answer questions.
            cell_id: What JupyterLab and VS Code tell of the cell; None for a front end that
                tells nothing.
        """
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": live, "stop_on_error": False,
        }  # fmt: skip
        metadata = None if cell_id is None else {"cellId": cell_id}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        cell = Cell(message["header"]["msg_id"])
        self._cells[cell.message_id] = cell
        return cell

    def run(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Send a cell and wait until it has returned."""
        cell = self.start(code, live=live, cell_id=cell_id)
        self.wait(lambda: cell.is_done)
        return cell

    def run_well(self, code: str, *, live: bool = True, cell_id: str | None = None) -> Cell:
        """Run a cell that must not fail."""
        cell = self.run(code, live=live, cell_id=cell_id)
        assert cell.reply["status"] == "ok", cell.text
        return cell

    def value(self, expression: str) -> object:
        """Return what an expression is in the kernel: numbers, texts, lists and the like."""
        # IPython abbreviates a long list, but not a long text.
        return literal_eval(literal_eval(self.run_well(f"repr({expression})").result))

    def wait_pictures(self, cell: Cell, count: int = 1) -> list[dict]:
        """Wait until a cell shows so many pictures."""
        self.wait(lambda: len(cell.pictures) >= count)
        return cell.pictures

    def wait(self, condition, seconds: float = SECONDS) -> None:
        """Read messages until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self._state()
            self._read()

    def _state(self) -> str:
        shown = "\n---\n".join(cell.text for cell in self._cells.values())
        return f"the condition never held; the cells show:\n{shown}\nthe log says:\n{self.log}"

    def _read(self) -> None:
        for channel in (self.client.shell_channel, self.client.stdin_channel):
            while channel.msg_ready():
                self._take(channel.get_msg(timeout=1))
        try:
            self._take(self.client.get_iopub_msg(timeout=0.05))
        except Empty:
            return

    def _take(self, message: dict) -> None:
        kind, content = message["msg_type"], message["content"]
        self.received.append(content)
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if kind == "update_display_data":
            for output in self._displays.get(content["transient"]["display_id"], []):
                output.update(data=content["data"], metadata=content["metadata"])
        elif kind == "input_request":
            self.questions.append(content)
            self.client.input(self.answers.pop(0))
        elif cell is None:
            return
        elif kind == "execute_reply":
            cell.reply = content
        elif kind == "status":
            cell.is_idle = cell.is_idle or content["execution_state"] == "idle"
        elif kind == "stream" and cell.last_stream == content["name"]:
            cell.outputs[-1]["text"] += content["text"]  # as front ends do
        elif kind in {"display_data", "execute_result", "stream", "error"}:
            output = {"output_type": kind, **content}
            cell.outputs.append(output)
            name = content.get("transient", {}).get("display_id")
            self._displays.setdefault(name, []).append(output)

    def interrupt(self) -> None:
        """Interrupt the cell that runs, as the stop button does."""
        self.manager.interrupt_kernel()


def _on_files(sockets: str) -> dict[str, str]:
    """Return a kernel manager's settings for sockets that are files in a folder of a short path.

    A port that is free when it is chosen can be taken by the time the kernel binds it.
    """
    return {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}


def manage_kernel(sockets: str) -> KernelManager:
    """Return a manager of a kernel whose sockets are files in a folder; its path must be short."""
    return KernelManager(kernel_name="python3", **_on_files(sockets))


def execute(
    notebook,
    folder,
    environment: dict[str, str] | None = None,
    *,
    seconds: int = 120,
    **options,
):
    """Run a notebook's cells with nbclient, as nbconvert does, and return it.

    Args:
        notebook: Gets its outputs.
        folder: Where it is.
        environment: The kernel's; None for this process's.
        seconds: The longest that a cell may take.
        options: More of ``NotebookClient``'s.
    """
    with TemporaryDirectory() as sockets:
        client = NotebookClient(
            notebook,
            timeout=seconds,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            config=Config(KernelManager=_on_files(sockets)),
            **options,
        )
        client.execute(env=os.environ if environment is None else environment)
    return notebook


@contextmanager
def start_kernel(folder, environment: dict[str, str], *first: str):
    """Start a kernel in a folder, run the first cells, and yield it."""
    log = folder / "kernel.log"
    with log.open("w") as file, TemporaryDirectory() as sockets:
        manager = manage_kernel(sockets)
        manager.start_kernel(cwd=str(folder), env=environment, stdout=file, stderr=file)
        client = manager.blocking_client()
        client.start_channels()
        try:
            try:
                client.wait_for_ready(timeout=SECONDS)
            except RuntimeError as error:
                error.add_note(log.read_text())
                raise
            kernel = Kernel(manager, client, log)
            for code in first:
                kernel.run_well(code)
            yield kernel
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
            manager.context.term()
            client.context.term()
