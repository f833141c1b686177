"""A packet is judged by one generation, whole, and none is lost when the next one comes."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar, Iterator

from case import LabCase
from lab.topology import VIP2
from lab.wait import wait_until
from seam import Accepted, Controller, Snapshot, Welcome

SWAPS = 1000
SETTLED_AFTER = 100  # swaps, after which memory is what it will be
FLOWS = 500
DATAGRAMS_PER_S = 4000
PORT = 5000
GROWTH_ALLOWED = 512 * 1024  # bytes in 900 swaps: one generation kept in ten would be ten megabytes

# No tracking: the table alone decides, so every swap moves every flow. UDP: whatever is lost stays lost.
UDP_SERVICE = f'''
[[service]]
name = "counted"
vips = ["{VIP2[4]}"]
protocol = "udp"
ports = [{PORT}]
pool = "web"
tracking = "off"
'''
SERVICE = (VIP2[4], PORT)

IPIP, GRE = 4, 47
SETS = {"a": (("10.0.1.1", "10.0.1.2"), IPIP), "b": (("10.0.1.3", "10.0.1.4"), GRE)}  # nothing in common


class TableSwaps(LabCase):
    tables: ClassVar[dict[str, Snapshot]]

    @classmethod
    def configure(cls) -> None:
        cls.lab.add_backend(4)
        cls.lab.node.config.tracking = "off"
        cls.lab.node.config.more = UDP_SERVICE
        cls.lab.node.config.backends = {1: 100, 2: 100}

    @classmethod
    def setUpClass(cls) -> None:
        """Both tables are the real control plane's; afterwards it makes room for another that is quicker to change its
        mind."""
        super().setUpClass()
        node = cls.lab.node
        cls.tables = {"a": cls._kept()}
        node.config.backends, node.config.encapsulation = {3: 100, 4: 100}, "gre"
        node.reload()
        cls.tables["b"] = cls._kept()
        node.stop_controlplane()

    @classmethod
    def _kept(cls) -> Snapshot:
        return Snapshot((cls.lab.node.config.runtime_dir / "snapshot").read_bytes())

    def setUp(self) -> None:
        self.controller = Controller.connect(self.lab.node.config.runtime_dir / "dataplane.sock")
        self.addCleanup(self.controller.socket.close)
        welcome = self.controller.hello()
        assert isinstance(welcome, Welcome), welcome
        self.generation = welcome.generation

    def test_a_thousand_swaps_under_load(self) -> None:
        """Each datagram leaves the node once, with a backend and an encapsulation of the same table, to the very backend
        that one of the tables has for its flow; and the data plane's memory does not grow."""
        with self._captured() as capture, self._sockets() as sockets:
            homes = {name: self._homes(name, capture, sockets) for name in SETS}
            for name, (backends, encapsulation) in SETS.items():
                self.assertEqual({(backend, encapsulation) for backend in backends}, set(homes[name].values()))

            capture.seen.clear()
            sender = Sender(sockets)
            sender.start()
            wait_until(lambda: capture.seen, "datagrams are forwarded")
            memory, slowest = self._swap_under(sender)
            sender.stop()
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: len(capture.seen) == sender.sent, "every datagram has been seen", 5)
            self.assertEqual(0, capture.dropped(), "the capture itself has missed some: nothing is shown")

        took = sender.seconds
        print(f"    {SWAPS} swaps in {took:.1f} s, slowest {slowest * 1000:.1f} ms; {sender.sent} datagrams meanwhile, "
              f"{sender.sent - len(capture.seen)} lost; memory {memory[0] >> 10} KiB, then {memory[1] >> 10} KiB",
              file=sys.stderr)
        self.assertEqual(sender.sent, len(capture.seen), "datagrams were lost")
        self.assertGreater(sender.sent, SWAPS, "that was no load")
        chosen: Counter[str] = Counter()
        for (flow, number), places in capture.seen.items():
            self.assertEqual(1, len(places), f"datagram {number} of flow {flow} went out {len(places)} times")
            tables = [name for name in SETS if homes[name][flow] == places[0]]
            self.assertTrue(tables, f"flow {flow} went to {places[0]}, which is of neither table")
            chosen.update(tables)
        self.assertGreater(min(chosen["a"], chosen["b"]), sender.sent / 10, f"hardly alternated: {chosen}")
        self.assertLess(memory[1] - memory[0], GROWTH_ALLOWED, f"the data plane has grown from {memory[0]} to {memory[1]}")

    def _swap_under(self, sender: Sender) -> tuple[list[int], float]:
        """Memory after so many swaps and at the end, and the slowest of the swaps."""
        memory, slowest = [], 0.0
        for number in range(1, SWAPS + 1):
            before = sender.sent
            begun = time.monotonic()
            self._publish("ab"[number % 2])
            slowest = max(slowest, time.monotonic() - begun)
            if number in (SETTLED_AFTER, SWAPS):
                memory.append(self._memory())
            wait_until(lambda: sender.sent > before, "datagrams are sent between swaps", poll=0.0005)
        return memory, slowest

    def _publish(self, name: str) -> None:
        self.generation += 1
        answer = self.controller.publish(self.generation, self.tables[name].numbered(self.generation))
        self.assertEqual(Accepted(self.generation), answer)

    def _homes(self, name: str, capture: Capture, sockets: list[socket.socket]) -> dict[int, tuple[str, int]]:
        """Where each flow goes by that table: the backend, and how it is wrapped."""
        self._publish(name)
        capture.seen.clear()
        for flow, one in enumerate(sockets):
            one.sendto(struct.pack("=II", flow, 0), SERVICE)
            if flow % 50 == 49:
                wait_until(lambda: len(capture.seen) > flow, "they are forwarded", poll=0.001)
        return {flow: places[0] for (flow, _), places in capture.seen.items()}

    def _memory(self) -> int:
        """Resident, hugepages included: those of a shared mapping are not in Rss."""
        assert self.lab.node.dataplane
        text = Path(f"/proc/{self.lab.node.dataplane.pid}/smaps_rollup").read_text()
        sizes = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
        return 1024 * (sizes["Rss"] + sizes["Shared_Hugetlb"] + sizes["Private_Hugetlb"])

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[list[socket.socket]]:
        """One per flow."""
        with contextlib.ExitStack() as stack:
            with self.lab.client.entered():
                sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(FLOWS)]
            yield sockets

    @contextlib.contextmanager
    def _captured(self) -> Iterator[Capture]:
        with self.lab.topology.router.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            sock.bind(("lb1", ETH_P_IP))
        capture = Capture(sock)
        try:
            yield capture
        finally:
            capture.close()


