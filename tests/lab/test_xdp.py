"""Engine xdp: the kernel forwards, whatever becomes of the process; only `linimo dataplane detach` ends it."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import ExitStack
from subprocess import CompletedProcess
from typing import Any

from case import LabCase
from lab.client import ConnectionBroken, KeepAlive, Load, fetch
from lab.stream import DATAGRAMS, UDP_PORT, Stream
from lab.topology import VIP
from lab.wait import wait_until

DEAD_S = 2.0
CONNECTIONS = 20


class XdpCase(LabCase):
    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = "xdp"

    def setUp(self) -> None:
        node = self.lab.node
        if not node.dataplane:
            node.start_dataplane()
        if not node.controlplane:
            node.start_controlplane()
        node.wait_settled()

    def _assert_serves(self) -> None:
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(100)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})

    def _serves(self) -> bool:
        try:
            with self.lab.client.entered():
                return bool(fetch(VIP[4], timeout=0.3))
        except ConnectionBroken:
            return False

    def _programs(self) -> list[str]:
        """What is attached to the node's devices."""
        links: list[dict[str, Any]] = json.loads(self.lab.topology.node.run(["ip", "-j", "-d", "link"]).stdout)
        return [link["ifname"] for link in links if "xdp" in link]

    def _detach(self) -> CompletedProcess[str]:
        node = self.lab.node
        found = f"PATH={node.dataplane_program.parent}:/usr/sbin:/usr/bin"  # where the CLI looks for it
        return node.box.run(["env", found, str(node.cli_program), "dataplane", "detach",
                             "--config", str(node.config_file)], check=False)

    def _log(self) -> str:
        return (self.lab.node.folder / "linimo-dataplane.log").read_text()


class ProcessEnds(XdpCase):
    @classmethod
    def configure(cls) -> None:
        super().configure()
        cls.lab.node.config.more = DATAGRAMS

    def test_killed_under_load_and_back_two_seconds_later(self) -> None:
        """No request fails, established connections stay where they are, tracked flows and counters go on."""
        node = self.lab.node
        with ExitStack() as stack:
            kept = [stack.enter_context(KeepAlive(self.lab.client, VIP[4])) for _ in range(CONNECTIONS)]
            with Load(self.lab.client, VIP[4], threads=4, rate=200, timeout=2).in_background() as load:
                wait_until(lambda: load.requests > 50, "requests are on their way")
                before = node.outcomes()["forwarded"]
                node.stop_dataplane(signal.SIGKILL)
                dead_at, served = time.monotonic(), load.requests
                wait_until(lambda: time.monotonic() - dead_at > DEAD_S and load.requests > served + 100,
                           "requests go on without the process")
                node.start_dataplane()
                node.wait_settled()
                served = load.requests
                wait_until(lambda: load.requests > served + 100, "requests go on with the new process")
            self.assertEqual([connection.backend for connection in kept],
                             [connection.request() for connection in kept])
        self.assert_served(load)
        after = node.outcomes()["forwarded"]
        self.assertGreater(after, before + 5 * load.requests / 2, "each request is at least five packets")
        self.assertGreaterEqual(node.status()["flows"]["tracked"], CONNECTIONS)
        self.assertIn("taken over as it was", self._log())

    def test_sigterm_leaves_forwarding_on(self) -> None:
        self.assertEqual(0, self.lab.node.stop_dataplane(signal.SIGTERM))
        self._assert_serves()
        self.assertEqual(["eth0"], self._programs())

    def test_tables_change_after_a_takeover(self) -> None:
        """A process that took the maps over fills them as its predecessor did."""
        node = self.lab.node
        node.stop_dataplane(signal.SIGKILL)
        node.start_dataplane()
        node.wait_settled()
        self.addCleanup(node.reload)
        self.addCleanup(node.config.backends.__setitem__, 2, node.config.backends.pop(2))
        node.reload()
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(100)
        self.assert_served(load, {self.lab.backends[number].address() for number in (1, 3)})

    def test_replaced_without_losing_a_packet(self) -> None:
        """By a process that takes its tables over."""
        with Stream(self.lab, UDP_PORT) as stream:
            for end in (signal.SIGTERM, signal.SIGKILL):
                self.lab.node.stop_dataplane(end)
                self._start_settled()
        self._assert_none_lost(stream)

    def test_other_room_for_flows(self) -> None:
        """A table of another size cannot be taken over: it says that flows are lost, and forwards. The program before does so
        meanwhile, and not one packet is lost."""
        node = self.lab.node
        with Stream(self.lab, UDP_PORT) as stream:
            node.stop_dataplane()
            node.config.flows_per_worker = 4096
            self.addCleanup(setattr, node.config, "flows_per_worker", None)
            self._start_settled()
            wait_until(lambda: self._log().rstrip().rpartition("forwards on until")[2].count("program replaced") == 1, "it is replaced")
        self._assert_none_lost(stream)
        self._assert_serves()
        self.assertIn("flows", self._log())
        self.assertLess(node.status()["flows"]["capacity"], 20000)


    def _start_settled(self) -> None:
        self.lab.node.write_config()
        self.lab.node.start_dataplane()
        self.lab.node.wait_settled()

    def _assert_none_lost(self, stream: Stream) -> None:
        print(f"    {stream.sent} datagrams, the longest silence {stream.longest_silence() * 1000:.1f} ms", file=sys.stderr)
        self.assertEqual([], stream.lost())


