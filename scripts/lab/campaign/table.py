"""How soon each event was noticed, withdrawn and served again: pure functions of samples, and the table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class Said:
    """What a node said of itself at one moment."""
    answers: bool = False
    serves: bool = False
    failing: frozenset[str] = frozenset()  # conditions
    announced: frozenset[str] = frozenset()  # VIPs
    digest: str = ""  # of the tables

    def differs(self, before: Said) -> str:
        """By what, in a word; empty if it does not."""
        if not self.answers:
            return "no answer" if before.answers else ""
        if self.failing - before.failing:
            return ", ".join(sorted(self.failing - before.failing))
        if self.serves != before.serves or self.announced != before.announced:
            return "announcement"
        return "table" if self.digest != before.digest else ""


@dataclass(frozen=True)
class Row:
    """Of one event on one node. Seconds; None: it did not happen."""
    kind: str
    engine: str
    noticed: float | None
    by: str
    withdrawn: float | None
    silence: float  # the longest time without an answer from this node
    answered: float | None  # since the event ended; negative: while it lasted
    routed: float | None  # since the event ended, if it had been withdrawn


def row(kind: str, engine: str, began: float, ended: float, until: float, said: Sequence[tuple[float, Said]],
        routed: Sequence[Sequence[tuple[float, bool]]], answered: Sequence[Sequence[float]]) -> Row:
    """`routed`, `answered`: of each family; the worse counts. `until`: when all was as at the start again."""
    before = [what for when, what in said if when < began][-1]
    noticed = next(((when, how) for when, what in said if began <= when <= until and (how := what.differs(before))), None)
    gaps = [_longest_gap(times, began, until) for times in answered]
    begin, end = max(gaps, key=lambda gap: gap[1] - gap[0])
    silent = end - begin
    gone = [when for family in routed for when, there in family if began <= when <= until and not there]
    back = max(gone, default=None)
    return Row(kind, engine, noticed[0] - began if noticed else None, noticed[1] if noticed else "",
               min(gone) - began if gone else None, silent, end - ended if silent > 1 else None,
               None if back is None else back - ended)


def _longest_gap(times: Sequence[float], began: float, until: float) -> tuple[float, float]:
    last = max((when for when in times if when <= began), default=began)
    inside = [last, *(when for when in times if began < when <= until), until]
    return max(zip(inside, inside[1:]), key=lambda pair: pair[1] - pair[0])


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| event | engine | noticed after | by | withdrawn after | longest silence | served again | routed again |",
             "|---|---|---|---|---|---|---|---|"]
    for one in sorted(rows, key=lambda one: (one.kind, one.engine)):
        lines.append(f"| {one.kind} | {one.engine} | {_seconds(one.noticed)} | {one.by or '–'} | {_seconds(one.withdrawn)} | "
                     f"{_seconds(one.silence) if one.silence > 1 else 'under 1 s'} | {_since_end(one.answered)} | "
                     f"{_since_end(one.routed)} |")
    return "\n".join(lines) + "\n"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _since_end(value: float | None) -> str:
    if value is None:
        return "–"
    return "while it lasts" if value < 0 else f"{value:.1f} s"