ETH_P_IP = 0x0800
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6  # not in Python's socket module


class Capture:
    """What the node sends to backends: for each datagram, where it went, (backend, encapsulation), each time."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket = sock
        self.seen: dict[tuple[int, int], list[tuple[str, int]]] = {}
        self._stop = threading.Event()
        sock.settimeout(0.1)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def dropped(self) -> int:
        return struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                packet, origin = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            if origin[2] == socket.PACKET_OUTGOING or packet[9] not in (IPIP, GRE):
                continue
            inner = packet[20 + (4 if packet[9] == GRE else 0):]
            if inner[9] == socket.IPPROTO_UDP:
                key = struct.unpack_from("=II", inner, 28)
                self.seen.setdefault(key, []).append((socket.inet_ntoa(packet[16:20]), packet[9]))


class Sender:
    """Numbered datagrams at a modest rate, over all flows in turn, until stopped."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.sent = 0
        self.seconds = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            for _ in range(min(40, int((time.monotonic() - begun) * DATAGRAMS_PER_S) - self.sent)):
                flow, number = self.sent % FLOWS, 1 + self.sent // FLOWS
                self._sockets[flow].sendto(struct.pack("=II", flow, number), SERVICE)
                self.sent += 1
            time.sleep(0.002)
        self.seconds = time.monotonic() - begun
