"""Whether there can be controls: buttons, the panel, a question to click. One place decides it.

They need two packages in the kernel's environment. Where one is missing there, or broken, pictures
and captions show without: they are plain output.
"""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakSet

from IPython.display import display

from runapi_magic.display.environment import Audience, audience
from runapi_magic.display.theme import FONT, MUTED

if TYPE_CHECKING:
    from ipywidgets import Box

    from runapi_magic.engine.session import Session
    from runapi_magic.widgets.confirm import Confirm

_PACKAGES = ("ipywidgets", "anywidget")
_told: WeakSet[Session] = WeakSet()


def lack() -> str | None:
    """Return what controls lack here, and what to do; None where they can be made.

    The first call imports them, which takes long enough to be put off until it must be known.
    """
    for name in _PACKAGES:
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 (a broken installation raises anything)
            is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
            broken = f"cannot be imported ({type(error).__name__}: {error})"
            return (
                f"the package {name} {'is missing' if is_missing else broken} in the kernel's"
                f" environment. %pip install --upgrade {name}, then restart the kernel."
            )
    return None


def are_possible(session: Session) -> bool:
    """Whether controls can be made; if not, say so in the cell that runs now, once a session."""
    found = lack()
    if found is not None and session not in _told:
        _told.add(session)
        text = f"There are no buttons here: {found}"
        html = f'<div style="{FONT};{MUTED}">{escape(text)}</div>'
        display({"text/html": html, "text/plain": text}, raw=True)
    return found is None


def question_for(session: Session, box: Box | None = None) -> Confirm | None:
    """Return a question to click on, in its place; None where no click is possible.

    Args:
        session: The session.
        box: Where the question is shown; by default in the output of the cell that runs now.
    """
    if box is None and (audience() is not Audience.LIVE or not are_possible(session)):
        return None
    from runapi_magic.widgets.confirm import Confirm

    return Confirm(box)
