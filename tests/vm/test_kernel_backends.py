"""Backends that take tunnels off with their kernel's own devices, each broken in a way that only such a kernel has:
`linimo doctor` names what it is, or its script there does, and what they say mends it."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any, ClassVar

from bench import pool
from bench_case import BenchCase
from lab.netns import Namespace
from lab.topology import VIP
from lab.wait import wait_until

GATEWAY = "10.0.1.254"
FILTERED, DOWN, CLOSED, FORBIDDEN, REFUSING = range(1, 6)  # the backends, by what becomes of each
PORTS = {"ipip": 80, "gue": 81}


def _address(number: int) -> str:
    return f"10.0.1.{number}"


class KernelBackend:
    """Behind the peer, which is its router."""

    def __init__(self, number: int, peer: Namespace) -> None:
        self.box, self.address = Namespace(f"bench-backend{number}"), _address(number)
        peer.run(["ip", "netns", "add", self.box.name])
        peer.run(["ip", "link", "add", f"b{number}", "type", "veth", "peer", "name", "eth0", "netns", self.box.name])
        peer.run(["ip", "addr", "add", f"{GATEWAY}/32", "dev", f"b{number}"])
        peer.run(["ip", "link", "set", f"b{number}", "up"])
        peer.run(["ip", "route", "add", self.address, "dev", f"b{number}"])
        self.box.sysctl({"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.tunl0.rp_filter": 0})
        for command in ("ip link set lo up", f"ip addr add {self.address}/24 dev eth0", "ip link set eth0 up",
                        "ip link set tunl0 up", f"ip route add default via {GATEWAY}", f"ip addr add {VIP[4]}/32 dev lo",
                        "ip fou add port 6080 gue"):
            self.run(command)
        with self.box.entered():
            self._servers = [socket.create_server(("", port)) for port in PORTS.values()]
        for server in self._servers:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def run(self, command: str, check: bool = True) -> str:
        """As a shell there does; what it printed."""
        return self.box.run(["sh", "-c", command], check).stdout

    def close(self) -> None:
        for server in self._servers:
            server.close()
        self.box.kill_all()
        self.box.run(["ip", "netns", "del", self.box.name])

    @staticmethod
    def _serve(server: socket.socket) -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:  # closed
                return


class KernelBackends(BenchCase):
    wire = 1
    backends: ClassVar[dict[int, KernelBackend]]

    @classmethod
    def prepare(cls) -> None:
        peer = cls.lab.peer
        peer.sysctl({"net.ipv4.ip_forward": 1})
        cls.backends = {}
        for number in (FILTERED, DOWN, CLOSED, FORBIDDEN, REFUSING):
            cls.backends[number] = KernelBackend(number, peer)
            cls.addClassCleanup(cls.backends[number].close)
        config = cls.lab.node.config
        config.engine = "xdp"
        config.states = {_address(number): "up" for number in (FILTERED, DOWN, FORBIDDEN, REFUSING)}
        config.pools = "".join(cls._pool(kind, numbers) for kind, numbers in
                               (("ipip", (FILTERED, DOWN, FORBIDDEN, REFUSING)), ("gue", (CLOSED, FILTERED))))
        cls.lab.start()

    @staticmethod
    def _pool(kind: str, numbers: tuple[int, ...]) -> str:
        check = (f'health = {{ type = "tcp", port = {PORTS[kind]}, interval = "500ms", timeout = "500ms", rise = 1, fall = 2, '
                 f'slow_start = "0s", flap_half_life = "0s", through_tunnel = true }}\n')
        text = pool("web" if kind == "ipip" else kind, map(_address, numbers), PORTS[kind], kind)
        return text.replace("table_size", check + "table_size").replace(f', "{VIP[6]}"', "")

    def findings(self) -> list[dict[str, Any]]:
        """But for BIRD, which does not run here."""
        found = json.loads(self.lab.node.cli("doctor", "-o", "json", "--watch-seconds", "0.1", check=False).stdout)
        return [one for one in found if not one["cause"].startswith("bird-")]

    def script_at(self, number: int) -> str:
        """What the script for backends finds there."""
        script = self.lab.node.cli("doctor", "--backend-script").stdout
        return self.backends[number].run(script, check=False)

    def mend(self, number: int, text: str) -> None:
        """By the commands that a finding or the script names. The guest's modules are loaded already."""
        for command in text.removeprefix("there: ").split("; "):
            if not command.startswith("modprobe"):
                self.backends[number].run(command)

    @staticmethod
    def mend_in(script: str, finding: str) -> str:
        """Of a backend of several pools it is said for each."""
        lines = script.splitlines()
        [mend] = {lines[number + 1].strip().removeprefix("mend: ") for number, line in enumerate(lines) if finding in line}
        return mend

    def wait_healthy(self) -> None:
        try:
            wait_until(lambda: not self.findings(), "nothing is wrong", 60)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.findings()}") from None

    def test_each_is_named_and_mended(self) -> None:
        self.wait_healthy()
        backend = self.backends
        backend[FILTERED].run("sysctl -w net.ipv4.conf.tunl0.rp_filter=1")
        backend[DOWN].run("ip link set tunl0 down")
        backend[CLOSED].run("ip fou del port 6080")
        for number, verdict in ((FORBIDDEN, "drop"), (REFUSING, "reject with icmp type admin-prohibited")):
            backend[number].run("nft 'add table inet guard; add chain inet guard input { type filter hook input priority 0; }; "
                                f"add rule inet guard input ip protocol 4 {verdict}'")
        wanted = {("tunnel-lost-at-backend", f"web/{_address(FILTERED)}"), ("tunnel-accepted", _address(DOWN)),
                  ("tunnel-accepted", _address(CLOSED)), ("tunnel-lost-at-backend", f"web/{_address(FORBIDDEN)}"),
                  ("tunnel-accepted", _address(REFUSING))}

        def look() -> dict[tuple[str, str], dict[str, Any]] | None:
            found = {(one["cause"], one["subject"]): one for one in self.findings()}
            return found if wanted <= found.keys() else None
        try:
            found = wait_until(look, "each backend has its finding", 60)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.findings()}") from None

        down, closed, refusing = (found["tunnel-accepted", _address(number)] for number in (DOWN, CLOSED, REFUSING))
        for one, evidence in ((down, "no device that is up"), (closed, "nothing on GUE's port 6080"), (refusing, "firewall")):
            self.assertEqual("certain", one["certainty"])
            self.assertIn(evidence, one["evidence"])
        self.mend(DOWN, down["mend"])
        self.mend(CLOSED, closed["mend"])

        lost = found["tunnel-lost-at-backend", f"web/{_address(FILTERED)}"]
        self.assertEqual("likely", lost["certainty"])
        self.assertIn("rp_filter", lost["mend"])
        script = self.script_at(FILTERED)
        self.assertRegex(script, r"the reverse-path filter dropped \d+ packets")
        self.mend(FILTERED, self.mend_in(script, "the reverse-path filter of tunl0 is strict"))

        for number in (FORBIDDEN, REFUSING):
            self.mend(number, self.mend_in(self.script_at(number), "a firewall drops packets"))
        self.wait_healthy()
