"""All nodes of a fleet are upgraded, one after the other, by `linimo node upgrade`: drained, handed over, undrained. What they carry
goes on, and the VIPs are announced by somebody all the time."""

from __future__ import annotations

import time
from typing import ClassVar

from fleet_case import FleetCase
from lab.bird import RouteWatch, routes
from lab.fleet import told
from lab.topology import VIP
from lab.wait import wait_until


class FleetUpgrade(FleetCase):
    engines: ClassVar[tuple[str, ...]] = ("dpdk", "xdp", "dpdk")

    def test_one_node_after_the_other(self) -> None:
        """Under load: no request fails, no kept connection breaks, each node has a new data plane with the tables of before."""
        before = self.fleet.wait_agreed()
        router = self.lab.topology.router
        with RouteWatch(router) as watch, self.served_meanwhile(stays_announced=False):
            for node in self.nodes:
                assert node.dataplane
                replaced = node.dataplane.pid
                began, asked = time.time(), time.monotonic()
                done = node.upgrade("node")
                self.assertEqual(0, done.returncode, done.stderr)
                self.say(f"{node.config.name} ({node.config.engine}): {time.monotonic() - asked:.1f} s; {done.stderr.strip()}")
                self.assertEqual(["the node is drained", "the node is serving"], done.stdout.splitlines())
                self.assertNotEqual(replaced, node.dataplane.pid)
                self.fleet.routed.wait_announced()
                for family, vip in VIP.items():
                    changes = watch.since(began, vip)
                    self.assertGreaterEqual(len(changes), 2, f"{vip}: the node's route went and came")
                    self.assertTrue(routes(router, vip), f"IPv{family}")
                wait_until(lambda: told(node).get("agree"), f"{node.config.name} agrees again", 20, alive=node.check_alive)
            self._assert_never_withdrawn(watch)
        self.assertEqual(before, self.fleet.wait_agreed())

    def test_the_last_one_that_announces_is_not_drained(self) -> None:
        """It says so and goes on as before; once another one announces again, it is possible."""
        *others, last = self.nodes
        assert last.dataplane
        before = last.dataplane.pid
        for node in others:
            node.cli("node", "drain", "--wait")
        wait_until(lambda: not any(one["announces"] for one in told(last)["nodes"] if not one["self"]), "it hears that they do not announce")
        with self.announced_meanwhile([last]):
            refused = last.upgrade("node")
        self.assertEqual((1, before), (refused.returncode, last.dataplane.pid))
        self.assertIn("no other node of the fleet announces", refused.stderr)
        for node in others:
            node.cli("node", "undrain")
        self.assertEqual(0, last.upgrade("node").returncode)
        self.fleet.routed.wait_announced()

    def _assert_never_withdrawn(self, watch: RouteWatch) -> None:
        """Of the changes that the router's kernel tells of, none leaves a VIP without any way."""
        for vip in VIP.values():
            self.assertEqual([], [event.text for event in watch.since(0, vip, deleted=True)])
