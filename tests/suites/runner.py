"""Runs the wanted suites one after another, while what later ones need is built, and says how it went."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .builder import Builder
from .counts import Counts
from .process import TookTooLong
from .runs import ROOT, Order
from .suites import CAMPAIGN_MINUTES, CAMPAIGN_MORE_S, SUITES, Suite

LOGS = ROOT / "build/test-logs"
SHOWN_LINES = 150  # of a failing suite's log; the whole of it stays in LOGS
SHOWN_REASON = 400  # characters
PATIENCE = 2  # a suite is over its budget long before it is ended: all of its tests' verdicts are worth more


@dataclass
class Outcome:
    suite: Suite
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    build_cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return (f"{self.suite.name:<11}{self.seconds:>8.0f}{self.suite.budget_s:>8}{self.build_cpu_seconds:>11.0f}"
                f"{self.counts.passed:>8}{self.counts.failed:>8}{self.counts.skipped:>9}")


HEADINGS = f"{'suite':<11}{'seconds':>8}{'budget':>8}{'build CPU':>11}{'passed':>8}{'failed':>8}{'skipped':>9}"


def say(text: str) -> None:
    print(text, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(prog="scripts/test", description="Installs, builds and tests. Exits 0 only if every "
                                     "test of every suite passed.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("-k", metavar="NAME", dest="word", default="", help="only tests whose name contains it")
    parser.add_argument("--seed", type=int, default=1, help="of the campaign: the same events again (default: 1)")
    parser.add_argument("--minutes", type=float, default=CAMPAIGN_MINUTES,
                        help=f"how long the campaign lasts (default: {CAMPAIGN_MINUTES})")
    parser.add_argument("--list", action="store_true", help="say what the suites are")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.suites if name not in names]:
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(names)}")
    if options.word and len(options.suites) != 1:
        parser.error("-k chooses tests of one suite: name it")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    if options.list:
        for suite in SUITES:
            say(f"{suite.name:<11}{suite.what} (at most {suite.budget_s} s)"
                + ("" if suite.by_default else "; only if named"))
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    wanted = [suite for suite in SUITES if (suite.name in options.suites if options.suites else suite.by_default)]
    wanted = [dataclasses.replace(suite, budget_s=round(options.minutes * 60) + CAMPAIGN_MORE_S)
              if suite.name == "campaign" else suite for suite in wanted]
    subprocess.run([ROOT / "scripts/install-packages", "build", "run", "test", "check", "package"], check=True)
    begun = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    outcomes = [run_suite(suite, options) for suite in wanted if suite.build is None]
    needed = list(dict.fromkeys(suite.build for suite in wanted if suite.build is not None))
    with Builder(needed, LOGS) as builder:
        outcomes += [run_built(suite, options, builder) for suite in wanted if suite.build is not None]
    return conclude(outcomes, time.monotonic() - begun)


def conclude(outcomes: list[Outcome], seconds: float) -> int:
    total = Counts()
    say(f"\n{HEADINGS}")
    for outcome in outcomes:
        total += outcome.counts
        say(str(outcome))
    say(f"{'all':<11}{seconds:>8.0f}")
    for outcome in outcomes:
        for name in outcome.counts.failures:
            say(f"FAILED {outcome.suite.name}: {name}{reason(LOGS / f'{outcome.suite.name}.log', name)}")
    say(str(total))
    return 0 if total.passed and not total.failed else 1


def reason(log: Path, name: str) -> str:
    """What the test raised, where the log tells: the end of a long output may be all that somebody sees."""
    found = re.search(rf"^{re.escape(name)}(?: [^\n]*)?: FAILED[^\n]*\n(.*?)(?=^\S+[^\n]*: (?:ok|FAILED|skipped)|\Z)",
                      log.read_text(errors="replace"), re.MULTILINE | re.DOTALL) if log.exists() else None
    raised = re.findall(r"^\w[\w.]*(?:Error|Exception|Expired|Iteration|Interrupt)\b.*", found[1], re.MULTILINE) if found else []
    return f": {raised[-1][:SHOWN_REASON]}" if raised else ""


def run_built(suite: Suite, options: argparse.Namespace, builder: Builder) -> Outcome:
    assert suite.build is not None
    build = builder.wait(suite.build)
    if not build.ok:
        say(f"== {suite.name}: it does not build")
        show_log(build.log)
        return Outcome(suite, Counts(failed=1, failures=["it does not build"]))
    with builder.stopped() if suite.alone else contextlib.nullcontext():
        outcome = run_suite(suite, options)
    outcome.build_cpu_seconds, build.cpu_seconds = build.cpu_seconds, 0  # the first that needs it pays
    return outcome


def run_suite(suite: Suite, options: argparse.Namespace) -> Outcome:
    say(f"== {suite.name}: {suite.what}")
    log = LOGS / f"{suite.name}.log"
    log.write_text("")
    begun = time.monotonic()
    try:
        order = Order(log, begun + PATIENCE * suite.budget_s, options.word)
        if suite.name == "campaign":
            order = dataclasses.replace(order, seed=options.seed, minutes=options.minutes)
        counts = suite.run(order)
        if counts.passed + counts.failed == 0:
            counts.judge("no test was run", False)
    except TookTooLong:
        counts = Counts()
    seconds = time.monotonic() - begun
    if seconds > suite.budget_s:
        counts.judge(f"over its budget of {suite.budget_s} s", False)
    if counts.failed:
        show_log(log)
    say(f"== {suite.name}: {counts} ({seconds:.0f} s)")
    return Outcome(suite, counts, seconds)


def show_log(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    if len(lines) > SHOWN_LINES:
        say(f"   ... the last {SHOWN_LINES} lines of {log}:")
    for line in lines[-SHOWN_LINES:]:
        say(f"   {line}")


if __name__ == "__main__":
    sys.exit(main())
