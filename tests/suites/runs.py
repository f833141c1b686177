"""How each kind of suite is run and counted. Counts come from the runners' own reports."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

from lab.scenarios import SCENARIOS

from . import covered
from .counts import Counts
from .process import run_logged

ROOT = Path(__file__).resolve().parents[2]
_JUNIT = "meson-logs/testlog.junit.xml"
PYTHON = "/usr/bin/python3"  # Debian's own, whatever is first in PATH
LAB_NAME = "linimo-test"


@dataclass(frozen=True)
class Order:
    log: Path
    deadline: float  # time.monotonic(): a runner that goes on is ended
    word: str = ""  # run only tests whose name contains it
    seed: int = 1  # of the fault campaign
    minutes: float = 1.5


Run = Callable[[Order], Counts]


def meson(folder: str, *suites: str) -> Run:
    """GoogleTest programs, declared with `test(..., suite: NAME, protocol: 'gtest')`; each of their cases counts."""

    def run(order: Order) -> Counts:
        (ROOT / folder / _JUNIT).unlink(missing_ok=True)
        wanted = [argument for suite in suites for argument in ("--suite", suite)]
        chosen = [f"--test-args=--gtest_filter=*{order.word}*"] if order.word else []
        code = run_logged(["/usr/bin/meson", "test", "-C", str(ROOT / folder), "--no-rebuild", "--print-errorlogs",
                           "--num-processes", "2",
                           "--timeout-multiplier", "0",  # the suite has a budget, which is enough
                           *chosen, *wanted], order.log, order.deadline)
        return _count_junit(folder).unexplained(code, "a program that crashed before it reported anything")

    return run


def packets(order: Order) -> Counts:
    """The packet suite; says how many of its cases ran through each engine. All run through all, or it has failed."""
    counts = meson("build", "packets")(order)
    classes = (case.get("classname", "").partition("/") for case in _cases("build"))
    engines = Counter(engine.lower() for engine, _, name in classes if name == "PacketCase")
    print("    cases: " + ", ".join(f"{engine} {cases}" for engine, cases in sorted(engines.items())), file=sys.stderr)
    # An engine with several ways of doing the same has so many times the cases.
    if not order.word and any(cases % min(engines.values()) for cases in engines.values()):
        counts.judge("not all cases ran through all engines", False)
    return counts


def _cases(folder: str) -> list[ElementTree.Element]:
    report = ROOT / folder / _JUNIT
    return list(ElementTree.parse(report).iter("testcase")) if report.exists() else []


def _count_junit(folder: str) -> Counts:
    counts = Counts()
    for case in _cases(folder):
        kinds = {child.tag for child in case}
        if not kinds & {"failure", "error"} and ("skipped" in kinds or case.get("status") == "notrun"):
            counts.skipped += 1
        else:
            counts.judge(f"{case.get('classname')}.{case.get('name')}", not kinds & {"failure", "error"})
    return counts


_LINES_WANTED = 95  # percent, in every folder
_COVERAGE_FLEETS = 200


def coverage(order: Order) -> Counts:
    """Unit and packet tests and some fleets, and a table of the lines and branches that they ran."""
    folder = ROOT / "build/coverage"
    for old in folder.rglob("*.gcda"):
        old.unlink()
    counts = meson("build/coverage", "unit", "packets")(order)
    if not order.word:
        code = run_logged([str(folder / "tests/fleet/fleet-simulation"), "--seeds", str(_COVERAGE_FLEETS)], order.log, order.deadline)
        counts.judge(f"{_COVERAGE_FLEETS} fleets", code == 0)
    table, folders = covered.count(folder, order.log, order.deadline)
    if not folders:
        counts.judge("gcovr counts the lines", False)
        return counts
    print(table, covered.as_text(folders), sep="\n", file=sys.stderr)
    for name, one in folders.items():
        if not order.word:
            counts.judge(f"{_LINES_WANTED} % of the lines of {name}", one.percent >= _LINES_WANTED)
    return counts


def runner(path: str, *arguments: str) -> Run:
    """A runner of our own, which writes the counts as JSON and takes words to choose tests by."""

    def run(order: Order) -> Counts:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
            words = [order.word] if order.word else []
            code = run_logged([str(ROOT / path), *words, *arguments, "--report", report.name], order.log,
                              order.deadline)
            text = report.read()
        counts = Counts(**json.loads(text)) if text else Counts()
        return counts.unexplained(code, f"{path} ended with {code}")

    return run


def fuzz(order: Order) -> Counts:
    """scripts/fuzz says of each target, once it has ended, whether it got through."""
    code = run_logged([str(ROOT / "scripts/fuzz"), "", *([order.word] if order.word else [])], order.log, order.deadline)
    counts = Counts()
    for target, verdict in re.findall(r"^(\w+): (ok|FAILED)$", order.log.read_text(errors="replace"), re.MULTILINE):
        counts.judge(target, verdict == "ok")
    return counts.unexplained(code, f"scripts/fuzz ended with {code}")


def scenarios(order: Order) -> Counts:
    """`scripts/demo --scenario`, alone on the machine: what breaks and how long it takes is judged there."""
    names = [name for name in SCENARIOS if order.word in name]
    _, told = _demo(BUILT_DEMO, ["--scenario", *names], order) if names else (0, [])
    reports = {report["scenario"]: report for report in told}
    counts = Counts()
    for name in names:
        held = name in reports and reports[name]["problems"] == []
        counts.judge(name, held)
        times = {engine: of["milliseconds"] for engine, of in reports[name]["engines"].items()} if name in reports else {}
        print(f"    {name}: {'ok' if held else 'FAILED'}, ms {times}", file=sys.stderr)
    return counts


def campaign(order: Order) -> Counts:
    """Random faults (scripts/lab/campaign): what held is a test that passed, what was violated one that failed."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
        code = run_logged([PYTHON, "-B", "-m", "lab.campaign", "--name", LAB_NAME, "--seed", str(order.seed), "--minutes",
                           str(order.minutes), "--report", report.name, *([order.word] if order.word else [])], order.log,
                          order.deadline)
        text = report.read()
    counts = Counts(**json.loads(text)) if text else Counts()
    return counts.unexplained(code, f"the campaign ended with {code}")


