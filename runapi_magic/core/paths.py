"""Find the data folder and other paths that depend on the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def data_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the journal: ``RUNAPI_MAGIC_HOME``, or the platform's data folder."""
    environ = os.environ if environ is None else environ
    if folder := environ.get("RUNAPI_MAGIC_HOME"):
        return expand(folder).absolute()
    import platformdirs

    try:
        return Path(platformdirs.user_data_dir("runapi-magic", appauthor=False))
    except RuntimeError:  # without HOME, for a user without an account, as in containers
        return expand("~/.local/share/runapi-magic")


def expand(path: str) -> Path:
    """Return a path with ``~`` replaced by the home folder.

    If there is no home folder, use a folder that does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # do not create a folder named "~" in the working directory
        return Path("/nonexistent") / path.lstrip("~/")


def is_usable(folder: Path) -> bool:
    """Whether a folder exists and can be written to, or can be created."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    except OSError:  # a parent folder cannot be entered
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def notebook_name(environ: Mapping[str, str] | None = None) -> str:
    """Return the name that Jupyter gave for this kernel's notebook; empty if it gave none."""
    return (os.environ if environ is None else environ).get("JPY_SESSION_NAME", "")
