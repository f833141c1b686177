"""Nodes that have gone by a file each become a fleet, as the handbook says, and nobody who uses them notices."""

from __future__ import annotations

import signal
from typing import ClassVar

from fleet_case import FleetCase
from lab.fleet import told
from lab.node import Node
from lab.topology import VIP
from lab.wait import wait_until


class FleetFromFiles(FleetCase):
    size = 2
    sections: ClassVar[list[str]]  # [fleet] of each node

    @classmethod
    def start_fleet(cls) -> None:
        cls.sections = [node.config.fleet for node in cls.nodes]
        for node in cls.nodes:
            node.config.fleet = ""
        for node in cls.nodes:
            node.config.backends, node.config.tracking, node.config.health = (
                cls.lab.node.config.backends, cls.lab.node.config.tracking, cls.lab.node.config.health)
        cls.fleet.start_nodes()
        cls.fleet.routed.wait_announced()

    def test_from_files_to_a_store(self) -> None:
        """Step by step, under load: tables are the same before, after and in between, and a change then reaches all."""
        before = self.digests()
        self.assertEqual(1, len(set(before)))
        with self.served_meanwhile():
            for node, section in zip(self.nodes, self.sections):
                node.write_config(node.config.own() + f"[fleet]\n{section}\n" + node.config.shared())
                node.stop_controlplane()
                node.start_controlplane()
                wait_until(lambda: told(node).get("leader"), "it is a member", 20, alive=node.check_alive)
            self.fleet.wait_members()
            self.assertEqual(before, self.digests())
            self.nodes[0].cli("config", "apply", str(self.nodes[0].config_file))
            for node, section in zip(self.nodes, self.sections):
                node.config.fleet = section
                self.rewrite(node, node.config.render())
            self.fleet.wait_agreed()
            self.assertEqual(before, self.digests())
            self.change_something()
        self.assertEqual(1, len(self.fleet.wait_agreed()))

    def test_how_to_announce_comes_from_the_store(self) -> None:
        """[announce] and [metrics], where a node's own file has none: taken over without a route that changes, followed when they
        change, and what a data plane leaves announced is withdrawn though no file says in which table that is."""
        shared, own = self.lab.node.config.shared(), self.nodes[0].config.announce
        with self.served_meanwhile():
            self.fleet.apply(shared + '[announce]\nvia = "bird"\n[metrics]\nlisten = "127.0.0.1:9310"\n')
            for node in self.nodes:
                node.config.announce = ""
                self.rewrite(node, node.config.render())
            self.fleet.wait_agreed()
        for node in self.nodes:
            self.assertIn("linimo_bgp_session_up", node.box.run(["curl", "-sS", "http://127.0.0.1:9310/metrics"]).stdout)
        self.fleet.apply(shared + '[announce]\nvia = "bird"\nmetric = 120\n')
        for node in self.nodes:
            wait_until(lambda: "metric 120" in self.in_table(node), f"{node.config.name} announces by another metric")
            self.assertNotEqual(0, node.box.run(["curl", "-sS", "http://127.0.0.1:9310/metrics"], check=False).returncode)
        last = self.nodes[-1]
        last.stop_controlplane(signal.SIGKILL)
        last.stop_dataplane(signal.SIGKILL)
        self.assertIn(VIP[4], self.in_table(last))
        last.detach()
        self.assertNotIn(VIP[4], self.in_table(last))
        last.start_dataplane()
        last.start_controlplane()
        self.fleet.routed.wait_announced()
        for node in self.nodes:
            node.config.announce = own
            self.rewrite(node, node.config.render())
        self.fleet.routed.wait_announced()

    @staticmethod
    def in_table(node: Node) -> str:
        """The routes by which it announces."""
        return node.box.run(["ip", "route", "show", "table", "77"]).stdout
