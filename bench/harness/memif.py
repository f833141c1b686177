"""A node measured from outside: testpmd makes packets, the node forwards them, testpmd takes them back, over memif.

Two interfaces, so that what comes back is not in the way of what goes out. Then the same with a second testpmd in the
node's place, which swaps MAC addresses: that is what two processes and memif cost, whatever forwards. Beside the rate,
how long the forwarder was busy with a packet: where that is much less than the time from one to the next, the other
side is the limit."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from lab import hugepages
from lab.netns import Namespace, finish, ip_batch
from lab.node import Node
from lab.wait import wait_until

from . import testpmd

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path("/run/linimo-pktgen-hugepages.json")
NAMESPACE = "linimo-pktgen"
CPUS = sorted(os.sched_getaffinity(0))  # the generator has the first, the data plane takes the last
BACKENDS = 100
PORT = 1001  # where testpmd's flowgen sends: UDP, to an address from 10.253.0.0 on for each flow
FLOWGEN_TO = "00:01:02:03:04:01"  # the MAC address that it sends to


def config(folder: Path, flows: int, tracking: str) -> str:
    vips = ", ".join(f'"10.253.{flow // 256}.{flow % 256}"' for flow in range(flows))
    backends = ", ".join(f'{{ address = "10.99.0.{100 + number}" }}' for number in range(BACKENDS))
    interfaces = ", ".join(f'"net_memif{number},role=client,mac={FLOWGEN_TO},socket={folder}/memif{number}.sock,'
                           f'socket-abstract=no"' for number in range(2))
    return f'''[node]
name = "pktgen"
engine = "dpdk"
interfaces = [{interfaces}]
idle = "busy"
encap_source = ["10.99.0.1"]
hash_seed_file = "{folder}/run/seed"
runtime_dir = "{folder}/run"
state_dir = "{folder}/state"
[[pool]]
name = "load"
backends = [{backends}]
[[service]]
name = "load"
vips = [{vips}]
protocol = "udp"
ports = [{PORT}]
pool = "load"
tracking = "{tracking}"
'''


def start_node(node: Node, text: str) -> None:
    node.config.runtime_dir.mkdir(parents=True, exist_ok=True)
    node.config.seed_file.touch(0o600)
    node.config.seed_file.write_text("0123456789abcdef\n")
    node.write_config(text)
    node.start_dataplane()
    neighbours = [f"neigh replace 10.99.0.{100 + number} lladdr 02:00:00:00:01:{number:02x} dev linimo1 nud permanent"
                  for number in range(BACKENDS)]
    finish(ip_batch(["link set linimo0 up", "link set linimo1 up", "addr add 10.99.0.1/24 dev linimo1", *neighbours],
                    node.box.name))
    node.start_controlplane()

    def forwards() -> bool:
        with contextlib.suppress(RuntimeError):  # the control socket is not there yet
            return node.status()["dataplane"]["generation"] > 0
        return False

    wait_until(forwards, "the node forwards", 20, alive=node.check_alive)


@dataclass
class Seen:
    """What a node has done so far."""
    at: float
    forwarded: int
    busy_s: float
    bursts: int
    outcomes: dict[str, int]

    def handled(self) -> int:
        """What did not find room on the way back has been worked on, too."""
        return self.forwarded + self.outcomes["tx_full"]


def look(node: Node) -> Seen:
    page = node.box.run(["curl", "-sS", "--unix-socket", str(node.config.runtime_dir / "control.sock"),
                         "http://linimo/metrics"]).stdout
    at = time.monotonic()

    def of(metric: str) -> list[float]:
        return [float(value) for value in re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)]

    outcomes = {name: int(float(value)) for name, value in
                re.findall(r'^linimo_packets_total{outcome="(\w+)"} (\S+)$', page, re.MULTILINE)}
    return Seen(at, outcomes["forwarded"], sum(of("linimo_worker_busy_seconds_total")),
                int(sum(of("linimo_worker_bursts_total"))), outcomes)


class Testpmd:
    """One that forwards between two memif interfaces, on one CPU, until it is asked what it did."""

    def __init__(self, box: Namespace, folder: Path, name: str, role: str, cpu: int, *options: str) -> None:
        self.log = folder / f"{name}.log"
        vdevs = [f"--vdev=net_memif{number},role={role},socket={folder}/memif{number}.sock,socket-abstract=no"
                 for number in range(2)]
        with open(self.log, "wb") as log:
            self.process = box.spawn(
                ["dpdk-testpmd", "--in-memory", "--no-pci", "--no-telemetry", "--iova-mode=va",
                 f"--lcores=0@{cpu},1@{cpu}", *vdevs, "--", "--nb-cores=1", "--total-num-mbufs=16384",
                 "--stats-period=1", "--record-core-cycles",
                 *options], log)

    def received_pps(self) -> list[int]:
        """For each second, of both interfaces. Only a client's driver counts."""
        pps = [int(value) for value in re.findall(rb"Rx-pps:\s+(\d+)", self.log.read_bytes())]
        return [first + second for first, second in zip(pps[::2], pps[1::2])]

    def busy_ns(self) -> float:
        """Ends it. For a packet, by its own account: of rounds that had packets."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(15)
        said = re.search(rb"CPU cycles/packet=([\d.]+).*at (\d+) MHz", self.log.read_bytes())
        if said is None:
            raise RuntimeError(f"{self.log.name} does not say what a packet cost")
        return float(said[1]) * 1000 / float(said[2])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)


@contextlib.contextmanager
def generator(folder: Path, arguments: argparse.Namespace) -> Iterator[None]:
    """Its sockets are there when this is entered: who is to forward connects to them, once, when it starts."""
    process = Testpmd(Namespace(NAMESPACE), folder, "generator", "server", CPUS[0], "--forward-mode=flowgen",
                      f"--flowgen-flows={arguments.flows}", f"--txpkts={arguments.size}", "--port-topology=chained",
                      "--disable-link-check")
    try:
        wait_until(lambda: all((folder / f"memif{number}.sock").exists() for number in range(2)),
                   "testpmd has its sockets", 20)
        yield
    except (RuntimeError, TimeoutError) as error:
        raise RuntimeError(f"{error}\n{process.log.read_text(errors='replace')[-2000:]}") from None
    finally:
        process.stop()


@contextlib.contextmanager
def followed(node: Node, packets: str | None) -> Iterator[None]:
    """By `linimo trace --live`, meanwhile."""
    if packets is None:
        yield
        return
    command = [str(ROOT / "build/controlplane/linimo"), "--socket", str(node.config.runtime_dir / "control.sock")]
    with open(node.folder / "live.log", "wb") as log:
        process = node.box.spawn([*command, "trace", "--live", packets], log)
    try:
        wait_until(lambda: (node.folder / "live.log").read_text().count("\n") > 1, "packets are shown", 10, alive=node.check_alive)
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the live trace has ended: {(node.folder / 'live.log').read_text()[-300:]}")
    finally:
        process.kill()
        process.wait()


def measure_node(folder: Path, arguments: argparse.Namespace, live: str | None = None) -> dict[str, Any]:
    node = Node(Namespace(NAMESPACE), folder, ROOT / "build")
    try:
        with generator(folder, arguments):
            start_node(node, config(folder, arguments.flows, arguments.tracking))
            wait_until(lambda: look(node).forwarded > 100_000, "packets are forwarded", 20, alive=node.check_alive)
            with followed(node, live):
                seen = [look(node)]
                for _ in range(arguments.seconds):
                    time.sleep(1)
                    seen.append(look(node))
    except (RuntimeError, TimeoutError) as error:
        raise RuntimeError(f"{error}\n{node.logs()}") from None
    finally:
        node.stop()
    first, last = seen[0], seen[-1]
    seconds = list(zip(seen, seen[1:]))
    busy = [(now.busy_s - before.busy_s) * 1e9 / max(now.handled() - before.handled(), 1) for before, now in seconds]
    return of_rates([(now.forwarded - before.forwarded) / (now.at - before.at) / 1e6 for before, now in seconds]) | {
        "busy_ns": round(statistics.median(busy), 1),
        "packets_per_burst": round((last.handled() - first.handled()) / max(last.bursts - first.bursts, 1), 1),
        "other_outcomes": {name: count - first.outcomes[name] for name, count in last.outcomes.items()
                           if name != "forwarded" and count != first.outcomes[name]}}


def measure_floor(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """A testpmd that swaps MAC addresses in the node's place."""
    with generator(folder, arguments):
        swapper = Testpmd(Namespace(NAMESPACE), folder, "swapper", "client", CPUS[-1], "--forward-mode=macswap",
                          "--port-topology=paired")
        try:
            warm = 2
            wait_until(lambda: len(swapper.received_pps()) >= arguments.seconds + warm, "a rate is known",
                       arguments.seconds + 20)
            rates = [pps / 1e6 for pps in swapper.received_pps()[warm:]]
            return of_rates(rates) | {"busy_ns": round(swapper.busy_ns(), 1)}
        finally:
            swapper.stop()


