"""NICs as PCI devices, behind an IOMMU and bound to vfio-pci: each of DPDK's drivers that QEMU has a device for does all
that a node needs. And starts that cannot be, of which each says why."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from typing import Any, ClassVar

from bench import BACKENDS, BUILD, FOLDER, PORTS, no_hugepages
from bench_case import BenchCase
from frames import ACK
from lab.handover import PHASES, VICTIMS, KilledHandover
from lab.node import Node
from lab.topology import NODE, VIP
from lab.wait import wait_until

LONGER, JUMBO = 1600, 9000  # MTUs
FORWARDED, REFUSED = PORTS["ipip", 4], PORTS["ipip", 4] + 1  # a service's port, and nobody's
HAND_OVER_S = 5.0  # in one that takes longer VIPs are withdrawn


class Driver:
    class Case(BenchCase):
        slow: ClassVar[bool] = False  # may take longer than a hand-over may

        @classmethod
        def prepare(cls) -> None:
            cls.lab.take_pci()
            cls.lab.start()

        def test_1_forwards(self) -> None:
            """To the byte, in every encapsulation and family; new flows are all tracked. Fragments, and "too big"."""
            self.assert_forwards()
            self.assert_all_counted()
            self.assert_fragments_stay_together()
            self.assert_says_too_big()

        def test_2_host_traffic(self) -> None:
            """What is for the node itself goes by linimo0."""
            self.assert_host_is_reached()

        def test_3_carrier(self) -> None:
            """A cable that is pulled takes the VIPs away, until it is plugged in again."""
            self.assert_withdrawn_without_carrier()
            self.assert_forwards(sizes=(200,))

        def test_4_restarts(self) -> None:
            """After SIGTERM and at once after SIGKILL: the device is taken again, and so are the flows."""
            flows = self.flows_elsewhere(21000, BACKENDS[4][0])
            for sig, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
                self.assertEqual(code, self.lab.node.stop_dataplane(sig))
                self.lab.start()
                self.assert_forwards(sizes=(200,))
                self.assertEqual(flows, self.chosen(21000, ACK))

        def test_5_vlan(self) -> None:
            """A VLAN device on linimo0 gets its frames: the NIC does not filter them out."""
            self.assert_vlan_is_reached()

        def test_5_another_mac_address(self) -> None:
            """The port takes the one that linimo0 gets: its neighbours hear of it, and what they send to it is forwarded."""
            own, other = self.lab.mac, "02:00:00:00:77:03"
            for mac in (other, own):
                begun = len(self.lab.log())
                self.lab.box.run(["ip", "link", "set", "linimo0", "address", mac])
                self.lab.mac = mac
                self.lab.peer.run(["ip", "neigh", "flush", "all"])
                wait_until(lambda: "linimo0 has another MAC address, and so has" in self.lab.log()[begun:], "the port follows")
                wait_until(lambda: self.lab.ping(NODE[4], count=1), "the node answers", 10)
                self.lab.wait_ways()
                self.assert_forwards(sizes=(200,))

        def test_6_mtu(self) -> None:
            """The port has linimo0's MTU, as far as its buffers go. More is not followed, and said to be so."""
            self.lab.peer.run(["ip", "link", "set", "eth0", "mtu", str(JUMBO)])
            self._set_mtu(LONGER)
            wait_until(lambda: self.lab.ping(NODE[4], count=1, size=LONGER - 28), "the port takes longer frames")
            self.assertNotIn("mtu-followed", self.failing())
            self._set_mtu(JUMBO)
            self.assertIn(f"set [node] mtu = {JUMBO}", self.wait_failing("mtu-followed")["mend"])
            self._set_mtu(1500)
            wait_until(lambda: "mtu-followed" not in self.failing(), "it is followed")

        def test_7_jumbo(self) -> None:
            """Frames of 9000 bytes, to the host and to VIPs."""
            self.lab.node.stop_dataplane()
            self.lab.node.config.mtu = JUMBO
            self.lab.start()
            self.lab.peer.run(["ip", "link", "set", "eth0", "mtu", str(JUMBO)])
            for family, headers in ((4, 28), (6, 48)):
                self.assertEqual(2, self.lab.ping(NODE[family], count=2, size=JUMBO - headers))
            self.assert_forwards(sizes=(1, 2000, 4000, JUMBO - 100))

        def test_8_hands_over(self) -> None:
            """A new process takes the NIC from the one that runs, and its flows: announced all the time, silent for a moment."""
            bench, before = self.lab, self.lab.node.dataplane.pid
            self.lab.favour("")
            flows = self.flows_elsewhere(22000, BACKENDS[4][1])
            with self.watched() as seen:
                done = bench.node.upgrade()
                if "was not ready within" in done.stderr:  # the emulated CPU was busy with another guest: the old one forwards on
                    done = bench.node.upgrade()
                if self.slow and done.returncode != 0:
                    wait_until(lambda: "linimo0" in bench.box.run(["ip", "link"]).stdout, "the old one starts anew", 20)
                    bench.start()
                bench.node.wait_settled(timeout=20)
            if self.slow and done.returncode != 0:
                self.assertIn("did not forward within 5 s; the data plane before starts anew", done.stderr)
                return self.assert_forwards(sizes=(200,))
            self.assertEqual(0, done.returncode, done.stderr)
            print(f"    {type(self).__name__}: {done.stderr.strip()}; the longest silence {seen.longest_silence():.3f} s", file=sys.stderr)
            self.assertNotEqual(before, bench.node.dataplane.pid)
            self.assertEqual(flows, self.chosen(22000, ACK))
            if not self.slow:
                self.assertEqual(([], set(VIP.values())), (seen.withdrawn, self.announced()))
                self.assertLess(seen.longest_silence(), HAND_OVER_S)
            bench.wait_ways()
            self.assert_forwards(sizes=(200,))
            self.assert_host_is_reached()

        def test_9_back_with_the_kernel(self) -> None:
            """Its own driver has it again, and it works."""
            self.lab.give_back()
            wait_until(lambda: self.lab.ping(NODE[4], count=1), "the kernel answers by eth0", 20)

        def _set_mtu(self, mtu: int) -> None:
            self.lab.box.run(["ip", "link", "set", "linimo0", "mtu", str(mtu)])


