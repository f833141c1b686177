"""In the guest: runs the test classes of a module, those whose name contains one of the words. The report says what
became of each: {NAME: "passed"...}."""

from __future__ import annotations

import argparse
import json
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab"), str(HERE.parents[1] / "scripts")]

from result import Result  # noqa: E402  (needs the path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()

    def flat(part: unittest.TestSuite | unittest.TestCase) -> list[unittest.TestCase]:
        return [test for each in part for test in flat(each)] if isinstance(part, unittest.TestSuite) else [part]

    tests = [test for test in flat(unittest.defaultTestLoader.loadTestsFromName(options.module))
             if not options.words or any(word in test.id() for word in options.words)]
    result = Result([test.id() for test in tests])
    unittest.TestSuite(tests).run(result)
    options.report.write_text(json.dumps(result.verdicts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
