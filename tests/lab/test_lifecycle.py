"""The daemons end and return, in good order or not: the NIC is given back, and traffic depends on neither more than it
must."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar

from case import LabCase
from lab.client import Download, Load
from lab.topology import NODE, VIP
from lab.wait import wait_until


class DataPlaneEnds(LabCase):
    """eth0's addresses and routes are what they were before the data plane took them, however it ended."""

    daemons = False
    before: ClassVar[dict[str, Any]]

    @classmethod
    def configure(cls) -> None:
        # Of every kind: a second address, a route by its own metric, one through a neighbour, one to a prefix.
        cls.lab.topology.node.run(["ip", "addr", "add", "10.0.0.12/24", "dev", "eth0"])
        cls.lab.topology.node.run(["ip", "route", "add", "198.51.100.0/24", "via", "10.0.0.1", "metric", "77"])
        cls.lab.topology.node.run(["ip", "-6", "route", "add", "2001:db8:77::/48", "via", "2001:db8::1"])
        cls.before = cls._network()
        cls.lab.start_node()

    def setUp(self) -> None:
        if not self.lab.node.dataplane:
            self.lab.node.start_dataplane()
            self.lab.node.wait_settled()

    def test_sigterm_gives_the_nic_back(self) -> None:
        self.assertNotEqual(self.before, self._network(), "the data plane has not taken the NIC: nothing is shown")
        self.assertEqual(0, self.lab.node.stop_dataplane(signal.SIGTERM))
        self.assertEqual(self.before, self._network())
        self._assert_node_answers()

    def test_sigint_gives_the_nic_back(self) -> None:
        self.assertEqual(0, self.lab.node.stop_dataplane(signal.SIGINT))
        self.assertEqual(self.before, self._network())

    def test_kill_gives_the_nic_back(self) -> None:
        self.assertEqual(-signal.SIGKILL, self.lab.node.stop_dataplane(signal.SIGKILL))
        try:
            wait_until(lambda: self._network() == self.before, "the NIC has its addresses and routes back", 5)
        except TimeoutError:
            self.assertEqual(self.before, self._network())
        self._assert_node_answers()

    def test_ends_leave_nothing_behind(self) -> None:
        """No TAP, no XDP program on the NIC, no process but the control plane's."""
        self.lab.node.stop_dataplane(signal.SIGKILL)
        node = self.lab.topology.node
        wait_until(lambda: len(node.pids()) == 1, f"only the control plane is left (of {node.pids()})", 5)
        self.assertFalse(self.lab.node.has_link("linimo0"))
        wait_until(lambda: "xdp" not in json.loads(node.run(["ip", "-j", "link", "show", "eth0"]).stdout)[0],
                   "the NIC carries no XDP program", 5)

    def test_the_host_always_has_its_addresses_at_a_start(self) -> None:
        """They are on linimo0 before they leave eth0: a socket may be bound to them at any time."""
        node = self.lab.topology.node
        self.lab.node.stop_dataplane()
        devices: dict[str, set[str]] = {address: {"eth0"} for address in NODE.values()}
        with node.entered():
            watch = subprocess.Popen(["ip", "-o", "monitor", "address"], stdout=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: self._hears_of_addresses(watch), "the monitor listens")
            self.lab.node.start_dataplane()
            self.lab.node.wait_settled()
        finally:
            watch.terminate()
            told, _ = watch.communicate(timeout=5)
        for gone, device, address in re.findall(r"^(Deleted )?\d+: (\S+)\s+inet6? ([^/ ]+)", told, re.MULTILINE):
            if address in devices:
                devices[address] = devices[address] - {device} if gone else devices[address] | {device}
                self.assertTrue(devices[address], f"{address} is nowhere: {told}")
        self.assertEqual([{"linimo0"}] * 2, list(devices.values()), told)

    def _hears_of_addresses(self, watch: subprocess.Popen[str]) -> bool:
        for verb in ("add", "del"):
            self.lab.topology.node.run(["ip", "addr", verb, "192.0.2.255/32", "dev", "lo"], check=False)
        assert watch.stdout
        return bool(select.select([watch.stdout], [], [], 0.1)[0])

    def _assert_node_answers(self) -> None:
        for address in NODE.values():
            wait_until(lambda: self.lab.client.run(["ping", "-n", "-c", "1", "-W", "1", address], check=False).returncode == 0,
                       f"{address} answers without a data plane", 5)

    @classmethod
    def _network(cls) -> dict[str, Any]:
        """Links, addresses and routes, without what the kernel makes by itself or counts."""
        node = cls.lab.topology.node
        addresses = {
            (link["ifname"], info["local"], info["prefixlen"], info["scope"])
            for link in json.loads(node.run(["ip", "-j", "addr"]).stdout) for info in link["addr_info"]
            if info["scope"] != "link"
        }
        routes = {
            (route["dst"], route.get("gateway"), route["dev"], route.get("metric"), route.get("protocol"), route.get("prefsrc"))
            for family in ("-4", "-6") for route in json.loads(node.run(["ip", "-j", family, "route"]).stdout)
            if not route["dst"].startswith("fe80:")
        }
        return {"addresses": addresses, "routes": routes}


