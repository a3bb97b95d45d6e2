"""The line of a magic: options are whole words, and all other words reach the prompt as typed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runapi_magic.display.environment import Audience
from runapi_magic.errors import InvalidRequestError
from runapi_magic.notebook.arguments import as_typed, separate
from runapi_magic.notebook.magics import RunAPIMagics
from tests.properties import PROPERTY

OPTIONS = {
    "-m", "--model", "-a", "--aspect-ratio", "-r", "--output-resolution", "-n", "--count", "-i",
    "--source", "--mask", "-p", "--param", "--then", "--sweep", "--dry-run", "--max-cost", "--yes",
    "-o", "--output", "--wait", "--detach", "--new", "-q", "--quiet",
}  # fmt: skip


def _prompt(line):
    """Return the options of a line, its prompt, and the words in its notes."""
    made = separate(line, text_from=0)
    assert all(note.startswith("Note: ") for note in made.notes)
    return made.options, as_typed(made.words), [note.split()[1] for note in made.notes]


@pytest.mark.parametrize(
    ("line", "options", "prompt"),
    [
        ("a fox --max-cost 0.10", ["--max-cost=0.10"], "a fox"),
        ("a fox --max-cost=0.10 -q at dawn", ["--max-cost=0.10", "--quiet"], "a fox at dawn"),
        ("-n 3 -m gpt-image-2 a fox", ["--count=3", "--model=gpt-image-2"], "a fox"),
        ("a fox -p watermark=-5 -n -3", ["--param=watermark=-5", "--count=-3"], "a fox"),
        ('--then "upscale 4" --then="refine: soft" x',
         ["--then=upscale 4", "--then=refine: soft"], "x"),
        ('a fox -i "my photo.png"', ["--source=my photo.png"], "a fox"),
        ('"--new" and "-n" stay', [], '"--new" and "-n" stay'),
        ('"--new haircut"', [], "--new haircut"),
        ("-q -- -n 3 --new", ["--quiet"], "-n 3 --new"),
        ("-- --coutn 3", [], "--coutn 3"),
        ("-5 degrees - and 3-4 well-known _-x", [], "-5 degrees - and 3-4 well-known _-x"),
        ("- a list --- of -- things", [], "- a list --- of -- things"),
        ("— Hello", [], "— Hello"),
        ("—Hello he said —softly", [], "—Hello he said —softly"),
        ("a fox -- orange", [], "a fox -- orange"),
    ],
)  # fmt: skip
def test_whole_words(line, options, prompt):
    """An option is a whole word with its value. Words in quotes or after -- are text."""
    assert _prompt(line) == (options, prompt, [])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("a fox --n 3", ["--n"]),
        ("a cat with --y", ["--y"]),
        ("a cat -on a mat", ["-on"]),
        ("a fox -n3", ["-n3"]),
        ("a fox -n=3", ["-n=3"]),
        ("a fox --coutn 3", ["--coutn"]),
        ("a fox --max 0.10 --max-cos=1 --quie", ["--max", "--max-cos=1", "--quie"]),
        ("words -x and -yz", ["-x", "-yz"]),
        ("a fox —max-cost 0.10", ["—max-cost"]),
        ("a fox -- --max-cost 0.10", ["--max-cost"]),
    ],
)
def test_words_with_a_dash_stay_text(line, named):
    """Abbreviations and ``-n3`` are not options: they stay in the prompt, with a note."""
    assert _prompt(line) == ([], line, named)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--coutn 3 a fox", ["--coutn", "--count?"]),
        ("--n 3 a fox", ["--n", "-n or --new"]),
        ("--y a cat", ["--y", "--yes?"]),
        ("-n3 a fox", ["-n3", "-n 3?"]),
        ("-n=3 a fox", ["-n=3", "-n 3?"]),
        ("-q --Count=3 a fox", ["--Count=3", "--count 3?"]),
        ("-count 3 a fox", ["-count", "--count"]),
        ("-on a mat", ["-on", "-o n?"]),
        ("-qn 3 a fox", ["-qn", "-q?"]),
        ("—max-cost 0.10 a fox", ["—max-cost", "--max-cost?"]),
        ("--shape 1:1 a fox", ["--shape", "in quotes or after --"]),
        ("a fox -o", ["-o needs a value"]),
        ("-o -q a fox", ["-o needs a value"]),
        ("a fox --sweep", ["--sweep needs a value"]),
        ("--new=yes a fox", ["--new takes no value"]),
    ],
)
def test_misspelt_options(line, words):
    """A misspelt option before the prompt, or one without a value, is an error with a proposal."""
    with pytest.raises(InvalidRequestError) as caught:
        separate(line, text_from=0)
    said = str(caught.value)
    assert "Nothing was sent, nothing was charged." in said
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("line", "text_from"),
    [("cat --coutn 3 make it night", 1), ("--coutn 3 cat", 1), ("cat dog --coutn 3", None)],
)
def test_misspelt_options_before_an_instruction(line, text_from):
    """Before the instruction of an edit, a misspelt option is an error."""
    with pytest.raises(InvalidRequestError, match="--coutn"):
        separate(line, text_from=text_from)


def test_sweeps_and_sources():
    """Values of a sweep may contain spaces. The first word of an edit is its source."""
    made = separate('cat -q --sweep tone="dusk, red",day make it {tone}', text_from=1)
    assert (made.sweeps, made.options) == (['tone="dusk, red",day'], ["--quiet"])
    assert [str(word) for word in made.words] == ["cat", "make", "it", "{tone}"]


_WORDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"], exclude_characters="\"'"))
    | st.sampled_from(["-on", "--n", "-n3", "-", "--x=1", "-q1", "--counting", "—new-ish", "?"]),
    min_size=1,
).map(lambda words: [word for word in words if word.split() == [word]])


@PROPERTY
@given(_WORDS)
def test_any_words(words):
    """Any words that are not whole options are sent as typed."""
    assume(not any(word.partition("=")[0] in OPTIONS for word in words))
    made = separate(f"a {' '.join(words)}", text_from=0)
    assert made.options == made.sweeps == []
    assert as_typed(made.words) == " ".join(["a", *words])


@PROPERTY
@given(_WORDS)
def test_any_words_after_two_dashes(words):
    """After -- every word is text, also an option."""
    assume(words)
    made = separate(f"-q -- {' '.join([*words, '-n', '3', '--new'])}", text_from=0)
    assert made.options == ["--quiet"]
    assert as_typed(made.words) == " ".join([*words, "-n", "3", "--new"])


@PROPERTY
@given(st.text(alphabet="-\N{EM DASH}nqo=3\"' ab{}"), st.sampled_from([0, 1, None]))
def test_any_line(line, text_from):
    """Any line gives options that argparse knows, or an error with a message."""
    with suppress(InvalidRequestError):
        made = separate(line, text_from=text_from)
        assert all(option.partition("=")[0] in OPTIONS for option in made.options)
        assert all(word.typed in line for word in made.words)


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("a fox --wait", True),
        ('--then "make it night" --wait a fox', True),
        ("a fox --wait --detach", False),
        ('"a sign that says --wait"', False),
        ("a sign that says 'please --wait here'", False),
        ("a fox -- --wait", False),
    ],
)
def test_wait_in_quotes_is_text(line, waits):
    """``--wait`` in quotes is text: the cell does not wait for it."""
    assert RunAPIMagics.waits(None, "gpt_image", line) is waits


def test_detach_in_quotes_is_text(monkeypatch):
    """``--detach`` in quotes is text: without a person the cell waits."""
    monkeypatch.setattr("runapi_magic.display.environment.audience", lambda: Audience.UNATTENDED)
    waits = RunAPIMagics.waits
    assert waits(None, "gpt_image", 'a sign that says "use --detach now"') is True
    assert waits(None, "gpt_image", "a sign --detach") is False
