"""`linimo dataplane upgrade`: another process, of a program that was replaced, takes over under load, and nobody notices; whichever
of the two is killed meanwhile, forwarding goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from typing import ClassVar

from case import LabCase
from lab.bird import RouteWatch
from lab.client import KeepAlive, Load
from lab.handover import PHASES, VICTIMS, KilledHandover, has_ended
from lab.stream import DATAGRAMS, UDP_PORT, Stream
from lab.topology import NODE, VIP
from lab.wait import wait_until

CONNECTIONS = 20


class Upgrade(LabCase):
    engine: ClassVar[str]
    handover: ClassVar[KilledHandover]

    @classmethod
    def configure(cls) -> None:
        node = cls.lab.node
        node.config.engine = cls.engine
        node.config.announce = 'via = "bird"\ndrain_wait = "2s"'
        node.config.more = DATAGRAMS
        cls.handover = KilledHandover(node)

    def setUp(self) -> None:
        node = self.lab.node
        node.wait_settled()
        wait_until(lambda: all(vip["announced"] for vip in node.status()["announce"]["vips"]), "the VIPs are announced")
        self.watch = self.enterContext(RouteWatch(node.box))

    def assert_handed_over(self, stream: Stream) -> None:
        """What became of datagrams over a hand-over that nothing disturbed."""
        raise NotImplementedError

    def assert_forwarded_meanwhile(self, stream: Stream) -> None:
        """What became of them over starts and ends of data planes."""

    def look_after_an_end(self) -> None:
        """No data plane is there."""

    def test_no_flow_breaks_and_the_vips_stay(self) -> None:
        node = self.lab.node
        assert node.dataplane
        before = node.dataplane.pid
        self.handover.replace_program()
        with ExitStack() as stack:
            kept = [stack.enter_context(KeepAlive(self.lab.client, VIP[4])) for _ in range(CONNECTIONS)]
            load = stack.enter_context(Load(self.lab.client, VIP[4], threads=2, rate=100, timeout=2).in_background())
            stream = stack.enter_context(Stream(self.lab, UDP_PORT))
            done = node.upgrade()
            node.wait_settled()
            served = load.requests
            wait_until(lambda: load.requests > served + 50, "requests go on")
            self.assertEqual([connection.backend for connection in kept], [connection.request() for connection in kept])
        self.assertEqual(0, done.returncode, done.stderr)
        print(f"    {done.stderr.strip()}\n    {stream.sent} datagrams, the longest silence {stream.longest_silence() * 1000:.1f} ms", file=sys.stderr)
        self.assertNotEqual(before, node.dataplane.pid)
        self.assertEqual(str(node.dataplane_program), os.readlink(f"/proc/{node.dataplane.pid}/exe"), "the program that is there now")
        self.assert_served(load)
        self.assert_handed_over(stream)
        self._assert_vips_stayed()

    def test_whoever_is_killed(self) -> None:
        """In each phase: one of the two is left and forwards, and the other does not hang."""
        node = self.lab.node
        with Stream(self.lab, UDP_PORT) as stream:
            for phase in PHASES:
                for victim in VICTIMS:
                    with self.subTest(phase=phase, victim=victim):
                        if self.handover.kill_in(phase, victim) == "nobody":
                            self.look_after_an_end()
                            node.start_dataplane()
                        node.wait_settled()
                        came = stream.came
                        wait_until(lambda: stream.came > came + 100, "datagrams come again")
        self.assert_forwarded_meanwhile(stream)
        if self.engine == "xdp":
            self._assert_vips_stayed()

    def test_end_that_is_asked_for_meanwhile_is_the_end(self) -> None:
        """SIGTERM to the one that hands over: none of the two stays behind, and the host has what it had."""
        node = self.lab.node
        with Stream(self.lab, UDP_PORT) as stream:
            for phase in ("letting go", "takes over"):
                with self.subTest(phase=phase):
                    assert node.dataplane
                    before = len(self.handover.log())
                    command = node.spawn_upgrade()
                    said = self.handover.said_since(before, phase)
                    node.dataplane.terminate()
                    self.assertEqual(0, node.dataplane.wait(10))
                    command.communicate(timeout=10)
                    wait_until(lambda: has_ended(int(said[1])), "the new one ends")
                    self.look_after_an_end()
                    node.start_dataplane()
                    node.wait_settled()
        self.assert_forwarded_meanwhile(stream)

    def test_program_that_does_not_start(self) -> None:
        """The one that runs forwards on, and says why there was no hand-over."""
        node = self.lab.node
        assert node.dataplane
        before = node.dataplane.pid
        self.addCleanup(self.handover.replace_program)
        for program, reason in (("#!/bin/sh\nexit 1\n", "has ended"), ("no program", "Exec format error")):
            with self.subTest(reason=reason):
                self.handover.replace_program(program)
                refused = subprocess.run([str(self.handover.built), "--config", str(node.config_file), "--upgrade"], text=True, capture_output=True)
                self.assertEqual(1, refused.returncode)
                self.assertIn(reason, refused.stderr)
                self.assertIn("forwards on as before", refused.stderr)
        node.config.interface = "lo"
        node.write_config()
        self.addCleanup(node.write_config)
        self.addCleanup(setattr, node.config, "interface", "eth0")
        self.handover.replace_program()
        other = node.upgrade()
        self.assertEqual(1, other.returncode)
        self.assertIn("other interfaces", other.stderr)
        self.assertEqual(before, node.dataplane.pid)
        self.assertIsNone(node.dataplane.poll())

    def _assert_vips_stayed(self) -> None:
        self.assertEqual([], [event for vip in VIP.values() for event in self.watch.since(0, vip)])


class UpgradeXdp(Upgrade):
    """The kernel forwards all the time: not one packet is lost, whatever happens."""

    engine = "xdp"

    def assert_handed_over(self, stream: Stream) -> None:
        self.assertEqual([], stream.lost())

    def assert_forwarded_meanwhile(self, stream: Stream) -> None:
        self.assertEqual([], stream.lost())


class UpgradeDpdk(Upgrade):
    """Nobody forwards from when the old process has let go of the NIC until the new one has it. The host keeps its addresses and
    routes meanwhile, and has them back on its NIC when both are gone."""

    engine = "dpdk"
    LONGEST_SILENCE_S = 1.5  # with room for a busy machine

    def assert_handed_over(self, stream: Stream) -> None:
        self.assertLess(stream.longest_silence(), self.LONGEST_SILENCE_S)

    def look_after_an_end(self) -> None:
        """What the host had is where it was."""
        node = self.lab.node
        wait_until(lambda: NODE[4] in node.box.run(["ip", "-4", "address", "show", "eth0"]).stdout, "the NIC has its address again")
        self.assertNotIn("linimo0", node.box.run(["ip", "link"]).stdout)


del Upgrade  # it is no test of its own