class ControlPlaneEnds(LabCase):
    """The data plane forwards by its last generation, whatever becomes of the control plane."""

    def test_download_and_new_connections_survive_its_death_and_return(self) -> None:
        node = self.lab.node
        with (Download(self.lab.client, VIP[4], "/files/big?rate=50000000") as download,
              Load(self.lab.client, VIP[4], rate=200).in_background() as load):
            node.stop_controlplane(signal.SIGKILL)
            time.sleep(1.0)  # in which new connections are made
            node.start_controlplane()
            node.wait_settled()
            self.assertTrue(download.running, "the download was over too soon: nothing was shown")
            download.join(60)
        self.assertTrue(download.complete, download.error)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})

    def test_data_plane_that_restarts_alone_forwards_at_once(self) -> None:
        """From the snapshot that it keeps in the runtime directory."""
        node = self.lab.node
        node.stop_controlplane(signal.SIGKILL)
        node.stop_dataplane(signal.SIGKILL)
        node.start_dataplane()
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(200)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})
        node.start_controlplane()
        node.wait_settled()

    def test_the_status_says_how_packets_go(self) -> None:
        """Several at a time, if the CPU has what that takes."""
        self.assertRegex(self.lab.node.status()["engine_reason"], "; (eight packets at a time by avx(512|2)|packets one by one)$")

    def test_data_plane_that_restarts_is_given_its_tables(self) -> None:
        """The control plane reconnects by itself."""
        node = self.lab.node
        node.stop_dataplane(signal.SIGKILL)
        wait_until(lambda: not node.status()["dataplane"]["connected"], "the control plane sees it gone")
        node.start_dataplane()
        node.wait_settled()
        load = Load(self.lab.client, VIP[6], threads=2)
        load.run(200)
        self.assert_served(load)


class Rights(LabCase):
    """What a daemon may not do, whatever makes it try."""

    engine: ClassVar[str]

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.rights = None  # root's: a machine's root may not allow another user's process a core dump

    def test_no_program_that_they_start_has_more_rights(self) -> None:
        for daemon in (self.lab.node.dataplane, self.lab.node.controlplane):
            assert daemon
            self.assertIn("\nNoNewPrivs:\t1\n", Path(f"/proc/{daemon.pid}/status").read_text())

    def test_they_leave_no_core_dump(self) -> None:
        """The hash seed would be in it. Ended by SIGABRT with no limit to a dump's size, where another program leaves one."""
        node = self.lab.node
        with tempfile.TemporaryDirectory() as folder:
            other = subprocess.Popen(["sleep", "60"], cwd=folder)
            if how_it_died(other) != os.CLD_DUMPED:
                self.skipTest("no program leaves a core dump on this machine")
        assert node.controlplane and node.dataplane
        self.assertEqual(os.CLD_KILLED, how_it_died(node.controlplane))
        node.start_controlplane()
        self.assertEqual(os.CLD_KILLED, how_it_died(node.dataplane))
        node.start_dataplane()
        node.wait_settled()


class RightsDpdk(Rights):
    engine = "dpdk"


class RightsXdp(Rights):
    engine = "xdp"


del Rights  # it is no test of its own


def how_it_died(process: subprocess.Popen[bytes]) -> int:
    """By SIGABRT: os.CLD_DUMPED or os.CLD_KILLED."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.prlimit(process.pid, resource.RLIMIT_CORE, unlimited)
    except PermissionError:
        raise unittest.SkipTest("this machine's root may not allow another user's process a core dump") from None
    process.send_signal(signal.SIGABRT)
    end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.wait()
    assert end
    return end.si_code
