"""Let a prompt on a line end in a question mark, which IPython reads as a request for help.

Without this, ``%gpt_image why so blue?`` opens IPython's help on ``blue``. ``%gpt_image?`` still
shows the help of the magic.
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


class PromptWithQuestionMark(TokenTransformBase):
    """Turns a line of one of our magics that ends in a question mark into a call of the magic."""

    priority = 4  # before IPython's own help, which has priority 5

    def __init__(self, start: tuple[int, int], inner: Any) -> None:
        super().__init__(start)  # type: ignore[no-untyped-call]  # IPython has no types here
        self._inner = inner

    @classmethod
    def find(cls, tokens_by_line: list[list[Any]]) -> TokenTransformBase | None:
        """Return the transformer of the first such line of a cell; None if there is none."""
        for line in tokens_by_line:
            if len(line) < 2 or line[-2].string != "?":  # noqa: PLR2004 (the last one is a newline)
                continue
            words = [token for token in line if token.type not in _INDENTS]
            start = words[0].start  # the same position as that of IPython's own transformer
            if _is_call(words):
                return cls(start, EscapedCommand(start))
            assigned = MagicAssign.find([line])
            if assigned is not None:
                percent = (assigned.start_line + 1, assigned.start_col)
                if _is_call([token for token in words if token.start >= percent]):
                    return cls(start, assigned)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return the lines of the cell with the call instead of the magic."""
        made: list[str] = self._inner.transform(lines)
        return made


def _is_call(words: list[Any]) -> bool:
    """Whether a line begins with one of our magics, followed by a space and words."""
    if len(words) < 4 or words[0].string != "%" or words[1].string not in _MAGICS:  # noqa: PLR2004 (%, name, a word, ?)
        return False
    name, after = words[1], next((word for word in words[2:] if word.string.strip()), None)
    return after is not None and after.string != "?" and after.start != name.end


def install(shell: InteractiveShell) -> None:
    """Let prompts in a shell end in a question mark."""
    shell.input_transformer_manager.token_transformers.append(PromptWithQuestionMark)


def remove(shell: InteractiveShell) -> None:
    """Undo ``install``."""
    transformers = shell.input_transformer_manager.token_transformers
    if PromptWithQuestionMark in transformers:
        transformers.remove(PromptWithQuestionMark)
