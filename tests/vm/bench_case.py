"""A test class with a bench: what all of them look at."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
import unittest
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from bench import BACKENDS, PEER, PORTS, Bench
from frames import ACK, SYN, fragments, tcp, too_big, transport_is_sound, udp
from lab.topology import NODE, VIP
from lab.wait import wait_until

PKTGEN = Path(__file__).resolve().parents[2] / "scripts/pktgen/kernel"
TRANSFER_BYTES = 100_000
ON_VLAN = ("198.51.100.1", "198.51.100.2")


@dataclass
class Watched:
    came: list[float] = field(default_factory=list)  # when
    withdrawn: list[str] = field(default_factory=list)  # known when it is over

    def longest_silence(self) -> float:
        return max((later - earlier for earlier, later in pairwise(self.came)), default=0.0)


class BenchCase(unittest.TestCase):
    """One bench serves all tests of the class; each leaves it as it found it."""

    wire: ClassVar[int]
    lab: ClassVar[Bench]  # as its failures are reported

    @classmethod
    def setUpClass(cls) -> None:
        cls.lab = Bench(cls.wire)
        cls.addClassCleanup(cls.lab.close)
        cls.lab.build()
        cls.prepare()

    @classmethod
    def prepare(cls) -> None:
        """What the class wants before its first test."""

    # What must hold of a node that forwards

    def assert_forwards(self, sizes: tuple[int, ...] = (0, 1, 200, 1391), vlan: int | None = None) -> None:
        """Packets of both families come out of every kind of tunnel as they were, to the byte."""
        bench = self.lab
        with bench.wiretap() as wire:
            sent: dict[bytes, tuple[str, int]] = {}
            before = bench.node.outcomes()
            for way, port in PORTS.items():
                for family in (4, 6):
                    for number, size in enumerate(sizes):
                        ip = udp(PEER[family], VIP[family], 20000 + number, port, bytes(range(256)) * (size // 256) +
                                 bytes(range(size % 256)))
                        sent[ip] = way
                        wire.send(ip, vlan)
            seen = wire.tunnels(len(sent), 15)
        inner = [tunnel.inner for tunnel in seen]
        missing = [(*way, f"IPv{ip[0] >> 4}", len(ip)) for ip, way in sent.items() if ip not in inner]
        self.assertEqual([], missing, f"{len(missing)} of {len(sent)}; {self._changed(before)}")
        self.assertEqual([], [ip for ip in inner if ip not in sent])
        self.assertEqual(len(sent), len(inner))
        for tunnel in seen:
            kind, family = sent[tunnel.inner]
            self.assertEqual((kind, bench.peer_mac, NODE[family], vlan),
                             (tunnel.kind, tunnel.mac, tunnel.source, tunnel.vlan))
            self.assertIn(tunnel.destination, BACKENDS[family])

    def chosen(self, first_port: int, flags: int = SYN, flows: int = 20) -> dict[int, str]:
        """The backend of each of so many flows, by their ports."""
        with self.lab.wiretap() as wire:
            for port in range(first_port, first_port + flows):
                wire.send(tcp(PEER[4], VIP[4], port, PORTS["ipip", 4], flags))
            seen = wire.tunnels(flows)
        return {int.from_bytes(tunnel.inner[20:22], "big"): tunnel.destination for tunnel in seen}

    def flows_elsewhere(self, first_port: int, favourite: str) -> dict[int, str]:
        """New flows and their backends. Then that backend gets nearly all slots, so that only who knows them finds them."""
        flows = self.chosen(first_port)
        self.assertEqual((20, set(BACKENDS[4])), (len(flows), set(flows.values())))
        self.lab.favour(favourite)
        return flows

    def assert_fragments_stay_together(self) -> None:
        """Both fragments of a datagram come out as they were, at one backend."""
        with self.lab.wiretap() as wire:
            for family in (4, 6):
                whole = udp(PEER[family], VIP[family], 20000, PORTS["ipip", family], bytes(2000))
                sent = fragments(whole, 1280)
                for fragment in sent:
                    wire.send(fragment)
                seen = wire.tunnels(2)
                self.assertEqual(sorted(sent), sorted(tunnel.inner for tunnel in seen), f"IPv{family}")
                self.assertEqual(1, len({tunnel.destination for tunnel in seen}))

    def assert_says_too_big(self) -> None:
        """What would no longer fit in a tunnel is answered with the size that does."""
        with self.lab.wiretap() as wire:
            for family, most in ((4, 1500 - 20), (6, 1500 - 40)):
                wire.send(udp(PEER[family], VIP[family], 20000, PORTS["ipip", family], bytes(1500 - (28 if family == 4 else 48))))
                said = [too_big(data) for data in wire.frames(1, 5, lambda data: too_big(data) is not None)]
                self.assertEqual([(PEER[family], most)], said)

    def assert_host_is_reached(self) -> None:
        """Its MAC address is asked for and told; pings of all sizes, and TCP that carries data both ways."""
        before = self.lab.node.outcomes()
        self.lab.peer.run(["ip", "neigh", "flush", "all"])
        for family in (4, 6):
            for address, size in ((NODE[family], 56), (NODE[family], 1400), (VIP[family], 56)):
                got = self.lab.ping(address, count=2, size=size)
                self.assertEqual(2, got, (address, size, self._changed(before)))
        for family in (4, 6):
            self.assertEqual(TRANSFER_BYTES, self._echoed(NODE[family]))

    def assert_vlan_is_reached(self) -> None:
        """By a VLAN device on linimo0, which the NIC knows nothing of."""
        with self.vlan_on("linimo0"):
            self.assertEqual(2, self.lab.ping(ON_VLAN[0], count=2))

    @contextlib.contextmanager
    def vlan_on(self, link: str) -> Iterator[None]:
        """Meanwhile there is a VLAN device, "tagged", on that link of the node's, and one on the peer's NIC."""
        for box, below, address in ((self.lab.box, link, ON_VLAN[0]), (self.lab.peer, "eth0", ON_VLAN[1])):
            box.run(["ip", "link", "add", "link", below, "name", "tagged", "type", "vlan", "id", "100"])
            box.run(["ip", "addr", "add", f"{address}/24", "dev", "tagged"])
            box.run(["ip", "link", "set", "tagged", "up"])
        try:
            yield
        finally:
            for box in (self.lab.box, self.lab.peer):
                box.run(["ip", "link", "del", "tagged"])

    def _changed(self, before: dict[str, int]) -> dict[str, int]:
        return {name: count - before[name] for name, count in self.lab.node.outcomes().items() if count != before[name]}

    def _echoed(self, address: str) -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.lab.box.entered():
            server = socket.create_server((address, 7777), family=family)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with server, self.lab.peer.entered(), socket.create_connection((address, 7777), timeout=20) as client:
            sending = threading.Thread(target=lambda: (client.sendall(bytes(TRANSFER_BYTES)),
                                                       client.shutdown(socket.SHUT_WR)), daemon=True)
            sending.start()
            received = 0
            while data := client.recv(65536):
                received += len(data)
            return received

    def assert_all_counted(self, flows: int = 200, packets: int = 3) -> None:
        """New flows, a SYN and what follows it: each is tracked, each packet counted as forwarded, and seen. Where there
        are several queues a flow may be tracked in two: a tap puts it on the queue by which it last came back."""
        node = self.lab.node
        before = node.status()
        with self.lab.wiretap() as wire:
            for number in range(packets):
                for flow in range(flows):
                    wire.send(tcp(PEER[4], VIP[4], self.next_port + flow, PORTS["ipip", 4], ACK if number else SYN))
            seen = len(wire.tunnels(flows * packets, 10))
        type(self).next_port += flows
        self.assertEqual(flows * packets, seen)
        wait_until(lambda: node.outcomes()["forwarded"] - before["outcomes"]["forwarded"] >= flows * packets,
                   f"{flows * packets} packets are counted", 5)
        wait_until(lambda: node.status()["flows"]["tracked"] - before["flows"]["tracked"] >= flows,
                   f"{flows} flows are tracked", 8)
        after = node.status()
        self.assertEqual(flows * packets, after["outcomes"]["forwarded"] - before["outcomes"]["forwarded"])
        if after["dataplane"]["workers"] == 1:
            self.assertEqual(flows, after["flows"]["tracked"] - before["flows"]["tracked"])

    next_port: ClassVar[int] = 30000

    def assert_checksums_finished(self, packets: int = 10) -> None:
        """The peer leaves them to its NIC, as virtual machines do; what is forwarded has them."""
        peer = self.lab.peer
        peer.run(["ethtool", "-K", "eth0", "tx", "on"])
        try:
            with self.lab.wiretap() as wire:
                for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                    with peer.entered(), socket.socket(kind, socket.SOCK_DGRAM) as sender:
                        for _ in range(packets):
                            sender.sendto(b"unfinished", (VIP[family], PORTS["ipip", family]))
                inner = [tunnel.inner for tunnel in wire.tunnels(2 * packets)]
        finally:
            peer.run(["ethtool", "-K", "eth0", "tx", "off"])
        self.assertEqual(2 * packets, len(inner))
        self.assertEqual([], [ip for ip in inner if not transport_is_sound(ip)])

    def generate(self, count: int, *ports: int, rate: int = 0) -> dict[str, int]:
        """Packets by the kernel's generator, to each port in turn, that many a second (0: as many as it can); its report."""
        said = self.lab.peer.run([str(PKTGEN), "eth0", "--mac", self.lab.mac, "--to", VIP[4], "--source", PEER[4], "--flows", "64",
                                  "--count", str(count), "--rate", str(rate), *(word for port in ports for word in ("--port", str(port)))]).stdout
        return dict(json.loads(said))

    # Conditions

    def failing(self) -> dict[str, dict[str, Any]]:
        return {condition["name"]: condition for condition in self.lab.node.status()["conditions"]
                if condition["state"] == "fails"}

    def wait_failing(self, name: str, seconds: float = 10) -> dict[str, Any]:
        return wait_until(lambda: self.failing().get(name), f"{name} fails", seconds)

    def announced(self) -> set[str]:
        return {line.split()[0] for family in ("-4", "-6")
                for line in self.lab.box.run(["ip", family, "route", "show", "table", "77"], check=False).stdout.splitlines()}

    def assert_withdrawn_without_carrier(self) -> None:
        """A cable that is pulled: the condition tells, the VIPs are withdrawn; back, when it is plugged in again."""
        wait_until(lambda: self.announced() == set(VIP.values()), "the VIPs are announced")
        self.lab.pull()
        try:
            self.wait_failing("carrier")
            wait_until(lambda: not self.announced(), "the VIPs are withdrawn")
        finally:
            self.lab.plug_in()
        wait_until(lambda: "carrier" not in self.failing() and self.announced() == set(VIP.values()),
                   "the VIPs are announced again", 20)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Watched]:
        """A packet each millisecond meanwhile, and when each came out; and which routes went."""
        seen, ending = Watched(), threading.Event()
        with self.lab.wiretap() as wire, self._routes_that_go(seen.withdrawn):

            def send() -> None:
                while not ending.wait(0.001):
                    with contextlib.suppress(TimeoutError):  # QEMU holds back what its device does not take
                        wire.send(udp(PEER[4], VIP[4], 20000, PORTS["ipip", 4], b"again"))

            def receive() -> None:
                while not ending.is_set():
                    if wire.tunnels(1, 0.2):
                        seen.came.append(time.monotonic())

            threads = [threading.Thread(target=run, daemon=True) for run in (send, receive)]
            for thread in threads:
                thread.start()
            try:
                wait_until(lambda: len(seen.came) > 100, "packets come")
                yield seen
                enough = len(seen.came) + 100
                wait_until(lambda: len(seen.came) > enough, "packets come again", 20)
            finally:
                ending.set()
                for thread in threads:
                    thread.join()

    @contextlib.contextmanager
    def _routes_that_go(self, told: list[str]) -> Iterator[None]:
        """As the kernel tells of them, those that announce."""
        with self.lab.box.entered():
            monitor = subprocess.Popen(["ip", "monitor", "route"], stdout=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            monitor.terminate()
            told += [line for line in monitor.communicate()[0].splitlines() if line.startswith("Deleted") and "table 77" in line]

    # Starts that must fail

    def refused(self) -> str:
        """What a start of the data plane says that fails."""
        node, begun = self.lab.node, len(self.lab.log()) if (self.lab.node.folder / "linimo-dataplane.log").exists() else 0
        node.prepare()
        node.spawn_dataplane()
        assert node.dataplane
        code = node.dataplane.wait(30)
        node.dataplane = None
        self.assertEqual(1, code, self.lab.log()[begun:])
        return self.lab.log()[begun:]