class E1000e(Driver.Case):
    wire = 1

    def test_8_taken_already(self) -> None:
        """A second data plane on the same device is told who is in its way."""
        bench = self.lab
        second = Node(bench.box, FOLDER / "second", BUILD)
        second.config = dataclasses.replace(bench.node.config, runtime_dir=FOLDER / "second/run")
        second.prepare()
        second.spawn_dataplane()
        assert second.dataplane
        self.assertEqual(1, second.dataplane.wait(30))
        self.assertIn(f"another process has {bench.pci}", second.logs())


class E1000(Driver.Case):
    wire = 2
    slow = True  # DPDK's driver waits for it, and then it negotiates


class Vmxnet3(Driver.Case):
    wire = 3

    def test_8_pktgen(self) -> None:
        """Every packet that a generator sends is counted, by what became of it; the forwarded ones come back to it."""
        before, count = self.lab.node.status(), 6000
        report = self.generate(count, FORWARDED, REFUSED, rate=4000)  # which the other end's NIC keeps up with, too
        self.assertEqual(count, report["sent"])
        wait_until(lambda: self._became(before)["no_service"] >= count // 2, "the last is counted", 5)
        self.assertEqual({"forwarded": count // 2, "no_service": count // 2, "receive_lost": 0, "transmit_lost": 0},
                         {name: self._became(before)[name] for name in
                          ("forwarded", "no_service", "receive_lost", "transmit_lost")})
        self.assertEqual(count // 2, report["came_back"], report)

    def test_8_what_the_nic_loses(self) -> None:
        """Packets for which the NIC has no buffer, since nobody takes them, are counted too, and a condition tells of them."""
        before, count = self.lab.node.status(), 10000
        self.lab.node.dataplane.send_signal(signal.SIGSTOP)
        try:
            report = self.generate(count, FORWARDED)
        finally:
            self.lab.node.dataplane.send_signal(signal.SIGCONT)
        wait_until(lambda: (became := self._became(before))["forwarded"] + became["receive_lost"] == report["sent"],
                   f"all of {report} are counted", 10)
        self.assertEqual(count, report["sent"])
        self.assertGreater(self._became(before)["receive_lost"], 0)
        self.assertRegex(self.lab.node.page("/metrics"), r'linimo_lost_frames_total\{direction="receive"\} [1-9]')

    def _became(self, before: dict[str, Any]) -> dict[str, int]:
        now = self.lab.node.status()
        lost = {name: now[name] - before[name] for name in ("receive_lost", "transmit_lost")}
        return lost | {name: count - before["outcomes"][name] for name, count in now["outcomes"].items()}


class Virtio(Driver.Case):
    wire = 4

    def test_8_whoever_is_killed_in_a_hand_over(self) -> None:
        """In each phase: one of the two is left and forwards, or the device is free, so that the next start has it."""
        bench, killing = self.lab, KilledHandover(self.lab.node)
        for phase in PHASES:
            for victim in VICTIMS:
                left = killing.kill_in(phase, victim)
                if left == "nobody":
                    bench.node.dataplane = None
                wait_until(lambda: self._has_tap() == (left != "nobody"), f"{phase}, {victim}: linimo0 is there or not", 30)
                bench.start()
                self.assert_forwards(sizes=(200,))
                print(f"    {phase}, the {victim} one killed: {left}", file=sys.stderr)

    def _has_tap(self) -> bool:
        return "linimo0" in self.lab.box.run(["ip", "link"]).stdout


class VirtioSpreads(BenchCase):
    """Two workers on a NIC whose hash spreads flows over two queues, by a key that no other node has."""
    wire = 4

    @classmethod
    def prepare(cls) -> None:
        cls.lab.take_pci()
        cls.lab.node.config.workers = 2
        cls.lab.start()

    def test_1_forwards(self) -> None:
        """Both have packets; no flow is in two tables."""
        before = self.lab.node.status()
        self.assert_all_counted()
        after = self.lab.node.status()
        self.assertEqual(200, after["flows"]["tracked"] - before["flows"]["tracked"])
        shares = [now["forwarded"] - then["forwarded"] for then, now in zip(before["workers"], after["workers"])][:2]
        self.assertGreater(min(shares), 0, shares)
        self.assertNotIn("has no RSS", self.lab.log())
        self.assert_forwards(sizes=(200,))

    def test_2_restarts_have_the_same_key(self) -> None:
        """Flows come to the worker that knows them. By another key they would not: then tables begin empty."""
        node = self.lab.node
        flows, workers = self.flows_elsewhere(21000, BACKENDS[4][0]), self._workers_of(22000)
        node.stop_dataplane()
        self.lab.start()
        self.assertEqual(flows, self.chosen(21000, ACK))
        self.assertEqual(workers, self._workers_of(22000))
        node.stop_dataplane()
        (node.config.runtime_dir / "rss-key").unlink()
        begun = len(self.lab.log())
        self.lab.start()
        self.assertNotEqual(workers, self._workers_of(22000))
        self.assertIn("RSS keys are others", self.lab.log()[begun:])

    def _workers_of(self, first_port: int, flows: int = 16) -> list[int]:
        """To which each flow comes."""
        found = []
        for port in range(first_port, first_port + flows):
            before = self.lab.node.status()["workers"]
            self.assertEqual(1, len(self.chosen(port, flows=1)))
            wait_until(lambda: self._grown(before), "it is counted", 5)
            found.append(self._grown(before)[0])
        return found

    def _grown(self, before: list[dict[str, int]]) -> list[int]:
        return [number for number, (then, now) in enumerate(zip(before, self.lab.node.status()["workers"]))
                if now["forwarded"] > then["forwarded"]]


class NoHugepages(BenchCase):
    wire = 3

    def test_it_forwards(self) -> None:
        """Behind an IOMMU it works without them, more slowly, and says so; and keeps its flows on the tmpfs at /run."""
        with no_hugepages():
            self.lab.take_pci()
            self.lab.start()
            self.assert_forwards(sizes=(200,))
            self.assertIn("no hugepages", self.lab.log())
            flows = self.flows_elsewhere(21000, BACKENDS[4][0])
            self.assertEqual(-signal.SIGKILL, self.lab.node.stop_dataplane(signal.SIGKILL))
            self.lab.start()
            self.assertEqual(flows, self.chosen(21000, ACK))
            self.lab.node.stop()


class Starts(BenchCase):
    """A data plane that does not start says in one line why, and what to do."""
    wire = 5  # its device does not go through the IOMMU

    def _refused_with(self, interface: str) -> str:
        self.lab.node.config.interface, self.lab.node.config.engine = interface, "dpdk"
        return self.refused()

    def test_1_addresses(self) -> None:
        """A device that is not there, one that is no NIC, one that the kernel has, one that nobody has: each by its own
        line. An address without domain is understood."""
        self.assertIn("there is no PCI device 0000:7f:00.0", self._refused_with("0000:7f:00.0"))
        self.assertIn("0000:00:00.0 is no NIC", self._refused_with("00:00.0"))
        self.assertIn(f"the kernel's driver virtio-pci has {self.lab.pci}",
                      self._refused_with(self.lab.pci.removeprefix("0000:")))
        self.lab.unbind()
        self.assertIn(f"no driver is bound to {self.lab.pci}", self._refused_with(self.lab.pci))

    def test_2_device_that_does_not_answer(self) -> None:
        """DPDK waits for it for ever: that is said after ten seconds, and SIGTERM ends it at any time."""
        self.lab.take_pci()
        node = self.lab.node
        node.prepare()
        before = len(self.lab.log())  # a slow start of the test before may have said the same
        node.spawn_dataplane()
        said = f"it waits for {self.lab.pci} to answer"
        wait_until(lambda: said in self.lab.log()[before:], "the start says what it waits for", 25,
                   alive=node.check_alive)
        begun = time.monotonic()
        self.assertEqual(0, node.stop_dataplane())
        self.assertLess(time.monotonic() - begun, 3)
