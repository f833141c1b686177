"""A tunnel that does not fit: the client is told, sends smaller packets, and its upload completes."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from ipaddress import ip_address
from typing import ClassVar

from case import LabCase
from lab.client import upload
from lab.netns import Namespace
from lab.topology import FABRIC_MTU, NODE, VIP, backend_address
from lab.wait import wait_until

SIZE = 8 * 1024 * 1024
# A client's packet of 1500 bytes is 1520 to 1540 in a tunnel. Lower on the node than behind it: whichever test runs first
# does not settle the other.
BEHIND_MTU, OWN_MTU = 1510, 1500
NARROW_MTU = 1300  # an IPv6 packet of 1280 bytes is 1320 in a tunnel over IPv6


class _PathMtu(LabCase):
    engine: ClassVar[str]
    device: ClassVar[str]  # by which the node's routes leave

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        (cls.lab.files / "random").write_bytes(os.urandom(SIZE))

    def test_own_device_is_too_small(self) -> None:
        self._assert_told(self.lab.topology.node, self.device, OWN_MTU)

    def test_network_behind_is_too_small(self) -> None:
        """A router's word lowers the MTU to the backend; then clients are told."""
        before = self.lab.node.status()["path_mtus_lowered"]
        self._assert_told(self.lab.topology.router, "fabric", BEHIND_MTU)
        self.assertGreater(self.lab.node.status()["path_mtus_lowered"], before)

    def test_ipv6_packets_that_every_way_must_take_arrive(self) -> None:
        """Nobody is told of less than 1280 bytes (RFC 8200, 5): the tunnel of a packet that long reaches its backend in
        fragments. There a tunnel device makes it whole; linimo-decap, which the lab has, does not, so that they are read off
        the wire."""
        node, topology = self.lab.node, self.lab.topology
        node.config.backend_family = 6
        node.reload_if_changed()
        # Of the route: a device whose own MTU is that small would not take the clients' packets.
        route = ["2001:db8:1::/64", "via", "2001:db8::1", "dev", self.device, "mtu", str(NARROW_MTU)]
        topology.node.run(["ip", "-6", "route", "add", *route])
        self.addCleanup(topology.node.run, ["ip", "-6", "route", "del", *route])
        self.lab.client.run(["ip", "-6", "route", "flush", "cache"])
        wires = [self._wire(backend) for backend in topology.backends.values()]
        sender = self.lab.client.spawn(["curl", "-sS", "--max-time", "20", "-T", str(self.lab.files / "random"),
                                        f"http://[{VIP[6]}]/upload/narrow"])
        self.addCleanup(sender.wait)
        self.addCleanup(sender.kill)
        seen: dict[bytes, dict[int, bytes]] = {}
        wait_until(lambda: 1280 in self._lengths_to_the_vip(wires, seen), "a packet of 1280 bytes arrives", 10)
        told = self.lab.client.run(["ip", "-6", "route", "get", VIP[6]]).stdout
        self.assertIn("mtu 1280", told)

    def test_storm_of_forged_words_is_a_few_lines(self) -> None:
        """Thousands of them, about tunnels of ours and about none: counted each, and a line a second of each kind."""
        node, log = self.lab.node, self.lab.node.folder / "linimo-dataplane.log"
        node.config.backend_family = 4
        node.reload_if_changed()
        before, begun = self._words_ignored(), time.monotonic()
        lines = len(log.read_text().splitlines())
        with self.lab.topology.router.entered():
            wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with wire:
            for number in range(3000):
                ours = number % 10 == 0  # each lower than the one before
                wire.sendto(forged_word(1480 - number // 10 if ours else 1000, protocol=4 if ours else 6), (NODE[4], 0))
                if number % 50 == 0:
                    time.sleep(0.005)  # none is to be lost on the way
        wait_until(lambda: self._words_ignored() - before >= 2000, "they are counted", 5)
        seconds = time.monotonic() - begun
        told = [line for line in log.read_text().splitlines()[lines:] if "router" in line]
        self.assertLessEqual(len(told), 2 * (seconds + 1), told)
        self.assertTrue(any("ignored: it is about no tunnel" in line for line in told), told)

    def _words_ignored(self) -> int:
        page = self.lab.node.box.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                      "http://linimo/metrics"]).stdout
        found = re.search(r"(?m)^linimo_path_mtu_ignored_total (\d+)$", page)
        assert found, page
        return int(found[1])

    def _wire(self, backend: Namespace) -> socket.socket:
        with backend.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
            wire.bind(("eth0", 0))
        wire.setblocking(False)
        self.addCleanup(wire.close)
        return wire

    @staticmethod
    def _lengths_to_the_vip(wires: list[socket.socket], seen: dict[bytes, dict[int, bytes]]) -> list[int]:
        """Of IPv6 packets that came in fragments of their tunnels, whole. `seen`: the fragments of each, by their place."""
        for wire in wires:
            try:
                while True:
                    ip = wire.recv(4096)[14:]
                    if ip[6] != 44 or ip[40] != 41:
                        continue
                    assert len(ip) <= NARROW_MTU
                    seen.setdefault(ip[8:40] + ip[44:48], {})[struct.unpack("!H", ip[42:44])[0]] = ip[48:]
            except BlockingIOError:
                pass
        lengths = []
        for fragments in seen.values():
            whole = b"".join(part for _, part in sorted(fragments.items()))
            if whole[24:40] == ip_address(VIP[6]).packed and len(whole) == 40 + struct.unpack("!H", whole[4:6])[0]:
                lengths.append(len(whole))
        return lengths

    def _assert_told(self, box: Namespace, device: str, mtu: int) -> None:
        self.addCleanup(box.run, ["ip", "link", "set", "dev", device, "mtu", str(FABRIC_MTU)])
        node = self.lab.node
        for family in (4, 6):
            with self.subTest(family=family):
                node.config.backend_family = family
                node.reload_if_changed()
                box.run(["ip", "link", "set", "dev", device, "mtu", str(mtu)])
                # The data plane hears of a device's MTU by and by: what it was told of last may serve for a moment.
                smallest = f"mtu {mtu - (20 if family == 4 else 40)}"
                wait_until(lambda: smallest in self._told_in_an_upload(family), f"the client is told of {smallest}", 5)
                box.run(["ip", "link", "set", "dev", device, "mtu", str(FABRIC_MTU)])

    def _told_in_an_upload(self, family: int) -> str:
        """The client's route to the VIP, with the MTU that it learned from it."""
        before = self.lab.node.outcomes()["too_big_reply"]
        self.lab.client.run(["ip", f"-{family}", "route", "flush", "cache"])  # what it was told before
        status = upload(self.lab.client, VIP[family], self.lab.files / "random", f"{self.device}-{family}")
        self.assertIn(status, ("201", "204"), "created, or written over")
        self.assertGreater(self.lab.node.outcomes()["too_big_reply"], before)
        return self.lab.client.run(["ip", f"-{family}", "route", "get", VIP[family]]).stdout


def forged_word(mtu: int, protocol: int) -> bytes:
    """ICMP "fragmentation needed" that quotes a packet from the node to backend 1 (RFC 792, RFC 1191)."""
    quote = struct.pack("!BBHHHBBH4s4s8s", 0x45, 0, 1500, 1, 0, 64, protocol, 0, ip_address(NODE[4]).packed,
                        ip_address(backend_address(1, 4)).packed, b"")
    words = struct.unpack(f"!{(8 + len(quote)) // 2}H", struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quote)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    return struct.pack("!BBHHH", 3, 4, ~((total & 0xffff) + (total >> 16)) & 0xffff, 0, mtu) + quote


class PathMtuInDpdk(_PathMtu):
    engine = "dpdk"
    device = "linimo0"


class PathMtuInXdp(_PathMtu):
    engine = "xdp"
    device = "eth0"


del _PathMtu  # its tests are for an engine
