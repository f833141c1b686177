"""Datagrams in fragments arrive whole, at one backend, in whichever order their fragments come; strays harm nobody."""

from __future__ import annotations

import itertools
import random
import signal
import socket
import threading
import time
from typing import ClassVar

from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from case import LabCase
from lab.client import Load
from lab.netns import Namespace
from lab.topology import CLIENT, VIP, VIP2
from lab.wait import wait_until

PORT = 5000
DATAGRAM_BYTES = 8000
SEED = 8  # of the shuffles: the same every time
UDP_SERVICE = f'''
[[service]]
name = "datagrams"
vips = ["{VIP2[4]}", "{VIP2[6]}"]
protocol = "udp"
ports = [{PORT}]
pool = "web"
'''
FLOOD = 5000
LIFE_S = 1.9  # of what is known of a datagram, and a little less
TRIES = 5  # for a machine that is too busy to start anything in that time
RECALL_S = 3.0  # a fragment is held for two seconds


class Receiver:
    """What one backend's sockets for the VIP are handed, (source port, payload), until the end of the process."""

    def __init__(self, box: Namespace) -> None:
        self.datagrams: list[tuple[int, bytes]] = []
        for family, vip in ((socket.AF_INET, VIP2[4]), (socket.AF_INET6, VIP2[6])):
            with box.entered():
                opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.bind((vip, PORT))
            threading.Thread(target=self._read, args=(opened,), daemon=True).start()

    def _read(self, opened: socket.socket) -> None:
        while True:
            payload, source = opened.recvfrom(65536)
            self.datagrams.append((source[1], payload))


