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
WRONG = {"fence": 2000, "majority": 100, "last_announcer": 6000}


def holds(folder: Path, seeds: int) -> bool:
    """All seeds hold: on both halves of them at once, since most machines have two processors."""
    half = seeds // 2
    program = str(folder / "fleet-simulation")
    runs = [subprocess.Popen([program, "--seeds", str(count), "--first", str(first)], stdout=sys.stderr)
            for first, count in ((1, half), (1 + half, seeds - half))]
    return not any([run.wait() for run in runs])


def notices(folder: Path, wrong: str) -> bool:
    ended = subprocess.run([str(folder / f"fleet-without-{wrong}"), "--seeds", str(WRONG[wrong])], stdout=subprocess.PIPE,
                           text=True)
    found = re.search(r"\((\d+) before it held\): (.*)", ended.stdout)
    said = f"after {int(found[1]) + 1} seeds: {found[2]}" if found else f"not in {WRONG[wrong]} seeds"
    print(f"    without {wrong}, noticed {said}", file=sys.stderr)
    return ended.returncode == 1 and found is not None


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
