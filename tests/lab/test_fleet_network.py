"""A fleet whose heartbeats are lost, and whose clocks differ: nothing that is forwarded or announced is harmed. And one of
eight nodes, three of which check each backend."""

from __future__ import annotations

import calendar
import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator

from fleet_case import FleetCase
from lab.fleet import told
from lab.node import Node
from lab.wait import wait_until

HERE = Path(__file__).resolve().parent
HEARTBEATS = 7946  # the port of [fleet] peers in the lab
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
AN_HOUR_S = 3600
CHECKERS = 3


class FleetNetwork(FleetCase):
    @contextlib.contextmanager
    def lossy(self, percent: int) -> Iterator[None]:
        """So much of every node's heartbeats is lost."""
        program = self.lab.folder / f"lossy{percent}.o"
        subprocess.run(["clang-14", "-O2", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", f"-DPERCENT={percent}",
                        f"-DPORT={HEARTBEATS}", "-c", HERE / "lossy.bpf.c", "-o", program], check=True)
        links = [(node.box, link) for node in self.nodes for link in self._links(node)]
        for box, link in links:
            box.run(["tc", "qdisc", "add", "dev", link, "clsact"])
            box.run(["tc", "filter", "add", "dev", link, "egress", "bpf", "da", "obj", str(program), "sec", "tc"])
        try:
            yield
        finally:
            for box, link in links:
                box.run(["tc", "qdisc", "del", "dev", link, "clsact"])

    def _links(self, node: Node) -> list[str]:
        return [link["ifname"] for link in json.loads(node.box.run(["ip", "-j", "link"]).stdout) if link["ifname"] != "lo"]

    def _missed(self, node: Node) -> int:
        """How often it has said that it hears another one no more."""
        return (node.folder / "linimo-controlplane.log").read_text(errors="replace").count("no heartbeat from node")

    @contextlib.contextmanager
    def nothing_happens(self) -> Iterator[None]:
        """To what is forwarded, by which tables, and announced."""
        before = [(node.status()["generation"], node.status()["digest"]) for node in self.nodes]
        with self.served_meanwhile():
            yield
        self.assertEqual(before, [(node.status()["generation"], node.status()["digest"]) for node in self.nodes])

    def test_heartbeats_of_which_a_tenth_is_lost(self) -> None:
        """For a minute: no node is declared dead."""
        before = [self._missed(node) for node in self.nodes]
        with self.nothing_happens(), self.lossy(10):
            time.sleep(60)
        self.assertEqual(before, [self._missed(node) for node in self.nodes])
        self.fleet.wait_agreed()

    def test_heartbeats_of_which_a_third_is_lost(self) -> None:
        """Whoever is declared dead, nothing is broken, and a change reaches all."""
        with self.nothing_happens(), self.lossy(30):
            time.sleep(15)
        with self.lossy(30):
            self.change_something()
        self.assertEqual(1, len(self.fleet.wait_agreed()))

    def test_heartbeats_that_are_all_lost(self) -> None:
        """Each node says so of the others; they hold their leases all the same, so nothing happens."""
        before = [self._missed(node) for node in self.nodes]
        with self.nothing_happens(), self.lossy(100):
            for node, already in zip(self.nodes, before):
                wait_until(lambda: self._missed(node) >= already + 2, f"{node.config.name} misses the others", 30)
        self.fleet.wait_agreed()

    def test_a_clock_that_jumps_by_an_hour(self) -> None:
        """One node's wall clock, while it runs: forwards, and back."""
        node = self.nodes[1]
        clock = self.lab.folder / "clock"
        clock.write_text("+0")
        node.stop_controlplane()
        node.controlplane_wrapper = ["env", f"LD_PRELOAD={FAKETIME}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1",
                                     f"FAKETIME_TIMESTAMP_FILE={clock}"]
        try:
            node.start_controlplane()
            wait_until(lambda: told(node).get("agree"), "it agrees again", 20, alive=node.check_alive)
            for jump in (AN_HOUR_S, -AN_HOUR_S, 0):
                with self.nothing_happens():
                    clock.write_text(f"{jump:+d}")
                    time.sleep(5)  # more than a lease
                    self.fleet.wait_agreed()
                self.change_something(1)
                self.assertAlmostEqual(time.time() + jump, self._newest_applied_at(), delta=60)
        finally:
            node.stop_controlplane()
            node.controlplane_wrapper = []
            node.start_controlplane()
        self.fleet.wait_agreed()

    def _newest_applied_at(self) -> float:
        """By the clock of the node where it was applied."""
        newest = json.loads(self.nodes[0].cli("config", "history", "-o", "json").stdout)[0]
        return calendar.timegm(time.strptime(newest["when"][:19], "%Y-%m-%dT%H:%M:%S"))


class FleetOfEight(FleetCase):
    size = 8

    def test_three_check_each_backend(self) -> None:
        """The death of one of them: another takes its place within two intervals of its lease's end, and no backend flaps."""
        interval = self.lab.node.config.health.interval_ms / 1000
        for each in self.lab.backends.values():
            wait_until(lambda: len(each.checked_by(time.time() - 2 * interval)) == CHECKERS, "three check it", 20)
        with self.served_meanwhile():
            self.assert_median(f"a checker's lease was over: another took its place (interval {interval} s)",
                               [self.replaced_after(interval) for _ in range(3)], 2 * interval)

    def replaced_after(self, interval: float) -> float:
        """How long after the end of a dead checker's lease another one checks in its place."""
        backend = self.lab.backends[1]
        before = set(backend.checked_by(time.time() - 2 * interval))
        dead = next(node for node in self.nodes if node.config.addresses[4] in before)
        living = [node for node in self.nodes if node is not dead]
        digests = [node.status()["digest"] for node in living]
        died = time.time()
        dead.stop_controlplane(signal.SIGKILL)
        try:
            left = before - {dead.config.addresses[4]}
            wait_until(lambda: dead.config.name not in [node["name"] for node in told(living[0])["nodes"]], "its lease is over",
                       self.lease_s + 1)
            over = time.time()
            wait_until(lambda: len(set(backend.checked_by(died)) - before) == 1, "another one checks it", 4 * interval + 2)
            [taken] = [when for who, when in backend.checked_by(died).items() if who not in before]
            wait_until(lambda: left <= set(backend.checked_by(taken)), "those who live go on")
            states = [node.backend_states() for _ in range(3) for node in living if not time.sleep(0.02)]
            self.assertEqual({"up"}, {state for each in states for state in each.values()})
            self.assertEqual(digests, [node.status()["digest"] for node in living])
        finally:
            dead.start_controlplane()
        wait_until(lambda: told(dead).get("agree"), "it agrees again", 20, alive=dead.check_alive)
        wait_until(lambda: set(backend.checked_by(time.time() - 2 * interval)) == before, "it checks again", 10)
        return taken - over
