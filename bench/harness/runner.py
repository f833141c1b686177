"""Runs the benchmarks one after the other, gathers what they wrote, and draws it."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from lab import hugepages

from . import compare, peers, plots, targets, testpmd

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
HUGEPAGES = 900  # of 2 MB: the forwarding benchmark has a connection table for each of its points, and two supplies
RECORD = Path("/run/linimo-bench-hugepages.json")

# Arguments of each, if none are given. They write JSON of their own shape to the file that follows.
COMMANDS: dict[str, list[str]] = {
    "publish": ["--dataplane", str(ROOT / "build/dataplane/linimo-dataplane"), "--json"],
    "forwarding": ["--all", "--json"],
    "xdp": ["--json"],
    "micro": ["--benchmark_out_format=json", "--benchmark_min_time=0.2", "--benchmark_repetitions=3",
              "--benchmark_enable_random_interleaving=true", "--benchmark_report_aggregates_only=true",
              "--benchmark_out="],
    "fleet": ["--json"],
    "memif": ["--seconds", "6", "--json"],
    "health": ["--json"],
    "fleet-store": ["--json"],
    "idle": ["--json"],
}
MODULES = {"memif", "health", "fleet-store", "idle"}  # that are no programs of build/bench, but run from here


def say(text: str) -> None:
    print(f"scripts/bench: {text}", file=sys.stderr, flush=True)


def command(name: str, given: list[str]) -> list[str]:
    file = str(OUT / f"{name}.json")
    *arguments, last = COMMANDS[name]
    if given and name in ("forwarding", "micro"):  # which points: that is then the caller's to say
        arguments = []
    out = [last + file] if last.endswith("=") else [last, file]
    program = [sys.executable, "-m", f"harness.{name.replace('-', '_')}"] if name in MODULES else [str(OUT / name)]
    return [*program, *arguments, *given, *out]


def run(name: str, given: list[str]) -> bool:
    say(f"{name} ...")
    began = time.monotonic()
    code = subprocess.run(command(name, given), check=False).returncode
    say(f"{name}: {'done' if code == 0 else f'failed with {code}'} after {time.monotonic() - began:.0f} s")
    if code == 0 and name == "forwarding":
        compare_floor()
    return code == 0


def compare_floor() -> None:
    """DPDK's own forwarder, beside the floor: the floor must not be a slow one."""
    mpps = testpmd.macswap_mpps()
    if mpps is None:
        say("testpmd is not installed or did not run: no comparison of the floor")
        return
    points = {point["name"]: point for point in json.loads((OUT / "forwarding.json").read_text())["points"]}
    floor, supply = points["floor"]["ns"], points["supply alone"]["ns"]
    own = 1000 / mpps
    limit = 1.5 * own + supply
    verdict = "within" if floor <= limit else "NOT within"
    print(f"\nfloor {floor:.1f} ns, of which the supply is {supply:.1f}; testpmd macswap between null ports "
          f"{own:.1f}: the floor is {verdict} half as much again and the supply ({limit:.1f})")
    (OUT / "testpmd.json").write_text(json.dumps({"macswap_ns": round(own, 2), "macswap_mpps": round(mpps, 2)}) + "\n")


def machine() -> dict[str, str | int]:
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"cpu": models[0] if models else platform.machine(), "cpus": len(os.sched_getaffinity(0)),
            "kernel": platform.release(), "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def gather(names: list[str]) -> None:
    parts = {}
    for name in [*COMMANDS, "testpmd"]:
        file = OUT / f"{name}.json"
        if file.exists():
            parts[name] = json.loads(file.read_text())
    rows = targets.of(parts)
    results = {"machine": machine()} | parts | {"targets": targets.as_json(rows)}
    (OUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (OUT / "targets.md").write_text(targets.table(rows) + "\n")
    drawn = plots.draw(parts, OUT)
    print("\n" + targets.table([row for row in rows if row.part in names]))
    written = [OUT / "results.json", OUT / "targets.md", *drawn]
    say("written: " + ", ".join(str(file.relative_to(ROOT)) for file in written))


def compare_with(bases: list[str], given: list[str]) -> int:
    if len(bases) != 1:
        say("compare with which revision? scripts/bench compare BASE [-- POINT...]")
        return 2
    if "LINIMO_ONLY_PARSE" in os.environ:
        return 0
    hugepages.reserve(RECORD, say, HUGEPAGES)
    try:
        compare.run(bases[0], given, say)
    except subprocess.CalledProcessError as error:
        say(f"{' '.join(map(str, error.cmd))} failed with {error.returncode}: {(error.stderr or '').strip()}")
        return 1
    finally:
        hugepages.put_back(RECORD, say)
    return 0


def main() -> int:
    arguments = sys.argv[1:]
    given = arguments[arguments.index("--") + 1:] if "--" in arguments else []
    names = arguments[:arguments.index("--")] if "--" in arguments else arguments
    if names[:1] == ["compare"]:
        return compare_with(names[1:], given)
    if names[:1] == ["peers"]:
        return peers.main(names[1:])
    unknown = [name for name in names if name not in COMMANDS]
    if unknown or (given and len(names) != 1):
        say(f"there is no benchmark {unknown[0]}; there are: {', '.join(COMMANDS)}" if unknown
            else "arguments are for one benchmark: name it")
        return 2
    if "LINIMO_ONLY_PARSE" in os.environ:
        return 0
    hugepages.reserve(RECORD, say, HUGEPAGES)
    try:
        passed = [run(name, given) for name in names or COMMANDS]
    finally:
        hugepages.put_back(RECORD, say)
    gather(names or list(COMMANDS))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
