"""What health checks cost the control plane, over the number of backends: `linimo-controlplane` on one CPU, an nginx that
answers on all addresses on another, in a network namespace of their own. Checks are counted by the server, CPU time by the
kernel."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.many_backends import ManyBackends

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "linimo-bench-health"
CPUS = sorted(os.sched_getaffinity(0))
KNOWN_WITHIN = 15  # seconds: longer is not waited for


@dataclass(frozen=True)
class Point:
    kind: str
    backends: int
    interval: int = 10  # seconds

    @property
    def name(self) -> str:
        return f"{self.backends:,} {self.kind}, every {self.interval} s"


POINTS = [Point("tcp", 1000), Point("tcp", 5000), Point("tcp", 20_000), Point("http", 1000), Point("http", 5000),
          Point("http", 20_000), Point("https", 2000, 2), Point("https", 10_000, 2)]  # the last is too much for a CPU


def measure(point: Point, program: Path | None) -> dict[str, Any]:
    many = ManyBackends(NAMESPACE, ROOT / "build", (CPUS[0], CPUS[-1]), program)
    with many.made():
        began = time.monotonic()
        many.start(point.kind, point.backends, f'interval = "{point.interval}s", timeout = "1s"')
        known: float | None = None
        try:
            many.await_health_known(KNOWN_WITHIN)
            known = round(time.monotonic() - began, 2)
        except TimeoutError:
            pass
        # All have been checked within a part of the interval, and so come again: that whole part is to be in the window.
        time.sleep(point.interval / 3)
        window = max(point.interval, 6)
        at, cpu, checks, deaths = time.monotonic(), many.cpu_seconds(), many.connections(), many.changes_to("down")
        time.sleep(window)
        seconds, cpu, checks = time.monotonic() - at, many.cpu_seconds() - cpu, many.connections() - checks
        deaths = many.changes_to("down") - deaths
        late = many.log.read_bytes().count(b"condition=checks-on-time")
        return {"name": point.name, "kind": point.kind, "backends": point.backends, "known_after_s": known,
                "checks_per_s": round(checks / seconds), "wanted_per_s": round(point.backends / point.interval),
                "us_per_check": round(cpu * 1e6 / checks, 1) if checks else None, "cpu_share": round(cpu / seconds, 3),
                "false_deaths": deaths, "said_late": late > 0, "memory_mb": round(many.memory_mb(), 1)}


def row(result: dict[str, Any]) -> str:
    known = f"{result['known_after_s']:.1f}" if result["known_after_s"] is not None else f"> {KNOWN_WITHIN}"
    return (f"{result['name']:<28}{known:>9}{result['checks_per_s']:>10,}{result['us_per_check'] or 0:>12.0f}"
            f"{result['cpu_share']:>8.0%}{result['false_deaths']:>8,}{'yes' if result['said_late'] else 'no':>7}"
            f"{result['memory_mb']:>8.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench health --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--program", type=Path, help="another linimo-controlplane, to compare with")
    parser.add_argument("--only", help="points whose names contain this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if len(CPUS) < 2:
        print("scripts/bench health: two CPUs are needed, one for each side", file=sys.stderr)
        return 1
    print(f"{'':<28}{'known, s':>9}{'checks/s':>10}{'CPU us each':>12}{'CPU':>8}{'deaths':>8}{'late':>7}{'MB':>8}")
    results = []
    for point in POINTS:
        if arguments.only and arguments.only not in point.name:
            continue
        results.append(measure(point, arguments.program))
        print(row(results[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"points": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
