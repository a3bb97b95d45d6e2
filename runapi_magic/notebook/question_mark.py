"""Lets a prompt end in a question mark, which IPython takes for a request for help.

``%gpt_image why so blue?`` opens IPython's help on ``blue`` where nothing steps in.
``%gpt_image?`` alone still shows the magic's help.
"""

from __future__ import annotations

import tokenize
from typing import TYPE_CHECKING, Any

from IPython.core.inputtransformer2 import (
    EscapedCommand,
    MagicAssign,
    TokenTransformBase,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_MAGICS = {"gpt_image", "gpt_edit", "runapi"}
_INDENTS = {tokenize.INDENT, tokenize.DEDENT}


class PromptThatAsks(TokenTransformBase):
    """Turns a line of our magics that ends in a question mark into the call of the magic."""

    priority = 4  # before IPython's own look for a question mark at the end, which is 5

    def __init__(self, start: tuple[int, int], inner: Any) -> None:
        super().__init__(start)  # type: ignore[no-untyped-call]  # IPython has no types here
        self._inner = inner

    @classmethod
    def find(cls, tokens_by_line: list[list[Any]]) -> TokenTransformBase | None:
        """Return what transforms the first such line of a cell."""
        for line in tokens_by_line:
            if len(line) < 2 or line[-2].string != "?":  # noqa: PLR2004 (the last one is a newline)
                continue
            words = [token for token in line if token.type not in _INDENTS]
            start = words[0].start  # where IPython's own transformer of help starts, too
            if _is_call(words):
                return cls(start, EscapedCommand(start))
            assigned = MagicAssign.find([line])
            if assigned is not None:
                percent = (assigned.start_line + 1, assigned.start_col)
                if _is_call([token for token in words if token.start >= percent]):
                    return cls(start, assigned)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return the cell's lines with the call in place of the magic."""
        made: list[str] = self._inner.transform(lines)
        return made


def _is_call(words: list[Any]) -> bool:
    """Whether a line begins with one of our magics, and a blank and words come after its name."""
    if len(words) < 4 or words[0].string != "%" or words[1].string not in _MAGICS:  # noqa: PLR2004 (%, name, a word, ?)
        return False
    name, after = words[1], next((word for word in words[2:] if word.string.strip()), None)
    return after is not None and after.string != "?" and after.start != name.end


def install(shell: InteractiveShell) -> None:
    """Let prompts of a shell end in a question mark."""
    shell.input_transformer_manager.token_transformers.append(PromptThatAsks)


def remove(shell: InteractiveShell) -> None:
    """Give a question mark at the end back to IPython."""
    transformers = shell.input_transformer_manager.token_transformers
    if PromptThatAsks in transformers:
        transformers.remove(PromptThatAsks)
