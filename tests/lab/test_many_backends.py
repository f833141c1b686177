"""Many backends: all are heard of in time, none that is well is called dead, the control plane goes on answering and ends
when it is asked to; and while the checker itself is not there, nobody is convicted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import unittest
from collections import Counter
from pathlib import Path

from case import LAB_NAME
from lab.lab import BUILD
from lab.many_backends import ManyBackends
from lab.wait import wait_until

COUNT = 20_000


class ManyBackendsCase(unittest.TestCase):
    def setUp(self) -> None:
        self.many = self.enterContext(ManyBackends(f"{LAB_NAME}-many", BUILD).made())

    def await_checks(self, count: int) -> None:
        """So many more have been made."""
        goal = self.many.connections() + count
        wait_until(lambda: self.many.connections() >= goal, f"{count} checks", 30, alive=self.many.check_alive)

    def await_condition(self, name: str, state: str) -> None:
        wait_until(lambda: self.many.condition(name).get("state") == state, f"{name} {state}", 20,
                   alive=self.many.check_alive)


class TwentyThousand(ManyBackendsCase):
    alone = True  # so many checks a second take a core

    def check(self, kind: str) -> None:
        """At an interval of 10 s: health is known, and tables are planned, within 10 s; in quiet nobody dies; `linimo status`
        answers within a second; SIGTERM is obeyed within two; memory is bounded."""
        many = self.many
        many.start(kind, COUNT, 'interval = "10s", timeout = "2s"')
        many.await_health_known(10)
        wait_until(lambda: many.changes_to("up") == COUNT, "the log has told of each backend", 5)  # a storm is summed up
        times: list[float] = []
        for _ in range(10):
            began = time.monotonic()
            self.assertIsNotNone(many.status())
            times.append(time.monotonic() - began)
            time.sleep(1)  # the contract is that nothing happens meanwhile
        self.assertLess(sorted(times)[-2], 1.0, times)  # one may have met something else on this machine
        self.assertEqual(0, many.changes_to("down"))
        self.assertLess(many.memory_mb(), 300)
        self.assertLess(many.stop(), 2.0)

    def test_tcp(self) -> None:
        self.check("tcp")

    def test_http(self) -> None:
        self.check("http")

    def test_https(self) -> None:
        """2,000 at the default interval of 2 s: nobody dies, however late checks may be on a busy machine."""
        many = self.many
        many.start("https", 2000, 'interval = "2s"')
        many.await_health_known(10)
        self.await_checks(8000)
        self.assertEqual(0, many.changes_to("down"))
        self.assertLess(many.stop(), 2.0)


class Scrape(ManyBackendsCase):
    alone = True  # it judges times

    def test_is_quick(self) -> None:
        """1,000 services and 20,000 checked backends, with a data plane: a scrape takes less than half a second, has a row of
        each of them, and delays no check."""
        many = self.many
        many.start("tcp", COUNT, 'interval = "10s", timeout = "2s"', services=990,
                   interface=f"net_memif0,role=server,socket-abstract=no,socket={many.folder}/nobody.sock")
        many.start_dataplane()
        many.await_health_known(20)
        wait_until(lambda: (many.status() or {}).get("dataplane", {}).get("generation", 0) > 0, "the data plane has tables", 30,
                   alive=many.check_alive)
        times, file = [], many.folder / "page"
        for _ in range(9):
            # By the scraper's clock: what starting it and reading what it wrote take is this test's own affair.
            times.append(float(many.box.run(["curl", "-sS", "-o", str(file), "-w", "%{time_total}", "--unix-socket",
                                             f"{many.folder}/run/control.sock", "http://linimo/metrics"]).stdout))
            time.sleep(1)  # as far apart as no scraper's interval is shorter
        page = file.read_text()
        rows = Counter(re.match(r"\w+", line)[0] for line in page.splitlines() if line and line[0] != "#")  # type: ignore[index]
        print(f"    {sum(rows.values())} rows, {len(page) >> 20} MiB: {min(times):.2f} to {max(times):.2f} s, median {sorted(times)[4]:.2f}",
              file=sys.stderr)
        self.assertEqual(COUNT, rows["linimo_backend_up"])
        self.assertEqual(1000, rows["linimo_service_packets_total"])
        self.assertLess(sorted(times)[4], 0.5, times)
        self.assertEqual("holds", many.condition("checks-on-time").get("state"))
        self.assertEqual(0, many.changes_to("down"))


class TheCheckerItself(ManyBackendsCase):
    def test_stopped(self) -> None:
        """The control plane is stopped while checks wait for answers, for longer than any backend may be silent: it says that
        checks were late, and convicts nobody, by either detector. Who dies afterwards is noticed."""
        many = self.many
        assert many.server
        for detector in ("count", "phi"):
            with self.subTest(detector):
                many.start("http", 60, f'interval = "500ms", timeout = "500ms", rise = 1, fall = 1, detector = "{detector}"')
                many.await_health_known(10)
                self.await_checks(300)
                os.killpg(many.server.pid, signal.SIGSTOP)
                time.sleep(0.25)  # by now every second check waits for its answer
                many.signal(signal.SIGSTOP)
                os.killpg(many.server.pid, signal.SIGCONT)
                time.sleep(3)
                many.signal(signal.SIGCONT)
                self.await_checks(300)
                self.assertEqual(0, many.changes_to("down"))
                self.assertEqual("fails", many.condition("checks-on-time").get("state"))
                os.killpg(many.server.pid, signal.SIGSTOP)
                wait_until(lambda: many.changes_to("down") == 60, "all are down", alive=many.check_alive)
                os.killpg(many.server.pid, signal.SIGCONT)
                many.stop()

    def test_without_descriptors(self) -> None:
        """Its limit is raised to what the configuration needs; should it be too low all the same, that is said, checks say
        nothing, and all is well when there are descriptors again."""
        many = self.many
        many.start("http", 1000, 'interval = "500ms", timeout = "500ms", rise = 1, fall = 1', ("prlimit", "--nofile=128:4096"))
        many.await_health_known(10)
        assert many.controlplane
        pid = many.controlplane.pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        limit = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
        self.assertGreaterEqual(int(limit[1]) if limit else 0, 1000)
        self.assertEqual("holds", many.condition("descriptors").get("state"))
        # Not so low that it could not answer.
        lasting = sum(1 for fd in Path(f"/proc/{pid}/fd").iterdir() if int(fd.name) < 64)
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={min(lasting, 16)}:4096"], check=True)
        wait_until(lambda: b'condition=descriptors' in many.log.read_bytes(), "it is said", alive=many.check_alive)
        time.sleep(2)  # the contract is that nothing happens meanwhile
        self.assertEqual(0, many.changes_to("down"))
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=4096:4096"], check=True)
        self.await_checks(2000)
        self.await_condition("descriptors", "holds")
        self.assertEqual(0, many.changes_to("down"))
