"""Printing works on every output and never fails."""

from __future__ import annotations

import errno
import io

import pytest

from runapi_magic.core.printing import print_text
from runapi_magic.errors import RunAPIError, encodable

TEXT = "a fox · 1024 \u00d7 768 px … 狐 \udcff"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "a fox - 1024 x 768 px ... ? ?"),
        ("cp1252", "a fox - 1024 x 768 px ... ? ?"),
        ("utf-8", "a fox - 1024 x 768 px ... 狐 ?"),
        ("no-such-encoding", "a fox - 1024 x 768 px ... ? ?"),
    ],
)
def test_what_the_encoding_lacks_is_replaced(monkeypatch, encoding, shown):
    """Characters that are not in the encoding are replaced."""
    monkeypatch.setattr("sys.stdout", _Stream(encoding))
    assert encodable(TEXT) == shown


class _Stream(io.StringIO):
    def __init__(self, encoding):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self):
        return self._encoding


def test_a_text_that_fits_is_left_as_it_is(monkeypatch):
    """A text that the encoding can show is not changed."""
    monkeypatch.setattr("sys.stdout", _Stream("utf-8"))
    assert encodable("·…\u00d7") == "·…\u00d7"


def test_an_ascii_output(monkeypatch):
    """Printing to an ASCII stream writes the line and raises nothing."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
    print_text("a fox · $0.06")
    assert raw.getvalue() == b"a fox - $0.06\n"


def _closed():
    stream = io.StringIO()
    stream.close()
    return stream


def _broken_pipe():
    class Pipe(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    return Pipe()


@pytest.mark.parametrize(
    "make", [_closed, _broken_pipe, lambda: None], ids=["closed", "pipe", "none"]
)
def test_an_output_that_is_gone_is_ignored(monkeypatch, make):
    """A closed output, a pipe without a reader and no output at all raise nothing."""
    monkeypatch.setattr("sys.stdout", make())
    print_text("a fox")


def test_errors_are_rendered_for_the_output(monkeypatch):
    """The text that IPython shows for an error has only characters of the output's encoding."""
    monkeypatch.setattr("sys.stdout", _Stream("ascii"))
    lines = RunAPIError("No 狐 here …")._render_traceback_()
    assert lines[0] == "RunAPIError: No ? here ..."
