"""What a node costs while nothing comes to be forwarded: CPU time of both its processes, by engine and `idle`, over three
backends that are checked as often as usual. The kernel's own time for interrupts and frames is not in it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from lab.lab import Lab
from lab.usage import cpu_seconds

SETTLE_S = 3  # until what follows a start is over
SECONDS = 10
POINTS = {"engine xdp": ("xdp", ""), "engine dpdk, idle = \"adaptive\"": ("dpdk", "adaptive"),
          "engine dpdk, idle = \"busy\"": ("dpdk", "busy")}


def measure(name: str) -> dict[str, Any]:
    """Shares of one CPU."""
    with Lab("bench-idle", say=say) as lab:
        config = lab.node.config
        config.engine, config.idle = POINTS[name]
        config.health.interval_ms, config.health.timeout_ms = 2000, 1000
        lab.build(3)
        lab.start_node()
        lab.node.wait_settled()
        time.sleep(SETTLE_S)
        assert lab.node.dataplane and lab.node.controlplane
        pids = {"dataplane": lab.node.dataplane.pid, "controlplane": lab.node.controlplane.pid}
        began, before = time.monotonic(), {daemon: cpu_seconds(pid) for daemon, pid in pids.items()}
        time.sleep(SECONDS)
        seconds = time.monotonic() - began
        return {"name": name} | {daemon: round((cpu_seconds(pid) - before[daemon]) / seconds, 4) for daemon, pid in pids.items()}


def say(text: str) -> None:
    print(f"scripts/bench idle: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench idle --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = [measure(name) for name in POINTS]
    print(f"share of one CPU over {SECONDS} s, nothing to forward{'data plane':>14}{'control plane':>15}")
    for result in results:
        print(f"{result['name']:<49}{result['dataplane']:>14.2%}{result['controlplane']:>15.2%}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": SECONDS, "points": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
