"""A node measured from outside: testpmd makes packets, the node forwards them, testpmd takes them back, over memif.

Two interfaces, so that what comes back is not in the way of what goes out."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import hugepages
from lab.netns import Namespace, finish, ip_batch
from lab.node import Node
from lab.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path("/run/linimo-pktgen-hugepages.json")
NAMESPACE = "linimo-pktgen"
BACKENDS = 100
PORT = 1001  # where testpmd's flowgen sends: UDP, to an address from 10.253.0.0 on for each flow


def config(folder: Path, flows: int, tracking: str) -> str:
    vips = ", ".join(f'"10.253.{flow // 256}.{flow % 256}"' for flow in range(flows))
    backends = ", ".join(f'{{ address = "10.99.0.{100 + number}" }}' for number in range(BACKENDS))
    interfaces = ", ".join(f'"net_memif{number},role=server,socket={folder}/memif{number}.sock,socket-abstract=no"'
                           for number in range(2))
    return f'''[node]
name = "pktgen"
engine = "dpdk"
interfaces = [{interfaces}]
idle = "busy"
encap_source = ["10.99.0.1"]
hash_seed_file = "{folder}/run/seed"
runtime_dir = "{folder}/run"
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


def forwarded(node: Node) -> tuple[float, int, dict[str, int]]:
    outcomes = node.outcomes()
    return time.monotonic(), outcomes["forwarded"], outcomes


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    node = Node(Namespace(NAMESPACE), folder, ROOT / "build")
    vdevs = [f"--vdev=net_memif{number},role=client,socket={folder}/memif{number}.sock,socket-abstract=no"
             for number in range(2)]
    testpmd = ["dpdk-testpmd", "--in-memory", "--no-pci", "--no-telemetry", "--iova-mode=va", "--lcores=0@0,1@0", *vdevs,
               "--", "--forward-mode=flowgen", f"--flowgen-flows={arguments.flows}", f"--txpkts={arguments.size}",
               "--nb-cores=1", "--total-num-mbufs=16384", "--port-topology=chained", "--stats-period=1"]
    generator = None
    try:
        start_node(node, config(folder, arguments.flows, arguments.tracking))
        with open(folder / "testpmd.log", "wb") as log:
            generator = node.box.spawn(testpmd, log)
        wait_until(lambda: forwarded(node)[1] > 100_000, "packets are forwarded", 20, alive=node.check_alive)
        rates = []
        before = forwarded(node)
        first = before
        for _ in range(arguments.seconds):
            time.sleep(1)
            now = forwarded(node)
            rates.append((now[1] - before[1]) / (now[0] - before[0]) / 1e6)
            before = now
        lost = {name: before[2][name] - first[2][name] for name in before[2]
                if name != "forwarded" and before[2][name] != first[2][name]}
        taken_back = re.findall(rb"Rx-pps:\s+(\d+)", (folder / "testpmd.log").read_bytes())
        return {"forwarded_mpps": round(statistics.median(rates), 3), "least": round(min(rates), 3),
                "most": round(max(rates), 3), "testpmd_received_mpps": round(max(map(int, taken_back), default=0) / 1e6, 3),
                "other_outcomes": lost}
    except (RuntimeError, TimeoutError) as error:
        said = (folder / "testpmd.log").read_text(errors="replace")[-2000:] if (folder / "testpmd.log").exists() else ""
        raise RuntimeError(f"{error}\n{node.logs()}\n{said}") from None
    finally:
        if generator is not None:
            generator.terminate()
            generator.wait(10)
        node.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/pktgen/measure", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--flows", type=int, default=1024, help="each to a VIP of its own, at most 16384")
    parser.add_argument("--size", type=int, default=60, help="bytes of a frame")
    parser.add_argument("--tracking", choices=["full", "adaptive", "off"], default="full")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("dpdk-testpmd") is None:
        print("scripts/pktgen/measure: dpdk-testpmd is missing: apt-get install dpdk", file=sys.stderr)
        return 1
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    hugepages.reserve(RECORD, say)
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        with tempfile.TemporaryDirectory(prefix="linimo-pktgen-") as folder:
            result = measure(Path(folder), arguments)
    except RuntimeError as error:
        print(f"scripts/pktgen/measure: {error}", file=sys.stderr)
        return 1
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=False)
        hugepages.put_back(RECORD, say)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
