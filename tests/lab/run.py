#!/usr/bin/python3
"""Runs the lab's tests, all or those whose name contains a given word, and says how many passed.

    sudo tests/lab/run.py [WORD...] [--report FILE]

The report is one JSON object: {"passed": N, "failed": N, "skipped": N}."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "scripts")]

from case import LabCase  # noqa: E402  (needs the path)


class Result(unittest.TestResult):
    """A line per test as it ends, with its time; after a failure what the node's daemons have said."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._begun = time.monotonic()

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self._line(test, "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._line(test, f"skipped: {reason}")

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)  # type: ignore[arg-type]
        self._report(test, self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)  # type: ignore[arg-type]
        self._report(test, self.errors[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err:
            failed = issubclass(err[0], test.failureException)  # type: ignore[index]
            self._report(subtest, (self.failures if failed else self.errors)[-1][1])

    def counts(self, planned: int) -> dict[str, int]:
        """A test that could not even begin (its class's lab did not start) has failed too."""
        bad = {getattr(test, "test_case", test).id() for test, _ in self.failures + self.errors}
        not_begun = planned - self.testsRun - len(self.skipped)
        failed = max(len(bad), not_begun)
        return {"passed": planned - failed - len(self.skipped), "failed": failed, "skipped": len(self.skipped)}

    def _report(self, test: unittest.TestCase, trace: str) -> None:
        self._line(test, "FAILED")
        print(trace, file=sys.stderr)
        lab = getattr(getattr(test, "test_case", test), "lab", None)
        if lab:
            print(lab.node.logs(), file=sys.stderr)

    def _line(self, test: unittest.TestCase, verdict: str) -> None:
        seconds = time.monotonic() - getattr(self, "_begun", time.monotonic())
        print(f"{test.id()}: {verdict} ({seconds:.1f} s)", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="run only tests whose name contains one of these")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    # As Ctrl-C: unittest takes any other exception for the failure of one test.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    loader = unittest.TestLoader()
    suite = loader.discover(str(HERE), top_level_dir=str(HERE))
    if options.words:
        suite = unittest.TestSuite(by_class(loader, suite, options.words))
    planned = suite.countTestCases()
    result = Result()
    try:
        suite.run(result)
    finally:
        LabCase.open_labs.close()
    counts = result.counts(planned)
    if loader.errors:
        counts["failed"] += len(loader.errors)
        print("\n".join(loader.errors), file=sys.stderr)
    text = json.dumps(counts)
    print(text)
    if options.report:
        options.report.write_text(text)
    return 1 if counts["failed"] or not counts["passed"] else 0


def by_class(loader: unittest.TestLoader, suite: unittest.TestSuite, words: list[str]) -> list[unittest.TestSuite]:
    """The wanted tests, each class's together: it builds its lab once."""
    classes: dict[type, list[unittest.TestCase]] = {}

    def collect(tests: object) -> None:
        for test in tests:  # type: ignore[attr-defined]
            if isinstance(test, unittest.TestCase):
                if any(word in test.id() for word in words):
                    classes.setdefault(type(test), []).append(test)
            else:
                collect(test)

    collect(suite)
    return [loader.suiteClass(tests) for tests in classes.values()]


if __name__ == "__main__":
    sys.exit(main())
