"""scripts/setup-nic on a NIC behind an IOMMU, e1000e: found, refused while the machine is reached by it, given to DPDK, again
at boot by Debian's own service, and back to the kernel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from bench import PCI, Bench
from bench_case import BenchCase

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/setup-nic"
CONF, INTERFACES = Path("/etc/dpdk/dpdk.conf"), Path("/etc/dpdk/interfaces")
PAGES = 260  # more than the guest's command line gives


class SetupNic(BenchCase):
    wire = 1
    behind_no_iommu = 5  # a virtio NIC's wire
    with_a_hash = 4

    @classmethod
    def prepare(cls) -> None:
        cls.before = [file.read_text() for file in (CONF, INTERFACES)]

    def test_1_check(self) -> None:
        """It names what there is and what is lacking. A NIC that the host keeps from the IOMMU is told from one that it does not."""
        found = self._findings(self.lab.pci)
        self.assertEqual({"iommu": "ok", "dpdk-service": "ok", "driver": "problem", "reached-by": "problem", "hugepages": "advice"},
                         {name: each["state"] for name, each in found.items() if not name.endswith("-at-boot")})
        self.assertIn("e1000e has it (as eth0)", found["driver"]["text"])
        other = Bench.pci_of(Bench.link_of(f"02:00:00:00:{self.behind_no_iommu:02x}:01"))
        self.assertIn("virtio-iommu", self._findings(other))
        spreads = Bench.link_of(f"02:00:00:00:{self.with_a_hash:02x}:01")  # not in the node's namespace
        said = subprocess.run([SCRIPT, "check", spreads], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        self.assertRegex(said, r"its hash \(toeplitz\) spreads packets over 2 of 2 queues: tcp4, tcp6, udp4, udp6 by addresses and ports")

    def test_2_reached_by(self) -> None:
        """The last NIC with an address, which the default route leaves by, stays."""
        code, said = self._run("apply", self.lab.pci)
        self.assertEqual(1, code, said)
        self.assertIn("default route leaves by eth0", said)
        self.assertIn("no other NIC than eth0 has an address", said)
        self.assertEqual("e1000e", self._driver())

    def test_3_apply(self) -> None:
        """Bound, it forwards; while it does it is not taken away."""
        code, said = self._run("apply", "--cut-me-off", "--hugepages", str(PAGES), self.lab.pci)
        self.assertEqual(0, code, said)
        self.assertEqual("vfio-pci", self._driver())
        self.lab.was_taken("e1000e")
        self.lab.start()
        self.assert_forwards(sizes=(200,))
        code, said = self._run("undo")
        self.assertEqual(1, code, said)
        self.assertIn("is in use by linimo-dataplan", said)
        self.lab.node.stop()

    def test_4_boot(self) -> None:
        """Debian's service of the package dpdk makes it so again."""
        self.lab.bind("e1000e")
        done = subprocess.run(["/lib/dpdk/dpdk-init", "start"], capture_output=True, text=True)
        self.assertEqual((0, "vfio-pci"), (done.returncode, self._driver()), done.stdout + done.stderr)
        self.assertEqual({"ok"}, {each["state"] for each in self._findings(self.lab.pci, "--hugepages", str(PAGES)).values()})

    def test_5_undo(self) -> None:
        """The kernel has it again, and Debian's files are as they were."""
        code, said = self._run("undo")
        self.assertEqual(0, code, said)
        self.assertEqual("e1000e", self._driver())
        self.assertTrue(list((PCI / "devices" / self.lab.pci / "net").iterdir()))
        self.assertEqual(self.before, [file.read_text() for file in (CONF, INTERFACES)])

    def _driver(self) -> str:
        return (PCI / "devices" / self.lab.pci / "driver").resolve().name

    def _findings(self, *arguments: str) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(self._run("check", "-o", "json", *arguments)[1])["findings"]}

    def _run(self, *arguments: str) -> tuple[int, str]:
        """In the node's namespace, where its devices and routes are."""
        done = subprocess.run(["ip", "netns", "exec", self.lab.box.name, SCRIPT, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout
