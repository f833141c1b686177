"""NICs that the kernel has, with its own drivers, and what both engines make of them. No IOMMU."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench import PEER, no_hugepages, pool
from bench_case import BenchCase
from lab.topology import NODE, VIP
from lab.wait import wait_until

VLAN = 100


class VirtioXdp(BenchCase):
    """virtio_net with four queue pairs for two processors: attaching a program makes it use more queues than before."""
    wire = 1

    @classmethod
    def prepare(cls) -> None:
        cls.lab.node.config.engine = "xdp"

    def test_1_as_the_driver_has_it(self) -> None:
        """A plain start: every new flow is tracked, every packet counted, every ping answered."""
        self._start_and_look()
        self.assert_forwards()
        self.assert_fragments_stay_together()
        self.assert_says_too_big()

    def test_2_carrier(self) -> None:
        """A cable that is pulled takes the VIPs away, until it is plugged in again."""
        self.lab.start()
        self.assert_withdrawn_without_carrier()
        self.assert_all_counted()

    def test_3_checksums(self) -> None:
        """What a virtual peer leaves to its NIC is finished in what is forwarded."""
        self.lab.start()
        self.assert_checksums_finished()

    def test_4_mounts_of_its_own(self) -> None:
        """Started where its mounts end with it: forwarding outlives it, and is taken over."""
        node = self.lab.node
        node.stop()
        node.dataplane_wrapper = ["unshare", "--mount", "--propagation", "private", "--"]
        try:
            self.lab.start()
            node.stop_dataplane(9)
            self.assert_forwards()
        finally:
            node.dataplane_wrapper = []
        self.lab.start()
        self.assertIn("taken over as it was", self.lab.log())
        self.assert_all_counted()

    def test_5_one_queue(self) -> None:
        """The same after `ethtool -L`."""
        self._set_queues(1)
        self._start_and_look()

    def test_6_more_queues_than_processors(self) -> None:
        """None is left for what XDP sends: the driver would crash the kernel. So generic mode, and the way out of it."""
        self._set_queues(4)
        self._start_and_look()
        self.assertIn("`ethtool -L eth0 combined 2` first", self.lab.log())
        self._set_queues(2)

    def _set_queues(self, count: int) -> None:
        self.lab.node.stop()
        self.lab.box.run(["ethtool", "-L", "eth0", "combined", str(count)])

    def _start_and_look(self) -> None:
        self.lab.start()
        self.assert_all_counted()
        for address in (*VIP.values(), *NODE.values()):
            self.assertEqual(6, self.lab.ping(address, count=6), address)


class VirtioAfXdp(BenchCase):
    """The same NIC, taken by DPDK through AF_XDP."""
    wire = 1

    def test_1_every_queue_is_taken(self) -> None:
        """Those too that the driver adds: every packet of every flow is forwarded and counted. The host is reached."""
        self.lab.start()
        for _ in range(2):
            self.assert_all_counted()
        self.assert_forwards()
        self.assert_fragments_stay_together()
        self.assert_says_too_big()
        self.assert_host_is_reached()

    def test_2_carrier(self) -> None:
        """As above."""
        self.lab.start()
        self.assert_withdrawn_without_carrier()
        self.assert_forwards()

    def test_3_vlan(self) -> None:
        """A VLAN device on linimo0 gets its frames: the NIC does not filter them out."""
        self.lab.start()
        self.assert_vlan_is_reached()

    def test_4_checksums(self) -> None:
        """As above."""
        self.lab.start()
        self.assert_checksums_finished()


class Vlan(BenchCase):
    """A VLAN device on a NIC whose driver takes tags out of frames, and has no native XDP."""
    wire = 2

    @classmethod
    def prepare(cls) -> None:
        for box, own, gateways in ((cls.lab.box, NODE, PEER), (cls.lab.peer, PEER, None)):
            box.run(["ip", "link", "add", "link", "eth0", "name", "tagged", "type", "vlan", "id", str(VLAN)])
            box.run(["ip", "addr", "flush", "dev", "eth0"])
            box.run(["ip", "link", "set", "tagged", "up"])
            cls.lab.address(box, "tagged", own, gateways)
        for vip in VIP.values():
            cls.lab.peer.run(["ip", "route", "replace", vip, "via", NODE[6 if ":" in vip else 4]])

    def test_1_xdp_keeps_tags(self) -> None:
        """Engine auto takes xdp and says why; the tags' offload is off, and all that is sent has the tag."""
        self.lab.box.run(["ethtool", "-K", "eth0", "rxvlan", "on"])
        self.lab.node.config.engine = "auto"
        self.lab.start()
        status = self.lab.node.status()
        self.assertEqual("xdp", status["engine"])
        self.assertIn("e1000e has no native XDP", status["engine_reason"])
        self.assertIn("rx-vlan-offload: off", self.lab.box.run(["ethtool", "-k", "eth0"]).stdout)
        self.assert_forwards(vlan=VLAN)
        for address in (*VIP.values(), *NODE.values()):
            self.assertEqual(2, self.lab.ping(address, count=2), address)
        self.lab.node.stop()

    def test_2_dpdk_would_silence_it(self) -> None:
        """The start names the device and refuses, and leaves everything as it was."""
        self.lab.node.config.engine = "dpdk"
        self.assertIn("eth0: tagged (vlan) would get no packets while DPDK has eth0", self.refused())
        self.assertEqual(2, self.lab.ping(NODE[4], count=2))


