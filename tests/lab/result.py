"""What became of each test, told as it happens."""

from __future__ import annotations

import sys
import time
import unittest


class Result(unittest.TestResult):
    """A line per test as it ends, with its time; after a failure what the node's daemons have said. A test of which
    nothing good was heard has failed: its class's lab may not have started."""

    def __init__(self, planned: list[str]) -> None:
        super().__init__()
        self.verdicts = dict.fromkeys(planned, "failed")  # by the tests' ids

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._begun = time.monotonic()

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.verdicts[test.id()] = "passed"
        self._line(test, "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        # A class that is skipped as a whole comes here once, and not as a test.
        for name in [test.id()] if test.id() in self.verdicts else list(self.verdicts):
            self.verdicts[name] = "skipped"
        self._line(test, f"skipped: {reason}")

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addFailure(test, err)  # type: ignore[arg-type]
        self._failed(test, self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: object) -> None:
        super().addError(test, err)  # type: ignore[arg-type]
        self._failed(test, self.errors[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
        super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
        if err:
            failed = issubclass(err[0], test.failureException)  # type: ignore[index]
            self._failed(subtest, (self.failures if failed else self.errors)[-1][1])

    def _failed(self, test: unittest.TestCase, trace: str) -> None:
        whole = getattr(test, "test_case", test)
        # An error of the whole class (its lab was not cleaned up, say) is a failure under a name of its own.
        self.verdicts[whole.id()] = "failed"
        self._line(test, "FAILED")
        print(trace, file=sys.stderr)
        lab = getattr(whole, "lab", None)
        if lab:
            print(lab.node.logs(), file=sys.stderr)

    def _line(self, test: unittest.TestCase, verdict: str) -> None:
        seconds = time.monotonic() - getattr(self, "_begun", time.monotonic())
        print(f"{test.id()}: {verdict} ({seconds:.1f} s)", file=sys.stderr, flush=True)
