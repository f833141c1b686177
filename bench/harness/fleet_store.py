"""How soon a fleet of three does what its store or its checks say, and what it writes in rest: real nodes (engine xdp), etcd
with one member in memory, a hundred services."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.fleet import Fleet
from lab.lab import Lab
from lab.wait import wait_until

SERVICES = 100
ROUNDS = 9
REST_S = 10

STATE = re.compile(r'^(\S+) .*msg="backend state changed".* from=up to=down ', re.MULTILINE)
ACCEPTED = re.compile(r'^(\S+) .*msg="generation accepted".* changes="[^"]*up>down.* took_us=(\d+)', re.MULTILINE)


def services() -> str:
    """All but the first."""
    return "".join(f'\n[[service]]\nname = "s{number}"\nvips = ["203.0.113.10"]\nprotocol = "tcp"\nports = [{1000 + number}]\n'
                   'pool = "web"\n' for number in range(1, SERVICES))


def applied(fleet: Fleet) -> list[float]:
    """From the command to the last node's forwarding by it, milliseconds."""
    times = []
    for number in range(ROUNDS):
        fleet.lab.node.config.backends[1] = 50 if number % 2 == 0 else 100
        began = time.monotonic()
        fleet.apply(None, number % len(fleet.nodes))
        times.append(1000 * (time.monotonic() - began))
    return times


def died(fleet: Fleet) -> list[tuple[float, float]]:
    """From the last checker's seeing it to the last node's new tables, and the longest publication in it; milliseconds."""
    backend, times = fleet.lab.backends[3], []
    logs = [node.folder / "linimo-controlplane.log" for node in fleet.nodes]
    for _ in range(ROUNDS):
        lengths = [log.stat().st_size for log in logs]
        backend.kill_nginx()
        for node in fleet.nodes:
            wait_until(lambda: node.backend_states()[backend.address()] == "down" and node.up_to_date(), "it is down", 15)
        fleet.wait_agreed()
        said = [log.read_bytes()[length:].decode(errors="replace") for log, length in zip(logs, lengths)]
        seen = [at(match[1]) for text in said if (match := STATE.search(text))]
        accepted = [(at(match[1]), int(match[2]) / 1000) for text in said if (match := ACCEPTED.search(text))]
        # Two of three are a majority: the third may well come after the tables.
        if len(seen) >= 2 and len(accepted) == len(fleet.nodes):
            times.append((1000 * (max(accepted)[0] - sorted(seen)[1]), max(took for _, took in accepted)))
        backend.start_nginx()
        for node in fleet.nodes:
            wait_until(lambda: node.backend_states()[backend.address()] == "up" and node.up_to_date(), "it is up again", 15)
        fleet.wait_agreed()
    return times


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def writes_in_rest(fleet: Fleet) -> float:
    """A second, of three nodes."""
    def revision() -> int:
        status: list[dict[str, Any]] = json.loads(fleet.etcd.ctl("endpoint", "status", "-w", "json").stdout)
        return int(status[0]["Status"]["header"]["revision"])
    before = revision()
    time.sleep(REST_S)
    return (revision() - before) / REST_S


def say(text: str) -> None:
    print(f"scripts/bench fleet-store: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench fleet-store --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with Lab("bench-fleet", say=say) as lab:
        lab.node.config.engine = "xdp"
        lab.node.config.more += services()
        lab.build(3)
        fleet = Fleet(lab)
        fleet.start()
        rest, apply, death = writes_in_rest(fleet), applied(fleet), died(fleet)
    beyond = [whole - publication for whole, publication in death]
    print(f"{SERVICES} services, 3 nodes, {ROUNDS} rounds each: median (least to most)\n"
          f"config apply until the last node forwards by it: {spread(apply)} ms\n"
          f"a death's second checker until the last node's tables: {spread([whole for whole, _ in death])} ms, "
          f"without the longest publication {spread(beyond)} ms\n"
          f"writes to the store in rest: {rest:.1f} a second")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "services": SERVICES, "apply_ms": apply, "death_ms": [whole for whole, _ in death],
            "death_beyond_publication_ms": beyond, "writes_per_s_in_rest": rest}, indent=1) + "\n")
    return 0


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})" if values else "not seen"


if __name__ == "__main__":
    sys.exit(main())
