#!/usr/bin/python3
"""Runs the lab's tests, all or those whose name contains a given word, and says how many passed.

    sudo tests/lab/run.py [WORD...] [--jobs N] [--only together|alone] [--report FILE]

Each class of tests has a process and a lab of its own, several side by side: most of a lab's time is waiting. A class
with `alone = True` runs while no other does. The report is one JSON object:
{"passed": N, "failed": N, "skipped": N, "failures": [NAME...]}."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "scripts")]

from case import LAB_NAME, LabCase  # noqa: E402  (needs the path)
from result import Result  # noqa: E402

os.environ.setdefault("LINIMO_LAB_RIGHTS", "least")  # as the packages' units run both daemons
JOBS = 3
CLEAN_UP_S = 30  # for a process that was asked to end


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="run only tests whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"classes side by side (default: {JOBS})")
    parser.add_argument("--only", choices=["together", "alone"], help="classes that may run side by side, or those that judge "
                        "times or take a core; words choose from all")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--in-class", metavar="MODULE.CLASS", help=argparse.SUPPRESS)  # a process that we have made
    options = parser.parse_args()
    # As Ctrl-C: unittest takes any other exception for the failure of one test.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.in_class:
        options.report.write_text(json.dumps(run_class(options.in_class, options.words)))
        return 0

    verdicts = Jobs(options.words, options.jobs, None if options.words else options.only).run()
    counts = {kind: list(verdicts.values()).count(kind) for kind in ("passed", "failed", "skipped")}
    failures = [name for name, verdict in verdicts.items() if verdict == "failed"]
    print("".join(f"FAILED {name}\n" for name in failures), end="", file=sys.stderr)
    print(json.dumps(counts))
    if options.report:
        options.report.write_text(json.dumps(counts | {"failures": failures}))
    return 1 if counts["failed"] or not counts["passed"] else 0


def discover(words: list[str], modules: str = "test_*.py") -> tuple[list[unittest.TestCase], list[str]]:
    """The tests, and why modules could not be loaded."""
    loader = unittest.TestLoader()
    suite = loader.discover(str(HERE), modules, str(HERE))

    def flat(part: unittest.TestSuite | unittest.TestCase) -> list[unittest.TestCase]:
        return [test for each in part for test in flat(each)] if isinstance(part, unittest.TestSuite) else [part]

    return [test for test in flat(suite) if type(test).__module__ != "unittest.loader"
            and (not words or any(word in test.id() for word in words))], loader.errors


def run_class(name: str, words: list[str]) -> dict[str, str]:
    """The tests of one class: what became of each."""
    tests, _ = discover(words, f"{name.partition('.')[0]}.py")
    wanted = [test for test in tests if class_of(test) == name]
    result = Result([test.id() for test in wanted])
    try:
        unittest.TestSuite(wanted).run(result)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
    finally:
        LabCase.open_labs.close()
    return result.verdicts


def class_of(test: unittest.TestCase) -> str:
    return test.id().rpartition(".")[0]


@dataclass
class Class:
    """Tests that share a lab, and how long they took."""
    name: str
    alone: bool
    tests: list[str] = field(default_factory=list)  # their ids


class Jobs:
    """A process for each class. Those with the most tests begin first, those that must be alone when the others are done."""

    def __init__(self, words: list[str], jobs: int, only: str | None) -> None:
        self.words = words
        self.verdicts: dict[str, str] = {}
        tests, errors = discover(words)
        for error in errors:
            print(error, file=sys.stderr)
            self.verdicts[error.splitlines()[0]] = "failed"
        classes: dict[str, Class] = {}
        for test in tests:
            alone = getattr(test, "alone", False)
            if only and alone != (only == "alone"):
                continue
            classes.setdefault(class_of(test), Class(class_of(test), alone)).tests.append(test.id())
        self.waiting = sorted(classes.values(), key=lambda of: (of.alone, -len(of.tests)))
        self.running: list[Job] = []
        # No name may begin with another and a hyphen: a lab's boxes are known by that.
        self.free = [LAB_NAME] if jobs == 1 else [f"{LAB_NAME}{number}" for number in range(1, jobs + 1)]

    def run(self) -> dict[str, str]:
        try:
            while self.waiting or self.running:
                while self.waiting and self._may_start(self.waiting[0]):
                    self.running.append(Job(self.waiting.pop(0), self.free.pop(0), self.words))
                time.sleep(0.05)
                self._collect()
        except KeyboardInterrupt:
            for job in self.running:
                job.process.terminate()
            end = time.monotonic() + CLEAN_UP_S
            while self.running and time.monotonic() < end:
                time.sleep(0.05)
                self._collect()
            for each in [job.what for job in self.running] + self.waiting:
                self.verdicts |= dict.fromkeys(each.tests, "failed")
        return self.verdicts

    def _may_start(self, next_one: Class) -> bool:
        alone = next_one.alone or any(job.what.alone for job in self.running)
        return not self.running if alone else bool(self.free)

    def _collect(self) -> None:
        for job in [job for job in self.running if job.process.poll() is not None]:
            self.running.remove(job)
            self.free.append(job.lab)
            self.verdicts |= job.verdicts()


class Job:
    """One class in a process of its own, in a lab of this name."""

    def __init__(self, what: Class, lab: str, words: list[str]) -> None:
        self.what, self.lab, self._begun = what, lab, time.monotonic()
        self._said = tempfile.TemporaryFile("w+", errors="replace")
        self._report = tempfile.NamedTemporaryFile("r", suffix=".json")
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, "--in-class", what.name, "--report", self._report.name, *words],
            env={**os.environ, "LINIMO_LAB": lab}, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT,
            start_new_session=True)  # Ctrl-C is for us, who ask it to end

    def verdicts(self) -> dict[str, str]:
        """Once it has ended. Without a report all has failed."""
        self._said.seek(0)
        print(f"{self._said.read()}== {self.what.name}: {time.monotonic() - self._begun:.1f} s", file=sys.stderr, flush=True)
        text = self._report.read()
        self._said.close()
        self._report.close()
        return json.loads(text) if text else dict.fromkeys(self.what.tests, "failed")


if __name__ == "__main__":
    sys.exit(main())
