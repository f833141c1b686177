#!/usr/bin/python3
"""Runs tests of this build on Debian 12's own kernel, in virtual machines, and says how many passed.

    sudo tests/vm/run.py [WORD...] [--jobs N] [--build FOLDER] [--report FILE] [--seconds N]

WORD: a guest's name, or a part of the names of the Python tests to run. The report is one JSON object:
{"passed": N, "failed": N, "skipped": N, "failures": [NAME...]}. The guests' consoles go to standard error."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from guest import boot, fetch_kernel
from guests import GUESTS, Guest, Module, Program

HERE = Path(__file__).resolve().parent
PATIENCE = 4  # a test in a guest waits so many times as long as in the lab for what has no promised time


def name_of(part: Program | Module) -> str:
    return Path(part.path).name if isinstance(part, Program) else part.name


def knows(part: Program | Module, words: list[str]) -> bool:
    """May it have tests of such names? Programs are not asked for words."""
    text = (HERE / f"{part.name}.py").read_text() if isinstance(part, Module) else ""
    return any(all(piece in text or piece == name_of(part) for piece in word.split(".")) for word in words)


def order(part: Program | Module, build: Path, words: list[str]) -> str:
    """The line that makes the guest run it."""
    if isinstance(part, Program):
        command = f"{shlex.quote(str(build / part.path))} {shlex.join(shlex.split(part.arguments))}"
        command += f" --gtest_output=xml:/shared/{name_of(part)}.xml"
    else:
        command = shlex.join(["/usr/bin/python3", "-B", str(HERE / "inside.py"), part.name, *words,
                              "--report", f"/shared/{part.name}.json"])
    return f"{name_of(part)} LINIMO_BUILD={shlex.quote(str(build))} LINIMO_PATIENCE={PATIENCE} PATH={shlex.quote(str(build))}/bpf/decap:$PATH {command}\n"


def run(name: str, guest: Guest, build: Path, kernel: Path, words: list[str], seconds: float) -> dict[str, str]:
    """What became of each test, by its name."""
    verdicts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="linimo-vm-") as work:
        shared, console = Path(work, "shared"), Path(work, "console")
        shared.mkdir()
        for parts in guest.boots:
            begun = time.monotonic()
            (shared / "orders").write_text("".join(order(part, build, words) for part in parts))
            console.write_text("")
            ended = boot(kernel, guest.machine, guest.modules, shared, console, seconds)
            said = console.read_text(errors="replace").replace("\r", "")
            heard = {f"{name}: {name_of(part)}: {test}": verdict for part in parts
                     for test, verdict in report_of(part, shared, words).items()}
            if not ended and "failed" not in heard.values():
                heard[f"{name}: the guest did not end in time"] = "failed"
            print(f"{said}{name}: {len(heard)} tests, {list(heard.values()).count('failed')} failed, "
                  f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
            verdicts |= heard
    return verdicts


def report_of(part: Program | Module, shared: Path, words: list[str]) -> dict[str, str]:
    """A program without a sound report has failed, whatever its end; so has one that ran nothing, unless words left it
    nothing."""
    unsound = {"no sound report": "failed"}
    try:
        if isinstance(part, Program):
            return _cases((shared / f"{name_of(part)}.xml").read_text()) or unsound
        found: dict[str, str] = json.loads((shared / f"{part.name}.json").read_text())
        return found if found or words else unsound
    except (OSError, ValueError, ElementTree.ParseError):
        return unsound


def _cases(xml: str) -> dict[str, str]:
    return {f"{case.get('classname')}.{case.get('name')}":
            "failed" if case.find("failure") is not None else
            "skipped" if case.find("skipped") is not None or case.get("status") == "notrun" else "passed"
            for case in ElementTree.fromstring(xml).iter("testcase")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help=f"guests ({', '.join(GUESTS)}), or parts of tests' names")
    parser.add_argument("--jobs", type=int, default=2, help="guests side by side (default: 2)")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seconds", type=float, default=2000, help="for a guest, from power on to power off")
    options = parser.parse_args()
    words = [word for word in options.words if word not in GUESTS]
    named = [name for name in options.words if name in GUESTS] or list(GUESTS)
    if words:
        named = [name for name in named if any(knows(part, words) for parts in GUESTS[name].boots for part in parts)]
    if not named:
        parser.error("no test has such a name")
    cache = options.build.resolve() / "vm"
    cache.mkdir(parents=True, exist_ok=True)
    kernel = fetch_kernel(cache)
    verdicts: dict[str, str] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for heard in pool.map(lambda name: run(name, GUESTS[name], options.build.resolve(), kernel, words, options.seconds),
                              named):
            verdicts |= heard
    counts: dict[str, Any] = {kind: list(verdicts.values()).count(kind) for kind in ("passed", "failed", "skipped")}
    counts["failures"] = [test for test, verdict in verdicts.items() if verdict == "failed"]
    print("".join(f"FAILED {test}\n" for test in counts["failures"]), end="", file=sys.stderr)
    print(json.dumps(counts))
    if options.report:
        options.report.write_text(json.dumps(counts))
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
