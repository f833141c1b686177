"""What befalls a fleet of three nodes and its three etcd members, under load: nothing that is forwarded or announced is
harmed, and all agree again without anybody's help, except where the store itself went back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import Iterator

from lab.client import Load
from lab.fleet import told
from lab.node import Node
from lab.topology import VIP
from lab.traffic import traffic
from lab.wait import wait_until
from test_fleet import FleetCase

ALARM_S = 5
LEASE_S = 3  # the lab's


class FleetFaults(FleetCase):
    members = 3

    @contextlib.contextmanager
    def served_meanwhile(self) -> Iterator[Load]:
        """Requests go on, none fails, and the router goes on using all nodes."""
        with Load(self.lab.client, VIP[4], threads=4, rate=150).in_background() as load:
            yield load
        self.assert_served(load)
        self.fleet.routed.wait_announced()

    def wait_alarm(self, name: str, timeout: float, nodes: list[Node] | None = None) -> float:
        began = time.monotonic()
        for node in nodes or self.nodes:
            wait_until(lambda: name in told(node).get("alarms", {}), f"{node.config.name} raises {name}", timeout)
        return time.monotonic() - began

    def change_something(self) -> None:
        """A revision that differs from the last one, at a node whose control plane runs."""
        config = self.lab.node.config
        config.backends[1] = 150 - config.backends[1] if config.backends[1] in (50, 100) else 100
        self.fleet.apply()

    def digests(self) -> list[str]:
        """Of the tables: a generation may say anew who handles fragments."""
        return [node.status()["digest"] for node in self.nodes]

    def test_an_etcd_member_is_killed(self) -> None:
        with self.served_meanwhile():
            for member in range(3):
                self.fleet.etcd.kill(member)
                began = time.monotonic()
                wait_until(lambda: self.nodes[0].cli("config", "apply", self.fleet.file(self._changed()), check=False).returncode == 0,
                           "a change is possible", 20)
                self.say(f"etcd member {member} killed: a change went through after {time.monotonic() - began:.1f} s")
                self.fleet.etcd.start_member(member)
                self.fleet.wait_agreed()

    def _changed(self) -> str:
        config = self.lab.node.config
        config.backends[1] = 50 if config.backends[1] == 100 else 100
        return config.shared()

    def test_etcd_is_killed_whole(self) -> None:
        before = self.digests()
        with self.served_meanwhile():
            for member in range(3):
                self.fleet.etcd.kill(member)
            self.say(f"etcd killed: the alarm showed after {self.wait_alarm('store-out-of-reach', ALARM_S):.1f} s")
            self.assertIn("out of reach", self.refused(0, "config", "apply", self.fleet.file(self._changed())))
            self.assertEqual(before, self.digests())
            for member in range(3):
                self.fleet.etcd.start_member(member)
            began = time.monotonic()
            self.fleet.wait_agreed(30)
            self.say(f"etcd back: all agree after {time.monotonic() - began:.1f} s")
            self.assertEqual(before, self.digests())
            self.change_something()
        self.fleet.wait_agreed()

    def test_etcd_is_frozen(self) -> None:
        with self.served_meanwhile():
            for member in range(3):
                self.fleet.etcd.freeze(member)
            self.say(f"etcd frozen: the alarm showed after {self.wait_alarm('store-out-of-reach', ALARM_S):.1f} s")
            for member in range(3):
                self.fleet.etcd.thaw(member)
            self.fleet.wait_agreed(30)
            self.change_something()

    def test_etcd_has_no_quorum(self) -> None:
        with self.served_meanwhile():
            self.fleet.etcd.kill(0)
            self.fleet.etcd.kill(1)
            self.say(f"no quorum: the alarm showed after {self.wait_alarm('store-out-of-reach', ALARM_S):.1f} s")
            self.fleet.etcd.start_member(0)
            self.fleet.wait_agreed(30)
            self.change_something()
            self.fleet.etcd.start_member(1)

    def test_the_leader_freezes(self) -> None:
        leader = told(self.nodes[0])["leader"]
        frozen = next(node for node in self.nodes if node.config.name == leader)
        others = [node for node in self.nodes if node is not frozen]
        assert frozen.controlplane
        with self.served_meanwhile():
            os.kill(frozen.controlplane.pid, signal.SIGSTOP)
            began = time.monotonic()
            try:
                wait_until(lambda: told(others[0])["leader"] not in (None, leader), "another one leads", LEASE_S + 3)
                took = time.monotonic() - began
                self.say(f"leader frozen: another one leads after {took:.2f} s")
                self.assertLess(took, LEASE_S + 1)
                done = others[0].cli("config", "apply", self.fleet.file(self._changed()), check=False)
                self.assertEqual(0, done.returncode, done.stderr)
                state = told(others[0])["state"]
            finally:
                os.kill(frozen.controlplane.pid, signal.SIGCONT)
            self.fleet.wait_agreed()
            self.assertNotEqual(leader, told(frozen)["leader"])
            self.assertGreaterEqual(told(frozen)["state"], state)

    def test_the_store_is_emptied(self) -> None:
        before = self.digests()
        with self.served_meanwhile():
            self.fleet.etcd.ctl("del", "--prefix", "/linimo/", check=True)
            self.wait_alarm("store-went-back", LEASE_S + 5)
            self.assertIn("went back", self.refused(0, "config", "apply", self.fleet.file()))
            self.assertIn("store-went-back", self.nodes[1].cli("fleet", "status", check=False).stdout)
            self.assertEqual(before, self.digests())
            self.nodes[2].cli("fleet", "accept")
            for node in self.nodes:
                wait_until(lambda: not told(node)["alarms"], "the alarm is over")
            self.assertEqual(before, self.digests())
            wait_until(lambda: self.nodes[0].cli("config", "apply", self.fleet.file(), check=False).returncode == 0,
                       "the configuration is applied again", 15)
        self.assertEqual(1, len(self.fleet.wait_agreed()))

    def test_history_is_compacted(self) -> None:
        revision = json.loads(self.fleet.etcd.ctl("endpoint", "status", "-w", "json").stdout)[0]["Status"]["header"]["revision"]
        with self.served_meanwhile():
            self.fleet.etcd.ctl("compact", str(revision), check=True)
            self.change_something()
        self.fleet.wait_agreed()

    def test_a_node_is_cut_off_from_the_store_alone(self) -> None:
        node = self.nodes[1]
        with self.served_meanwhile():
            node.box.run(["ip", "route", "add", "blackhole", "10.0.1.254/32"])
            try:
                self.wait_alarm("store-out-of-reach", ALARM_S, [node])
                wait_until(lambda: len(told(self.nodes[0])["nodes"]) == 2, "it is no member any more", 10)
                self.assertEqual({"lb1", "lb2", "lb3"}, self.fleet.routed.reach())
                behind = told(node)["active"]
                done = self.nodes[0].cli("config", "apply", self.fleet.file(self._changed()), check=False)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertEqual(behind, told(node)["active"])
            finally:
                node.box.run(["ip", "route", "del", "blackhole", "10.0.1.254/32"])
            self.fleet.wait_agreed(30)

    def test_all_nodes_are_cut_off_from_the_store(self) -> None:
        """None of them is lost: all go on, and none withdraws."""
        before = self.digests()
        with self.served_meanwhile():
            for node in self.nodes:
                node.box.run(["ip", "route", "add", "blackhole", "10.0.1.254/32"])
            try:
                self.wait_alarm("store-out-of-reach", ALARM_S)
                time.sleep(2 * LEASE_S)  # whatever a lease's end brings
                self.assertEqual({"lb1", "lb2", "lb3"}, self.fleet.routed.reach())
            finally:
                for node in self.nodes:
                    node.box.run(["ip", "route", "del", "blackhole", "10.0.1.254/32"])
            self.fleet.wait_agreed(30)
        self.assertEqual(before, self.digests())

    def test_all_processes_are_replaced_one_after_the_other(self) -> None:
        """As an upgrade does: every data plane, then every control plane. No request fails, no kept connection breaks,
        and all end with the tables that they had."""
        before = self.fleet.wait_agreed()
        with traffic(self.lab, timeout=5, threads=4, kept=20) as flowing:
            for node in self.nodes:
                node.stop_dataplane()
                node.start_dataplane()
                wait_until(lambda: told(node).get("agree"), f"{node.config.name} agrees again", 20, alive=node.check_alive)
            for node in self.nodes:
                node.stop_controlplane()
                node.start_controlplane()
                wait_until(lambda: told(node).get("agree"), f"{node.config.name} agrees again", 20, alive=node.check_alive)
        self.assertEqual([], flowing.failures[:3])
        self.assertEqual({}, flowing.kept.broken)
        self.fleet.routed.wait_announced()
        self.assertEqual(before, self.fleet.wait_agreed())

    def test_a_node_that_has_lost_its_way_withdraws(self) -> None:
        """Two of three backends are out of reach for it alone: they stay up, and it stops announcing until it agrees."""
        node = self.nodes[1]
        lost = [self.lab.backends[number].address() for number in (1, 2)]
        for address in lost:
            node.box.run(["ip", "route", "add", "blackhole", f"{address}/32"])
        try:
            self.wait_alarm("contradiction", 20, [node])
            self.fleet.routed.wait_announced({"lb1", "lb3"}, 20)
            states = self.nodes[0].backend_states()
            self.assertEqual({"up"}, {states[address] for address in lost})
        finally:
            for address in lost:
                node.box.run(["ip", "route", "del", "blackhole", f"{address}/32"])
        self.fleet.routed.wait_announced(timeout=30)
        self.fleet.wait_agreed()

    def test_a_node_is_cut_off_from_the_store_and_from_most_backends(self) -> None:
        """It hears from the others that they have the store, and leaves its VIPs to them. Where nobody has, all stay."""
        with self.cut_off([self.nodes[1]]):
            self.wait_alarm("contradiction", 20, [self.nodes[1]])
            self.fleet.routed.wait_announced({"lb1", "lb3"}, 20)
        self.fleet.routed.wait_announced(timeout=30)
        self.fleet.wait_agreed(30)
        with self.cut_off(self.nodes):
            self.wait_alarm("contradiction", 20)
            time.sleep(3 * LEASE_S)  # whatever follows from that
            self.assertEqual({"lb1", "lb2", "lb3"}, self.fleet.routed.reach())
        self.fleet.wait_agreed(30)

    @contextlib.contextmanager
    def cut_off(self, nodes: list[Node]) -> Iterator[None]:
        """From the store, and from two of three backends."""
        gone = ["10.0.1.254", *(self.lab.backends[number].address() for number in (1, 2))]
        try:
            for node in nodes:
                for address in gone:
                    node.box.run(["ip", "route", "add", "blackhole", f"{address}/32"])
            yield
        finally:
            for node in nodes:
                for address in gone:
                    node.box.run(["ip", "route", "del", "blackhole", f"{address}/32"], check=False)
