"""A tunnel that does not fit: the client is told, sends smaller packets, and its upload completes."""

from __future__ import annotations

import os
from typing import ClassVar

from case import LabCase
from lab.client import upload
from lab.netns import Namespace
from lab.topology import FABRIC_MTU, VIP

SIZE = 8 * 1024 * 1024
# A client's packet of 1500 bytes is 1520 to 1540 in a tunnel. Lower on the node than behind it: whichever test runs first
# does not settle the other.
BEHIND_MTU, OWN_MTU = 1510, 1500


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

    def _assert_told(self, box: Namespace, device: str, mtu: int) -> None:
        self.addCleanup(box.run, ["ip", "link", "set", "dev", device, "mtu", str(FABRIC_MTU)])
        node = self.lab.node
        for family in (4, 6):
            with self.subTest(family=family):
                node.config.backend_family = family
                node.reload_if_changed()
                box.run(["ip", "link", "set", "dev", device, "mtu", str(mtu)])
                self.lab.client.run(["ip", f"-{family}", "route", "flush", "cache"])  # what it was told before
                before = node.outcomes()["too_big_reply"]
                self.assertEqual("201", upload(self.lab.client, VIP[family], self.lab.files / "random",
                                               f"{device}-{family}"))
                self.assertGreater(node.outcomes()["too_big_reply"], before)
                told = self.lab.client.run(["ip", f"-{family}", "route", "get", VIP[family]]).stdout
                self.assertIn(f"mtu {mtu - (20 if family == 4 else 40)}", told)
                box.run(["ip", "link", "set", "dev", device, "mtu", str(FABRIC_MTU)])


class PathMtuInDpdk(_PathMtu):
    engine = "dpdk"
    device = "linimo0"


class PathMtuInXdp(_PathMtu):
    engine = "xdp"
    device = "eth0"


del _PathMtu  # its tests are for an engine
