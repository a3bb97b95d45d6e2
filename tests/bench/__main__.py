"""Run all measurements and print a table: ``python -m tests.bench``."""

from __future__ import annotations

from tests.bench import journal

if __name__ == "__main__":
    for line in journal.report():
        print(line)  # noqa: T201 (a report)
