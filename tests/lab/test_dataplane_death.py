"""The data plane is killed: the kernel has its NIC back and nothing is announced any more. Started again it forwards at
once, alone by what it kept, and by the newest as soon as there is a control plane."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

from case import LabCase
from lab.client import ConnectionBroken, Load, fetch
from lab.topology import NODE, VIP
from lab.wait import wait_until
from seam import Controller, Welcome

GIVEN_BACK_S = 1.5
FORWARDS_S = 2.0
TABLE, PROTOCOL = "77", "77"  # of announcements


class DataPlaneDies(LabCase):
    def setUp(self) -> None:
        node = self.lab.node
        node.config.backends = {1: 100, 2: 100, 3: 100}
        if not node.dataplane:
            node.start_dataplane()
        if not node.controlplane:
            node.start_controlplane()
        node.reload_if_changed()
        node.wait_settled()

    def test_nic_is_given_back_and_announcements_end(self) -> None:
        """Under load, in a second or so; another's route in the same table stays."""
        box = self.lab.topology.node
        for vip in VIP.values():
            box.run(["ip", "route", "add", vip, "dev", "linimo0", "table", TABLE, "proto", PROTOCOL])
        box.run(["ip", "route", "add", "198.51.100.0/24", "dev", "lo", "table", TABLE, "proto", "static"])
        self.addCleanup(box.run, ["ip", "route", "flush", "table", TABLE], check=False)
        self.assertEqual({*VIP.values(), "198.51.100.0/24"}, self._announced())
        with Load(self.lab.client, VIP[4], threads=4, rate=200, timeout=1.0).in_background() as load:
            wait_until(lambda: load.requests > 20, "requests are on their way")
            killed = self._kill()
            wait_until(self._given_back, "eth0 has its addresses and default routes", GIVEN_BACK_S - self._since(killed))
            took = self._since(killed)
            self.assertEqual({"198.51.100.0/24"}, self._announced())
        print(f"    given back {took * 1000:.0f} ms after the kill", file=sys.stderr)
        for address in NODE.values():
            wait_until(lambda: self.lab.client.run(["ping", "-n", "-c", "1", "-W", "1", address],
                                                   check=False).returncode == 0, f"{address} answers", 5)

    def test_started_alone_it_forwards_by_what_it_kept(self) -> None:
        """At once, as a supervisor does: a request through the VIP succeeds within two seconds, to the backends of the last generation, over addresses of
        both families; and whoever connects is told that nobody has confirmed it yet."""
        node = self.lab.node
        node.config.backends = {1: 100, 3: 100}
        generation = node.reload()["generation"]
        node.stop_controlplane(signal.SIGKILL)
        self._kill()
        began = time.monotonic()
        node.start_dataplane()
        self._await_request(FORWARDS_S - self._since(began))
        print(f"    forwards {self._since(began) * 1000:.0f} ms after the start", file=sys.stderr)
        for family in (4, 6):
            load = Load(self.lab.client, VIP[family], threads=2)
            load.run(100)
            self.assert_served(load, {self.lab.backends[number].address(family) for number in (1, 3)})
        with Controller.connect(node.config.runtime_dir / "dataplane.sock") as controller:
            welcome = controller.hello()
            assert isinstance(welcome, Welcome)
            self.assertTrue(welcome.restored)
            self.assertEqual(generation, welcome.generation)
            self.assertEqual((node.config.runtime_dir / "snapshot").read_bytes(), welcome.snapshot)

    def test_restored_is_said_until_something_is_published(self) -> None:
        """By the CLI; and a control plane that finds its own tables live publishes nothing."""
        node = self.lab.node
        before = node.status()["generation"]
        self._restart_both()
        status = node.wait_settled()
        self.assertEqual((True, before), (status["dataplane"]["restored"], status["generation"]))
        del node.config.backends[3]
        node.reload()
        node.stop_controlplane()
        node.start_controlplane()
        status = node.wait_settled()
        self.assertEqual((False, before + 1), (status["dataplane"]["restored"], status["generation"]))

    def test_generation_catches_up(self) -> None:
        """What the control plane decided while there was no data plane is live soon after there is one again; until then
        the kept tables serve."""
        node = self.lab.node
        before = node.status()["generation"]
        self._kill()
        wait_until(lambda: not self._dataplane()["connected"], "the control plane sees it gone")
        node.config.backends = {2: 100}
        node.write_config()
        node.signal_reload()
        wait_until(lambda: set(node.backend_states()) == {self.lab.backends[2].address()}, "the configuration is taken")
        began = time.monotonic()
        node.start_dataplane()
        self._await_request(FORWARDS_S - self._since(began))
        status = node.wait_settled(after_generation=before)
        self.assertEqual(before + 1, status["generation"])
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(100)
        self.assert_served(load, {self.lab.backends[2].address()})

    def test_damaged_snapshot_is_not_used(self) -> None:
        """One byte is another, as a failing disk has it: the data plane says so, starts all the same, forwards nothing, and
        takes what the control plane then sends."""
        node = self.lab.node
        node.stop_controlplane(signal.SIGKILL)
        self._kill()
        kept = node.config.runtime_dir / "snapshot"
        content = bytearray(kept.read_bytes())
        content[-1] ^= 1
        kept.write_bytes(content)
        node.start_dataplane()
        with Controller.connect(node.config.runtime_dir / "dataplane.sock") as controller:
            welcome = controller.hello()
            assert isinstance(welcome, Welcome)
            self.assertEqual((0, False, b""), (welcome.generation, welcome.restored, welcome.snapshot))
        self.assertIn("not used: checksum", (node.folder / "linimo-dataplane.log").read_text())
        node.start_controlplane()
        node.wait_settled()
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(100)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})

    def test_second_data_plane_is_told_of_the_first(self) -> None:
        """It ends at once, with its pid; the one that lives is not waited for, and not disturbed."""
        node = self.lab.node
        assert node.dataplane
        began = time.monotonic()
        second = self.lab.topology.node.run([*node.dataplane.args[4:]], check=False, timeout=10)
        self.assertLess(self._since(began), 1.0)
        self.assertEqual(1, second.returncode)
        self.assertIn(f"already (pid {node.dataplane.pid})", second.stderr)
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(100)
        self.assert_served(load)

    def _kill(self) -> float:
        """When."""
        now = time.monotonic()
        self.assertEqual(-signal.SIGKILL, self.lab.node.stop_dataplane(signal.SIGKILL))
        return now

    def _restart_both(self) -> None:
        self.lab.node.stop_controlplane(signal.SIGKILL)
        self._kill()
        self.lab.node.start_dataplane()
        self.lab.node.start_controlplane()

    @staticmethod
    def _since(moment: float) -> float:
        return time.monotonic() - moment

    def _await_request(self, limit: float) -> None:
        def answered() -> bool:
            try:
                with self.lab.client.entered():
                    return bool(fetch(VIP[4], timeout=0.2))
            except ConnectionBroken:
                return False

        wait_until(answered, "a request through the VIP succeeds", limit)

    def _dataplane(self) -> dict[str, Any]:
        return self.lab.node.status()["dataplane"]

    def _given_back(self) -> bool:
        box = self.lab.topology.node
        links = {link["ifname"]: link for link in json.loads(box.run(["ip", "-j", "addr"]).stdout)}
        addresses = {info["local"] for info in links["eth0"]["addr_info"]}
        return ("linimo0" not in links and set(NODE.values()) <= addresses
                and all(self._default_device(family) == ["eth0"] for family in (4, 6)))

    def _default_device(self, family: int) -> list[str]:
        shown = self.lab.topology.node.run(["ip", "-j", f"-{family}", "route", "show", "default"]).stdout
        return [route["dev"] for route in json.loads(shown or "[]")]

    def _announced(self) -> set[str]:
        """What is in the announcements' table. (`ip` calls a table that never had a route an error.)"""
        box = self.lab.topology.node
        return {route["dst"] for family in ("-4", "-6") for route in json.loads(
            box.run(["ip", "-j", family, "route", "show", "table", TABLE], check=False).stdout or "[]")}
