"""Looking back in the journal: pages, searches, files, families, and former journals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from runapi_magic.journal.history import History
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.task_log import Journal
from tests.sessions import record_image


@pytest.fixture
def journal(tmp_path):
    """A journal."""
    opened = Journal(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def history(journal):
    """What looks back into it."""
    return History(journal)


def _prompts(rows):
    return [row.task.prompt for row in rows]


def test_pages(journal, history):
    """Pages come newest first, without gaps and without doubles, and the count knows them all."""
    for number in range(7):
        record_image(journal, f"picture {number}", number=number)
    pages = [history.images(limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [_prompts(page) for page in pages] == [
        ["picture 6", "picture 5", "picture 4"],
        ["picture 3", "picture 2", "picture 1"],
        ["picture 0"],
        [],
    ]
    assert history.count() == 7


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("fox", ["a fox, 100% wool", "A red FOX"]),
        ("RED fox", ["A red FOX"]),
        ("flux", ["under_score"]),
        ("hen flux", []),
        ("100%", ["a fox, 100% wool"]),
        ("0% w", ["a fox, 100% wool"]),
        ("r_s", ["under_score"]),
        ("_", ["under_score"]),
        ("%", ["a fox, 100% wool"]),
        ("\\", ["back\\slash"]),
        ("'; DROP TABLE images; --", []),
        ("  ", ["back\\slash", "under_score", "a fox, 100% wool", "A red FOX"]),
    ],
)
def test_search(journal, history, search, found):
    """Every word must be in prompt or model, in any case; wildcards and quotes are letters."""
    prompts = ["A red FOX", "a fox, 100% wool", "under_score", "back\\slash"]
    for number, prompt in enumerate(prompts):
        model = "flux-kontext-pro" if "score" in prompt else "gpt-image-2"
        record_image(journal, prompt, number=number, model=model)
    assert _prompts(history.images(search, limit=9)) == found
    assert history.count(search) == len(found)


@pytest.mark.parametrize("search", ["лиса", "ЛИСА", "Étoile", "étoile", "STRASSE straße"])
def test_search_in_any_alphabet(journal, history, search):
    """Case does not count for letters beyond A to Z, either."""
    record_image(journal, "Лиса ÉTOILE Straße")
    assert history.count(search) == 1


def test_by_id_and_by_file(journal, history):
    """A picture is found by its id, and by its file's content: the oldest where there are two."""
    first = record_image(journal, "a fox", number=1)
    record_image(journal, "a copy", number=2, digest=first.digest)
    assert history.image(first.id).task.prompt == "a fox"
    assert history.by_digest(first.digest).id == first.id
    assert history.image("nobody") is None
    assert history.by_digest("0" * 64) is None


def test_a_family(journal, history):
    """From any version the whole tree is found, and nothing of another one."""
    fox = record_image(journal, "a fox", number=1)
    snow = record_image(journal, "snow", fox, number=2)
    moon = record_image(journal, "moon", snow, number=3)
    rain = record_image(journal, "rain", fox, number=4)
    hen = record_image(journal, "a hen", number=5)
    egg = record_image(journal, "an egg", hen, number=6)
    for image in (fox, snow, moon, rain):
        assert _prompts(history.trees([image.id])) == ["a fox", "snow", "moon", "rain"]
    assert _prompts(history.trees([egg.id])) == ["a hen", "an egg"]
    assert len(history.trees([moon.id, egg.id])) == 6
    assert history.trees([]) == history.trees(["nobody"]) == []


def test_parents_in_a_circle(journal, history):
    """A damaged journal whose parents form a circle does not hold anybody up."""
    fox = record_image(journal, "a fox", number=1)
    snow = record_image(journal, "snow", fox, number=2)
    with journal.transaction() as connection:
        connection.execute("UPDATE images SET parent = ? WHERE id = ?", (snow.id, fox.id))
    assert _prompts(history.trees([snow.id])) == ["a fox", "snow"]


def test_identical(journal, history):
    """The takes of one request are found in the order in which a request finds them."""
    takes = [record_image(journal, "a fox", number=number) for number in (1, 2, 3)]
    record_image(journal, "a hen", number=4)
    for take in takes:
        assert [row.id for row in history.identical(take.id)] == [one.id for one in takes]
    assert history.identical("nobody") == []


def test_what_was_measured(journal, history):
    """Figures are kept with the picture, also for another kernel."""
    fox = record_image(journal, "a fox")
    assert (history.image(fox.id).sharpness, history.image(fox.id).noise) == (None, None)
    history.set_metrics(fox.id, 12.5, 0.0)
    other = Journal(journal.path.parent)
    row = History(other).image(fox.id)
    other.close()
    assert (row.sharpness, row.noise) == (12.5, 0.0)


def _fill_former(path):
    """Make a journal of the first version, with a picture and an edit of it."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    with connection:
        MIGRATIONS[0](connection)
        connection.execute("PRAGMA user_version = 1")
        for number, prompt, parent in ((1, "a fox", None), (2, "snow", "i1")):
            connection.execute(
                "INSERT INTO tasks (id, generation, origin, created, model, prompt, fields,"
                " sources, fingerprint, count, state) VALUES (?, 'g', 'https://runapi.ai', 5.0,"
                " 'gpt-image-2', ?, '{}', '[]', 'f', 1, 'saved')",
                (f"t{number}", prompt),
            )
            connection.execute(
                "INSERT INTO images VALUES (?, ?, 0, ?, ?, 8, 6, ?, ?)",
                (f"i{number}", f"t{number}", f"/p/{number}.png", str(number), parent, 5.0 + number),
            )
    connection.close()


def _rows(path):
    """All rows of a journal, each by its columns' names."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    tables = [connection.execute(f"SELECT * FROM {name}") for name in ("tasks", "images")]
    rows = [dict(row) for table in tables for row in table]
    connection.close()
    return rows


def test_a_former_journal(journal, history):
    """A journal of the first version keeps all its rows, and learns to look back."""
    _fill_former(journal.path)
    before = _rows(journal.path)
    assert _prompts(history.trees(["i2"])) == ["a fox", "snow"]
    row = history.by_digest("2")
    assert (row.parent, row.path, row.sharpness) == ("i1", Path("/p/2.png"), None)
    history.set_metrics("i2", 1.0, 2.0)
    assert history.image("i2").noise == 2.0
    assert len(before) == 4
    for old, new in zip(before, _rows(journal.path), strict=True):
        assert old.items() <= new.items()


def test_looking_back_is_fast(journal, history):
    """Families, files and the newest page are found by an index, not by reading all pictures."""
    record_image(journal, "a fox")
    plans = {}
    with journal.transaction() as connection:
        connection.set_trace_callback(lambda query: plans.setdefault(query, None))
    history.by_digest("0" * 64)
    history.images(limit=3)
    history.trees(["part-0000-0"])
    with journal.transaction() as connection:
        connection.set_trace_callback(None)
        for query in [query for query in plans if "SELECT" in query]:
            plans[query] = [
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")
                if row[3].startswith("SCAN images") and "USING INDEX" not in row[3]
            ]  # fmt: skip
    assert len([query for query, plan in plans.items() if plan is not None]) == 3
    assert [query for query, plan in plans.items() if plan] == []
