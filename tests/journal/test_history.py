"""The history: pages, search, files, trees of edits, and older journals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from runapi_magic.journal.history import History
from runapi_magic.journal.schema import MIGRATIONS
from runapi_magic.journal.task_log import Journal
from tests.sessions import record_image


@pytest.fixture
def history(journal):
    """Return the history of that journal."""
    return History(journal)


def _prompts(rows):
    return [row.task.prompt for row in rows]


def test_pages(journal, history):
    """Pages are newest first, without gaps and duplicates. The count includes all images."""
    for number in range(7):
        record_image(journal, f"image {number}", number=number)
    pages = [history.images(limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [_prompts(page) for page in pages] == [
        ["image 6", "image 5", "image 4"],
        ["image 3", "image 2", "image 1"],
        ["image 0"],
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
    """Each word must be in the prompt or the model. Wildcards and quotes are ordinary letters."""
    prompts = ["A red FOX", "a fox, 100% wool", "under_score", "back\\slash"]
    for number, prompt in enumerate(prompts):
        model = "flux-kontext-pro" if "score" in prompt else "gpt-image-2"
        record_image(journal, prompt, number=number, model=model)
    assert _prompts(history.images(search, limit=9)) == found
    assert history.count(search) == len(found)


@pytest.mark.parametrize("search", ["лиса", "ЛИСА", "Étoile", "étoile", "STRASSE straße"])
def test_search_in_any_alphabet(journal, history, search):
    """Case is ignored for all letters, not only for A to Z."""
    record_image(journal, "Лиса ÉTOILE Straße")
    assert history.count(search) == 1


def test_find_by_id_and_by_file(journal, history):
    """An image is found by its ID and by its file. Of two identical files, it is the older one."""
    first = record_image(journal, "a fox", number=1)
    record_image(journal, "a copy", number=2, digest=first.digest)
    assert history.image(first.id).task.prompt == "a fox"
    assert history.by_digest(first.digest).id == first.id
    assert history.image("unknown") is None
    assert history.by_digest("0" * 64) is None


def test_trees(journal, history):
    """Each image of a tree finds the whole tree, and no image of another tree."""
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
    assert history.trees([]) == history.trees(["unknown"]) == []


def test_parents_in_a_cycle(journal, history):
    """The search for a tree ends even if the parents form a cycle."""
    fox = record_image(journal, "a fox", number=1)
    snow = record_image(journal, "snow", fox, number=2)
    with journal.transaction() as connection:
        connection.execute("UPDATE images SET parent = ? WHERE id = ?", (snow.id, fox.id))
    assert _prompts(history.trees([snow.id])) == ["a fox", "snow"]


def test_identical(journal, history):
    """All images of identical requests are found, in the order of their requests."""
    images = [record_image(journal, "a fox", number=number) for number in (1, 2, 3)]
    record_image(journal, "a hen", number=4)
    for image in images:
        assert [row.id for row in history.identical(image.id)] == [one.id for one in images]
    assert history.identical("unknown") == []


def test_metrics(journal, history):
    """Another kernel reads the metrics that were stored with an image."""
    fox = record_image(journal, "a fox")
    assert (history.image(fox.id).sharpness, history.image(fox.id).noise) == (None, None)
    history.set_metrics(fox.id, 12.5, 0.0)
    other = Journal(journal.path.parent)
    row = History(other).image(fox.id)
    other.close()
    assert (row.sharpness, row.noise) == (12.5, 0.0)


def _create_first_version(path):
    """Create a journal with the first version of the tables, an image and an edit of it."""
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
    """Return all rows of a journal as dictionaries."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    tables = [connection.execute(f"SELECT * FROM {name}") for name in ("tasks", "images")]
    rows = [dict(row) for table in tables for row in table]
    connection.close()
    return rows


def test_a_journal_of_the_first_version(journal, history):
    """A journal of the first version keeps all rows and can store metrics."""
    _create_first_version(journal.path)
    before = _rows(journal.path)
    assert _prompts(history.trees(["i2"])) == ["a fox", "snow"]
    row = history.by_digest("2")
    assert (row.parent, row.path, row.sharpness) == ("i1", Path("/p/2.png"), None)
    history.set_metrics("i2", 1.0, 2.0)
    assert history.image("i2").noise == 2.0
    assert len(before) == 4
    for old, new in zip(before, _rows(journal.path), strict=True):
        assert old.items() <= new.items()


def test_queries_use_indexes(journal, history):
    """The queries for trees, files and the newest page use indexes."""
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
