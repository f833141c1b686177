"""The world under a node with engine dpdk moves, and NICs that it cannot take. It follows by itself, starts anew with its flows, or
says what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from device_case import FOLLOWS_S, DeviceCase
from lab.topology import FABRIC_MTU, NODE
from lab.wait import wait_until


class DpdkDevices(DeviceCase):
    workers = 2  # queues that the veth may have

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.workers = 1
        cls._set_queues(1)

    def setUp(self) -> None:
        if self.lab.node.dataplane is None:
            self._start()

    def _start(self) -> None:
        self.lab.node.start_dataplane()
        self.lab.node.wait_settled()

    def _refused(self) -> str:
        """What a start says that fails."""
        node, begun = self.lab.node, len(self._log())
        node.spawn_dataplane()
        assert node.dataplane
        self.assertEqual(1, node.dataplane.wait(15))
        node.dataplane = None
        return self._log()[begun:]

    def _addresses(self, link: str) -> set[str]:
        links = json.loads(self._node("ip", "-j", "addr"))
        return {address["local"] for found in links if found["ifname"] == link for address in found["addr_info"]
                if address["scope"] == "global"}

    def _kill_guardian(self) -> None:
        for pid in self.lab.topology.node.pids():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "linimo-guardian":
                os.kill(pid, signal.SIGKILL)

    def _kill_with_guardian(self) -> None:
        """As the end of a unit's cgroup does. The guardian first, else it does its work."""
        self._kill_guardian()
        self.lab.node.stop_dataplane(signal.SIGKILL)
        wait_until(lambda: not self.lab.node.has_link("linimo0"), "the TAP is gone")

    def test_1_killed_together_with_its_guardian(self) -> None:
        """The journal of what was moved is on disk: the next start takes it from there, and so does a detach."""
        ours = set(NODE.values())
        self._kill_with_guardian()
        self.assertEqual(set(), self._addresses("eth0"))
        self._start()
        self.assertEqual(ours, self._addresses("linimo0"))
        self._wait_answered("a start after the guardian was killed")
        self._kill_with_guardian()
        self.lab.node.detach()
        self.assertEqual(ours, self._addresses("eth0"))

    def test_2_carrier(self) -> None:
        """Conditions tell, and the kernel's side of the port has no carrier either."""
        begun = len(self._log())
        self._lose_carrier()
        self._wait_logged("eth0: carrier fails", begun)
        self.assertIn("NO-CARRIER", self._node("ip", "link", "show", "linimo0"))
        self._router("ip", "link", "set", "lb1", "up")
        self._wait_logged("eth0: carrier holds", begun)
        self._wait_routes_back()

    def test_3_devices_on_the_nic(self) -> None:
        """What stands on the NIC or has it as a part would fall silent: the start names it and refuses."""
        self.lab.node.stop_dataplane()
        self._node("ip", "link", "add", "bridge0", "type", "bridge")
        self._node("ip", "link", "set", "eth0", "master", "bridge0")
        try:
            self.assertIn("eth0: bridge0 (bridge) would get no packets while DPDK has eth0", self._refused())
        finally:
            self._node("ip", "link", "del", "bridge0")
        self.assertEqual(set(NODE.values()), self._addresses("eth0"))

    def test_4_large_mtus(self) -> None:
        """Too large a one is refused, and the largest that is named works."""
        self.lab.node.stop_dataplane()
        self._set_mtu(9000)
        said = self._refused()
        self.assertIn("an MTU of 9000 is too large", said)
        largest = int(said.split("ip link set DEV mtu ")[1].split("`")[0])
        self._set_mtu(largest)
        try:
            self._start()
            self._router("ping", "-c", "1", "-W", "2", "-M", "do", "-s", str(largest - 28), NODE[4])
        finally:
            self.lab.node.stop_dataplane()
            self._set_mtu(FABRIC_MTU)

    def _senders_of_tunnels(self) -> set[str]:
        """MAC addresses from which the router gets packets in tunnels."""
        with self.lab.topology.router.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            wire.bind(("lb1", 0))
        with wire:
            wire.settimeout(5)
            self.assertTrue(self._answered())
            senders: set[str] = set()
            while not senders:
                frame = wire.recv(2048)
                if frame[23] == 4:
                    senders.add(frame[6:12].hex(":"))
        return senders

    def _set_mtu(self, mtu: int) -> None:
        self._router("ip", "link", "set", "lb1", "mtu", str(mtu))
        self._node("ip", "link", "set", "eth0", "mtu", str(mtu))

    def test_5_an_address_on_the_netdev(self) -> None:
        """Whoever gives the netdev an address while DPDK has it is told where it belongs."""
        begun = len(self._log())
        self._node("ip", "addr", "add", "198.51.100.7/24", "dev", "eth0")
        self._wait_logged("eth0: addresses-moved fails", begun)
        self._node("ip", "addr", "del", "198.51.100.7/24", "dev", "eth0")
        self._wait_logged("eth0: addresses-moved holds", begun)

    def test_6_ended_while_it_starts(self) -> None:
        """SIGTERM is heard while DPDK starts."""
        node = self.lab.node
        node.stop_dataplane()
        begun = len(self._log())
        node.spawn_dataplane()
        self._wait_logged("engine dpdk", begun)
        self.assertEqual(0, node.stop_dataplane())
        wait_until(lambda: self._addresses("eth0") == set(NODE.values()), "eth0 has its addresses")

    def test_7_what_a_veth_leaves_undone(self) -> None:
        self._assert_vlan_tags_stay()
        self._assert_advised_of_the_other_end()

    def test_7_addresses_that_come_later(self) -> None:
        self._assert_addresses_are_followed("linimo0")

    def test_8_another_mac_address(self) -> None:
        """The TAP takes it over, so that neighbours hear of the new one, and what is sent has it."""
        address = "02:00:00:00:77:02"
        self._node("ip", "link", "set", "eth0", "address", address)
        wait_until(lambda: address in self._node("ip", "link", "show", "linimo0"), "the TAP has it too", FOLLOWS_S)
        self._router("ip", "neigh", "flush", "dev", "lb1")
        self._wait_answered("the address changed")
        self.assertIn(address, self._router("ip", "neigh", "show", NODE[4], "dev", "lb1"))
        self.assertEqual({address}, self._senders_of_tunnels())

    def test_9_another_mtu(self) -> None:
        """The TAP has the netdev's, so that what is routed by it fits the wire."""
        for mtu in (1500, FABRIC_MTU):
            self._set_mtu(mtu)
            wait_until(lambda: f"mtu {mtu} " in self._node("ip", "link", "show", "linimo0"), "the TAP has it too", FOLLOWS_S)
        self._wait_answered("the MTU changed")

    def test_a_queues_that_come_are_told(self) -> None:
        """DPDK does not serve them: the condition says so, until they are gone."""
        begun = len(self._log())
        self._set_queues(2)
        self._wait_logged("eth0: queues-served fails: 2 queues, of which DPDK serves 1", begun, 2 * FOLLOWS_S)
        self._set_queues(1)
        self._wait_logged("eth0: queues-served holds", begun, 2 * FOLLOWS_S)

    def test_a_put_into_a_bridge(self) -> None:
        """Later than the start: the bridge gets nothing, and that is shown until it goes."""
        self._node("ip", "link", "add", "bridge0", "type", "bridge")
        self._node("ip", "link", "set", "eth0", "master", "bridge0")
        wait_until(lambda: "stands-alone" in self._failing(), "it is shown", FOLLOWS_S)
        self._wait_answered("it was put into a bridge")
        self._node("ip", "link", "del", "bridge0")
        wait_until(lambda: "stands-alone" not in self._failing(), "it is over", FOLLOWS_S + 1)

    def test_c_its_guardian_is_killed(self) -> None:
        """Nothing that forwards needs it: the operator is told, and a restart mends it."""
        wait_until(lambda: self.lab.node.status()["serves"], "the node serves")
        begun = len(self._log())
        self._kill_guardian()
        self._wait_logged("guardian-alive fails", begun)
        self._wait_answered("the guardian was killed")
        self.assertTrue(self.lab.node.status()["serves"])
        self.assertEqual(0, self.lab.node.stop_dataplane())
        self.assertEqual(set(NODE.values()), self._addresses("eth0"), "the data plane gives them back itself")
        begun = len(self._log())
        self._start()
        self.assertNotIn("guardian-alive fails", self._log()[begun:])

    def test_b_an_interface_made_anew(self) -> None:
        """DPDK holds a device, not its name: once the new one has its addresses, the data plane starts anew by itself, as the
        same process, and takes it."""
        node, begun = self.lab.node, len(self._log())
        assert node.dataplane
        pid = node.dataplane.pid
        self._router("ip", "link", "del", "lb1")
        self._wait_logged("eth0: interface-present fails", begun)
        self.lab.topology.connect_node()
        self._wait_logged("eth0 was made anew; DPDK has the one before: starting anew", begun, 5)
        self._wait_answered("the interface was made anew", 10)
        self.assertEqual(set(NODE.values()), self._addresses("linimo0"))
        wait_until(lambda: node.status()["dataplane"]["pid"] == pid, "the control plane is back with the same process")

    def test_d_queues_that_are_served_stay(self) -> None:
        self.lab.node.stop_dataplane()
        self._set_queues(2)
        self._start()
        self._assert_queues_stay()


del DeviceCase  # no test of its own
