"""What is to be reached, and whether it is: gathered from what the benchmarks wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

# Of Google Benchmark's programs: (benchmark, counter or time) -> (words, limit).
MICRO: list[tuple[str, str, str, float]] = [
    ("connections/memory/flows:1000000/iterations:1", "bytes_per_flow",
     "bytes a tracked flow, at 0.1 % failed inserts", 12),
    ("connections/memory/flows:1000000/iterations:1", "bytes_per_flow_made_for",
     "bytes a flow, in a table made for 1 M", 12),
    ("table/populate/slots:65537/backends:1000", "cpu_time", "ms to populate 65,537 slots with 1000 backends", 0.8),
    ("table/populate/slots:655373/backends:1000", "cpu_time", "ms to populate 655,373 slots with 1000 backends", 10),
]


@dataclass
class Row:
    part: str
    subject: str
    what: str
    limit: float
    value: float
    holds: bool

    def verdict(self) -> str:
        if self.holds:
            return "reached"
        return "missed" if not self.limit else f"missed by {abs(self.value / self.limit - 1):.0%}"


def of(parts: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for point in parts.get("forwarding", {}).get("points", []):
        rows += [Row("forwarding", point["name"], target["what"], target["limit"], target["value"], target["holds"])
                 for target in point["targets"]]
    if "micro" in parts:
        rows += of_micro(parts["micro"]["benchmarks"])
    if "fleet-store" in parts:
        store = parts["fleet-store"]
        rows += [Row("fleet-store", "three nodes", words, limit, value, value <= limit) for words, limit, value in (
            ("ms from `config apply` to the last node's forwarding by it", 150, median(store["apply_ms"])),
            ("ms from a death's second checker to the last node's tables, beyond their publication", 50,
             median(store["death_beyond_publication_ms"])),
            ("writes to the store a second, in rest", 10, store["writes_per_s_in_rest"]))]
    for scenario in parts.get("fleet", {}).get("scenarios", []):
        full = scenario["modes"]["full"]["broken_ppm"]
        for mode, target in scenario["targets"].items():
            broken = scenario["modes"][mode]["broken_ppm"]
            # Where full tracking breaks none, neither may the others.
            times = broken / full if full else (0.0 if not broken else float(broken))
            rows.append(Row("fleet", scenario["name"], f"times as many connections broken by {mode} as by full",
                            target["limit"], times, target["holds"]))
    return rows


def of_micro(benchmarks: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for name, key, words, limit in MICRO:
        values = [run[key] for run in benchmarks if run.get("run_name", run["name"]) == name
                  and run.get("aggregate_name", "median") == "median"]
        if values:
            rows.append(Row("micro", name.partition("/")[0], words, limit, values[0], values[0] <= limit))
    return rows


def worst_of_fleet(rows: list[Row]) -> list[Row]:
    """One row for all scenarios in which the same is to be reached."""
    kept = [row for row in rows if row.part != "fleet"]
    alike: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row.part == "fleet":
            alike.setdefault((row.what, row.limit), []).append(row)
    for scenarios in alike.values():
        worst = max(scenarios, key=lambda row: (not row.holds, row.value))
        held = sum(row.holds for row in scenarios)
        kept.append(replace(worst, subject=f"fleet: {worst.subject}, the worst of {len(scenarios)}, of which {held} "
                                           "reach it"))
    return kept


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    return [asdict(row) | {"verdict": row.verdict()} for row in rows]


def table(rows: list[Row]) -> str:
    """As Markdown, which a terminal shows well enough."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for row in worst_of_fleet(rows):
        sign = "≥" if "as fast as" in row.what else "≤"
        value = f"{row.value:.0f}" if row.value == round(row.value) else f"{row.value:.3g}"
        lines.append(f"| {row.subject} | {value} {row.what} | {sign} {row.limit:g} | {row.verdict()} |")
    return "\n".join(lines)
