"""VIPs are announced to a real router by real BIRD while the node serves them, and not a moment longer."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sys
import time
from typing import Any, ClassVar, Iterator

from case import LabCase
from lab.bird import RouteWatch, routes
from lab.client import Load
from lab.routed import Routed
from lab.topology import VIP
from lab.wait import wait_until

TABLE = "77"
QUIET_S = 3.0  # long enough for a session without BFD to time out twice, had anything changed


class AnnounceCase(LabCase):
    engine: ClassVar[str] = "dpdk"
    announce: ClassVar[str] = 'drain_wait = "2s"'
    daemons = False
    routed: ClassVar[Routed]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.lab.node.config.engine = cls.engine
        cls.routed = Routed(cls.lab, cls.announce)
        cls.routed.start()

    def setUp(self) -> None:
        node = self.lab.node
        if not node.dataplane:
            node.start_dataplane()
        if not node.controlplane:
            node.start_controlplane()
        node.wait_settled()
        self.routed.wait_announced()

    @property
    def announced(self) -> dict[str, Any]:
        return self.lab.node.status()["announce"]

    def in_table(self) -> dict[str, set[str]]:
        """By which device each VIP's route in the node's table 77 goes."""
        return {vip: routes(self.lab.topology.node, vip, TABLE) for vip in VIP.values()}

    def metrics(self) -> str:
        socket = self.lab.node.config.runtime_dir / "control.sock"
        return self.lab.topology.node.run(["curl", "-sS", "--unix-socket", str(socket), "http://linimo/metrics"]).stdout

    @contextlib.contextmanager
    def unhealthy(self) -> Iterator[None]:
        """Every health check fails meanwhile (status 503, and no drain_header is configured)."""
        for backend in self.lab.backends.values():
            backend.ask_to_drain()
        try:
            yield
        finally:
            for backend in self.lab.backends.values():
                backend.ask_to_drain(False)


class NodeUpgrade(AnnounceCase):
    def test_a_node_is_upgraded_while_others_have_its_traffic(self) -> None:
        """Its routes go before the hand-over begins, and come back after it. A node that was drained stays so."""
        node = self.lab.node
        assert node.dataplane
        for drained_before in (False, True):
            with self.subTest(drained_before=drained_before):
                if drained_before:
                    node.cli("node", "drain", "--wait")
                before = node.dataplane.pid
                with RouteWatch(self.lab.topology.router) as theirs:
                    began = time.time()
                    done = node.upgrade("node")
                    self.assertEqual(0, done.returncode, done.stderr)
                    self.assertNotEqual(before, node.dataplane.pid)
                    if drained_before:
                        self.assertEqual("drained", self.announced["state"])
                        node.cli("node", "undrain")
                    else:
                        self.assertEqual(["the node is drained", "the node is serving"], done.stdout.splitlines())
                        theirs.wait(began, VIP[4], True)
                self.routed.wait_announced()


class Announce(NodeUpgrade):
    alone = True  # times are judged, and on a busy machine the router's BFD gives a node up that is well

    def test_a_node_that_cannot_be_upgraded_is_announced_again(self) -> None:
        """The new process refuses what is configured: that is said, and all is as before."""
        node = self.lab.node
        assert node.dataplane
        before = node.dataplane.pid
        interface = node.config.interface
        node.config.interface = "lo"
        node.write_config()
        try:
            done = node.upgrade("node")
        finally:
            node.config.interface = interface
            node.write_config()
        self.assertEqual(1, done.returncode)
        self.assertIn("other interfaces", done.stderr)
        self.assertEqual("serving", self.announced["state"])
        self.assertEqual(before, node.dataplane.pid)
        self.routed.wait_announced()

    def test_doctor_names_what_bird_does_not_take(self) -> None:
        """BIRD reads another table of the kernel's than the one that VIPs are in; what the finding says mends it."""
        node, bird = self.lab.node, self.routed.birds[0]
        config = bird.folder / "bird.conf"
        text = config.read_text()

        def missing() -> dict[str, str]:
            found = json.loads(node.cli("doctor", "--watch-seconds", "0.1", "-o", "json", check=False).stdout)
            return {one["subject"]: one["mend"] for one in found if one["cause"] == "bird-without-route"}

        self.assertEqual({}, missing())
        try:
            config.write_text(text.replace("kernel table 77; learn;", "kernel table 78; learn;"))
            bird.ask("configure")
            mends = wait_until(missing, "the VIPs that BIRD has not are named", 20)
            self.assertEqual(set(VIP.values()), wait_until(lambda: len(found := missing()) == 2 and found, "both", 20).keys())
            [table] = {re.search(r"learn; kernel table (\d+);.*; then birdc configure", mend)[1] for mend in mends.values()}
            config.write_text(config.read_text().replace("kernel table 78; learn;", f"kernel table {table}; learn;"))
            bird.ask("configure")
            wait_until(lambda: not missing(), "BIRD has them again", 20)
            self.assertEqual(text, config.read_text())
        finally:
            config.write_text(text)
            bird.ask("configure")
        self.routed.wait_announced()

    def test_vips_are_announced_and_reached(self) -> None:
        """Both families; the node shows its VIPs and its sessions."""
        for family in (4, 6):
            load = Load(self.lab.client, VIP[family], threads=2)
            load.run(50)
            self.assert_served(load)
        self.assertEqual({vip: {"linimo0"} for vip in VIP.values()}, self.in_table())
        self.routed.wait_sessions(self.lab.node)
        shown = self.announced
        self.assertEqual("serving", shown["state"])
        self.assertEqual({vip: (True, 100) for vip in VIP.values()},
                         {vip["vip"]: (vip["announced"], vip["metric"]) for vip in shown["vips"]})
        text = self.lab.node.cli("status").stdout
        self.assertIn("203.0.113.10 (metric 100)", text)
        self.assertIn("router4 Established", text)

    def test_without_backends_it_is_withdrawn_and_comes_back(self) -> None:
        """The router follows the node's own route within 50 ms, both ways."""
        node_box, router = self.lab.topology.node, self.lab.topology.router
        with RouteWatch(node_box) as own, RouteWatch(router) as theirs, contextlib.ExitStack() as sick:
            for goes in (True, False):
                moment = time.time()
                if goes:
                    sick.enter_context(self.unhealthy())
                else:
                    sick.close()
                for vip in VIP.values():
                    decided = own.wait(moment, vip, goes, 20).at
                    took = theirs.wait(moment, vip, goes).at - decided
                    print(f"    {vip} {'withdrawn' if goes else 'announced'}: router after {took * 1000:.1f} ms",
                          file=sys.stderr)
                    self.assertLess(took, 0.05)
                self.assertEqual({vip: not goes for vip in VIP.values()},
                                 {vip["vip"]: vip["announced"] for vip in self.announced["vips"]})

    def test_others_routes_are_left_alone(self) -> None:
        """In the same table, to the same VIP, whatever happens to ours; and they are not announced."""
        box = self.lab.topology.node
        others = [("203.0.113.10", "50"), ("203.0.113.77", "100"), ("2001:db8:f::77", "100")]
        for address, metric in others:
            box.run(["ip", "route", "add", address, "dev", "lo", "table", TABLE, "proto", "static", "metric", metric])
        self.addCleanup(lambda: [box.run(["ip", family, "route", "flush", "table", TABLE, "proto", "static"], check=False)
                                 for family in ("-4", "-6")])

        def there() -> int:
            return sum(len(box.run(["ip", family, "route", "show", "table", TABLE, "proto", "static"]).stdout.splitlines())
                       for family in ("-4", "-6"))

        self.assertEqual(3, there())
        with self.unhealthy():
            wait_until(lambda: not any(vip["announced"] for vip in self.announced["vips"]), "it is withdrawn", 15)
            self.assertEqual(3, there())
            self.routed.wait_announced(set())
        self.lab.node.stop_controlplane(signal.SIGKILL)
        self.lab.node.start_controlplane()
        self.lab.node.wait_settled()
        wait_until(lambda: all(vip["announced"] for vip in self.announced["vips"]), "it is announced again", 15)
        self.assertEqual(3, there())
        self.assertEqual(set(), routes(self.lab.topology.router, "203.0.113.77") - {"client"})

    def test_route_that_somebody_removed_comes_back(self) -> None:
        box = self.lab.topology.node
        box.run(["ip", "route", "del", VIP[4], "table", TABLE])
        wait_until(lambda: self.in_table()[VIP[4]], "the route is back", 3)
        self.routed.wait_announced()

    def test_killed_data_plane_takes_its_routes_along(self) -> None:
        """With linimo0, whatever the control plane thinks; they come back when the data plane forwards again."""
        with RouteWatch(self.lab.topology.router) as theirs:
            killed = time.time()
            self.lab.node.stop_dataplane(signal.SIGKILL)
            for vip in VIP.values():
                took = theirs.wait(killed, vip, True).at - killed
                print(f"    router left {vip} {took * 1000:.0f} ms after the kill", file=sys.stderr)
                self.assertLess(took, 0.3)
        time.sleep(1.5)  # the control plane looks once a second
        self.assertEqual({vip: set() for vip in VIP.values()}, self.in_table())
        self.lab.node.start_dataplane()
        self.routed.wait_announced()

    def test_death_of_the_control_plane_changes_nothing(self) -> None:
        """Neither does its return: no route goes or comes, on the node or at the router."""
        with RouteWatch(self.lab.topology.node) as own, RouteWatch(self.lab.topology.router) as theirs:
            before = time.time()
            self.lab.node.stop_controlplane(signal.SIGKILL)
            time.sleep(QUIET_S)
            self.lab.node.start_controlplane()
            self.lab.node.wait_settled()
            wait_until(lambda: self.announced["vips"][0]["announced"], "it sees what it announces")
            for vip in VIP.values():
                self.assertEqual([], own.since(before, vip))
                self.assertEqual([], theirs.since(before, vip))

    def test_what_happened_meanwhile_is_made_up_for(self) -> None:
        """All backends die while there is no control plane: the next one withdraws, once its checks have said so."""
        self.lab.node.stop_controlplane(signal.SIGKILL)
        with self.unhealthy():
            self.lab.node.start_controlplane()
            self.routed.wait_announced(set())
        self.routed.wait_announced()

    def test_drain_raises_the_metric_waits_and_withdraws(self) -> None:
        """Without a gap: the router keeps its route, by another preference, until the wait is over; undrain ends it."""
        node, router = self.lab.node, self.routed.router
        self.addCleanup(node.cli, "node", "undrain")
        with RouteWatch(self.lab.topology.router) as theirs:
            began = time.time()
            node.cli("node", "drain")
            wait_until(lambda: "(65535,0)" in router.ask(f"show route for {VIP[4]} all"), "graceful shutdown is asked for")
            self.assertEqual("draining", self.announced["state"])
            self.assertEqual({200}, {vip["metric"] for vip in self.announced["vips"]})
            for vip in VIP.values():
                gone = theirs.wait(began, vip, True)
                self.assertGreater(gone.at - began, 2.0)
            self.assertEqual("drained", self.announced["state"])
        # Who starts anew is drained still.
        node.stop_controlplane(signal.SIGKILL)
        node.start_controlplane()
        node.wait_settled()
        time.sleep(1.5)
        self.assertEqual({vip: set() for vip in VIP.values()}, self.in_table())
        node.cli("node", "undrain")
        self.routed.wait_announced()
        self.assertNotIn("(65535,0)", router.ask(f"show route for {VIP[4]} all"))

    def test_a_dry_run_tells_what_a_drain_withdraws(self) -> None:
        """The VIPs that are announced, and the flows that the node tracks; nothing is withdrawn."""
        node = self.lab.node
        told = json.loads(node.cli("node", "drain", "--dry-run", "-o", "json").stdout)
        self.assertEqual(set(VIP.values()), set(told["withdrawn"]))
        self.assertEqual(node.status()["flows"]["tracked"], told["flows"])
        said = node.cli("node", "drain", "--dry-run").stdout
        self.assertIn("2 VIPs would be withdrawn: ", said)
        self.assertIn(VIP[6], said)
        self.assertEqual("serving", self.announced["state"])
        self.routed.wait_announced()

    def test_drain_can_be_waited_for(self) -> None:
        self.assertIn("drained", self.lab.node.cli("node", "drain", "--wait").stdout)
        self.assertEqual({vip: set() for vip in VIP.values()}, self.in_table())
        self.lab.node.cli("node", "undrain")
        self.routed.wait_announced()

    def test_state_of_the_sessions_is_known(self) -> None:
        """A router that goes is seen; so is BIRD's own death, which the router notices at once."""
        node, bird = self.lab.node, self.routed.birds[0]
        self.routed.wait_sessions(node)
        self.wait_bfd(True)
        self.assertIn(f"{'BFD':<12}10.0.0.1 linimo0 Up", node.cli("status").stdout)
        self.routed.router.kill()
        self.routed.wait_sessions(node, up=False)
        self.wait_bfd(False)
        self.assertIn('linimo_bgp_session_up{protocol="router4"} 0', self.metrics())
        self.assertIn('linimo_bfd_session_up{neighbor="10.0.0.1",interface="linimo0"} 0', self.metrics())
        self.routed.router.again()
        self.routed.wait_sessions(node)
        bird.kill()
        self.routed.wait_announced(set(), 2)
        wait_until(lambda: self.announced["bird"]["error"], "the node says that BIRD does not answer")
        self.assertIn("linimo_bird_answers 0", self.metrics())
        self.assertIn('linimo_vip_announced{vip="203.0.113.10"} 1', self.metrics())
        bird.again()
        self.routed.wait_announced()
        self.routed.wait_sessions(node)

    def test_bfd_that_has_no_socket_is_shown(self) -> None:
        """BIRD finds no free port for a moment, and so never says a word to its neighbours. Shown with what mends it; that does."""
        node, bird, box = self.lab.node, self.routed.birds[0], self.lab.topology.node
        ports = box.run(["sysctl", "-n", "net.ipv4.ip_local_port_range"]).stdout.strip()
        refused = bird.log().count("Socket error: bind")
        with box.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
            taken.bind(("::", 40000))
            box.sysctl({"net.ipv4.ip_local_port_range": "40000 40000"})
            try:
                for protocol in ("router4", "router6"):
                    bird.ask(f"restart {protocol}")
                wait_until(lambda: bird.log().count("Socket error: bind") >= refused + 2, "BIRD finds no port")
            finally:
                box.sysctl({"net.ipv4.ip_local_port_range": ports})
        failing = lambda: {one["name"]: one for one in node.status()["conditions"] if one["state"] == "fails"}  # noqa: E731
        told = wait_until(lambda: failing().get("bfd-session"), "it is shown", 30)
        self.assertRegex(told["evidence"], r"BGP is up, BFD is not \(.*10\.0\.0\.1 on linimo0: (Init|Down)")
        self.assertIn("birdc restart", told["mend"])
        bird.ask("restart bfd1")
        wait_until(lambda: "bfd-session" not in failing(), "it holds", 15)
        self.wait_bfd(True)
        self.routed.wait_announced()
        self.routed.wait_sessions(node)

    def wait_bfd(self, up: bool) -> None:
        wanted = self.bfd(up)
        try:
            wait_until(lambda: self.bfd_sessions() == wanted, f"the node sees that BFD is {'up' if up else 'down'}", 30)
        except TimeoutError as error:
            bird = self.routed.birds[0].ask("show bfd sessions")
            raise TimeoutError(f"{error}: it sees {self.bfd_sessions()}, BIRD {bird}\n{self.routed.logs()}") from None

    def bfd_sessions(self) -> dict[tuple[str, str], bool]:
        return {(one["neighbor"], one["interface"]): one["up"] for one in self.announced["bird"]["bfd"]}

    @staticmethod
    def bfd(up: bool) -> dict[tuple[str, str], bool]:
        """Of both families with the router."""
        return {("10.0.0.1", "linimo0"): up, ("2001:db8::1", "linimo0"): up}


