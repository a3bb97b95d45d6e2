"""A magic's line: whole words are options, and every other word reaches the prompt as typed."""

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
    """Return a line's options, its prompt, and the words that a note names."""
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
    """An option is a whole word with its value; what is quoted or after -- is text."""
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
    """No abbreviation and no glued value is an option; the prompt keeps it, and a line says so."""
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
        ("--shape 1:1 a fox", ["--shape", "in quotes, or after --"]),
        ("a fox -o", ["-o needs a value"]),
        ("-o -q a fox", ["-o needs a value"]),
        ("a fox --sweep", ["--sweep needs a value"]),
        ("--new=yes a fox", ["--new takes no value"]),
    ],
)
def test_slips_of_the_pen(line, words):
    """A misspelt option at the beginning, or one without its value, names what was meant."""
    with pytest.raises(InvalidRequestError) as caught:
        separate(line, text_from=0)
    said = str(caught.value)
    assert "Nothing was sent, nothing was charged." in said
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("line", "text_from"),
    [("cat --coutn 3 make it night", 1), ("--coutn 3 cat", 1), ("cat dog --coutn 3", None)],
)
def test_slips_before_an_instruction(line, text_from):
    """Beside the sources of an edit a misspelt option is an error, too: no text has begun."""
    with pytest.raises(InvalidRequestError, match="--coutn"):
        separate(line, text_from=text_from)


def test_sweeps_and_sources():
    """A sweep's values with blanks belong to it; an edit's first word is its source."""
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
def test_any_words_survive(words):
    """A prompt of arbitrary words that are no whole options is sent as typed."""
    assume(not any(word.partition("=")[0] in OPTIONS for word in words))
    made = separate(f"a {' '.join(words)}", text_from=0)
    assert made.options == made.sweeps == []
    assert as_typed(made.words) == " ".join(["a", *words])


@PROPERTY
@given(_WORDS)
def test_any_words_after_the_end_of_options(words):
    """After -- at the beginning every word is text, options as well."""
    assume(words)
    made = separate(f"-q -- {' '.join([*words, '-n', '3', '--new'])}", text_from=0)
    assert made.options == ["--quiet"]
    assert as_typed(made.words) == " ".join([*words, "-n", "3", "--new"])


@PROPERTY
@given(st.text(alphabet="-\N{EM DASH}nqo=3\"' ab{}"), st.sampled_from([0, 1, None]))
def test_any_line(line, text_from):
    """Any line gives options that argparse knows, or an error in words."""
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
def test_a_cell_waits_by_an_option_alone(line, waits):
    """A cell waits where ``--wait`` is an option, not where it is part of a text in quotes."""
    assert RunAPIMagics.waits(None, "gpt_image", line) is waits


def test_a_text_in_quotes_detaches_nothing(monkeypatch):
    """With nobody there a cell waits, whatever a text in quotes says."""
    monkeypatch.setattr("runapi_magic.display.environment.audience", lambda: Audience.UNATTENDED)
    waits = RunAPIMagics.waits
    assert waits(None, "gpt_image", 'a sign that says "use --detach now"') is True
    assert waits(None, "gpt_image", "a sign --detach") is False