def of_rates(mpps: list[float]) -> dict[str, Any]:
    middle = statistics.median(mpps)
    return {"mpps": round(middle, 3), "least": round(min(mpps), 3), "most": round(max(mpps), 3),
            "ns": round(1000 / middle, 1) if middle else None}


def explain(result: dict[str, Any], forwarding: dict[str, Any] | None) -> str:
    """Where a packet's time goes; what it costs in one process (bench/forwarding) beside it, if that is known."""
    node, floor, alone = result["node"], result["floor"], result["macswap_alone_ns"]
    lines = ["ns a packet              from one to the next   the forwarder is busy"]
    for name, of in (("Linimo", node), ("testpmd macswap", floor)):
        lines.append(f"{name:<24}{of['ns']:>21.1f}{of['busy_ns']:>24.1f}")
    busy = node["busy_ns"] / node["ns"]
    lines.append(f"the worker has work for {busy:.0%} of the time, {node['packets_per_burst']:.0f} packets at a time: "
                 f"the limit is {'the node' if busy > 0.9 else 'testpmd, which makes the packets and takes them back'}")
    if live := result.get("live"):
        lines.append(f"beside trace --live: {live['mpps']:.2f} million packets a second instead of {node['mpps']:.2f}, "
                     f"the worker busy for {live['busy_ns']:.1f} ns a packet, {live['other_outcomes'].get('tx_full', 0):,} "
                     "found its ring full")
    if "tx_full" in node["other_outcomes"]:
        lines.append(f"{node['other_outcomes']['tx_full']:,} packets found its ring full on their way back")
    if alone is not None:
        lines.append(f"memif, received and sent, for the forwarder: {floor['busy_ns'] - alone:.1f} "
                     f"(macswap over memif less {alone:.1f} between null ports)")
    own = node["busy_ns"] - floor["busy_ns"]
    result["linimo_over_macswap_ns"] = round(own, 1)
    lines.append(f"Linimo over macswap, here: {own:.1f}")
    if forwarding is not None:
        name = f"1 k flows uniform, {result['tracking']}"
        inside = next((point["over_floor_ns"] for point in forwarding["points"] if point["name"] == name), None)
        if inside is not None:
            result["linimo_over_floor_ns"] = inside
            lines.append(f"Linimo over the floor, in bench/forwarding, {name}: {inside:.1f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/pktgen/measure", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--flows", type=int, default=1024, help="each to a VIP of its own, at most 16384")
    parser.add_argument("--size", type=int, default=60, help="bytes of a frame")
    parser.add_argument("--tracking", choices=["full", "adaptive", "off"], default="full")
    parser.add_argument("--live", metavar="FILTER", help="the same once more while `linimo trace --live` follows these packets")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("dpdk-testpmd") is None:
        print("scripts/pktgen/measure: dpdk-testpmd is missing: apt-get install dpdk-dev", file=sys.stderr)
        return 1
    if len(CPUS) < 2:
        print("scripts/pktgen/measure: two CPUs are needed, one for each side", file=sys.stderr)
        return 1
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    hugepages.reserve(RECORD, say)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        result: dict[str, Any] = {name: getattr(arguments, name) for name in ("flows", "size", "tracking")}
        for name, measure in (("node", measure_node), ("floor", measure_floor)):
            with tempfile.TemporaryDirectory(prefix="linimo-pktgen-") as folder:
                result[name] = measure(Path(folder), arguments)
        if arguments.live is not None:
            with tempfile.TemporaryDirectory(prefix="linimo-pktgen-") as folder:
                result["live"] = measure_node(Path(folder), arguments, arguments.live)
        mpps = testpmd.macswap_mpps()
        result["macswap_alone_ns"] = None if mpps is None else round(1000 / mpps, 1)
    except (RuntimeError, TimeoutError) as error:
        print(f"scripts/pktgen/measure: {error}", file=sys.stderr)
        return 1
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False)
        hugepages.put_back(RECORD, say)
    measured = ROOT / "build/bench/forwarding.json"
    print(explain(result, json.loads(measured.read_text()) if measured.exists() else None))
    if arguments.json:
        arguments.json.write_text(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
