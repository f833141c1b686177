"""`linimo trace` says what becomes of a packet, and a real one then has that fate; asking changes nothing (both engines)."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any, ClassVar

from scapy.all import Ether, IP, TCP, wrpcap

from captures import FLOOD_SERVICE, Captures
from case import LabCase
from lab.topology import CLIENT, VIP
from lab.wait import wait_until

FLOWS = 40


class Trace:
    """What both engines must say alike."""
    engine: ClassVar[str]
    device: ClassVar[str]  # that has the interface's addresses
    lab: Any

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.backends = {1: 100, 2: 100, 3: 100}
        cls.lab.node.config.more = FLOOD_SERVICE

    def trace(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.lab.node.cli("trace", *arguments, "-o", "json").stdout)

    def tcp(self, port: int, *more: str, family: int = 4, to_port: int = 80) -> dict[str, Any]:
        source, to = (f"[{of[6]}]" if family == 6 else of[4] for of in (CLIENT, VIP))
        return self.trace("tcp", f"{source}:{port}", f"{to}:{to_port}", *more)

    def test_a_new_flow_goes_where_it_says(self) -> None:
        """Each of many flows, of both families: traced first, then opened; the backend that answers is the one."""
        for family in (4, 6):
            for port in range(30_000, 30_000 + FLOWS):
                said = self.tcp(port, family=family)
                self.assertEqual(("forwarded", False), (said["outcome"], said["entry"]), said)
                with self.lab.client.entered():
                    with socket.create_connection((VIP[family], 80), 5, source_address=(CLIENT[family], port)) as client:
                        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        answer = b"".join(iter(lambda: client.recv(4096), b""))
                number = said["backend"].rsplit(".", 1)[1]  # of 10.0.1.2, which is 2001:db8:1::2, too
                self.assertRegex(answer.decode(), rf"[.:]{number}\n$", said["backend"])

    def test_a_tracked_flow_is_known(self) -> None:
        """And which backend it keeps, though a SYN of another flow from the same slot might go elsewhere."""
        with self.lab.client.entered():
            client = socket.create_connection((VIP[4], 80), 5, source_address=(CLIENT[4], 29_000))
        with client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            answer = client.recv(4096)
            said = self.tcp(29_000, "--flags", "A")
        self.assertTrue(said["entry"], said)
        self.assertIn(said["backend"].split("/")[1].encode(), answer)
        self.assertIn("entry of", self._step(said, "tracking"))

    def test_asking_changes_nothing(self) -> None:
        """No entry, no counter."""
        before, entries = self.lab.node.status(), self.lab.node.service("web")["new_flows"]
        for port in range(31_000, 31_000 + FLOWS):
            self.tcp(port)
        after = self.lab.node.status()
        self.assertEqual(entries, self.lab.node.service("web")["new_flows"])
        self.assertEqual(before["outcomes"]["forwarded"], after["outcomes"]["forwarded"])

    def test_what_is_dropped_has_a_reason(self) -> None:
        for arguments, outcome, says in ((("tcp", "192.0.2.2:1", f"{VIP[4]}:81"), "no_service", "none of that protocol and port"),
                                         (("tcp", "127.0.0.1:1", f"{VIP[4]}:80"), "martian", "martian"),
                                         (("icmp", "192.0.2.2", VIP[4]), "echo_reply", "echo request"),
                                         (("tcp", "192.0.2.2:1", "192.0.2.99:80"), "kernel", "no VIP"),
                                         (("tcp", "192.0.2.2:1", f"{VIP[4]}:80", "--size", "1600"), "too_big_reply",
                                          "does not fit")):
            said = self.trace(*arguments)
            self.assertEqual(outcome, said["outcome"], said)
            self.assertIn(says, json.dumps(said["steps"]))

    def test_a_lost_way_is_named(self) -> None:
        self.tcp(4242)  # what traces is loaded: health follows the way soon, and then there is no backend
        self.lab.node.box.run(["ip", "route", "add", "blackhole", "10.0.1.0/24"])
        try:
            said = wait_until(lambda: (one := self.tcp(4242))["outcome"] == "no_route" and one, "the way is gone", 5)
            self.assertIn("no route", self._step(said, "next hop"))
        finally:
            self.lab.node.box.run(["ip", "route", "del", "blackhole", "10.0.1.0/24"])
        wait_until(lambda: self.tcp(4242)["outcome"] == "forwarded", "the way is back", 5)
        self.lab.node.wait_settled()  # checks went that way, too

    def test_an_expert_can_check(self) -> None:
        """Each command that it shows runs, and agrees."""
        said = self.tcp(4242)
        route, neighbour = said["check"]
        self.assertTrue(route.startswith("ip route get 10.0.1."), route)
        self.assertIn(neighbour.split()[3], self.lab.node.box.run(route.split()).stdout)
        mac = self.lab.node.box.run(neighbour.split()).stdout.split("lladdr ")[1].split()[0]
        self.assertIn(mac, self._step(said, "next hop"))

    def test_real_frames(self) -> None:
        """Out of a file; they keep their MAC addresses, and one for another station is the kernel's."""
        packet = IP(src=CLIENT[4], dst=VIP[4]) / TCP(sport=4242, dport=80)
        file = self.lab.node.folder / "frames.pcap"
        wrpcap(str(file), [Ether(dst=self.mac_of(self.device)) / packet, Ether(dst="02:00:00:00:00:77") / packet])
        said = self.trace("--pcap", str(file))
        self.assertEqual(["forwarded", "kernel"], [one["outcome"] for one in said])
        self.assertIn("not addressed to the interface", json.dumps(said[1]["steps"]))

    def test_in_words(self) -> None:
        text = self.lab.node.cli("trace", "tcp", f"{CLIENT[4]}:4242", f"{VIP[4]}:80").stdout
        for word in ("generation", "slot", "IPIP", "MTU", "forwarded", "ip route get 10.0.1.", "ip neigh get"):
            self.assertIn(word, text)

    def test_wrong_questions(self) -> None:
        for arguments, code, says in ((("tcp", "192.0.2.2", "203.0.113.10:80"), 2, "ADDRESS:PORT"),
                                      (("sctp", "1.2.3.4:1", "1.2.3.4:2"), 2, ""),
                                      ((), 2, "trace what?"),
                                      (("tcp", "192.0.2.2:1", "203.0.113.10:80", "--interface", "eth7"), 1, "no interface eth7"),
                                      (("--pcap", "/dev/null"), 1, "")):
            done = self.lab.node.cli("trace", *arguments, check=False)
            self.assertEqual(code, done.returncode, (arguments, done.stderr))
            self.assertIn(says, done.stderr)

    def mac_of(self, device: str) -> str:
        return json.loads(self.lab.node.box.run(["ip", "-j", "link", "show", "dev", device]).stdout)[0]["address"]

    def _step(self, said: dict[str, Any], name: str) -> str:
        return next(step["says"] for step in said["steps"] if step["step"] == name)


