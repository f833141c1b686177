"""scripts/setup-nic on machines that are made up: folders that look as the kernel's do, and commands' answers. What it finds,
what it refuses, what it changes, and that undo leaves the machine as it was."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from nic.findings import ADVICE, OK, Finding, Wanted  # noqa: E402  (needs the path)
from nic.host import Host  # noqa: E402
from nic.main import judge, main  # noqa: E402

NIC, OTHER = "0000:03:00.0", "0000:04:00.0"
CONF = "# The number of 2M hugepages\n"


class Machine(Host):
    """Two nodes, an IOMMU, Debian's package dpdk, and a PCI NIC eth0 with the driver e1000e, unless a test changes that. It
    does what a kernel does as it is written to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers: dict[tuple[str, ...], Any] = {}
        self.ran: list[tuple[str, ...]] = []
        self.refuses: set[str] = set()  # drivers that do not take a device
        self.file("/proc/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n")
        self.file("/proc/cmdline", "quiet\n")
        self.file("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n\nprocessor\t: 1\n")
        for node in (0, 1):
            self.file(f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages", "0\n")
        self.file("/lib/dpdk/dpdk-init", "")
        self.file("/etc/dpdk/dpdk.conf", CONF)
        self.file("/etc/dpdk/interfaces", "# pci\t0000:04:00.0\tvfio-pci\n")
        for driver in ("e1000e", "vfio-pci", "uio_pci_generic"):
            self.path(f"/sys/bus/pci/drivers/{driver}").mkdir(parents=True)
        self.path("/sys/class/iommu/dmar0").mkdir(parents=True)
        self.path("/sys/bus/pci/devices").mkdir(parents=True)
        self.path("/sys/class/net").mkdir(parents=True)
        self.pci(NIC, group="7", node=1)
        self.netdev("eth0", NIC)

    def file(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def pci(self, address: str, group: str, node: int = 0, kind: str = "0x020000", driver: str = "e1000e") -> None:
        home = f"/sys/devices/pci0000:00/{address}"
        self.file(f"{home}/class", kind + "\n")
        self.file(f"{home}/numa_node", f"{node}\n")
        self.file(f"{home}/driver_override", "(null)\n")
        self.path(f"/sys/bus/pci/devices/{address}").symlink_to(self.path(home))
        self.path(f"/sys/kernel/iommu_groups/{group}/devices/{address}").mkdir(parents=True)
        self.path(f"{home}/iommu_group").symlink_to(self.path(f"/sys/kernel/iommu_groups/{group}"))
        self.path(f"{home}/driver").symlink_to(self.path(f"/sys/bus/pci/drivers/{driver}"))

    def netdev(self, name: str, address: str) -> None:
        home = self.path(f"/sys/devices/pci0000:00/{address}")
        (home / "net" / name).mkdir(parents=True)
        (home / "net" / name / "device").symlink_to(home)
        self.path(f"/sys/class/net/{name}").symlink_to(home / "net" / name)
        self.file(f"/sys/class/net/{name}/address", "02:00:00:00:00:01\n")

    def run(self, *command: str) -> str | None:
        self.ran.append(command)
        answer = self.answers.get(command)
        if command[:2] == ("ethtool", "-K"):
            told = self.answers[("ethtool", "--json", "-k", command[2])][0]
            for feature, state in zip(command[3::2], command[4::2]):
                told[feature]["active"] = state == "on"
            return ""
        return json.dumps(answer) if isinstance(answer, list) else answer

    def write(self, name: str, text: str) -> None:
        super().write(name, text)
        if name.endswith("/driver/unbind"):
            self.path(name).unlink()
            self.path(f"/sys/bus/pci/devices/{text}/driver").unlink()
        if name == "/sys/bus/pci/drivers_probe":
            device = self.path(f"/sys/bus/pci/devices/{text}")
            driver = (device / "driver_override").read_text().strip() or "e1000e"
            if driver not in self.refuses:
                (device / "driver").symlink_to(self.path(f"/sys/bus/pci/drivers/{driver}"))
            self.path(name).unlink()

    def driver(self, address: str = NIC) -> str:
        return self.link(f"/sys/bus/pci/devices/{address}/driver")

    def everything(self) -> dict[str, str]:
        return {str(path.relative_to(self.root)): os.readlink(path) if path.is_symlink() else path.read_text()
                for path in self.root.rglob("*") if path.is_symlink() or path.is_file()}


class SetupNic(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="linimo-nic-")
        self.addCleanup(shutil.rmtree, folder)
        self.machine = Machine(Path(folder))
        self.said = ""
        never_mind_the_disk = unittest.mock.patch("os.fsync")
        never_mind_the_disk.start()
        self.addCleanup(never_mind_the_disk.stop)

    def call(self, *arguments: str) -> int:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                return main(list(arguments), self.machine)
            except SystemExit as end:
                return int(end.code or 0)
            finally:
                self.said = said.getvalue()

    def findings(self, *nics: str) -> dict[tuple[str, str], str]:
        """The state of each, by name and NIC."""
        self.call("check", "-o", "json", *nics)
        self.found = {(each["name"], each["subject"]): each for each in json.loads(self.said)["findings"]}
        return {key: each["state"] for key, each in self.found.items()}

    # What is found

    def test_a_machine_as_installed(self) -> None:
        """All that DPDK lacks, each with what mends it; and nothing is changed by looking."""
        before = self.machine.everything()
        self.assertEqual({("hugepages", ""): "problem", ("hugepages-at-boot", ""): "advice", ("iommu", ""): "ok",
                          ("dpdk-service", ""): "ok", ("driver", NIC): "problem", ("driver-at-boot", NIC): "advice"},
                         self.findings("03:00.0"))
        self.assertIn("NUMA node 1", self.found["hugepages", ""]["text"])
        self.assertIn("e1000e has it (as eth0)", self.found["driver", NIC]["text"])
        self.assertTrue(all(each["mend"] for each in self.found.values() if each["state"] != "ok"))
        self.assertEqual(1, self.call("check", NIC))
        self.assertEqual(before, self.machine.everything())

    def test_iommu(self) -> None:
        """Off, it says how to turn it on, by processor; vfio's mode without one is no way to be content."""
        shutil.rmtree(self.machine.path("/sys/class/iommu"))
        for cpu, line, wanted in (("GenuineIntel", "quiet", "add intel_iommu=on iommu=pt"),
                                  ("GenuineIntel", "intel_iommu=on", "turn VT-d on"), ("AuthenticAMD", "quiet", "AMD-Vi"),
                                  ("GenuineIntel\nflags\t: hypervisor", "quiet", "its host has to give it an IOMMU")):
            self.machine.file("/proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {cpu}\n")
            self.machine.file("/proc/cmdline", line)
            self.assertEqual("problem", self.findings(NIC)["iommu", ""])
            self.assertIn(wanted, self.found["iommu", ""]["mend"])
        self.machine.file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
        self.assertEqual("advice", self.findings(NIC)["iommu", ""])
        self.assertIn("may write to all memory", self.found["iommu", ""]["text"])

    def test_devices_that_cannot_be_taken(self) -> None:
        """None there; no NIC; one that shares its group; one that the host keeps from the IOMMU."""
        self.assertEqual({("device", "0000:7f:00.0"): "problem"}, self.findings("7f:00.0"))
        self.machine.pci(OTHER, group="7", kind="0x010802")
        self.assertEqual({("device", OTHER): "problem"}, self.findings(OTHER))
        self.assertEqual("problem", self.findings(NIC)["iommu-group", NIC])
        self.assertIn(OTHER, self.found["iommu-group", NIC]["text"])
        features = f"/sys/bus/pci/devices/{NIC}/virtio0/features"
        for bit, wanted in (("0", "problem"), ("1", None)):
            self.machine.file(features, "1" * 33 + bit + "0" * 30 + "\n")
            self.assertEqual(wanted, self.findings(NIC).get(("virtio-iommu", NIC)))

    def test_beside_the_kernel(self) -> None:
        """mlx5 wants no binding."""
        self.machine.path("/sys/bus/pci/drivers/mlx5_core").mkdir()
        self.machine.pci(OTHER, group="8", driver="mlx5_core")
        self.assertEqual("ok", self.findings(OTHER)["driver", OTHER])
        self.assertEqual(0, self.call("apply", OTHER), self.said)
        self.assertEqual("mlx5_core", self.machine.driver(OTHER))

    def test_what_is_not_bound_needs_no_iommu(self) -> None:
        """Nor a group of its own, nor somebody who binds it at boot."""
        self.machine.path("/sys/bus/pci/drivers/mlx5_core").mkdir()
        self.machine.pci(OTHER, group="7", driver="mlx5_core")
        found = self.findings(OTHER)
        self.assertNotIn(("iommu-group", OTHER), found)
        self.assertFalse({("iommu", ""), ("dpdk-service", "")} & set(found))

    def test_files_of_others_keep_their_rights_and_bytes(self) -> None:
        """A file that is kept elsewhere stays a link, one that others may not read stays so, and no byte is lost."""
        kept = self.machine.path("/srv/dpdk.conf")
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"# caf\xe9\n")
        kept.chmod(0o640)
        file = self.machine.path("/etc/dpdk/dpdk.conf")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(kept)
        self.call("apply", NIC)
        self.assertTrue(file.is_symlink())
        self.assertTrue(kept.read_bytes().startswith(b"# caf\xe9\n"))
        self.assertIn(b"NR_2M_PAGES", kept.read_bytes())
        self.call("undo")
        self.assertEqual(b"# caf\xe9\n", kept.read_bytes())
        self.assertEqual(0o640, kept.stat().st_mode & 0o777)

    def test_handbook(self) -> None:
        """docs/operations.md has a row for each finding, and none for what there is not."""
        root = Path(__file__).resolve().parents[2]
        made = set(re.findall(r'Finding\("([a-z-]+)"', (root / "scripts/nic/findings.py").read_text()))
        [table] = re.findall(r"(?ms)^\| finding \| what it is about \|\n(.*?)\n\n", (root / "docs/operations.md").read_text())
        listed = {name for row in table.splitlines()[1:] for name in re.findall("`([a-z-]+)`", row.split("|")[1])}
        self.assertEqual(made, listed)

    # How the machine is reached

    def reached_by(self, **answers: Any) -> str:
        """Why it would be: of eth0, with what these commands say. eth1 is another NIC that has an address."""
        if not self.machine.exists(f"/sys/bus/pci/devices/{OTHER}"):
            self.machine.pci(OTHER, group="8")
            self.machine.netdev("eth1", OTHER)
        links = {"eth0": "192.0.2.10", "eth1": "198.51.100.10"} | answers.get("links", {})
        self.machine.answers = {
            ("ip", "-j", "address", "show"): [
                {"ifname": link, "addr_info": [{"local": address, "scope": "global"}]} for link, address in links.items() if address],
            ("ip", "-j", "-4", "route", "show", "default"): answers.get("defaults", []),
            ("ip", "-j", "route", "get", "203.0.113.9"): [{"dev": answers.get("answers_by", "eth1")}],
            ("ss", "-Htn", "state", "established", "( sport = :22 )"):
                "".join(f"0 0 {server}:22 203.0.113.9:5000\n" for server in answers.get("servers", []))}
        self.findings(NIC)
        return str(self.found.get(("reached-by", NIC), {}).get("text", ""))

    def test_reached_by(self) -> None:
        """ssh by its address, or whose answers leave by it; the default route; the last address; and the same of a bridge or a
        VLAN that it is in. Else it may be taken."""
        self.assertEqual("", self.reached_by())
        self.assertEqual("", self.reached_by(servers=["198.51.100.10"]))
        self.assertIn("ssh from 203.0.113.9 comes in by eth0", self.reached_by(servers=["192.0.2.10"]))
        self.assertIn("ssh", self.reached_by(servers=["[::ffff:192.0.2.10]"]))
        self.assertIn("ssh", self.reached_by(servers=["198.51.100.10"], answers_by="eth0"))
        self.assertIn("default route", self.reached_by(defaults=[{"dev": "eth0"}]))
        self.assertIn("default route", self.reached_by(defaults=[{"nexthops": [{"dev": "eth1"}, {"dev": "eth0"}]}]))
        self.assertEqual("", self.reached_by(defaults=[{"dev": "eth1"}]))
        self.assertIn("no other NIC", self.reached_by(links={"eth1": ""}))
        self.assertIn("no other NIC", self.reached_by(links={"eth1": "", "docker0": "172.17.0.1"}))
        self.machine.file("/sys/class/net/eth0/upper_br0/flags", "")
        self.machine.file("/sys/class/net/br0/upper_br0.5/flags", "")
        self.assertIn("default route leaves by br0.5", self.reached_by(defaults=[{"dev": "br0.5"}]))
        self.assertIn("ssh", self.reached_by(links={"eth0": "", "br0": "192.0.2.10"}, servers=["192.0.2.10"]))

    def test_reached_by_is_not_taken(self) -> None:
        """Not without the word; nothing is touched then, and check says so too."""
        self.reached_by(defaults=[{"dev": "eth0"}])
        before = self.machine.everything()
        self.assertEqual(1, self.call("apply", NIC))
        self.assertIn("--cut-me-off", self.said)
        self.assertIn("nothing was changed", self.said)
        self.machine.path("/run/linimo-setup-nic.lock").unlink()
        self.assertEqual(before, self.machine.everything())
        self.assertEqual(0, self.call("apply", "--cut-me-off", NIC), self.said)
        self.assertEqual("vfio-pci", self.machine.driver())

    # What is changed

    def test_apply_and_undo(self) -> None:
        """Pages on the NIC's node, the driver, and both at boot; a second apply changes nothing; then all is as it was."""
        before = self.machine.everything()
        self.assertEqual(0, self.call("apply", "--hugepages", "64", NIC), self.said)
        self.assertEqual("vfio-pci", self.machine.driver())
        after = self.machine.everything()
        pages = "sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
        self.assertEqual(("0\n", "64"), (after[pages.format(0)], after[pages.format(1)]))
        self.assertEqual(CONF + 'NR_2M_PAGES="0 64"\n', _without_marks(after["etc/dpdk/dpdk.conf"]))
        self.assertIn(f"pci\t{NIC}\tvfio-pci\n", after["etc/dpdk/interfaces"])
        self.assertEqual({"ok"}, set(self.findings("--hugepages", "64", NIC).values()))
        self.assertEqual(0, self.call("apply", "--hugepages", "64", NIC), self.said)
        self.assertEqual(after, self.machine.everything())
        self.assertEqual(0, self.call("undo"), self.said)
        self._assert_as(before)
        self.assertEqual(0, self.call("undo"))
        self.assertIn("nothing to undo", self.said)

    def _assert_as(self, before: dict[str, str]) -> None:
        now = self.machine.everything()
        for name in ("run/linimo-setup-nic.lock", f"sys/devices/pci0000:00/{NIC}/driver_override"):
            now.pop(name)
            before.pop(name, None)
        self.assertEqual({name: text.strip() for name, text in before.items()}, {name: text.strip() for name, text in now.items()})

    def test_two_nics_on_two_nodes(self) -> None:
        """One line of pages for both, one line of binding for each."""
        self.machine.pci(OTHER, group="8", node=0)
        self.assertEqual(0, self.call("apply", "--hugepages", "64", NIC), self.said)
        self.assertEqual(0, self.call("apply", "--hugepages", "64", OTHER), self.said)
        self.assertEqual({"ok"}, set(self.findings("--hugepages", "64", NIC, OTHER).values()))
        after = self.machine.everything()
        self.assertEqual(CONF + 'NR_2M_PAGES="64 64"\n', _without_marks(after["etc/dpdk/dpdk.conf"]))
        for nic in (NIC, OTHER):
            self.assertEqual(1, after["etc/dpdk/interfaces"].count(f"\npci\t{nic}\tvfio-pci\n"))

    def test_others_changes_stay(self) -> None:
        """What was edited after apply is not undone with it."""
        self.assertEqual(0, self.call("apply", NIC), self.said)
        with open(self.machine.path("/etc/dpdk/dpdk.conf"), "a") as file:
            file.write("NR_1G_PAGES=1\n")
        self.assertEqual(0, self.call("undo"), self.said)
        self.assertEqual(CONF + "NR_1G_PAGES=1\n", self.machine.path("/etc/dpdk/dpdk.conf").read_text())

    def test_a_driver_that_does_not_take_it(self) -> None:
        """The kernel's driver has it again, and it is said."""
        self.machine.refuses.add("vfio-pci")
        before = self.machine.everything()
        with unittest.mock.patch("nic.setup._BOUND_WITHIN_S", 0.0):
            self.assertEqual(1, self.call("apply", NIC))
        self.assertIn("instead of vfio-pci", self.said)
        self.assertEqual("e1000e", self.machine.driver())
        self.assertEqual(0, self.call("undo"), self.said)
        self._assert_as(before)

    def test_in_use(self) -> None:
        """A NIC that a data plane has is not taken from it: the kernel would wait for its end."""
        self.assertEqual(0, self.call("apply", NIC), self.said)
        self.machine.file("/proc/4711/comm", "linimo-dataplan\n")
        self.machine.path("/proc/4711/fd").mkdir()
        self.machine.path("/proc/4711/fd/5").symlink_to("/dev/vfio/7")
        before = self.machine.everything()
        self.assertEqual(1, self.call("undo"))
        self.assertEqual(before, self.machine.everything())
        self.assertIn("linimo-dataplan (4711)", self.said)
        self.assertEqual("vfio-pci", self.machine.driver())
        shutil.rmtree(self.machine.path("/proc/4711"))
        self.assertEqual(0, self.call("undo"), self.said)
        self.assertEqual("e1000e", self.machine.driver())

    def test_without_iommu(self) -> None:
        """Refused; by uio_pci_generic only for who asks for that."""
        shutil.rmtree(self.machine.path("/sys/class/iommu"))
        self.assertEqual(1, self.call("apply", NIC))
        self.assertEqual("e1000e", self.machine.driver())
        self.assertEqual(0, self.call("apply", "--driver", "uio_pci_generic", NIC), self.said)
        self.assertEqual("uio_pci_generic", self.machine.driver())
        self.assertIn(f"pci\t{NIC}\tuio_pci_generic", self.machine.read("/etc/dpdk/interfaces"))

    # A NIC that the kernel keeps

    def test_offloads(self) -> None:
        """Those that join frames go, also after a reboot; what cannot be changed is left."""
        def told(**on: bool) -> list[Any]:
            return [{"ifname": "eth0"} | {name.replace("_", "-"): {"active": active, "fixed": False} for name, active in on.items()}]

        self.machine.answers = {("ethtool", "--json", "-k", "eth0"):
                                told(large_receive_offload=True, generic_receive_offload=True, rx_checksumming=True),
                                ("ethtool", "-l", "eth0"): "Pre-set maximums:\nRX:\t\tn/a\nCombined:\t4\n"
                                "Current hardware settings:\nRX:\t\tn/a\nCombined:\t1\n",
                                ("ethtool", "-x", "eth0"): "RX flow hash indirection table:\n    0:      0     0     0     0\n"}
        self.assertEqual({("driver", "eth0"): "ok", ("offloads", "eth0"): "problem", ("queues", "eth0"): "advice"},
                         self.findings("eth0"))
        before = self.machine.everything()
        self.assertEqual(0, self.call("apply", "eth0"), self.said)
        self.assertIn(("ethtool", "-K", "eth0", "large-receive-offload", "off"), self.machine.ran)
        self.assertIn('ATTR{address}=="02:00:00:00:00:01", RUN+="/usr/sbin/ethtool -K $name large-receive-offload off"',
                      self.machine.read("/etc/udev/rules.d/70-linimo-nic.rules"))
        self.assertEqual("ok", self.findings("eth0")["offloads", "eth0"])
        self.assertEqual(CONF, self.machine.path("/etc/dpdk/dpdk.conf").read_text(), "no pages for engine xdp")
        self.assertEqual(0, self.call("undo"), self.said)
        self.assertIn(("ethtool", "-K", "eth0", "large-receive-offload", "on"), self.machine.ran)
        self.assertEqual(before, {name: text for name, text in self.machine.everything().items() if not name.startswith("run/")})

    def test_hash(self) -> None:
        """By what it chooses a queue, and for whom that is too coarse."""
        both = "IP SA\nIP DA\nL4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n"
        table = "RX flow hash indirection table for eth0 with 2 RX ring(s):\n    0:      0     1     0     1\nRSS hash key:\n6d:5a\n" \
                "RSS hash function:\n    toeplitz: on\n    xor: off\n    crc32: off\n"

        def told(hashed: str = table, **fields: str) -> Finding:
            self.machine.answers = {("ethtool", "-l", "eth0"): "Combined:\t2\nCombined:\t2\n", ("ethtool", "-x", "eth0"): hashed} | {
                ("ethtool", "-n", "eth0", "rx-flow-hash", kind): f"{kind} flows use these fields for computing Hash flow key:\n{said}\n"
                for kind, said in fields.items()}
            [found] = [finding for finding in judge(self.machine, ["eth0"], Wanted()) if finding.name == "rss"]
            return found

        fine = told(tcp4=both, tcp6=both, udp4=both, udp6=both)
        self.assertEqual((OK, "its hash (toeplitz) spreads packets over 2 of 2 queues: tcp4, tcp6, udp4, udp6 by addresses and ports"),
                         (fine.state, fine.text))
        coarse = told(tcp4=both, tcp6=both, udp4="IP SA\nIP DA\n", udp6="None")
        self.assertEqual((ADVICE, "its hash (toeplitz) spreads packets over 2 of 2 queues: tcp4, tcp6 by addresses and ports; udp4 by addresses "
                          "alone; udp6 by nothing. All that one client sends of udp4, udp6 comes to one queue, and one CPU",
                          "ethtool -N eth0 rx-flow-hash udp4 sdfn && ethtool -N eth0 rx-flow-hash udp6 sdfn"),
                         (coarse.state, coarse.text, coarse.mend))
        narrow = told(table.replace("1", "0"), tcp4=both)
        self.assertEqual((ADVICE, "ethtool -X eth0 default"), (narrow.state, narrow.mend))
        self.assertIn("over 1 of 2 queues: tcp4 by addresses and ports", narrow.text)
        self.assertEqual(OK, told("Operation not supported\n").state)

    def test_veth(self) -> None:
        """Its other end, if it is here, finishes its checksums."""
        for name, own, other in (("lin0", "5", "6"), ("far0", "6", "5"), ("odd0", "9", "5")):
            self.machine.file(f"/sys/class/net/{name}/ifindex", own)
            self.machine.file(f"/sys/class/net/{name}/iflink", other)
        self.machine.answers = {("ethtool", "--json", "-k", "far0"): [
            {"ifname": "far0", "tx-checksum-ip-generic": {"active": True, "fixed": False},
             "tx-vlan-hw-insert": {"active": True, "fixed": True}}]}
        self.assertEqual("problem", self.findings("lin0")["peer-offloads", "lin0"])
        self.assertEqual(0, self.call("apply", "lin0"), self.said)
        self.assertNotIn(("peer-offloads", "lin0"), self.findings("lin0"))

    def test_interrupts(self) -> None:
        """All on one CPU: spread, and put back; not where irqbalance looks after them."""
        for irq in ("40", "41"):
            self.machine.file(f"/sys/bus/pci/devices/{NIC}/msi_irqs/{irq}", "msix\n")
            self.machine.file(f"/proc/irq/{irq}/smp_affinity_list", "0\n")
        self.assertEqual("advice", self.findings("eth0")["irqs", "eth0"])
        self.assertEqual(0, self.call("apply", "eth0"), self.said)
        self.assertEqual(["0", "1"], [self.machine.read(f"/proc/irq/{irq}/smp_affinity_list") for irq in ("40", "41")])
        self.assertEqual(0, self.call("undo"), self.said)
        self.assertEqual(["0", "0"], [self.machine.read(f"/proc/irq/{irq}/smp_affinity_list") for irq in ("40", "41")])
        self.assertEqual(0, self.call("apply", "eth0"), self.said)
        self.machine.file("/proc/sys/kernel/random/boot_id", "another\n")
        self.assertEqual(0, self.call("undo"), self.said)
        self.assertEqual(["0", "1"], [self.machine.read(f"/proc/irq/{irq}/smp_affinity_list") for irq in ("40", "41")])
        self.machine.file("/proc/77/comm", "irqbalance\n")
        self.assertNotIn(("irqs", "eth0"), self.findings("eth0"))

    # The command line

    def test_configured(self) -> None:
        """Without a NIC those of the configuration; without that it says so."""
        self.assertEqual(2, self.call("check"))
        self.machine.file("/etc/linimo/linimo.toml", f'[node]\ninterfaces = ["{NIC}", "net_memif0"]\n')
        self.assertIn(("driver", NIC), self.findings())
        self.machine.file("/etc/linimo/linimo.toml", "[node\n")
        self.assertEqual(1, self.call("check"))

    def test_usage(self) -> None:
        self.assertEqual(0, self.call("--help"))
        for wrong in ((), ("bind",), ("check", "--hugepages", "0", NIC), ("apply", "--driver", "e1000e", NIC)):
            self.assertEqual(2, self.call(*wrong), wrong)

    def test_state_of_somebody_else(self) -> None:
        """Damaged, or not root's, it is not followed."""
        self.machine.file("/var/lib/linimo-setup-nic/nic.json", "{")
        self.assertEqual(1, self.call("undo"))
        self.assertIn("damaged", self.said)
        self.machine.path("/var/lib/linimo-setup-nic/nic.json").unlink()
        self.machine.path("/var/lib/linimo-setup-nic/nic.json").symlink_to("/dev/null")
        self.assertEqual(1, self.call("undo"))
        self.assertIn("not root's", self.said)


def _without_marks(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if "what linimo-setup-nic wrote" not in line)


if __name__ == "__main__":
    unittest.main()