class AnnounceByXdp(NodeUpgrade):
    engine = "xdp"
    announce = 'orphan_timeout = "2s"\ndrain_wait = "2s"'

    def test_forwarding_and_routes_outlive_a_crash(self) -> None:
        """Whoever comes back finds the routes, and leaves them there."""
        self.assertEqual({vip: {"eth0"} for vip in VIP.values()}, self.in_table())
        with RouteWatch(self.lab.topology.node) as own, Load(self.lab.client, VIP[4], threads=2,
                                                             rate=100).in_background() as load:
            killed = time.time()
            self.lab.node.stop_dataplane(signal.SIGKILL)
            time.sleep(1.5)
            self.lab.node.start_dataplane()
            self.lab.node.wait_settled()
            self.assertEqual([], [event for vip in VIP.values() for event in own.since(killed, vip)])
        self.assert_served(load)

    def test_detach_withdraws_before_it_unloads(self) -> None:
        """Routers send their packets elsewhere while the node still forwards; the control plane does not undo it."""
        node = self.lab.node
        assert node.dataplane
        with RouteWatch(self.lab.topology.router) as theirs:
            began = time.time()
            done = node.detach()
            ended = time.time()
            self.assertTrue(done and done.returncode == 0, done and done.stderr)
            node.dataplane.wait(5)
            node.dataplane = None
            for vip in VIP.values():
                self.assertLess(theirs.wait(began, vip, True).at, ended - 0.5)
        self.assertEqual({vip: set() for vip in VIP.values()}, self.in_table())

    def test_orphaned_node_withdraws_if_it_is_told_to(self) -> None:
        """orphan_timeout after the death of the control plane; the next one announces again. What the control plane took
        over last counts, and not what has become of the file since."""
        self.lab.node.write_config("a" + ".a" * 17_000 + " = 1")
        with RouteWatch(self.lab.topology.router) as theirs:
            killed = time.time()
            self.lab.node.stop_controlplane(signal.SIGKILL)
            for vip in VIP.values():
                self.assertGreater(theirs.wait(killed, vip, True).at - killed, 1.9)
        self.assertTrue(self.lab.node.dataplane and self.lab.node.dataplane.poll() is None)
        self.lab.node.write_config()
        self.lab.node.start_controlplane()
        self.routed.wait_announced()


del NodeUpgrade  # it is no test of its own
