"""Nodes that have gone by a file each become a fleet, as the handbook says, and nobody who uses them notices."""

from __future__ import annotations

from typing import ClassVar

from fleet_case import FleetCase
from lab.fleet import told
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
