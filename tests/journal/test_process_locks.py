"""The locks that show which kernels run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runapi_magic.journal.process_locks import Owners


@pytest.fixture
def owners(tmp_path):
    """Return a function that returns the owners of one data folder, as in a new kernel."""
    made = []

    def make():
        made.append(Owners(tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.release()


def _file(owners, folder, age):
    """Return the lock file of a kernel, with this age in days."""
    path = folder / "kernels" / f"{owners.me}.lock"
    path.touch()
    seconds = path.stat().st_mtime - age * 24 * 3600
    os.utime(path, (seconds, seconds))
    return path


def test_who_is_alive(owners):
    """A kernel is alive from its registration until its release."""
    first, second = owners(), owners()
    assert not second.is_alive(first.me)
    first.register()
    assert second.is_alive(first.me)
    first.release()
    assert not second.is_alive(first.me)
    assert second.is_alive(second.me)
    assert not second.is_alive(None)


def test_old_files_are_deleted(owners, tmp_path):
    """Files of ended kernels are deleted after a day. Files of running kernels are kept."""
    running, ended, new = owners(), owners(), owners()
    running.register()
    kept = [_file(running, tmp_path, age=2), _file(new, tmp_path, age=0)]
    old = _file(ended, tmp_path, age=2)
    owners().register()
    assert [path.exists() for path in (*kept, old)] == [True, True, False]


def test_an_old_file_that_cannot_be_deleted(owners, tmp_path, monkeypatch):
    """A file that another program has open on Windows does not prevent the registration."""
    running, ended = owners(), owners()
    running.register()
    old = _file(ended, tmp_path, age=2)

    def refuse(path, **_):
        raise PermissionError(13, "The process cannot access the file", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        owner = owners()
        owner.register()
    assert old.exists()
    assert running.is_alive(owner.me)
