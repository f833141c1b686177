"""What must hold at every moment, judged of what was seen: pure functions of samples.

A sample is (when, what), the times in seconds of one clock, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Violation:
    began: float
    ended: float
    what: str


def periods(samples: Sequence[tuple[float, T]], of: T) -> list[tuple[float, float]]:
    """When it was so: from the first sample of each run to the first that says otherwise (or the last there is)."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for when, what in samples:
        if what == of and since is None:
            since = when
        elif what != of and since is not None:
            found.append((since, when))
            since = None
    if since is not None:
        found.append((since, samples[-1][0]))
    return found


def black_holes(routed: Sequence[tuple[float, bool]], answered: Sequence[float], limit: float, name: str) -> list[Violation]:
    """The router sends packets there, and for longer than `limit` no request is answered. `answered`: when the requests
    began that were."""
    found = []
    for begin, end in periods(routed, True):
        inside = [begin, *(when for when in answered if begin <= when <= end), end]
        found += [Violation(a, b, f"{name} is routed to a node that answers nothing") for a, b in zip(inside, inside[1:])
                  if b - a > limit]
    return found


def contradictions(said: Sequence[tuple[float, bool | None]], routed: Sequence[tuple[float, bool]], limit: float,
                   name: str) -> list[Violation]:
    """The status says for longer than `limit` that the VIP is announced while the router has no route, or the other way
    round. None: it said nothing, which is no contradiction."""
    joined: list[tuple[float, str]] = []
    at = 0
    for when, announced in said:
        while at + 1 < len(routed) and routed[at + 1][0] <= when:
            at += 1
        if announced is None or not routed or announced == routed[at][1]:
            joined.append((when, ""))
        else:
            joined.append((when, "announced and not routed" if announced else "routed and not announced"))
    return [Violation(begin, end, f"{name}: by the status {how}")
            for how in ("announced and not routed", "routed and not announced")
            for begin, end in periods(joined, how) if end - begin > limit]
