"""A node and a backend are drained; then the machine is switched off. What follows is in test_after_reboot.py."""

from __future__ import annotations

from pathlib import Path

from bench import BACKENDS
from bench_case import BenchCase
from lab.topology import VIP
from lab.wait import wait_until

DRAINED = BACKENDS[4][0]


class RebootCase(BenchCase):
    wire = 1

    @classmethod
    def prepare(cls) -> None:
        config = cls.lab.node.config
        config.engine = "xdp"
        config.runtime_dir, config.state_dir = Path("/run/linimo"), "/var/lib/linimo"
        config.seed_file = Path("/shared/seed")


class BeforeReboot(RebootCase):
    def test_drained(self) -> None:
        """Both are drained, and said to be."""
        node = self.lab.node
        self.lab.start()
        wait_until(lambda: self.announced() == set(VIP.values()), "the VIPs are announced")
        node.cli("backend", "drain", f"web/{DRAINED}")
        node.cli("node", "drain")
        wait_until(lambda: not self.announced(), "the node has withdrawn its VIPs", 20)
        wait_until(lambda: node.backend_states()[DRAINED] == "drained", "the backend has no flow left", 20)
