"""`linimo doctor` names what is wrong, by what evidence, and what mends it; a healthy node gives no finding. Each set-up is
broken for real, and mended by what the finding says where that is a command."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any, Callable, ClassVar, Iterator

from case import LabCase
from lab.backend import Backend
from lab.topology import VIP
from lab.wait import wait_until

BOUND_S = 10.0


class Doctor:
    engine: ClassVar[str]
    lab: Any

    @classmethod
    def configure(cls) -> None:
        config = cls.lab.node.config
        config.engine = cls.engine
        config.health.interval_ms = config.health.timeout_ms = 300
        config.health.more += ', through_tunnel = true'

    def findings(self) -> list[dict[str, Any]]:
        begun = time.monotonic()
        done = self.lab.node.cli("doctor", "-o", "json", check=False)
        self.assertLess(time.monotonic() - begun, BOUND_S)
        found = json.loads(done.stdout)
        self.assertEqual(1 if found else 0, done.returncode, done.stderr)
        return found

    def wait_for(self, cause: str, subject: str | None = None) -> dict[str, Any]:
        """The one finding of that cause, about that subject."""
        def look() -> dict[str, Any] | None:
            return next((one for one in self.findings() if one["cause"] == cause and subject in (None, one["subject"])), None)
        try:
            return wait_until(look, f"{cause} is named", 20)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.findings()}") from None

    def assert_healthy(self) -> None:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.findings(), "nothing is wrong", 30)
        self.assertEqual([], self.findings())

    @contextlib.contextmanager
    def broken(self, mend: Callable[[], object]) -> Iterator[None]:
        """Whatever happens, it is mended; and then nothing is wrong any more."""
        try:
            yield
        finally:
            mend()
        self.assert_healthy()

    def node(self, command: str) -> None:
        self.lab.node.box.run(command.split())

    def backend(self, number: int) -> Backend:
        return self.lab.backends[number]

    def name(self, number: int) -> str:
        return f"web/{self.backend(number).address()}"

    def test_a_healthy_node_gives_no_finding(self) -> None:
        self.assert_healthy()
        self.assertEqual("nothing is wrong\n", self.lab.node.cli("doctor").stdout)

    def test_a_backend_without_a_tunnel(self) -> None:
        """Its kernel sends ICMP errors back, which quote our tunnel: what is missing there is certain, and counted."""
        with self.broken(self.backend(2).begin_tunnel):
            self.backend(2).end_tunnel()
            found = self.wait_for("tunnel-accepted", self.backend(2).address())
            self.assertEqual("certain", found["certainty"])
            self.assertIn("no tunnel module", found["evidence"])
            self.assertIn("modprobe ipip", found["mend"])
            page = self.lab.node.box.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                          "http://linimo/metrics"]).stdout
            self.assertGreater(int(re.search(r'linimo_tunnel_errors_total\{reason="no_protocol"\} (\d+)', page)[1]), 0)
            self.assertNotIn("tunnel-lost-at-backend", [one["cause"] for one in self.findings()], "one cause is enough")

    def test_a_vip_that_a_backend_does_not_have(self) -> None:
        """Nothing comes back, and its own address answers: likely; the command mends it. Its script, run there, is certain."""
        box = self.backend(3).box

        def mend() -> None:
            box.run(["sh", "-c", found["mend"].removeprefix("there: ").split("; which")[0]], check=False)

        box.run(["ip", "addr", "del", f"{VIP[4]}/32", "dev", "lo"])
        found = {"mend": f"ip addr replace {VIP[4]}/32 dev lo"}
        with self.broken(mend):
            found = self.wait_for("tunnel-lost-at-backend", self.name(3))
            self.assertEqual("likely", found["certainty"])
            script = self.lab.node.cli("doctor", "--backend-script").stdout
            told = box.run(["sh", "-c", script], check=False)
            self.assertEqual(1, told.returncode, told.stdout + told.stderr)
            self.assertIn(f"{VIP[4]} is not an address of this machine", told.stdout)

    def test_all_tunnels_lost(self) -> None:
        """Of all backends at once: the network between is likelier than each of them."""
        for number in (1, 2, 3):
            self.backend(number).box.run(["ip", "addr", "del", f"{VIP[4]}/32", "dev", "lo"])

        def mend() -> None:
            for number in (1, 2, 3):
                self.backend(number).box.run(["ip", "addr", "replace", f"{VIP[4]}/32", "dev", "lo"])

        with self.broken(mend):
            self.assertIn("all 3 backends", self.wait_for("tunnels-filtered")["evidence"])

    def test_a_service_that_does_not_run(self) -> None:
        backend = self.backend(1)
        with self.broken(backend.start_nginx):
            backend.kill_nginx()
            found = self.wait_for("backend-down", self.name(1))
            self.assertEqual(("certain", "start the service there"), (found["certainty"], found["mend"]))

    def test_no_route(self) -> None:
        address = self.backend(2).address()
        with self.broken(lambda: self.node(f"ip route del unreachable {address}/32")):
            self.node(f"ip route add unreachable {address}/32")
            self.assertIn(address, self.wait_for("no-route", self.name(2))["evidence"])

    def test_a_next_hop_that_is_silent(self) -> None:
        address = self.backend(2).address()
        with self.broken(lambda: self.node(f"ip route del {address}/32")):
            device = "linimo0" if self.engine == "dpdk" else "eth0"
            self.node(f"ip route add {address}/32 via 10.0.0.77 dev {device}")
            self.assertEqual("certain", self.wait_for("next-hop-unresolved", self.name(2))["certainty"])

    def test_a_route_by_another_interface(self) -> None:
        address = self.backend(2).address()
        self.node("ip link add eth8 type veth peer name eth9")
        with self.broken(lambda: self.node("ip link del eth8")):
            self.node("ip link set eth8 up")
            self.node("ip link set eth9 up")
            self.node("ip addr add 10.0.7.1/24 dev eth8")
            self.node(f"ip route add {address}/32 via 10.0.7.2 dev eth8")
            self.assertIn("[node] interfaces", self.wait_for("wrong-egress", self.name(2))["mend"])

    def test_a_configuration_that_is_refused(self) -> None:
        """The command that it names says what is wrong with the file."""
        node = self.lab.node

        def mend() -> None:
            node.write_config()
            node.signal_reload()

        with self.broken(mend):
            node.write_config(node.config.render() + "\nnonsense = 1\n")
            node.signal_reload()
            found = self.wait_for("configuration-refused")
            said = node.cli(*found["mend"].split()[1:], check=False)
            self.assertEqual(1, said.returncode)
            self.assertIn("nonsense", said.stderr)

    def test_what_is_too_big_for_the_way(self) -> None:
        """While a client sends packets that do not fit, the finding is there; then it is gone."""
        address = self.backend(1).address()
        with self.broken(lambda: [self.node(f"ip route del {self.backend(n).address()}/32") for n in (1, 2, 3)]):
            for number in (1, 2, 3):
                self.node(f"ip route add {self.backend(number).address()}/32 via 10.0.0.1 mtu 1000")
            wait_until(lambda: "mtu 1000" in self.lab.node.box.run(["ip", "route", "get", address]).stdout, "the route", 2)
            ping = self.lab.client.spawn(["sh", "-c", f"while :; do curl -s -o /dev/null --max-time 1 -d @/proc/kallsyms http://{VIP[4]}/; "
                                                      "sleep 0.1; done"])
            try:
                self.wait_for("tunnel-does-not-fit")
            finally:
                ping.kill()
                ping.wait()

    def test_in_words(self) -> None:
        with self.broken(self.backend(2).begin_tunnel):
            self.backend(2).end_tunnel()
            self.wait_for("tunnel-accepted")
            text = self.lab.node.cli("doctor", check=False).stdout
            for word in ("tunnel-accepted: 10.0.1.2 (certain)", "seen:", "mend:"):
                self.assertIn(word, text)

    def test_a_node_that_does_not_answer(self) -> None:
        done = self.lab.node.box.run([str(self.lab.node.cli_program), "--socket", "/nonexistent", "doctor"], check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("no control plane listens", done.stderr)


class DoctorDpdk(Doctor, LabCase):
    engine = "dpdk"


class DoctorXdp(Doctor, LabCase):
    engine = "xdp"

    def test_generic_mode(self) -> None:
        """The kernel runs the program late, and several times slower."""
        node = self.lab.node
        render = node.config.render

        def start_anew() -> None:
            node.detach()  # which ends the data plane
            node.dataplane.wait(10)
            node.write_config()
            node.start_dataplane()

        def mend() -> None:
            node.config.render = render
            start_anew()

        with self.broken(mend):
            node.config.render = lambda: render().replace("workers =", 'xdp_mode = "generic"\nworkers =', 1)
            start_anew()
            self.assertEqual("eth0", self.wait_for("xdp-generic")["subject"])
