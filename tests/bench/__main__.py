"""Run all measurements and print a table: ``python -m tests.bench``."""

from __future__ import annotations

from tests.bench import batch, journal

if __name__ == "__main__":
    for part in (journal, batch):
        for line in part.report():
            print(line)  # noqa: T201 (a report)
