#!/usr/bin/python3
"""Runs test programs of this build on Debian 12's own kernel, in a virtual machine, and says how many passed.

    sudo tests/vm/run.py [PROGRAM...] [--build FOLDER] [--report FILE] [--seconds N]

The report is one JSON object: {"passed": N, "failed": N, "skipped": N, "failures": [NAME...]}.
The guest's console goes to standard error."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from guest import Root, boot, fetch_kernel, module_files

HERE = Path(__file__).resolve().parent

MODULES = ("veth", "ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6")


@dataclass
class Program:
    """A GoogleTest program, and what it needs to find at the path where it is here."""
    path: str  # below the build folder
    arguments: str = ""
    files: tuple[str, ...] = ()


PROGRAMS = {
    "backend": Program("tests/vm/backend-tests"),
    "packets": Program("tests/packets/packet-tests", "--gtest_filter=Xdp/*:*Adaptive*/Xdpv4-*InTheOtherEngine*",
                       ("tests/packets/packet-cases.json",)),
}


def make_root(folder: Path, build: Path, kernel: Path, programs: dict[str, Program]) -> Root:
    root = Root(folder)
    root.add(Path("/bin/busybox"))
    root.add_program(Path("/bin/dash"), Path("/bin/sh"))  # busybox's shell prefers its own `ip` to the real one
    root.add(HERE / "init", Path("/init"))
    root.add_program(Path(shutil.which("ip") or "/sbin/ip"), Path("/sbin/ip"))
    root.add_program(build / "bpf/decap/linimo-decap", Path("/bin/linimo-decap"))
    modules = module_files(kernel, MODULES)
    for module in modules:
        root.add(module, Path("/modules.d", module.name))
    root.add_text("".join(f"/modules.d/{module.name}\n" for module in modules), Path("/modules"))
    lines = []
    for name, program in programs.items():
        inside = Path("/bin", Path(program.path).name)
        root.add_program(build / program.path, inside)
        for file in program.files:
            root.add(build / file)
        lines.append(f"{name} {inside} {program.arguments}\n")
    root.add_text("".join(lines), Path("/tests"))
    return root


def count(output: str, programs: Iterable[str]) -> dict[str, Any]:
    """A program without a sound report has failed, whatever its end; so has one that ran nothing."""
    counts: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    for name in programs:
        report = re.search(rf"^report {name} (\d+)\n(.*)^end of {name}$", output, re.MULTILINE | re.DOTALL)
        cases = _cases(report[2]) if report else {}
        bad = [f"{name}: {case}" for case, kind in cases.items() if kind == "failed"]
        if not cases or (report and report[1] != "0" and not bad):
            counts["failed"] += 1
            counts["failures"].append(f"{name}: no sound report")
        for kind in cases.values():
            counts[kind] += 1
        counts["failures"] += bad
        print(f"{name}: {len(cases)} tests, {len(bad)} failed" + ("" if report else "; it never reported"),
              file=sys.stderr)
    return counts


def _cases(xml: str) -> dict[str, str]:
    try:
        cases = ElementTree.fromstring(xml).iter("testcase")
    except ElementTree.ParseError:
        return {}
    return {f"{case.get('classname')}.{case.get('name')}":
            "failed" if case.find("failure") is not None else
            "skipped" if case.find("skipped") is not None or case.get("status") == "notrun" else "passed"
            for case in cases}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("programs", nargs="*", help=f"of {', '.join(PROGRAMS)}; default: all")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seconds", type=float, default=240, help="for the guest, from power on to power off")
    options = parser.parse_args()
    programs = {name: program for name, program in PROGRAMS.items() if not options.programs or name in options.programs}
    if not programs:
        parser.error(f"there is no such program; there are {', '.join(PROGRAMS)}")
    build = options.build.resolve()
    cache = build / "vm"
    cache.mkdir(parents=True, exist_ok=True)
    kernel = fetch_kernel(cache)
    with tempfile.TemporaryDirectory(prefix="linimo-guest-") as work:
        initramfs, console, output = (Path(work, name) for name in ("initramfs", "console", "output"))
        make_root(Path(work, "root"), build, kernel, programs).pack(initramfs)
        ended = boot(kernel, initramfs, console, output, options.seconds)
        sys.stderr.write(console.read_text(errors="replace").replace("\r", ""))
        counts = count(output.read_text(errors="replace").replace("\r", ""), programs)
    if not ended and counts["failed"] == 0:
        counts["failed"] = 1
        counts["failures"] = ["the guest did not end in time"]
    print(json.dumps(counts))
    if options.report:
        options.report.write_text(json.dumps(counts))
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