# What scripts/demo does once all is built. It would build again, in the folder where other things are being built.
BUILT_DEMO = [PYTHON, "-B", "-m", "lab.demo"]
FRESH_S = 300  # from a clone to the first request that was answered; the packages are there
BUILT_S = 30


def fresh(order: Order) -> Counts:
    """`scripts/demo --check` where nothing was ever built, as someone who has just cloned it would. This tree itself, if
    that is so; else a copy."""
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="linimo-clone-") as folder:
        tree = ROOT
        if (ROOT / "build/build.ninja").exists():
            tree = Path(folder, "linimo")
            shutil.copytree(ROOT, tree, symlinks=True,
                            ignore=lambda path, names: {"build", ".git"} & set(names) if Path(path) == ROOT else ())
        counts.judge("from a clone to a forwarded request",
                     _demo_check([str(tree / "scripts/demo")], "xdp", "ipip", "4", FRESH_S, order))
    return counts


def demo(order: Order) -> Counts:
    """`scripts/demo --check` in every way there is."""
    counts = Counts()
    for engine in ("xdp", "dpdk"):
        for encapsulation in ("ipip", "gre", "gue"):
            for family in ("4", "6"):
                name = f"{engine}, {encapsulation}, IPv{family}"
                if order.word in name:
                    counts.judge(name, _demo_check(BUILT_DEMO, engine, encapsulation, family, BUILT_S, order))
    return counts


def _demo_check(program: Sequence[str], engine: str, encapsulation: str, family: str, seconds_allowed: float,
                order: Order) -> bool:
    """The check's own verdict, one JSON object on standard output, and the time to the first request."""
    code, reports = _demo(program, ["--engine", engine, "--encapsulation", encapsulation, "--family", family], order)
    if len(reports) != 1:
        return False
    [report] = reports
    held = (code == 0 and report["engine"] == engine and report["encapsulation"] == encapsulation
            and report["family"] == int(family)
            and report["requests"] >= 2000 and report["failed"] == 0 and report["reload_broken_connections"] == 0
            and report["seconds"]["to_first_request"] <= seconds_allowed)
    print(f"    {engine}, {encapsulation}, IPv{family}: {'ok' if held else 'FAILED'} {report['seconds']}", file=sys.stderr)
    return held


def _demo(program: Sequence[str], arguments: Sequence[str], order: Order) -> tuple[int, list[dict[str, Any]]]:
    """The demo's check: its exit code, and what it wrote, an object a line."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as answer:
        code = run_logged([*program, "--check", "--name", LAB_NAME, *arguments], order.log,
                          order.deadline, stdout=Path(answer.name))
        text = answer.read()
    with open(order.log, "a") as file:
        file.write(text)
    try:
        return code, [json.loads(line) for line in text.splitlines()]
    except json.JSONDecodeError:  # cut short
        return code or 1, []
