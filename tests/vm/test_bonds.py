"""Bonds and VLAN devices, which the kernel of this machine need not have: as the node's interface, and as what comes to its NIC
while it runs."""

from __future__ import annotations

from bench import BUILD, PEER, PORTS
from bench_case import ON_VLAN, BenchCase
from frames import udp
from lab.netns import Namespace
from lab.topology import NODE, VIP
from lab.wait import wait_until

MEMBERS = {"node": ("member1", "member2"), "peer": ("other1", "other2")}


def _make_bond(box: Namespace, mac: str, members: tuple[str, ...]) -> None:
    box.run(["ip", "link", "set", "eth0", "down"])
    box.run(["ip", "link", "set", "eth0", "name", "unused"])
    box.run(["ip", "link", "add", "eth0", "address", mac, "type", "bond", "mode", "active-backup", "miimon", "50"])
    for member in members:
        box.run(["ip", "link", "set", member, "master", "eth0"])
    box.run(["ip", "link", "set", "eth0", "up"])


class Bond(BenchCase):
    """Two cables side by side, a bond (active-backup) at each end. Its members run the program themselves."""
    wire = 1

    @classmethod
    def prepare(cls) -> None:
        box, peer = cls.lab.box, cls.lab.peer
        for own, other in zip(*MEMBERS.values()):
            box.run(["ip", "link", "add", own, "type", "veth", "peer", "name", other, "netns", peer.name])
            peer.run(["ethtool", "-K", other, "tx", "off", "gso", "off", "tso", "off"])
            # A veth takes what XDP sends if it has a program itself.
            peer.run(["ip", "link", "set", "dev", other, "xdpdrv", "obj", str(BUILD / "bpf/pass.bpf.o"), "sec", "xdp.frags"])
        _make_bond(box, cls.lab.mac, MEMBERS["node"])
        _make_bond(peer, cls.lab.peer_mac, MEMBERS["peer"])
        peer.run(["ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off"], check=False)
        cls.lab.address(peer, "eth0", PEER)
        for family, vip in VIP.items():
            peer.run(["ip", "route", "replace", vip, "via", NODE[family]])
        cls.lab.address(box, "eth0", NODE, PEER)
        cls.lab.node.config.engine = "xdp"

    def test_1_forwards(self) -> None:
        """Every tunnel to the byte, by the drivers; fragments that come before the first cannot wait, and the start says so."""
        self.lab.start()
        self.assertNotIn("generic mode", self.lab.log())
        self.assertIn("will be dropped: no AF_XDP socket: eth0 is a bond", self.lab.log())
        self.assert_forwards()
        self.assert_fragments_stay_together()
        for address in (*VIP.values(), *NODE.values()):
            self.assertEqual(2, self.lab.ping(address, count=2), address)

    def test_2_a_member_goes(self) -> None:
        """The other one carries on, and so it does when the first is back."""
        for member in MEMBERS["node"]:
            self.lab.box.run(["ip", "link", "set", member, "down"])
            wait_until(lambda: self.lab.ping(NODE[4], count=1), "the other member carries", 10)
            self.assert_forwards(sizes=(200,))
            self.assertEqual({}, {name: one for name, one in self.failing().items() if name in ("carrier", "program-attached")})
            self.lab.box.run(["ip", "link", "set", member, "up"])
            wait_until(lambda: self.lab.ping(NODE[4], count=1), "both carry", 10)

    def test_3_engine_dpdk(self) -> None:
        """The start names what it can take instead; a bond's member it does not take from it either."""
        node = self.lab.node
        node.stop()
        node.detach()
        node.config.engine = "dpdk"
        self.assertIn("eth0 is a bond: DPDK takes NICs, not what the kernel makes of them; take its members (member1, member2) out "
                      "of it", self.refused())
        node.config.interface = "member1"
        self.assertIn("member1: eth0 (bond) would get no packets while DPDK has member1", self.refused())


