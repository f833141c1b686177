"""What the data plane finds when it starts: it makes do with what it can, and says what it cannot before it touches
anything."""

from __future__ import annotations

from pathlib import Path

from case import LabCase
from lab.client import Load
from lab.topology import VIP

RESERVED = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


class DataPlaneStarts(LabCase):
    daemons = False
    alone = True  # hugepages belong to the machine

    def test_without_hugepages(self) -> None:
        """It says that there are none, and forwards all the same."""
        before = RESERVED.read_text()
        self.addCleanup(RESERVED.write_text, before)
        RESERVED.write_text("0")
        self.addCleanup(self.lab.node.stop)
        self.lab.node.start()
        self.assertIn("no hugepages", self.lab.node.logs())
        load = Load(self.lab.client, VIP[4])
        load.run(300)
        self.assert_served(load)

    def test_more_workers_than_queues(self) -> None:
        """Refused with both numbers and what to do; the interface is as it was."""
        self._assert_refused("workers", 2, "eth0 has 1 receive queue(s), fewer than the 2 workers")

    def test_interface_that_is_not_there(self) -> None:
        self._assert_refused("interface", "eth7", "there is no interface eth7")

    def _assert_refused(self, field: str, value: object, reason: str) -> None:
        node = self.lab.node
        self.addCleanup(setattr, node.config, field, getattr(node.config, field))
        setattr(node.config, field, value)
        node.prepare()
        addresses = self._addresses()
        result = node.box.run([str(node.dataplane_program), "--config", str(node.config_file)], check=False)
        self.assertEqual(1, result.returncode, result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertEqual(addresses, self._addresses())
        self.assertFalse(node.has_link("linimo0"))

    def _addresses(self) -> str:
        return self.lab.node.box.run(["ip", "-brief", "address", "show", "dev", "eth0"]).stdout
