"""A VIP is announced only while what forwarding rests on holds; what does not hold is shown, with what mends it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any, Iterator

from lab.topology import VIP
from lab.wait import wait_until
from test_announce import AnnounceCase

NOTICED_S = 2.0  # by when a node notices that what it rests on is gone
HELD_S = 1.0  # how long what may mend itself is waited for


class Conditions(AnnounceCase):
    alone = True  # times are judged

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.health.fall = 20  # what is withdrawn is withdrawn by a condition, not by checks that fail too

    def failing(self) -> dict[str, dict[str, Any]]:
        return {condition["name"]: condition for condition in self.lab.node.status()["conditions"]
                if condition["state"] == "fails"}

    def assert_withdrawn(self, condition: str, within: float) -> dict[str, Any]:
        """The condition is shown, and the router has lost the way to every VIP, within that time."""
        begun = time.monotonic()
        shown = wait_until(lambda: self.failing().get(condition), f"{condition} fails", within + 1)
        self.routed.wait_announced(set())
        self.assertLess(time.monotonic() - begun, within + 1, "with what the CLI and BIRD take")
        return shown

    def assert_well_again(self) -> None:
        self.routed.wait_announced()
        wait_until(lambda: not self.failing(), "every condition holds", 5)  # BIRD is asked every few seconds

    @contextlib.contextmanager
    def way_past_the_interface(self) -> Iterator[None]:
        """The node has another NIC in the backends' network: checks go by that, packets cannot."""
        topology = self.lab.topology
        topology.router.run(["ip", "link", "add", "mgmt", "mtu", "1600", "type", "veth", "peer", "name", "eth9", "netns",
                             topology.node.name])
        try:
            topology.router.run(["ip", "link", "set", "mgmt", "master", "fabric", "up"])
            topology.node.run(["ip", "link", "set", "eth9", "mtu", "1600", "up"])
            topology.node.run(["ip", "addr", "add", "10.0.1.200/24", "dev", "eth9"])
            yield
        finally:
            topology.router.run(["ip", "link", "del", "mgmt"])

    def test_checks_that_go_another_way_than_packets(self) -> None:
        """All backends are up by their checks; none can be reached by a port of ours: the VIPs are withdrawn, and each
        backend is shown with the reason."""
        with self.way_past_the_interface():
            shown = self.assert_withdrawn("next-hop", HELD_S + 1)
            self.assertIn("3 of 3 backends have no way", shown["evidence"])
            self.assertEqual({"up"}, set(self.lab.node.backend_states().values()))
            self.assertEqual({"route leaves by an interface that is not Linimo's"},
                             {backend["way_problem"] for backend in self.lab.node.backend_list()})
            self.assertIn("NO WAY", self.lab.node.cli("backend", "list").stdout)
        self.assert_well_again()

    def test_control_plane_that_starts_without_a_way_announces_nothing(self) -> None:
        with self.way_past_the_interface():
            self.routed.wait_announced(set())
            self.lab.node.stop_controlplane()
            self.lab.node.start_controlplane()
            self.lab.node.wait_settled()
            wait_until(lambda: "next-hop" in self.failing(), "the new one knows")
            self.assertEqual({vip: set() for vip in VIP.values()}, self.in_table())
        self.assert_well_again()

    @contextlib.contextmanager
    def publication_under_way(self) -> Iterator[None]:
        """New tables are sent to a data plane of which something stands still."""
        node = self.lab.node
        cli = [str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"), "backend"]
        drain = node.box.spawn([*cli, "drain", "web/10.0.1.2"])
        try:
            wait_until(lambda: not node.up_to_date(), "tables are on their way", 1)
            yield
        finally:
            drain.wait(10)
            node.cli("backend", "undrain", "web/10.0.1.2", check=False)  # waits in vain for what stands still

    def test_what_is_not_in_force_is_not_said_to_be(self) -> None:
        """While the data plane stands still a drain and a reload are accepted; the CLI says that they are not yet in force.
        They are once it goes on."""
        node, dataplane = self.lab.node, self.lab.node.dataplane
        assert dataplane
        self.assertEqual(0, node.cli("reload").returncode)
        dataplane.send_signal(signal.SIGSTOP)
        try:
            for command in (["backend", "drain", "web/10.0.1.2"], ["reload"]):
                said = node.cli(*command, check=False)
                self.assertEqual(1, said.returncode, said)
                self.assertIn("accepted, not yet in force: ", said.stderr)
        finally:
            dataplane.send_signal(signal.SIGCONT)
        wait_until(lambda: node.backend_states()["10.0.1.2"] in ("draining", "drained") and node.up_to_date(), "it is in force")
        self.assertEqual(0, node.cli("backend", "undrain", "web/10.0.1.2").returncode)
        self.assert_well_again()


class ConditionsDpdk(Conditions):
    def test_data_plane_that_stands_still(self) -> None:
        """Stopped, it forwards nothing: withdrawn within 2 s, and announced again once it goes on."""
        dataplane = self.lab.node.dataplane
        assert dataplane
        dataplane.send_signal(signal.SIGSTOP)
        try:
            shown = self.assert_withdrawn("dataplane-alive", NOTICED_S)
            self.assertIn("no heartbeat", shown["evidence"])
            self.assertIn("NO VIP", self.lab.node.cli("status").stdout)
        finally:
            dataplane.send_signal(signal.SIGCONT)
        self.assert_well_again()


    def threads(self) -> dict[str, int]:
        dataplane = self.lab.node.dataplane
        assert dataplane
        return {(task / "comm").read_text().strip(): int(task.name) for task in Path(f"/proc/{dataplane.pid}/task").iterdir()}

    def test_thread_that_stands_still(self) -> None:
        """One worker, or the thread that hands frames to the kernel, stopped alone: the process goes on answering, and
        the VIPs are withdrawn all the same."""
        for thread, subject in ((self.threads()["rte-worker-1"], "worker 0"), (self.threads()["linimo-kernel"], "kernel path")):
            with self.subTest(subject):
                with stopped(thread):
                    shown = self.assert_withdrawn("dataplane-alive", NOTICED_S)
                    self.assertEqual(subject, shown["subject"])
                self.assert_well_again()

    def test_stands_still_during_a_publication(self) -> None:
        """The same while new tables are on their way, which the process waits for the worker to take: withdrawn within
        2 s, whether the worker stands still or the thread that would tell of it."""
        main = self.lab.node.dataplane
        assert main
        for thread, subject in ((self.threads()["rte-worker-1"], "worker 0"), (main.pid, "")):
            with self.subTest(subject):
                with stopped(thread), self.publication_under_way():
                    shown = self.assert_withdrawn("dataplane-alive", NOTICED_S)
                    self.assertEqual(subject, shown["subject"] or "")
                self.assert_well_again()


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[None]:
    """One thread of a process, as a debugger stops it (ptrace(2))."""
    attach, detach = 16, 17
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(attach, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"thread {thread}")
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        libc.ptrace(detach, thread, None, None)


class ConditionsXdp(Conditions):
    engine = "xdp"

    def test_data_plane_that_stands_still(self) -> None:
        """Stopped, its program forwards on: it is shown within 2 s, and nothing is withdrawn."""
        dataplane = self.lab.node.dataplane
        assert dataplane
        dataplane.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: "dataplane-alive" in self.failing(), "it is noticed", NOTICED_S)
            self.routed.wait_announced()
        finally:
            dataplane.send_signal(signal.SIGCONT)
        wait_until(lambda: not self.failing(), "it is well again", 3)

    def test_stands_still_during_a_publication(self) -> None:
        """The same while new tables are on their way."""
        dataplane = self.lab.node.dataplane
        assert dataplane
        dataplane.send_signal(signal.SIGSTOP)
        try:
            with self.publication_under_way():
                wait_until(lambda: "dataplane-alive" in self.failing(), "it is noticed", NOTICED_S)
                self.routed.wait_announced()
        finally:
            dataplane.send_signal(signal.SIGCONT)
        wait_until(lambda: not self.failing() and self.lab.node.up_to_date(), "it is well again", 8)


del Conditions, AnnounceCase  # they are no tests of their own
