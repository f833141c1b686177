"""A tunnel that does not fit: the client is told, sends smaller packets, and its upload completes."""

from __future__ import annotations

import os
from typing import ClassVar

from case import LabCase
from lab.client import upload
from lab.netns import Namespace
from lab.topology import FABRIC_MTU, VIP
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
        """Nobody is told of less than 1280 bytes (RFC 8200, 5): the tunnel of a packet that long leaves in fragments."""
        node, topology = self.lab.node, self.lab.topology
        self.addCleanup(topology.node.run, ["ip", "link", "set", "dev", self.device, "mtu", str(FABRIC_MTU)])
        node.config.backend_family = 6
        node.reload_if_changed()
        topology.node.run(["ip", "link", "set", "dev", self.device, "mtu", str(NARROW_MTU)])
        wait_until(lambda: "mtu 1280" in self._told_in_an_upload(6), "the client is told of 1280", 5)
        # Sent again as it was told: nothing is too big any more, and all of it arrives.
        before = node.outcomes()
        status = upload(self.lab.client, VIP[6], self.lab.files / "random", f"{self.device}-narrow")
        self.assertIn(status, ("201", "204"))
        after = node.outcomes()
        self.assertEqual(before["too_big"], after["too_big"])
        self.assertGreater(after["forwarded"] - before["forwarded"], SIZE // 1280)

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


class PathMtuInDpdk(_PathMtu):
    engine = "dpdk"
    device = "linimo0"


class PathMtuInXdp(_PathMtu):
    engine = "xdp"
    device = "eth0"


del _PathMtu  # its tests are for an engine
