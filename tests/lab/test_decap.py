"""linimo-decap takes exactly the tunnels it knows off a frame, to the byte, and passes everything else untouched; it comes
and goes as it is told, and touches nobody else's program.

Frames made by scapy go over the wire to a backend; what its stack is handed is read back from a packet socket there."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import time

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.packet import Packet, Raw

from case import LabCase
from lab.wait import wait_until

V4 = IP(src="192.0.2.2", dst="203.0.113.10", ttl=9, id=7, flags="DF") / TCP(sport=1, dport=80, flags="S") / b"payload"
V6 = IPv6(src="2001:db8:c::2", dst="2001:db8:f::10", hlim=9) / UDP(sport=1, dport=80) / (b"x" * 1400)
OUTER4 = {"src": "10.0.0.11", "dst": "10.0.1.1"}
OUTER6 = {"src": "2001:db8::11", "dst": "2001:db8:1::1"}
GUE = {"sport": 50000, "dport": 6080}


def outer(protocol: int, **more: object) -> list[Packet]:
    return [IP(**OUTER4, proto=protocol, **more), IPv6(**OUTER6, nh=protocol)]


class Decap(LabCase):
    daemons = False

    def setUp(self) -> None:
        """The frames go in at the router's end of backend 1's wire."""
        router, backend = self.lab.topology.router, self.lab.topology.backends[1]
        with router.entered():
            self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._sender.bind(("b1", 0))
        with backend.entered():
            self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
            self._receiver.bind(("eth0", 0))
            mac = self._receiver.getsockname()[4]
        self._receiver.settimeout(2)
        self._ether = {"src": "02:00:00:00:00:01", "dst": mac.hex(":")}
        self.addCleanup(self._sender.close)
        self.addCleanup(self._receiver.close)

    def _seen_after(self, frame: bytes) -> bytes:
        """What the backend's stack got for this frame; other traffic of the box has another source MAC."""
        self._sender.send(frame)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            got, address = self._receiver.recvfrom(4096)
            if address[2] != socket.PACKET_OUTGOING and got[6:12] == frame[6:12]:
                return got
        self.fail("the frame did not arrive")

    def _assert_removed(self, tunnel: Packet, inner: Packet) -> None:
        got = self._seen_after(bytes(Ether(**self._ether) / tunnel / inner))
        self.assertEqual(bytes(Ether(**self._ether) / inner).hex(), got.hex())

    def _assert_untouched(self, packet: Packet, padding: bytes = b"") -> None:
        frame = bytes(Ether(**self._ether) / packet) + padding
        self.assertEqual(frame.hex(), self._seen_after(frame).hex())

    def test_ipip_is_removed(self) -> None:
        for inner, protocol in ((V4, 4), (V6, 41)):
            for tunnel in outer(protocol):
                with self.subTest(outer=tunnel.name, inner=inner.name):
                    self._assert_removed(tunnel, inner)

    def test_gre_is_removed(self) -> None:
        for inner, ether_type in ((V4, 0x0800), (V6, 0x86DD)):
            for tunnel in outer(47):
                with self.subTest(outer=tunnel.name, inner=inner.name):
                    self._assert_removed(tunnel / GRE(proto=ether_type), inner)

    def test_gue_is_removed(self) -> None:
        for inner in (V4, V6):
            for tunnel in outer(17):
                with self.subTest(outer=tunnel.name, inner=inner.name):
                    self._assert_removed(tunnel / UDP(**GUE), inner)

    def test_outer_options_are_removed_too(self) -> None:
        """The outer header's own length decides, from the shortest to the longest it can be."""
        for words in (1, 10):
            with self.subTest(words=words):
                tunnel = IP(**OUTER4, proto=4, options=[IPOption_NOP()] * (4 * words))
                self.assertEqual(5 + words, IP(bytes(tunnel / V4)).ihl)
                self._assert_removed(tunnel, V4)

    def test_congestion_is_told_to_the_inner_packet(self) -> None:
        """RFC 6040, 4.2: each pair of fields, over and in both families."""
        not_ect, ect1, ect0, ce = range(4)
        for protocol, inner in ((4, IP(src="192.0.2.2", dst="203.0.113.10", tos=0xB8, id=7) / UDP(dport=80) / b"payload"),
                                (41, IPv6(src="2001:db8:c::2", dst="2001:db8:f::10", tc=0xB8) / UDP(dport=80) / b"x")):
            field = "tos" if protocol == 4 else "tc"
            for said in range(4):
                for was in range(4):
                    packet, expected = inner.copy(), inner.copy()
                    setattr(packet, field, 0xB8 | was)
                    becomes = ce if said == ce else ect1 if (said, was) == (ect1, ect0) else was
                    setattr(expected, field, 0xB8 | becomes)
                    for tunnel in (IP(**OUTER4, proto=protocol, tos=0x28 | said), IPv6(**OUTER6, nh=protocol, tc=0x28 | said)):
                        with self.subTest(outer=tunnel.name, inner=inner.name, said=said, was=was):
                            if (said, was) == (ce, not_ect):
                                self._assert_dropped(tunnel / packet)
                            else:
                                got = self._seen_after(bytes(Ether(**self._ether) / tunnel / packet))
                                self.assertEqual(bytes(Ether(**self._ether) / expected).hex(), got.hex())

    def _assert_dropped(self, packet: Packet) -> None:
        """The stack sees the next frame and not this one."""
        self._sender.send(bytes(Ether(**self._ether) / packet))
        self._assert_untouched(IP(**OUTER4) / UDP(sport=1, dport=2) / b"the next one")

    def test_padding_of_a_short_frame_stays(self) -> None:
        """The stack judges by the inner length, so the program need not cut."""
        small = IP(src="192.0.2.2", dst="203.0.113.10") / UDP(sport=1, dport=80)
        frame = bytes(Ether(**self._ether) / IP(**OUTER4, proto=4) / small) + bytes(12)
        expected = bytes(Ether(**self._ether) / small) + bytes(12)
        self.assertEqual(expected.hex(), self._seen_after(frame).hex())

    def test_what_is_no_such_tunnel_is_untouched(self) -> None:
        others = {
            "plain TCP": V4,
            "plain UDP over IPv6": V6,
            "ping": IP(**OUTER4) / ICMP(),
            "GRE with a key": IP(**OUTER4) / GRE(proto=0x0800, key_present=1, key=1) / V4,
            "GRE with a checksum": IP(**OUTER4) / GRE(proto=0x0800, chksum_present=1) / V4,
            "GRE version 1": IP(**OUTER4) / GRE(proto=0x0800, version=1) / V4,
            "GRE of Ethernet": IP(**OUTER4) / GRE(proto=0x6558) / Ether() / V4,
            "GRE that says IPv6 and carries IPv4": IP(**OUTER4) / GRE(proto=0x86DD) / V4,
            "protocol 4 that carries IPv6": IP(**OUTER4, proto=4) / V6,
            "protocol 41 that carries IPv4": IPv6(**OUTER6, nh=41) / V4,
            "UDP to another port": IP(**OUTER4) / UDP(sport=50000, dport=6081) / V4,
            "GUE version 0": IP(**OUTER4) / UDP(**GUE) / Raw(b"\0\4\0\0" + bytes(V4)),
            "a tunnel's first fragment": IP(**OUTER4, proto=4, flags="MF") / V4,
            "a tunnel's last fragment": IP(**OUTER4, proto=4, frag=3) / V4,
            "a tunnel cut within the inner header": IP(**OUTER4, proto=4) / Raw(bytes(V4)[:19]),
            "a tunnel with nothing in it": IP(**OUTER4, proto=4),
            "GRE cut within its header": IP(**OUTER4, proto=47) / Raw(b"\0\0"),
            "an outer header shorter than five words": IP(**OUTER4, proto=4, ihl=4) / V4,
            "an unknown EtherType": Raw(bytes(30)),
        }
        for name, packet in others.items():
            with self.subTest(name):
                self._assert_untouched(packet)

    def test_a_tunnel_behind_a_vlan_tag_stays(self) -> None:
        """The kernel takes the tag off after the program has seen it: what is compared is the rest."""
        tunnel = IP(**OUTER4, proto=4) / V4
        frame = bytes(Ether(**self._ether) / Dot1Q(vlan=5) / tunnel)
        self.assertEqual(bytes(Ether(**self._ether) / tunnel).hex(), self._seen_after(frame).hex())

    def test_another_gue_port(self) -> None:
        """Attaching again replaces the program, and with it the port; what the port was before is no tunnel any more."""
        self.addCleanup(self._decap, "attach", "eth0")
        self.assertIn("replaced, native", self._decap("attach", "eth0", "--gue-port", "7000").stdout)
        for tunnel in outer(17):
            self._assert_removed(tunnel / UDP(sport=50000, dport=7000), V4)
            self._assert_untouched(tunnel / UDP(**GUE) / V4)

    def test_generic_mode(self) -> None:
        """Where a driver has no XDP: the same, in the kernel's stack. The mode of what is attached is kept."""
        self.addCleanup(self._reattach)
        self._decap("detach", "eth0")
        self.assertIn("attached, generic", self._decap("attach", "eth0", "--mode", "generic").stdout)
        self.assertIn("replaced, generic", self._decap("attach", "eth0").stdout)
        self.assertIn("xdpgeneric", self._link())
        for tunnel in outer(4):
            self._assert_removed(tunnel, V4)
        self._assert_untouched(V4)

    def test_a_driver_that_refuses_gets_generic_mode(self) -> None:
        """A bridge has no native XDP; why not is said. A veth has it for packets larger than a page, too."""
        box = self.lab.topology.backends[1]
        box.run(["ip", "link", "add", "bridge0", "type", "bridge"])
        self.addCleanup(box.run, ["ip", "link", "delete", "bridge0"])
        refused = self._decap("attach", "bridge0", "--mode", "native", check=False)
        self.assertEqual(1, refused.returncode)
        self.assertIn("not supported", refused.stderr)
        self.assertRegex(self._decap("attach", "bridge0").stdout, "attached, generic .*not supported")
        box.run(["ip", "link", "add", "big0", "mtu", "9000", "type", "veth", "peer", "name", "big1", "mtu", "9000"])
        self.addCleanup(box.run, ["ip", "link", "delete", "big0"])
        self.assertIn("attached, native", self._decap("attach", "big0").stdout)

    def test_detaching(self) -> None:
        """Tunnels pass untouched from then on; a second time there is nothing to do, and that is no error."""
        self.addCleanup(self._reattach)
        tunnel = IP(**OUTER4, proto=4) / V4
        self.assertIn("eth0: detached", self._decap("detach", "eth0").stdout)
        self._assert_untouched(tunnel)
        self.assertIn("nothing was attached", self._decap("detach", "eth0").stdout)

    def test_status_counts(self) -> None:
        """What was taken off, passed and dropped, also across a replacement. Where it is not attached, that is said."""
        self.addCleanup(self._reattach)

        def counts() -> list[int]:
            said = self._decap("status", "eth0").stdout
            found = re.fullmatch(r"eth0: attached, native, GUE port 6080: (\d+) packets decapsulated, (\d+) passed, (\d+) dropped\n", said)
            assert found, said
            return [int(count) for count in found.groups()]

        removed, passed, dropped = counts()
        self._assert_removed(IP(**OUTER4, proto=4), V4)
        self._decap("attach", "eth0")
        self._assert_untouched(V4)
        self._sender.send(bytes(Ether(**self._ether) / IP(**OUTER4, proto=4, tos=3) / V4))  # congestion that V4 cannot hear of
        wait_until(lambda: counts()[2] == dropped + 1, "the drop is counted")
        self.assertEqual(removed + 1, counts()[0])
        self.assertGreater(counts()[1], passed)
        self.assertIn("eth0: attached", self._decap("status").stdout)
        self._decap("detach", "eth0")
        done = self._decap("status", "eth0", check=False)
        self.assertEqual((1, "eth0: not attached\n"), (done.returncode, done.stdout))

    def test_nobody_elses_program_is_touched(self) -> None:
        box = self.lab.topology.backends[1]
        box.run(["ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1"])
        self.addCleanup(box.run, ["ip", "link", "delete", "other0"])
        with tempfile.NamedTemporaryFile(suffix=".o") as program:
            subprocess.run(["clang-14", "-target", "bpf", "-O2", "-g", "-x", "c", "-", "-c", "-o", program.name],
                           input=b'__attribute__((section("xdp"), used)) int others(void* ctx) { return 2; }', check=True)
            box.run(["ip", "link", "set", "dev", "other0", "xdp", "obj", program.name, "sec", "xdp"])
        before = self._link("other0")
        for command in ("attach", "detach"):
            refused = self._decap(command, "other0", check=False)
            self.assertEqual(1, refused.returncode)
            self.assertIn('another XDP program is attached ("others"', refused.stderr)
        self.assertEqual(before, self._link("other0"))

    def test_mistakes_are_named(self) -> None:
        self.assertIn("nosuch0: No such device", self._decap("attach", "nosuch0", check=False).stderr)
        self.assertIn("70000", self._decap("attach", "eth0", "--gue-port", "70000", check=False).stderr)
        self.assertIn("attach", self._decap("--help").stdout)

    def _decap(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        backend = self.lab.backends[1]
        return backend.box.run([str(backend.decap_program), *arguments], check=check)

    def _reattach(self) -> None:
        """As the lab had it, whatever the mode is."""
        self._decap("detach", "eth0")
        self._decap("attach", "eth0")

    def _link(self, name: str = "eth0") -> str:
        return self.lab.topology.backends[1].run(["ip", "link", "show", "dev", name]).stdout
