"""The rows of docs/packets.md, by which the cases name them. A row that no case names fails the build; so does a case that
names none of them.

Elsewhere: a full queue and a frame in several buffers are an engine's own tests; rate limits are reply_limit_test.cc, what
tracking does as time passes is tracking_test.cc."""

from __future__ import annotations

from pathlib import Path

from .case import Cases

CONTRACT = Path(__file__).parents[3] / "docs/packets.md"


def rows(text: str) -> set[str]:
    """The first cell of each row of the tables in sections whose heading begins with "Rows"."""
    found: set[str] = set()
    for section in text.split("\n## ")[1:]:
        if not section.startswith("Rows"):
            continue
        table = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
        found.update(table[2:])  # behind the table's head
    return found


def check(cases: Cases) -> None:
    known = rows(CONTRACT.read_text())
    covered = {case.row for case in cases}
    assert known == covered, f"rows without a case: {known - covered}; cases of no row: {covered - known}"