class Uio(BenchCase):
    """A PCI device without an IOMMU, bound to uio_pci_generic: DPDK takes physical addresses."""
    wire = 2

    @classmethod
    def prepare(cls) -> None:
        cls.lab.take_pci("uio_pci_generic")

    def test_1_no_hugepages(self) -> None:
        """Memory without them has no physical addresses that last: the start says so."""
        with no_hugepages():
            self.assertIn("which only hugepages have; `sysctl vm.nr_hugepages=512`", self.refused())

    def test_2_forwards(self) -> None:
        """Every tunnel to the byte, and host traffic."""
        self.lab.start()
        self.assert_forwards()
        self.assert_host_is_reached()


class UioQueues(BenchCase):
    """Two workers on a device with several queues and no RSS: the device spreads packets as it likes, all are served."""
    wire = 1

    def test_it_forwards(self) -> None:
        """The start says that there is no RSS."""
        self.lab.take_pci("uio_pci_generic")
        self.lab.node.config.workers = 2
        self.lab.start()
        self.assertIn("has no RSS", self.lab.log())
        self.assert_all_counted()
        self.assert_forwards()


class Neighbours(BenchCase):
    """More backends on the node's own segment than the kernel keeps neighbours."""
    wire = 1
    backends = 1500

    def test_table_that_is_full(self) -> None:
        """Told with the command that mends it; the command does."""
        bench = self.lab
        addresses = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(self.backends)]
        bench.peer.run(["ip", "route", "add", "local", "10.1.0.0/16", "dev", "lo"])  # answers for all of them
        bench.box.run(["ip", "route", "add", "10.1.0.0/16", "dev", "eth0"])
        bench.node.config.engine = "xdp"
        bench.node.config.pools = pool("web", addresses, 80).replace("table_size = 1021\n", "")
        bench.node.config.states = dict.fromkeys(addresses, "up")
        bench.node.prepare()
        bench.node.start_dataplane()
        bench.node.start_controlplane()
        bench.node.wait_settled(timeout=40)
        mend = self.wait_failing("neighbour-table", 30)["mend"]
        self.assertRegex(mend, r"^sysctl net\.ipv4\.neigh\.default\.gc_thresh3=\d+$")
        self.assertGreater(self._without_way(), 0)
        self.assertIn("next-hop", self.failing())
        before = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").read_text()
        try:
            subprocess.run(mend.split(), check=True)
            wait_until(lambda: self._without_way() == 0, "every backend has a way", 30)
            wait_until(lambda: not {"neighbour-table", "next-hop"} & set(self.failing()), "the conditions hold", 15)
        finally:
            Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").write_text(before)

    def _without_way(self) -> int:
        page = self.lab.node.page("/metrics").splitlines()
        [value] = [line.split()[-1] for line in page if line.startswith("linimo_backends_without_way")]
        return int(float(value))