class _Fragments(LabCase):
    engine: ClassVar[str]
    receivers: ClassVar[dict[int, Receiver]]
    wire: ClassVar[socket.socket]
    ethernet: ClassVar[Ether]
    identifications = itertools.count(1)

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.more = UDP_SERVICE

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.receivers = {number: Receiver(backend.box) for number, backend in cls.lab.backends.items()}
        with cls.lab.client.entered():
            cls.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            cls.wire.bind(("eth0", 0))
        cls.addClassCleanup(cls.wire.close)
        cls.ethernet = Ether(src=cls._mac(cls.lab.client, "eth0"), dst=cls._mac(cls.lab.topology.router, "client"))

    def setUp(self) -> None:
        self.random = random.Random(SEED)

    @staticmethod
    def _mac(box: Namespace, link: str) -> str:
        return box.run(["ip", "-br", "link", "show", "dev", link]).stdout.split()[2]

    def _fragments(self, family: int, source_port: int, payload: bytes) -> list[Packet]:
        udp = UDP(sport=source_port, dport=PORT) / Raw(payload)
        number = next(self.identifications)  # one that comes back within two seconds would be taken for the former
        if family == 4:
            return fragment(IP(src=CLIENT[4], dst=VIP2[4], id=number) / udp, 1400)
        return fragment6(IPv6(src=CLIENT[6], dst=VIP2[6]) / IPv6ExtHdrFragment(id=number) / udp, 1400)

    def _send(self, packets: list[Packet]) -> None:
        for packet in packets:
            self.wire.send(bytes(self.ethernet / packet))

    def _assert_whole_at_one(self, source_port: int, payload: bytes) -> None:
        wait_until(lambda: self._arrived(source_port, payload), f"the datagram from port {source_port} arrives whole", RECALL_S)
        self.assertEqual(1, len(self._arrived(source_port, payload)))

    def _arrived(self, source_port: int, payload: bytes) -> list[int]:
        return [number for number, receiver in self.receivers.items() if (source_port, payload) in receiver.datagrams]

    def test_datagrams_of_8_kilobytes(self) -> None:
        """In order, the first fragment last, and shuffled; v4 and v6."""
        first_last = lambda packets: packets[1:] + packets[:1]  # noqa: E731
        shuffled = lambda packets: self.random.sample(packets, len(packets))  # noqa: E731
        port = 40000
        for family in (4, 6):
            for name, order in (("in order", list), ("first last", first_last), ("shuffled", shuffled)):
                with self.subTest(family=family, order=name):
                    for _ in range(8):
                        port += 1
                        payload = self.random.randbytes(DATAGRAM_BYTES)
                        self._send(order(self._fragments(family, port, payload)))
                        self._assert_whole_at_one(port, payload)

    def test_several_datagrams_interleaved(self) -> None:
        sent = {port: self.random.randbytes(DATAGRAM_BYTES) for port in range(41000, 41008)}
        packets = [packet for port, payload in sent.items() for packet in self._fragments(4, port, payload)]
        self._send(self.random.sample(packets, len(packets)))
        for port, payload in sent.items():
            self._assert_whole_at_one(port, payload)

    def test_strays_harm_nobody(self) -> None:
        """A flood of fragments whose first never comes: other traffic goes on, memory stays, each is counted in the end."""
        before = self._unmatched_at_rest()
        stray = self._fragments(4, 42000, bytes(DATAGRAM_BYTES))[1]
        resident = self._resident_bytes()
        with Load(self.lab.client, VIP[4], threads=2, rate=200, timeout=2).in_background() as load:
            for number in range(10000, 10000 + FLOOD):
                stray.id = number
                del stray.chksum
                self._send([stray])
            self.assertLess(self._resident_bytes() - resident, 4 << 20)
            unmatched = lambda: self.lab.node.outcomes()["fragment_unmatched"] - before  # noqa: E731
            wait_until(lambda: unmatched() >= FLOOD, "every stray is given up", RECALL_S + 2)
        self.assertEqual(FLOOD, unmatched())
        self.assert_served(load)

    def test_first_before_a_kill_and_the_others_after_it(self) -> None:
        """Where the first fragments went is known to the next data plane, as long as to the one that was killed. (What engine xdp has
        pinned forwards them meanwhile, too.)"""
        ports = itertools.count(43000)
        for _ in range(TRIES):
            sent = {next(ports): self.random.randbytes(DATAGRAM_BYTES) for _ in range(20)}
            packets = [self._fragments(4 if port % 2 else 6, port, payload) for port, payload in sent.items()]
            began = self._forwarded()
            self._send([fragments[0] for fragments in packets])
            over = time.monotonic() + LIFE_S
            wait_until(lambda: self._forwarded() - began >= len(sent), "the first ones have left", LIFE_S)
            self.lab.node.stop_dataplane(signal.SIGKILL)
            self.lab.node.spawn_dataplane()
            while time.monotonic() < over and not all(self._arrived(*one) for one in sent.items()):  # it forwards at any moment
                self._send([later for fragments in packets for later in fragments[1:]])
                time.sleep(0.05)
            self.lab.node.wait_settled()
            if time.monotonic() < over or all(self._arrived(*one) for one in sent.items()):
                break
        self.assertEqual([1] * len(sent), [len(self._arrived(*one)) for one in sent.items()])

    def _unmatched_at_rest(self) -> int:
        """Once nothing that an earlier test has sent is held any more: then none is given up for as long as one is held."""
        seen = (-1, 0.0)

        def rests() -> bool:
            nonlocal seen
            count = self.lab.node.outcomes()["fragment_unmatched"]
            if count != seen[0]:
                seen = (count, time.monotonic())
            return time.monotonic() > seen[1] + RECALL_S
        wait_until(rests, "no fragment is held any more", 4 * RECALL_S)
        return seen[0]

    def _forwarded(self) -> int:
        return self.lab.node.outcomes()["forwarded"]

    def _resident_bytes(self) -> int:
        dataplane = self.lab.node.dataplane
        assert dataplane
        with open(f"/proc/{dataplane.pid}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Rss:"))


class FragmentsInXdp(_Fragments):
    engine = "xdp"


class FragmentsInDpdk(_Fragments):
    engine = "dpdk"


del _Fragments  # its tests are for an engine
