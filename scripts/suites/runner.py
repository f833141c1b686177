"""Builds what the wanted suites need, runs them one after another, and counts."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from .process import OverBudget
from .suites import ROOT, SUITES, Counts, Suite

LOGS = ROOT / "build/test-logs"
SHOWN_LINES = 150  # of a failing suite's log; the whole of it stays in LOGS


def say(text: str) -> None:
    print(text, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(prog="scripts/test", description="Installs, builds and tests. Exits 0 only if every "
                                     "test of every suite passed.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--list", action="store_true", help="say what the suites are")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.suites if name not in names]:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(names)}")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    if options.list:
        for suite in SUITES:
            say(f"{suite.name:<10}{suite.what} (at most {suite.budget_s} s)")
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    subprocess.run([ROOT / "scripts/install-packages", "build", "run", "test"], check=True)
    total = Counts()
    lines = []
    built: dict[str, bool] = {}
    for suite in SUITES:
        if options.suites and suite.name not in options.suites:
            continue
        counts, verdict = run_suite(suite, built)
        total += counts
        lines.append(f"{suite.name:<10}{verdict}")
    say("\n" + "\n".join(lines))
    say(str(total))
    return 0 if total.passed and not total.failed else 1


def run_suite(suite: Suite, built: dict[str, bool]) -> tuple[Counts, str]:
    say(f"== {suite.name}: {suite.what}")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{suite.name}.log"
    log.write_text("")
    begun = time.monotonic()
    if not build(suite.build, built):
        return Counts(failed=1), "FAILED: it does not build"
    build_seconds, begun = time.monotonic() - begun, time.monotonic()
    why = ""
    try:
        counts = suite.run(log, begun + suite.budget_s)
        if counts.passed + counts.failed == 0:
            why = "no test was run"
    except OverBudget:
        counts, why = Counts(), f"over its budget of {suite.budget_s} s"
    if why:
        counts.failed += 1
    if counts.failed:
        show_log(log)
    verdict = (f"{counts}{': ' + why if why else ''} ({time.monotonic() - begun:.0f} s"
               + (f", build {build_seconds:.0f} s)" if build_seconds >= 1 else ")"))
    say(f"== {suite.name}: {verdict}")
    return counts, verdict


def build(arguments: list[str] | None, built: dict[str, bool]) -> bool:
    if arguments is None:
        return True
    key = " ".join(arguments)
    if key not in built:
        built[key] = subprocess.run([ROOT / "scripts/build", *arguments], check=False).returncode == 0
    return built[key]


def show_log(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    if len(lines) > SHOWN_LINES:
        say(f"   ... the last {SHOWN_LINES} lines of {log}:")
    for line in lines[-SHOWN_LINES:]:
        say(f"   {line}")


if __name__ == "__main__":
    sys.exit(main())
