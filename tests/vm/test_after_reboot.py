"""The machine of test_before_reboot.py after a reboot: what an operator took out of service stays out of it."""

from __future__ import annotations

from bench import BACKENDS
from lab.topology import VIP
from lab.wait import wait_until
from test_before_reboot import DRAINED, RebootCase


class AfterReboot(RebootCase):
    def test_still_drained(self) -> None:
        """The node announces nothing and the backend gets no new flow, until they are undrained."""
        node = self.lab.node
        node.config.states = {address: "drained" if address == DRAINED else "up" for address in BACKENDS[4]}
        self.lab.start()
        self.assertTrue(node.status()["health_known"])
        self.assertIn(node.status()["announce"]["state"], ("draining", "drained"))
        self.assertEqual(set(), self.announced())
        self.assertEqual(set(BACKENDS[4]) - {DRAINED}, set(self.chosen(20000, flows=100).values()))
        node.cli("backend", "undrain", f"web/{DRAINED}")
        node.cli("node", "undrain")
        wait_until(lambda: self.announced() == set(VIP.values()), "the VIPs are announced")
        wait_until(lambda: node.up_to_date() and node.backend_states()[DRAINED] == "up", "the backend is back")
        self.assertEqual(set(BACKENDS[4]), set(self.chosen(21000, flows=100).values()))
