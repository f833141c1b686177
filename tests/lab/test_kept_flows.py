"""Connections live on when the data plane of engine dpdk ends, however it ends, and is started again: their entries are in
memory that outlives it. Where they would be of no use, it begins with none, and says why."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

from case import LAB_NAME, LabCase
from lab.standing import PORT, EchoServer, Standing
from lab.topology import VIP
from lab.wait import wait_until

COUNT = 10_000  # of each family
FEW = 500

SERVICE = f'''
[[service]]
name = "standing"
vips = ["{VIP[4]}", "{VIP[6]}"]
protocol = "tcp"
ports = [{PORT}]
pool = "web"
tracking = "full"
'''


class _Restarted(LabCase):
    """A data plane that ends and is started again."""

    def _restart(self, end: signal.Signals) -> str:
        began = time.monotonic()
        self.lab.node.stop_dataplane(end)
        said = self._start()
        print(f"    {end.name} and start: {time.monotonic() - began:.2f} s", file=sys.stderr)
        return said

    def _start(self) -> str:
        """What the new process says until it forwards."""
        node = self.lab.node
        log = node.folder / "linimo-dataplane.log"
        begun = len(log.read_text())
        node.write_config()
        node.start_dataplane()
        node.wait_settled()
        return log.read_text()[begun:]

    def _connections(self, stack: contextlib.ExitStack, count: int) -> list[Standing]:
        """So many over each family, to backends that echo."""
        for backend in self.lab.backends.values():
            stack.enter_context(EchoServer(backend.box))
        clients = [stack.enter_context(Standing(self.lab.client, vip, count)) for vip in VIP.values()]
        self.assertEqual([count, count], [client.opened() for client in clients])
        return clients

    def _await_condition(self, state: str, evidence: str = "") -> None:
        wait_until(lambda: any(one["name"] == "flows-kept" and one["state"] == state and evidence in (one["evidence"] or "")
                               for one in self.lab.node.status()["conditions"]), f"flows-kept {state} {evidence}")


class KeptFlows(_Restarted):
    workers = 2  # for one of them there are queues only
    alone = True  # so many connections take both cores

    @classmethod
    def configure(cls) -> None:
        config = cls.lab.node.config
        config.workers = 1
        config.more = SERVICE
        config.backends = {1: 100, 2: 100}

    def test_connections_live_on(self) -> None:
        """IPv4 and IPv6, though half of the slots have gone to another backend since they began: through `kill -9` and start,
        through SIGTERM and start, without one that breaks; with another number of workers the tables are empty, and it is said
        why."""
        node = self.lab.node
        with contextlib.ExitStack() as stack:
            clients = self._connections(stack, COUNT)
            node.config.backends = {1: 100, 2: 100, 3: 200}
            node.reload()
            self.assertEqual([0, 0], [client.broken() for client in clients], "by the reload alone")
            for end in (signal.SIGKILL, signal.SIGTERM):
                with self.subTest(end.name):
                    said = self._restart(end)
                    self.assertEqual([0, 0], [client.broken() for client in clients])
                    taken = re.search(r"(\d+) tracked flows taken over", said)
                    self.assertGreaterEqual(int(taken[1]) if taken else 0, 2 * COUNT, said)
            node.config.workers = 2
            said = self._restart(signal.SIGTERM)
            self.assertIn("connection tables begin empty: they were made for 1 worker(s), now there are 2", said)
            self.assertGreater(sum(client.broken() for client in clients), COUNT / 2, "they lived by their entries")

    def test_detach_frees_it(self) -> None:
        """Stopped, the data plane leaves its tables; detached, nothing, so that the next one has none to take over."""
        node = self.lab.node
        node.stop_dataplane()
        self.assertTrue((node.kept_tables / "tables").exists())
        detached = node.detach()
        self.assertIn("connection tables: removed", detached.stderr if detached else "")
        self.assertFalse(node.kept_tables.exists())
        said = self._start()
        self.assertNotIn("taken over", said)
        self.assertNotIn("begin empty", said)

    def test_one_process_at_a_time(self) -> None:
        """Memory that another process still has is left alone: the data plane forwards with tables of its own, and that is shown."""
        node = self.lab.node
        node.stop_dataplane()
        with open(node.kept_tables / "tables") as tables:
            fcntl.flock(tables, fcntl.LOCK_EX)
            self.assertIn("tables is in use by another process", self._start())
        self._await_condition("fails")
        self._restart(signal.SIGTERM)
        self._await_condition("holds")

    def test_one_that_is_still_ending_is_waited_for(self) -> None:
        """A killed process may have its memory for a moment longer than its interface: that is no error, and nothing is lost."""
        node = self.lab.node
        node.stop_dataplane(signal.SIGKILL)
        with open(node.kept_tables / "tables") as tables:
            fcntl.flock(tables, fcntl.LOCK_EX)

            def end() -> None:
                wait_until(lambda: self._others_with(tables.name), "the new process asks for it", 20)
                time.sleep(0.3)  # what is waited for takes time itself
                fcntl.flock(tables, fcntl.LOCK_UN)

            ending = threading.Thread(target=end)
            ending.start()
            said = self._start()
            ending.join()
        self.assertNotIn("in use", said)
        self.assertNotIn("level=error", said)
        self._await_condition("holds")

    def _others_with(self, file: str) -> bool:
        for pid in self.lab.node.box.pids():
            with contextlib.suppress(OSError):
                if any(os.readlink(entry.path) == file for entry in os.scandir(f"/proc/{pid}/fd")):
                    return True
        return False

    def test_taken_away_while_it_runs(self) -> None:
        """A file or a folder that is moved, replaced or removed is one that the next process will not find: that is shown, until it
        is back."""
        kept = self.lab.node.kept_tables
        aside = kept.with_name(kept.name + "-aside")
        self.addCleanup(subprocess.run, ["rm", "-rf", str(aside)], check=True)  # else its pages are lost
        self._await_condition("holds")
        for moved in (kept, kept / "tables"):
            with self.subTest(moved.name):
                moved.rename(aside)
                self._await_condition("fails")
                aside.rename(moved)
                self._await_condition("holds")
        (kept / "tables").rename(aside)
        (kept / "tables").touch()  # another of that name
        self._await_condition("fails")
        aside.rename(kept / "tables")
        self._await_condition("holds")
        (kept / "tables").unlink()
        self._await_condition("fails")
        self._restart(signal.SIGTERM)
        self._await_condition("holds")


class KeptFlowsWithoutHugetlbfs(_Restarted):
    """Where a hugetlbfs cannot hold them they are in a file on the tmpfs that the runtime folder is on."""

    tmpfs: ClassVar[Path]
    small: ClassVar[Path]
    huge: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.tmpfs = Path("/dev/shm") / f"{LAB_NAME}-kept-flows"
        cls.addClassCleanup(shutil.rmtree, cls.tmpfs, ignore_errors=True)  # when the node has ended
        super().setUpClass()

    @classmethod
    def configure(cls) -> None:
        node = cls.lab.node
        node.config.runtime_dir = cls.tmpfs / "run"
        node.config.seed_file = node.config.runtime_dir / "seed"
        node.config.more = SERVICE
        node.config.backends = {1: 100, 2: 100}
        cls.small, cls.huge = node.config.runtime_dir / "kept/tables", node.kept_tables / "tables"
        cls.lab.prepare_for(1)  # a hugetlbfs is there
        node.kept_tables.mkdir(exist_ok=True)
        cls.addClassCleanup(shutil.rmtree, node.kept_tables, ignore_errors=True)
        node.kept_tables.chmod(0o777)  # where others can put files nothing is kept

    def test_connections_live_on(self) -> None:
        """Through `kill -9` and start; into hugepages once they are to be had; and `detach` frees all of it."""
        node = self.lab.node
        self._await_condition("holds", str(self.small))
        with contextlib.ExitStack() as stack:
            clients = self._connections(stack, FEW)
            node.config.backends = {1: 100, 2: 100, 3: 200}
            node.reload()
            for folder_mode, file, other in ((0o777, self.small, self.huge), (0o700, self.huge, self.small)):
                with self.subTest(file=file):
                    node.kept_tables.chmod(folder_mode)
                    said = self._restart(signal.SIGKILL)
                    self.assertEqual([0, 0], [client.broken() for client in clients])
                    self.assertRegex(said, r"\d{3,} tracked flows taken over")
                    self.assertEqual(file == self.small, "they are not in hugepages" in said, said)
                    self._await_condition("holds", str(file))
                    self.assertTrue(file.exists())
                    self.assertFalse(other.exists())
        node.kept_tables.chmod(0o777)
        self.huge.unlink()
        self._restart(signal.SIGTERM)
        self.assertTrue(self.small.exists())
        node.stop_dataplane()
        detached = node.detach()
        self.assertIn("connection tables: removed", detached.stderr if detached else "")
        self.assertFalse(self.small.exists())
        self._start()
