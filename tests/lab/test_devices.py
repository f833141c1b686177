"""The world under a node with engine xdp moves: its interfaces get more queues, go, come back as others, lose their carrier. It
follows by itself, or says what to do."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from device_case import FOLLOWS_S, DeviceCase
from lab.client import Load
from lab.topology import VIP
from lab.wait import wait_until


class XdpDevices(DeviceCase):
    workers = 4  # queues that the veth may have

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = "xdp"
        cls._set_queues(1)

    def _attached(self) -> bool:
        links: list[dict[str, Any]] = json.loads(self._node("ip", "-j", "-d", "link"))
        return any(link["ifname"] == "eth0" and "xdp" in link for link in links)

    def test_1_queues_that_come_are_served(self) -> None:
        """`ethtool -L` from 1 to 4: within two seconds new connections over all of them are answered and tracked."""
        self.assertEqual(1, self.lab.node.status()["dataplane"]["workers"])
        capacity = self.lab.node.status()["flows"]["capacity"]
        with Load(self.lab.client, VIP[4], threads=2, rate=100).in_background() as load:
            wait_until(lambda: load.requests > 20, "requests are on their way")
            self._set_queues(4)
            # A veth's new queues take no frames that XDP sends until a program is put on anew. At the router's end it is
            # the lab's; at the node's it is what is tested.
            self._router("ip", "-force", "link", "set", "dev", "lb1", "xdpdrv", "obj", str(self.lab.pass_program), "sec", "xdp.frags")
            seen, changed = load.requests, time.monotonic()
            wait_until(lambda: self.lab.node.status()["flows"]["capacity"] == 4 * capacity, "each queue has its table",
                       FOLLOWS_S)
            wait_until(lambda: load.requests > seen + 50, "requests go on")
        self.assertEqual([], [failure for failure in load.failures if failure.began > changed + FOLLOWS_S])
        self._assert_all_tracked()

    def test_1_the_queues_stay_while_they_are_served(self) -> None:
        self._assert_queues_stay()

    def test_a_put_into_a_bridge(self) -> None:
        """The bridge gets what is for the node, ARP too: nobody could send to it, so it does not count, until it is taken out."""
        self._node("ip", "link", "add", "bridge0", "type", "bridge")
        self._node("ip", "link", "set", "eth0", "master", "bridge0")
        wait_until(lambda: "interface-present" in self._failing(), "it is shown", FOLLOWS_S)
        wait_until(lambda: not self.lab.node.status()["serves"], "the node does not serve", FOLLOWS_S)
        self._node("ip", "link", "del", "bridge0")
        wait_until(lambda: self.lab.node.status()["serves"], "the node serves", FOLLOWS_S + 1)
        self._wait_answered("it is over", 5)

    def test_2_an_interface_made_anew_is_taken_over(self) -> None:
        """Deleted and made again, as another device with other MAC address and MTU: served within two seconds."""
        topology, begun = self.lab.topology, len(self._log())
        self._router("ip", "link", "del", "lb1")
        self._wait_logged("eth0: interface-present fails", begun)
        topology.connect_node(mtu=1700)
        self.lab.let_pass(1)
        self._wait_answered("the interface was made anew")
        self._assert_all_tracked()

    def test_3_another_mac_address_and_mtu(self) -> None:
        """Once its neighbours know the new address, frames to it are taken: those to any other address are not."""
        self._node("ip", "link", "set", "eth0", "address", "02:00:00:00:77:01")
        self._router("ip", "neigh", "flush", "dev", "lb1")
        self._wait_answered("the address changed")
        self._node("ip", "link", "set", "eth0", "mtu", "1650")
        self._wait_answered("the address changed")
        self._node("ip", "link", "set", "eth0", "mtu", "1600")
        self._wait_answered("the MTU changed")

    def test_4_a_program_taken_off_is_put_back(self) -> None:
        begun = len(self._log())
        self._node("bpftool", "link", "detach", "pinned", str(self.lab.node.config.runtime_dir / "bpf/link-eth0"))
        self._wait_logged("eth0: program attached", begun)
        self.assertTrue(self._attached())
        self._wait_answered("the program was put back")

    def test_5_carrier(self) -> None:
        begun = len(self._log())
        self._lose_carrier()
        self._wait_logged("eth0: carrier fails", begun)
        self._router("ip", "link", "set", "lb1", "up")
        self._wait_logged("eth0: carrier holds", begun)
        self._wait_routes_back()

    def test_6_frames_lost_after_sending(self) -> None:
        """The other end of the veth takes none any more: only the driver's statistics tell, and those are read. What the doctor
        says mends it."""
        begun, lost = len(self._log()), self.lab.node.status()["transmit_lost"]
        self._router("ethtool", "-K", "lb1", "gro", "off")
        self._router("ip", "link", "set", "dev", "lb1", "xdpdrv", "off")
        with Load(self.lab.client, VIP[4], threads=4, rate=100, timeout=0.2).in_background():
            self._wait_logged("eth0: transmit-works fails", begun, 8)
            told = json.loads(self.lab.node.cli("doctor", "--watch-seconds", "0.1", "-o", "json", check=False).stdout)
            [mend] = [one["mend"] for one in told if (one["cause"], one["subject"]) == ("transmit-works", "eth0")]
            command = mend.partition("at its other end: ")[2].partition(";")[0].replace("DEV", "lb1")
            self._router(*command.split())
            self._wait_logged("eth0: transmit-works holds", begun, 4)
        self.lab.let_pass(1)
        self.assertGreater(self.lab.node.status()["transmit_lost"], lost)

    def test_7_mounts_of_its_own(self) -> None:
        """Started where its mounts end with it: what it pins is the system's, and forwarding outlives it."""
        node = self.lab.node
        node.stop_dataplane()
        node.detach()
        begun = len(self._log())
        node.dataplane_wrapper = ["unshare", "--mount", "--propagation", "private", "--"]
        try:
            node.start_dataplane()
            node.wait_settled()
            self._wait_answered("a start with mounts of its own", 5)
            node.stop_dataplane(signal.SIGKILL)
            self._wait_answered("the process and its mounts are gone")
        finally:
            node.dataplane_wrapper = []
            if node.dataplane is None:
                node.start_dataplane()
        self._wait_logged("taken over as it was", begun)
        node.wait_settled()

    def test_8_vlan_tags_stay_in_frames(self) -> None:
        self._assert_vlan_tags_stay()

    def test_9_the_other_end_must_finish_its_frames(self) -> None:
        self._assert_advised_of_the_other_end()

    def test_b_addresses_that_come_later(self) -> None:
        self._assert_addresses_are_followed("eth0")


del DeviceCase  # no test of its own
