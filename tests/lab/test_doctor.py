"""`linimo doctor` names what is wrong, by what evidence, and what mends it; a healthy node gives no finding. Each set-up is
broken for real, and mended by what the finding says where that is a command. Set-ups that do not disturb each other are broken
together, so that one look finds them all."""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any, Iterator

from case import LabCase
from doctor import SHORT, DoctorCase
from lab.node import Node
from lab.topology import CLIENT, VIP, backend_address
from lab.wait import wait_until


class Doctor(DoctorCase):
    def test_a_healthy_node_gives_no_finding(self) -> None:
        """While clients come, too."""
        self.assert_healthy()
        with self.connections():
            self.assertEqual("nothing is wrong\n", self.lab.node.cli("doctor", check=False).stdout)

    def test_backends_each_with_a_cause_of_its_own(self) -> None:
        """Then ways: to one there is no route, another's next hop is silent, to the third the route leaves by another interface.
        ICMP errors are remembered for 15 s, for which both wait together."""
        self.break_backends()
        self.break_ways()
        self.assert_healthy()

    def break_backends(self) -> None:
        """The kernel of one without a tunnel sends ICMP errors back that quote ours: certain, and counted. From one without the
        VIP nothing comes back while its own address answers: likely; the command mends it, and its script there is certain."""
        box = self.backend(3).box
        found: dict[str, dict[str, Any]] = {}

        def give_vip() -> None:
            mend = found.get("tunnel-lost-at-backend", {"mend": f"ip addr replace {VIP[4]}/32 dev lo"})["mend"]
            box.run(["sh", "-c", mend.removeprefix("there: ").split("; which")[0]], check=False)

        def give_tunnel() -> None:
            """The lab's kernel has no such module."""
            if "tunnel-accepted" in found:
                self.run_mend(found["tunnel-accepted"], self.backend(2).box, ", or: ", DEV="eth0",
                              **{"linimo-decap": str(self.backend(2).decap_program)})
            else:
                self.backend(2).begin_tunnel()

        with self.broken_for_now(self.backend(1).start_nginx, give_tunnel, give_vip):
            self.backend(1).kill_nginx()
            self.backend(2).end_tunnel()
            box.run(["ip", "addr", "del", f"{VIP[4]}/32", "dev", "lo"])
            found = self.wait_for_all({"backend-down": self.name(1), "tunnel-accepted": self.backend(2).address(),
                                       "tunnel-lost-at-backend": self.name(3)}, *SHORT)
            down, refused, lost = (found[cause] for cause in ("backend-down", "tunnel-accepted", "tunnel-lost-at-backend"))
            self.assertEqual(("certain", "start the service there"), (down["certainty"], down["mend"]))
            self.assertEqual("certain", refused["certainty"])
            self.assertIn("no tunnel module", refused["evidence"])
            self.assertIn("modprobe ipip", refused["mend"])
            self.assertEqual("likely", lost["certainty"])
            self.assertEqual([], [one for one in self.findings(*SHORT)
                                  if one["subject"] == self.name(2)], "one cause is enough")
            of_backend = rf'backend="{re.escape(self.backend(2).address())}",reason="no_protocol"'
            of_this, of_all = (self.metric(*one) for one in (("linimo_backend_tunnel_errors_total", of_backend),
                                                             ("linimo_tunnel_errors_total", 'reason="no_protocol"')))
            self.assertTrue(0 < of_this <= of_all, (of_this, of_all))
            text = self.lab.node.cli("doctor", *SHORT, check=False).stdout
            for word in (f"tunnel-accepted: {self.backend(2).address()} (certain)", "seen:", "mend:"):
                self.assertIn(word, text)
            self.assertIn(f"{VIP[4]} is not an address of this machine", self.script_at(3))

    def break_ways(self) -> None:
        first, second, third = (self.backend(number).address() for number in (1, 2, 3))
        device = "linimo0" if self.engine == "dpdk" else "eth0"
        self.node("ip link add eth8 type veth peer name eth9")
        with self.broken_for_now(lambda: self.node("ip link del eth8"),
                                 lambda: [self.lab.node.box.run(["ip", "route", "del", f"{way}/32"], check=False)
                                          for way in (first, second, third)]):
            self.node(f"ip route add unreachable {first}/32")
            self.node(f"ip route add {second}/32 via 10.0.0.77 dev {device}")
            self.node("ip link set eth8 up")
            self.node("ip link set eth9 up")
            self.node("ip addr add 10.0.7.1/24 dev eth8")
            self.node(f"ip route add {third}/32 via 10.0.7.2 dev eth8")
            found = self.wait_for_all({"no-route": self.name(1), "next-hop-unresolved": self.name(2), "wrong-egress": self.name(3)},
                                      *SHORT)
            self.assertIn(first, found["no-route"]["evidence"])
            self.assertEqual("certain", found["next-hop-unresolved"]["certainty"])
            self.assertIn("[node] interfaces", found["wrong-egress"]["mend"])
            for each in found.values():
                self.run_mend(each, self.lab.node.box, "", GATEWAY="10.0.0.1",
                              DEV=device)
            self.assert_healthy()

    def test_a_service_that_does_not_listen_on_the_vip(self) -> None:
        """It is bound to its own address, which answers; the VIP's packets are reset."""
        backend = self.backend(2)

        def again(everywhere: bool) -> None:
            backend.kill_nginx()
            backend.start_nginx(everywhere)

        with self.broken(lambda: again(True)):
            again(False)
            found = self.wait_for("service-not-on-vip", self.name(2), *SHORT)
            self.assertEqual("certain", found["certainty"])
            self.assertIn("refused", found["evidence"])
            self.assertIn("listen on every address", found["mend"])

    def test_all_tunnels_lost(self) -> None:
        """On their way, where the router drops them: a backend's script finds nothing. Or at the backends, which all lack the VIP:
        the script says so, and the command mends it. From the node both look the same, and both are named."""
        with self.broken(lambda: self.router("nft delete table inet fabric")):
            self.router("nft add table inet fabric")
            self.router("nft add chain inet fabric forward { type filter hook forward priority 0 ; }")
            self.router("nft add rule inet fabric forward meta l4proto { 4, 41 } drop")
            found = self.wait_for("tunnels-lost", None, *SHORT)
            self.assertIn("the network between drops tunnels (ip proto 4 or ip proto 41)", found["evidence"])
            self.assertIn("nothing found", self.script_at(1, 0))
        with self.broken(lambda: [self.run_mend(found, self.backend(number).box) for number in (1, 2, 3)]):
            for number in (1, 2, 3):
                self.backend(number).box.run(["ip", "addr", "del", f"{VIP[4]}/32", "dev", "lo"])
            found = self.wait_for("tunnels-lost", None, *SHORT)
            self.assertIn("all of these backends lack the VIP", found["evidence"])
            self.assertIn(f"{VIP[4]} is not an address of this machine", self.script_at(1))

    def test_a_configuration_that_is_refused(self) -> None:
        """The command that it names says what is wrong with the file."""
        node = self.lab.node

        def mend() -> None:
            node.write_config()
            node.signal_reload()

        with self.broken(mend):
            node.write_config(node.config.render() + "\nnonsense = 1\n")
            node.signal_reload()
            found = self.wait_for("configuration-refused", None, *SHORT)
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
                with self.smaller_segments(self.wait_for("tunnel-does-not-fit", None), 1000):
                    self.assert_healthy("--watch-seconds", "1")
            finally:
                ping.kill()
                ping.wait()

    @contextlib.contextmanager
    def smaller_segments(self, found: dict[str, Any], mtu: int) -> Iterator[None]:
        """As the finding says, at each backend, for a way that takes so much."""
        boxes = [self.backend(number).box for number in (1, 2, 3)]
        ways = [json.loads(box.run(["ip", "-j", "route", "show", "default"]).stdout)[0]["gateway"] for box in boxes]
        for box, way in zip(boxes, ways):
            self.run_mend(found, box, GATEWAY=way, N=str(mtu - 60))
        try:
            yield
        finally:
            for box, way in zip(boxes, ways):
                box.run(["ip", "route", "change", "default", "via", way])

    def test_clients_that_do_not_hear_that_packets_are_too_big(self) -> None:
        """The router drops ICMP on its way to the client, whose kernel sends the same segment again and again."""
        rule = f"ipproto icmp to {CLIENT[4]} blackhole"
        ways = [f"{self.backend(number).address()}/32" for number in (1, 2, 3)]
        with self.broken(*(lambda way=way: self.node(f"ip route del {way}") for way in ways)):
            for way in ways:
                self.node(f"ip route add {way} via 10.0.0.1 mtu 1400")
            wait_until(lambda: "mtu 1400" in self.lab.node.box.run(["ip", "route", "get", ways[0][:-3]]).stdout, "the route", 2)
            with self.broken_for_now(lambda: self.router(f"ip rule del {rule}")), self.uploads():
                self.router(f"ip rule add {rule}")
                # A busy machine's looks are few, and see few segments that come again.
                found = self.wait_for("too-big-unheard", None, seconds=90)
                self.assertEqual("likely", found["certainty"])
                with self.smaller_segments(found, 1400):
                    self.assert_healthy("--watch-seconds", "1")
            with self.uploads():
                self.wait_for("tunnel-does-not-fit", None)
                self.assertNotIn("too-big-unheard", [one["cause"] for one in self.findings()])

    @contextlib.contextmanager
    def uploads(self) -> Iterator[None]:
        """Several clients send large packets, each on a new connection, and none remembers what it was told. What one has not sent
        when it ends, its kernel would send on for minutes."""
        self.lab.client.sysctl({"net.ipv4.tcp_orphan_retries": 1})
        once = (f"ip route flush cache; head -c 20000 /dev/zero | curl -s -o /dev/null --max-time 1 --data-binary @- http://{VIP[4]}/; "
                "sleep 0.1")
        clients = [self.lab.client.spawn(["sh", "-c", f"while :; do {once}; done"]) for _ in range(6)]
        try:
            yield
        finally:
            for client in clients:
                client.kill()
                client.wait()

    def test_answers_that_are_filtered(self) -> None:
        """The router takes what comes from the VIP by the way to the backends for spoofed. Checks are answered all the same."""
        rule = f"from {VIP[4]} to {CLIENT[4]} blackhole"
        labels = rf'pool="web",backend="{re.escape(self.backend(2).address())}"'
        repeated = self.metric("linimo_backend_repeated_syns_total", labels)
        with self.broken(lambda: self.router(f"ip rule del {rule}")), self.connections():
            self.router(f"ip rule add {rule}")
            found = self.wait_for("answers-lost", self.name(2))
            self.assertGreater(self.metric("linimo_backend_repeated_syns_total", labels), repeated)
            self.assertEqual("likely", found["certainty"])
            self.assertIn("its check says up", found["evidence"])
            self.assertIn(f"let the network pass {VIP[4]} as a source", found["mend"])

    def test_checksums_that_are_unfinished(self) -> None:
        """Of clients on the same machine, or behind a virtual NIC: the backend's kernel drops what they send, and its script says so."""
        found = {"mend": ""}
        with self.broken(lambda: self.run_mend(found, self.lab.topology.router, "at the other end of eth0: ", DEV="lb1")), self.connections():
            for number in (1, 2, 3):  # whose answers go by there too
                self.backend(number).box.run(["ethtool", "-K", "eth0", "tx", "off"])
            self.router("ethtool -K lb1 tx on")
            found = self.wait_for("checksums-unfinished", "eth0")
            self.assertEqual(("certain", "at the other end of eth0: ethtool -K DEV tx off"), (found["certainty"], found["mend"]))
            self.assertIn(f"tcp {CLIENT[4]}:", found["evidence"])
            self.assertNotIn("answers-lost", [one["cause"] for one in self.findings()], "one cause is enough")
            self.assertIn("with a wrong checksum within 2 s", self.script_at(1))

    def test_all_traffic_on_one_queue(self) -> None:
        found = {"mend": ""}
        with self.broken(lambda: self.run_mend(found, self.lab.topology.router, "at the other end: ", DEV="lb1", N="2")), self.connections():
            self.router("ethtool -L lb1 tx 1")
            found = self.wait_for("one-queue", None)
            self.assertEqual("likely", found["certainty"])
            self.assertIn("by receive queue 0 of 2", found["evidence"])

    def test_a_backend_that_answers_for_the_vip(self) -> None:
        """A backend on the LAN of the node whose kernel answers ARP for the VIP on its lo; the command mends it."""
        box = self.backend(2).box
        found = {"mend": ""}

        def mend() -> None:
            box.run(["sh", "-c", found["mend"].removeprefix("there: ")], check=False)

        self.router("ip link add link lb1 name lan type macvlan mode bridge")
        self.router(f"ip link set lan netns {box.name}")
        box.run(["ip", "link", "set", "lan", "up"])
        try:
            with self.broken(mend):
                found = self.wait_for("vip-held-by-another", VIP[4], *SHORT)
                mac = json.loads(box.run(["ip", "-j", "link", "show", "lan"]).stdout)[0]["address"]
                self.assertIn(f"{mac} answers ARP for it", found["evidence"])
            box.run(["ip", "addr", "add", f"{VIP[6]}/128", "dev", "lan"])
            with self.broken(lambda: box.run(["ip", "addr", "del", f"{VIP[6]}/128", "dev", "lan"])):
                self.assertIn(f"{mac} answers neighbour discovery", self.wait_for("vip-held-by-another", VIP[6], *SHORT)["evidence"])
        finally:
            box.run(["ip", "link", "del", "lan"])
            box.run(["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.all.arp_announce=0"])

    def test_checks_without_a_port(self) -> None:
        """Then a backend that is dead is asked at its service's first port."""
        config = self.lab.node.config
        before = config.more

        def mend() -> None:
            config.more = before
            self.lab.node.reload()

        with self.broken(mend):
            config.more = "".join(f'[[pool]]\nname = "{name}"\nhealth = {{ type = "icmp", interval = "300ms", timeout = "300ms" }}\n'
                                  f'backends = [{{ address = "{backend_address(200 + i, 4)}" }}]\n'
                                  f'[[service]]\nname = "{name}"\nvips = ["{VIP[4]}"]\nprotocol = "tcp"\nports = [{ports}]\npool = "{name}"\n'
                                  for i, (name, ports) in enumerate((("one", "81"), ("many", '"8000-8100"'))))
            self.lab.node.write_config()
            self.lab.node.signal_reload()
            self.wait_for("backend-down", f"one/{backend_address(200, 4)}", *SHORT)
            self.assertIn(f"many/{backend_address(201, 4)}", {one["subject"] for one in self.findings(*SHORT)})

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
            self.wait_for("xdp-generic", "eth0", *SHORT)

    def test_two_nodes(self) -> None:
        """A router that chooses by addresses alone sends one client's flows to one of them; and they do not agree where their
        seeds or their tables differ. Each is asked for its status."""
        node, lab = self.lab.add_node(), self.lab
        lab.start_node(2)
        wires = lab.topology.wires
        peer = ("--peer", f"ip netns exec {node.box.name} {node.cli_program} --socket {node.config.runtime_dir}/control.sock status -o json")
        try:
            self.assert_healthy(*SHORT, *peer)
            self.router(f"ip route replace {VIP[4]} " + " ".join(f"nexthop via {wire.node[4]}" for wire in wires))
            with self.connections():
                found = self.wait_for_cause("one-node-has-all", *peer)
                self.assertIn("all came to it", found["evidence"])
                self.router(found["mend"].partition("Linux: ")[2].rstrip(")").split(" net.ipv6")[0])
                # The router's kernel chooses paths and queues by one hash, so each node may have its flows on one queue.
                wait_until(lambda: {one["cause"] for one in self.findings("--watch-seconds", "1", *peer)} <= {"one-queue"},
                           "both nodes have flows", 20)
            self.differ(node, peer)
        finally:
            self.router(f"ip route replace {VIP[4]} via {wires[0].node[4]}")
            node.stop()

    def wait_for_cause(self, cause: str, *options: str) -> dict[str, Any]:
        return wait_until(lambda: next((one for one in self.findings(*options) if one["cause"] == cause), None), f"{cause} is named", 20)

    def differ(self, node: Node, peer: tuple[str, ...]) -> None:
        seed = node.config.seed_file
        node.config.seed_file = node.folder / "other-seed"
        node.config.seed_file.write_bytes(os.urandom(32))
        node.config.seed_file.chmod(0o600)
        node.give_rights()
        node.reload()
        found = self.wait_for("nodes-disagree", "lb2", *SHORT, *peer)
        self.assertIn("hash seed", found["evidence"])
        self.assertEqual("copy hash_seed_file from one node to all, then linimo reload", found["mend"])
        node.config.seed_file.write_bytes(seed.read_bytes())
        node.cli("reload")
        self.assert_healthy(*SHORT, *peer)
        node.config.seed_file = seed
        node.config.backends = {1: 100, 2: 100, 3: 50}
        node.reload()
        self.assertIn("its tables differ", self.wait_for("nodes-disagree", "lb2", *SHORT, *peer)["evidence"])
        node.config.backends = {1: 100, 2: 100, 3: 100}
        node.reload()
        self.assert_healthy(*SHORT, *peer)