class MovedIntoBond(BenchCase):
    """The NIC that a node runs on becomes part of a bond, which gets what is for the node."""
    wire = 1

    def test_withdrawn_until_it_is_taken_out(self) -> None:
        self.lab.node.config.engine = "xdp"
        self.lab.start()
        wait_until(lambda: self.announced() == set(VIP.values()), "the VIPs are announced", 20)
        box = self.lab.box
        box.run(["ip", "link", "add", "bond0", "type", "bond", "mode", "active-backup"])
        box.run(["ip", "link", "set", "eth0", "down"])
        box.run(["ip", "link", "set", "eth0", "master", "bond0"])
        box.run(["ip", "link", "set", "bond0", "up"])
        told = self.wait_failing("interface-present")
        self.assertIn("it is part of bond0", told["evidence"])
        wait_until(lambda: not self.announced(), "the VIPs are withdrawn", 20)
        box.run(["ip", "link", "set", "eth0", "nomaster"])
        box.run(["ip", "link", "del", "bond0"])
        box.run(["ip", "link", "set", "eth0", "up"])
        self.lab.address(box, "eth0", NODE, PEER)
        wait_until(lambda: self.announced() == set(VIP.values()), "the VIPs are announced again", 30)
        self.lab.wait_ways()
        self.assert_forwards(sizes=(200,))


class VlanLater(BenchCase):
    """A VLAN device is made on the NIC of a running node."""
    wire = 1

    def test_1_xdp(self) -> None:
        """It works as on any NIC, and tunnels that are routed by it have its tag."""
        self.lab.node.config.engine = "xdp"
        self.lab.start()
        with self.vlan_on("eth0"):
            self.assertEqual(2, self.lab.ping(ON_VLAN[0], count=2))
            self.lab.box.run(["ip", "route", "replace", "10.0.1.0/24", "via", ON_VLAN[1], "dev", "tagged"])
            self.lab.wait_ways()
            with self.lab.wiretap() as wire:
                ip = udp(PEER[4], VIP[4], 20000, PORTS["ipip", 4], b"tagged")
                wire.send(ip)
                self.assertEqual([(100, ip)], [(tunnel.vlan, tunnel.inner) for tunnel in wire.tunnels(1)])
        self.lab.wait_ways()
        self.assert_forwards(sizes=(200,))
        self.lab.node.stop()
        self.lab.node.detach()

    def test_2_dpdk(self) -> None:
        """DPDK has its frames: the condition tells, until it is gone; on the TAP it works."""
        self.lab.node.config.engine = "dpdk"
        self.lab.start()
        with self.vlan_on("eth0"):
            told = self.wait_failing("stands-alone")
            self.assertIn("tagged (vlan) gets no packets while DPDK has it", told["evidence"])
            self.assert_forwards(sizes=(200,))
        wait_until(lambda: "stands-alone" not in self.failing(), "it holds again", 10)
        with self.vlan_on("linimo0"):
            self.assertEqual(2, self.lab.ping(ON_VLAN[0], count=2))


class VlanDevice(BenchCase):
    """A VLAN device of 802.1ad is the node's interface."""
    wire = 1

    @classmethod
    def prepare(cls) -> None:
        for box, own, gateways in ((cls.lab.box, NODE, PEER), (cls.lab.peer, PEER, None)):
            box.run(["ip", "link", "add", "link", "eth0", "name", "tagged", "type", "vlan", "proto", "802.1ad", "id", "100"])
            box.run(["ip", "addr", "flush", "dev", "eth0"])
            box.run(["ip", "link", "set", "tagged", "up"])
            cls.lab.address(box, "tagged", own, gateways)
        for family, vip in VIP.items():
            cls.lab.peer.run(["ip", "route", "replace", vip, "via", NODE[family]])
        cls.lab.node.config.interface = cls.lab.link = "tagged"

    def test_1_xdp(self) -> None:
        """In generic mode, since it has no driver of its own; it puts its tag on what is sent."""
        self.lab.node.config.engine = "xdp"
        self.lab.start()
        self.assertIn("generic mode", self.lab.log())
        self.assert_forwards()
        for address in (*VIP.values(), *NODE.values()):
            self.assertEqual(2, self.lab.ping(address, count=2), address)
        self.lab.node.stop()
        self.lab.node.detach()

    def test_2_dpdk(self) -> None:
        self.lab.node.config.engine = "dpdk"
        self.assertIn("tagged is a vlan device: DPDK takes whole NICs; name the one it stands on (eth0)", self.refused())
