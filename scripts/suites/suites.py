"""The test suites. To add one: an entry in SUITES, and if it counts in a new way, a function that returns Counts."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from lab.scenarios import SCENARIOS

from .process import run_logged

ROOT = Path(__file__).resolve().parents[2]
_JUNIT = "meson-logs/testlog.junit.xml"
PYTHON = "/usr/bin/python3"  # Debian's own, which sees Debian's modules, whatever is first in PATH


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


@dataclass
class Suite:
    name: str
    what: str
    build: list[str] | None  # arguments of scripts/build; [] builds the programs alone; None: it builds what it needs
    budget_s: int  # a suite that takes longer fails: slow tests stop being run
    run: Callable[[Path, float], Counts]  # (log, deadline in time.monotonic()) -> counts


def meson(folder: str, *suites: str) -> Callable[[Path, float], Counts]:
    """GoogleTest programs, declared with `test(..., suite: NAME, protocol: 'gtest')`; each of their cases counts."""

    def run(log: Path, deadline: float) -> Counts:
        (ROOT / folder / _JUNIT).unlink(missing_ok=True)
        wanted = [argument for suite in suites for argument in ("--suite", suite)]
        code = run_logged(["/usr/bin/meson", "test", "-C", str(ROOT / folder), "--no-rebuild", "--print-errorlogs",
                           "--num-processes", "2",
                           "--timeout-multiplier", "0",  # the suite has a budget, which is enough
                           *wanted], log, deadline)
        counts = _count_junit(folder)
        if code != 0 and counts.failed == 0:  # a program that crashed before it reported anything
            counts.failed = 1
        return counts

    return run


def packets(log: Path, deadline: float) -> Counts:
    """The packet suite; says how many of its cases ran through each engine. All run through all, or it has failed."""
    counts = meson("build", "packets")(log, deadline)
    classes = (case.get("classname", "").partition("/") for case in _cases("build"))
    engines = Counter(engine.lower() for engine, _, name in classes if name == "PacketCase")
    print("    cases: " + ", ".join(f"{engine} {cases}" for engine, cases in sorted(engines.items())), file=sys.stderr)
    if len(set(engines.values())) > 1:
        counts.failed += 1
    return counts


def _cases(folder: str) -> list[ElementTree.Element]:
    report = ROOT / folder / _JUNIT
    return list(ElementTree.parse(report).iter("testcase")) if report.exists() else []


def _count_junit(folder: str) -> Counts:
    counts = Counts()
    for case in _cases(folder):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            counts.failed += 1
        elif "skipped" in kinds or case.get("status") == "notrun":
            counts.skipped += 1
        else:
            counts.passed += 1
    return counts


def runner(path: str) -> Callable[[Path, float], Counts]:
    """A runner of our own (tests/lab, tests/vm), which writes the counts as JSON."""

    def run(log: Path, deadline: float) -> Counts:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
            code = run_logged([PYTHON, "-B", str(ROOT / path), "--report", report.name], log, deadline)
            text = report.read()
        counts = Counts(**json.loads(text)) if text else Counts()
        if code != 0 and counts.failed == 0:
            counts.failed = 1
        return counts

    return run


def fuzz(log: Path, deadline: float) -> Counts:
    """scripts/fuzz: a target that got through says at its end how much it ran."""
    code = run_logged([str(ROOT / "scripts/fuzz")], log, deadline)
    passed = log.read_text(errors="replace").count("stat::number_of_executed_units")
    return Counts(passed=passed, failed=1 if code else 0)


def demo(log: Path, deadline: float) -> Counts:
    """`scripts/demo --check` in a copy of the tree that was never built, as someone who has just cloned it would."""
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="linimo-clone-") as folder:
        clone = Path(folder, "linimo")
        shutil.copytree(ROOT, clone, symlinks=True,
                        ignore=lambda path, names: {"build", ".git"} & set(names) if Path(path) == ROOT else ())
        seconds_allowed = 300  # with the build; 30 once it is built
        for engine in ("xdp", "dpdk"):
            for encapsulation in ("ipip", "gre", "gue"):
                for family in ("4", "6"):
                    ok = _demo_check(clone, engine, encapsulation, family, seconds_allowed, log, deadline)
                    counts += Counts(passed=1) if ok else Counts(failed=1)
                    seconds_allowed = 30
    return counts


def scenarios(log: Path, deadline: float) -> Counts:
    """`scripts/demo --scenario all`, alone on the machine: what breaks and how long it takes is judged there."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as answer:
        run_logged([str(ROOT / "scripts/demo"), "--check", "--name", "linimo-test", "--scenario", "all"], log, deadline,
                   stdout=Path(answer.name))
        text = answer.read()
    with open(log, "a") as file:
        file.write(text)
    reports = {report["scenario"]: report for report in map(json.loads, text.splitlines())}
    counts = Counts()
    for name in SCENARIOS:
        held = name in reports and reports[name]["problems"] == []
        counts += Counts(passed=1) if held else Counts(failed=1)
        times = {engine: of["milliseconds"] for engine, of in reports[name]["engines"].items()} if name in reports else {}
        print(f"    {name}: {'ok' if held else 'FAILED'}, ms {times}", file=sys.stderr)
    return counts


def _demo_check(clone: Path, engine: str, encapsulation: str, family: str, seconds_allowed: float, log: Path,
                deadline: float) -> bool:
    """The check's own verdict, one JSON object on standard output, and the time to the first request."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as answer:
        code = run_logged([str(clone / "scripts/demo"), "--check", "--name", "linimo-test", "--engine", engine,
                           "--encapsulation", encapsulation, "--family", family], log, deadline, stdout=Path(answer.name))
        text = answer.read()
    with open(log, "a") as file:
        file.write(text)
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        return False
    held = (code == 0 and report["engine"] == engine and report["encapsulation"] == encapsulation
            and report["family"] == int(family)
            and report["requests"] >= 2000 and report["failed"] == 0 and report["reload_broken_connections"] == 0
            and report["seconds"]["to_first_request"] <= seconds_allowed)
    print(f"    {engine}, {encapsulation}, IPv{family}: {'ok' if held else 'FAILED'} {report['seconds']}", file=sys.stderr)
    return held


SUITES = [
    Suite("unit", "each part by itself", ["--tests"], 300, meson("build", "unit")),
    Suite("packets", "every kind of packet through the real pipeline", ["--tests"], 300, packets),
    Suite("lab", "real programs in network namespaces", [], 660, runner("tests/lab/run.py")),
    Suite("vm", "programs of this build on Debian 12's own kernel, in a virtual machine", ["--tests"], 300,
          runner("tests/vm/run.py")),
    Suite("demo", "scripts/demo --check from a fresh copy, every engine, encapsulation and family", None, 600, demo),
    Suite("scenarios", "nodes, daemons and backends die under traffic, behind BGP and BFD", [], 360, scenarios),
    Suite("sanitize", "unit and packets under AddressSanitizer and UBSan", ["--sanitize"], 600,
          meson("build/asan", "unit", "packets")),
    Suite("threads", "the seam between control thread and workers under ThreadSanitizer", ["--threads"], 300,
          meson("build/tsan", "seam")),
    Suite("fuzz", "frames, snapshots, the socket and the configuration, mutated; a short run", None, 1200, fuzz),
]