class Detach(XdpCase):
    def test_ends_the_process_and_forwarding(self) -> None:
        node = self.lab.node
        assert node.dataplane
        detached = self._detach()
        self.assertEqual(0, detached.returncode, detached.stderr)
        self.assertEqual(0, node.dataplane.wait(5))
        node.dataplane = None
        self._assert_detached()

    def test_takes_off_what_a_dead_process_left(self) -> None:
        """And is content with nothing to do."""
        self.lab.node.stop_dataplane(signal.SIGKILL)
        self.assertEqual(0, self._detach().returncode)
        self._assert_detached()
        again = self._detach()
        self.assertEqual(0, again.returncode)
        self.assertIn("nothing was attached", again.stderr)

    def test_forwards_again_after_a_start(self) -> None:
        self.lab.node.stop_dataplane()
        self._detach()
        self.lab.node.start_dataplane()
        self.lab.node.wait_settled()
        self._assert_serves()

    def _assert_detached(self) -> None:
        self.assertEqual([], self._programs())
        self.assertFalse(self._serves())
        self.assertFalse((self.lab.node.config.runtime_dir / "bpf").is_mount())


class Start(XdpCase):
    def test_auto_takes_xdp_on_a_virtual_nic_and_says_why(self) -> None:
        node = self.lab.node
        node.stop_dataplane()
        node.config.engine = "auto"
        self.addCleanup(setattr, node.config, "engine", "xdp")
        node.write_config()
        node.start_dataplane()
        node.wait_settled()
        status = node.status()
        self.assertEqual("xdp", status["engine"])
        self.assertIn("eth0 is a virtual NIC (veth)", status["engine_reason"])
        self.assertIn("eth0 is a virtual NIC (veth)", node.cli("status").stdout)
        self.assertIn("eth0 is a virtual NIC (veth)", self._log())

    def test_second_data_plane_is_told_of_the_first(self) -> None:
        node = self.lab.node
        assert node.dataplane
        second = self._run_another()
        self.assertEqual(1, second.returncode)
        self.assertIn(f"already (pid {node.dataplane.pid})", second.stderr)
        self._assert_serves()

    def test_what_it_cannot_have_is_refused(self) -> None:
        """With what to do, and without touching the interface."""
        node = self.lab.node
        node.stop_dataplane()
        self._detach()
        self.addCleanup(setattr, node.config, "interface", "eth0")
        for interface, reason in (("0000:00:05.0", 'need \\"dpdk\\"'), ("eth7", "there is no interface eth7")):
            with self.subTest(interface=interface):
                node.config.interface = interface
                node.write_config()
                refused = self._run_another()
                self.assertEqual(1, refused.returncode)
                self.assertIn(reason, refused.stderr)
                self.assertEqual([], self._programs())
        node.config.interface = "eth0"
        node.write_config()

    def test_engine_dpdk_is_told_to_detach_first(self) -> None:
        """The program that was left would take the frames away from it: one line says so, and how to end that."""
        node = self.lab.node
        node.stop_dataplane()
        node.config.engine = "dpdk"
        self.addCleanup(setattr, node.config, "engine", "xdp")
        node.write_config()
        refused = self._run_another()
        self.assertEqual(1, refused.returncode)
        self.assertEqual(1, refused.stderr.count("level=error"), refused.stderr)
        self.assertIn("linimo dataplane detach", refused.stderr)
        self.assertEqual(["eth0"], self._programs())
        node.config.engine = "xdp"
        node.write_config()

    def test_another_program_on_the_interface_is_left_alone(self) -> None:
        """Refused, and it says how to take it off."""
        node = self.lab.node
        node.stop_dataplane()
        self._detach()
        others = ["ip", "link", "set", "dev", "eth0", "xdpdrv", "obj", str(self.lab.pass_program), "sec", "xdp.frags"]
        node.box.run(others)
        self.addCleanup(node.box.run, ["ip", "link", "set", "dev", "eth0", "xdpdrv", "off"])
        refused = self._run_another()
        self.assertEqual(1, refused.returncode)
        self.assertIn("another XDP program is attached", refused.stderr)
        self.assertEqual(["eth0"], self._programs())

    def _run_another(self) -> CompletedProcess[str]:
        node = self.lab.node
        return node.box.run(node.command(node.dataplane_program), check=False, timeout=10)


del XdpCase  # has no tests of its own
