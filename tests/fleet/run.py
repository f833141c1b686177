#!/usr/bin/python3
"""Runs the simulator of fleets on many seeds, then on cores in each of which one rule is wrong, which it must notice.

    tests/fleet/run.py [WORD...] [--seeds N] [--build FOLDER] [--report FILE]

The report is one JSON object: {"passed": N, "failed": N, "skipped": N, "failures": [NAME...]}."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Within so many seeds a wrong rule is noticed.
WRONG = {"fence": 2000, "majority": 100, "last_announcer": 12000, "stand_in": 12000}


def on_halves(program: Path, seeds: int) -> list[subprocess.Popen[str]]:
    """On both halves of the seeds at once, since most machines have two processors."""
    half = seeds // 2
    return [subprocess.Popen([str(program), "--seeds", str(count), "--first", str(first)], stdout=subprocess.PIPE, text=True)
            for first, count in ((1, half), (1 + half, seeds - half))]


def holds(folder: Path, seeds: int) -> bool:
    """All seeds hold."""
    runs = on_halves(folder / "fleet-simulation", seeds)
    for run in runs:
        print(run.communicate()[0], end="", file=sys.stderr)
    return not any(run.returncode for run in runs)


def notices(folder: Path, wrong: str) -> bool:
    """One of the seeds does not hold; the first that is found will do."""
    runs = on_halves(folder / f"fleet-without-{wrong}", WRONG[wrong])
    while not any(run.poll() for run in runs) and any(run.poll() is None for run in runs):
        time.sleep(0.02)
    for run in runs:
        run.kill()
    said = [run.communicate()[0] for run in runs if run.returncode == 1]
    found = re.search(r"^seed (\d+) \(.*\): (.*)", said[0], re.MULTILINE) if said else None
    print(f"    without {wrong}, " + (f"seed {found[1]} shows it: {found[2]}" if found else
                                      f"not noticed in {WRONG[wrong]} seeds"), file=sys.stderr)
    return found is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="run only what has one of them in its name")
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    folder = options.build / "tests/fleet"
    counts = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}

    def judge(name: str, test) -> None:
        if options.words and not any(word in name for word in options.words):
            return
        begun = time.monotonic()
        passed = test()
        print(f"{name}: {'ok' if passed else 'FAILED'} ({time.monotonic() - begun:.0f} s)", file=sys.stderr)
        counts["passed" if passed else "failed"] += 1
        if not passed:
            counts["failures"].append(name)

    judge(f"{options.seeds} seeds hold", lambda: holds(folder, options.seeds))
    for wrong in WRONG:
        judge(f"without {wrong} it is noticed", lambda wrong=wrong: notices(folder, wrong))
    if options.report:
        options.report.write_text(json.dumps(counts))
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