class TraceDpdk(Trace, Captures, LabCase):
    engine = "dpdk"
    device = "linimo0"


class TraceXdp(Trace, Captures, LabCase):
    engine = "xdp"
    device = "eth0"

    def test_a_data_plane_that_dies_while_it_captures_goes_on_forwarding(self) -> None:
        """What the filter leads to outlives the process; the next one puts the program back, and captures anew."""
        node = self.lab.node
        with self._running("trace", "--live", "tcp port 80") as live:
            during = self._program()
            node.stop_dataplane(signal.SIGKILL)
            self.assertEqual(1, live.wait(10), "a capture that was cut off is a failure")
            self.assertIn("the data plane has gone", self._errors())
            for port in range(28_010, 28_020):
                self._request(port)
            self.assertEqual(during, self._program())
            node.start_dataplane()
        self.assertNotEqual(during, self._program())
        wait_until(lambda: node.up_to_date(), "the control plane is back", 10)
        with self._running("trace", "--live", "tcp src port 28020", "--count", "1") as live:
            self._request(28_020)
            self.assertEqual(0, live.wait(10))

    def test_a_capture_that_ends_says_why(self) -> None:
        """Its filter stands for the interface as it was: who captures may begin again."""
        node = self.lab.node
        before = node.box.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
        with self._running("trace", "--live", "tcp port 80") as live:
            try:
                node.box.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:77:01"])
                self.assertEqual(1, live.wait(10))
                self.assertIn("linimo: eth0 has changed", self._errors())
            finally:
                node.box.run(["ip", "link", "set", "eth0", "address", before])
        asked = ["curl", "-sS", "--fail", "--max-time", "1", f"http://{VIP[4]}/"]
        wait_until(lambda: self.lab.client.run(asked, check=False).returncode == 0, "requests are answered again", 10)
