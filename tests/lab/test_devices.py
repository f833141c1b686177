"""The world under the node moves: its interfaces get more queues, go, come back as others, lose their carrier. Each
engine follows by itself, or says what to do."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

from case import LabCase
from lab.client import ConnectionBroken, Load, fetch
from lab.topology import FABRIC_MTU, NODE, VIP, VIPS
from lab.wait import wait_until

FOLLOWS_S = 2.0  # from a change to its being served


class DeviceCase(LabCase):
    def _node(self, *command: str) -> str:
        return self.lab.topology.node.run(command).stdout

    def _router(self, *command: str) -> str:
        return self.lab.topology.router.run(command).stdout

    def _log(self) -> str:
        return (self.lab.node.folder / "linimo-dataplane.log").read_text()

    def _answered(self) -> bool:
        try:
            with self.lab.client.entered():
                return all(fetch(vip, timeout=0.5) for vip in VIP.values())
        except ConnectionBroken:
            return False

    def _wait_answered(self, what: str, timeout: float = FOLLOWS_S) -> None:
        wait_until(self._answered, f"requests are answered after {what}", timeout, alive=self.lab.node.check_alive)

    def _wait_logged(self, text: str, since: int, timeout: float = FOLLOWS_S) -> None:
        wait_until(lambda: text in self._log()[since:], f"the log says \"{text}\"", timeout,
                   alive=self.lab.node.check_alive)

    def _lose_carrier(self) -> None:
        """By the link's other end. The router keeps its IPv6 address meanwhile."""
        self.lab.topology.router.sysctl({"net.ipv6.conf.lb1.keep_addr_on_down": 1})
        self._router("ip", "link", "set", "lb1", "down")

    def _wait_routes_back(self) -> None:
        """A link that goes down takes the router's static routes with it."""
        for vip in VIPS:
            self.lab.topology.router.run(["ip", "route", "replace", vip, "via", NODE[6 if ":" in vip else 4]])
        self._wait_answered("the link came back")

    def _assert_all_tracked(self, requests: int = 400) -> None:
        """New connections over all queues: each is answered, and is a new flow with an entry of its own."""
        node = self.lab.node
        before, tracked = node.service("web")["new_flows"], node.status()["flows"]["tracked"]
        load = Load(self.lab.client, VIP[4])
        load.run(requests)
        self.assert_served(load)
        # A veth puts a flow on the queue of whichever CPU sends, so one may be begun at two of them.
        self.assertLessEqual(requests, node.service("web")["new_flows"] - before)
        wait_until(lambda: node.status()["flows"]["tracked"] - tracked >= requests, "all of them are tracked", 6)


    @classmethod
    def _set_queues(cls, count: int) -> None:
        """A veth may send on no more queues than its other end receives on."""
        ends = [(cls.lab.topology.node, "eth0"), (cls.lab.topology.router, "lb1")]
        for kind in ("tx", "rx") if count == 1 else ("rx", "tx"):
            for box, link in ends:
                box.run(["ethtool", "-L", link, kind, str(count)])

    def _assert_vlan_tags_stay(self) -> None:
        """The driver is told to leave them in frames, and told again if somebody says otherwise."""
        stay = lambda: "rx-vlan-offload: off" in self._node("ethtool", "-k", "eth0")
        self.assertTrue(stay())
        self._node("ethtool", "-K", "eth0", "rxvlan", "on")
        wait_until(stay, "the tags are left in frames again", FOLLOWS_S)

    def _assert_advised_of_the_other_end(self) -> None:
        """Nobody sees from here what a veth's other end leaves undone: log and status say so once, with what to do, and no
        condition fails by it."""
        advice = "eth0: what its other end leaves to a NIC (checksums, VLAN tags) nobody does"
        self.assertRegex(self._log(), "level=warn.*eth0: peer-offloads unknown: what its other end leaves to a NIC .*"
                         "`ethtool -K DEV tx off txvlan off` there")
        status = self.lab.node.cli("status").stdout
        self.assertRegex(status, f"(?m)^advice +peer-offloads {re.escape(advice)}.*ethtool -K DEV tx off")
        self.assertNotRegex(status, "FAILS +peer-offloads")


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
            self._router("ip", "-force", "link", "set", "dev", "lb1", "xdpdrv", "obj", str(self.lab.pass_program), "sec", "xdp")
            seen, changed = load.requests, time.monotonic()
            wait_until(lambda: self.lab.node.status()["flows"]["capacity"] == 4 * capacity, "each queue has its table",
                       FOLLOWS_S)
            wait_until(lambda: load.requests > seen + 50, "requests go on")
        self.assertEqual([], [failure for failure in load.failures if failure.began > changed + FOLLOWS_S])
        self._assert_all_tracked()

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
