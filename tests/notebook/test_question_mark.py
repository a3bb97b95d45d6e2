"""A prompt may end in a question mark, and help still works."""

from __future__ import annotations

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell

from runapi_magic.notebook import question_mark
from runapi_magic.notebook.extension import load, unload


@pytest.fixture
def manager():
    """IPython's transformations with ours added."""
    made = TransformerManager()
    made.token_transformers.append(question_mark.PromptWithQuestionMark)
    return made


def _line(magic, text):
    return f"get_ipython().run_line_magic({magic!r}, {text!r})\n"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%gpt_image why so blue?", _line("gpt_image", "why so blue?")),
        ("%gpt_image blue?", _line("gpt_image", "blue?")),
        ("%gpt_image -n 2 why so blue??", _line("gpt_image", "-n 2 why so blue??")),
        ("%gpt_image what is {x}?", _line("gpt_image", "what is {x}?")),
        ("%gpt_image isn't it blue?", _line("gpt_image", "isn't it blue?")),
        ("x = %gpt_image why so blue?", "x = " + _line("gpt_image", "why so blue?")),
        ("x, y = %gpt_edit cat is it night?", "x, y = " + _line("gpt_edit", "cat is it night?")),
        ("%gpt_edit cat.image why?", _line("gpt_edit", "cat.image why?")),
        ("%runapi history who?", _line("runapi", "history who?")),
        ("def f():\n    %gpt_image why?\n", "def f():\n    " + _line("gpt_image", "why?")),
        ("def f():\n    x = %gpt_image why?\n    return x\n",
         "def f():\n    x = " + _line("gpt_image", "why?") + "    return x\n"),
        ("a = 1\n%gpt_image why\\\n so?\nb = 2\n",
         "a = 1\n" + _line("gpt_image", "why  so?") + "b = 2\n"),
        ("%gpt_edit a one?\n%gpt_image two?",
         _line("gpt_edit", "a one?") + _line("gpt_image", "two?")),
    ],
)  # fmt: skip
def test_a_prompt_with_a_question_mark(manager, cell, expected):
    """The line is a call of the magic with its question mark: alone, assigned, in a function."""
    assert manager.transform_cell(cell) == expected
    if cell.strip().count("\n") == 0:
        assert manager.check_complete(cell)[0] == "complete"


@pytest.mark.parametrize(
    ("cell", "target"),
    [("%gpt_image?", "%gpt_image"), ("?%gpt_image", "%gpt_image"), ("%%gpt_image?", "%%gpt_image"),
     ("%gpt_edit?", "%gpt_edit"), ("gpt_image?", "gpt_image"), ("%timeit?", "%timeit"),
     ("x.y?", "x.y"), ("?x", "x"), ("%time foo?", "foo")],
)  # fmt: skip
def test_help_stays(manager, cell, target):
    """The name of a magic with a question mark shows its help; other magics are unchanged."""
    assert manager.transform_cell(cell) == _line("pinfo", target)


@pytest.mark.parametrize(
    "cell",
    ["'''\n%gpt_image why?\n'''\n", "x = '%gpt_image why?'\n", "# %gpt_image why?\n",
     "%%gpt_image\nwhy so blue?\n", "a = 5\nb = a % 3\n"],
)  # fmt: skip
def test_other_cells_stay(manager, cell):
    """Texts, comments, cell magics and Python code are unchanged."""
    assert manager.transform_cell(cell) == TransformerManager().transform_cell(cell)


def test_it_goes_with_the_extension():
    """``%load_ext`` adds it once, and ``%unload_ext`` removes it."""
    shell = InteractiveShell.instance()
    transformers = shell.input_transformer_manager.token_transformers
    before = list(transformers)
    load(shell)
    load(shell)
    assert transformers.count(question_mark.PromptWithQuestionMark) == 1
    unload(shell)
    assert transformers == before
