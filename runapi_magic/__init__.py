"""Make and edit images from a notebook with RunAPI.

``%load_ext runapi_magic`` gives the cells ``%%gpt_image`` and ``%%gpt_edit`` and the command
``%runapi``; ``generate`` and ``edit`` do the same from Python.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runapi_magic._version import __version__ as __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from runapi_magic.engine.generation import Generation
    from runapi_magic.engine.image import GeneratedImage
    from runapi_magic.errors import RunAPIError
    from runapi_magic.notebook.api import (
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

__all__ = [
    "GeneratedImage",
    "Generation",
    "RunAPIError",
    "compare",
    "edit",
    "forget",
    "generate",
    "generate_many",
    "load_ipython_extension",
    "open_image",
    "remove_background",
    "resume",
    "resume_batch",
    "unload_ipython_extension",
    "upscale",
]

_MODULES = {
    "GeneratedImage": "engine.image",
    "Generation": "engine.generation",
    "RunAPIError": "errors",
    "compare": "notebook.api",
    "edit": "notebook.api",
    "forget": "notebook.api",
    "generate": "notebook.api",
    "generate_many": "notebook.api",
    "open_image": "notebook.api",
    "remove_background": "notebook.api",
    "resume": "notebook.api",
    "resume_batch": "notebook.api",
    "upscale": "notebook.api",
}


# Notebooks of version 0.1.0 import from runapi_magic.models, which is core/catalog.py now. This
# module has no file; it imports the catalogue when a name is read from it.
models = ModuleType(f"{__name__}.models")
vars(models)["__getattr__"] = lambda name: getattr(import_module(f"{__name__}.core.catalog"), name)
sys.modules[models.__name__] = models


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Add the magics: ``%load_ext runapi_magic``."""
    from runapi_magic.notebook.extension import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove the magics: ``%unload_ext runapi_magic``."""
    from runapi_magic.notebook.extension import unload

    unload(ipython)
