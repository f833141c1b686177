#!/usr/bin/python3
"""Tests of the Debian packages that scripts/package has built: installed in a clean Debian, run from there, and in a
virtual machine started by systemd.

    sudo tests/package/run.py [WORD...] [--report FILE]
    sudo tests/package/run.py --prepare              # only makes the clean Debian

The report is one JSON object: {"passed": N, "failed": N, "skipped": N, "failures": [NAME...]}."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab"), str(HERE.parent / "vm"), str(HERE.parents[1] / "scripts")]

from result import Result  # noqa: E402  (needs the path)
from roots import prepare  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="run only tests whose name contains one of these")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--prepare", action="store_true", help="make the clean Debian, which takes the network, and end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare()
    if options.prepare:
        return 0

    def flat(part: unittest.TestSuite | unittest.TestCase) -> list[unittest.TestCase]:
        return [test for each in part for test in flat(each)] if isinstance(part, unittest.TestSuite) else [part]

    tests = [test for test in flat(unittest.defaultTestLoader.discover(str(HERE), "test_*.py", str(HERE)))
             if not options.words or any(word in test.id() for word in options.words)]
    result = Result([test.id() for test in tests])
    unittest.TestSuite(tests).run(result)
    counts = {kind: list(result.verdicts.values()).count(kind) for kind in ("passed", "failed", "skipped")}
    failures = [name for name, verdict in result.verdicts.items() if verdict == "failed"]
    print(json.dumps(counts))
    if options.report:
        options.report.write_text(json.dumps(counts | {"failures": failures}))
    return 1 if failures or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
