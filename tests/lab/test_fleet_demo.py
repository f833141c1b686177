"""`scripts/demo --fleet` without a terminal: a line a second of what is, deaths and returns among it; interrupted, it
leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import unittest

from case import LAB_NAME
from lab.lab import STATE, Lab
from lab.netns import namespaces_with_prefix
from lab.wait import wait_until

NAME = f"fleet-{LAB_NAME}"


class FleetDemo(unittest.TestCase):
    def setUp(self) -> None:
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen([sys.executable, "-m", "lab.demo", "--fleet", "--name", NAME], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)
        self.addCleanup(self.end)
        self.lines: list[str] = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        assert self.process.stdout
        self.lines.extend(self.process.stdout)

    def end(self) -> None:
        """Whatever became of it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        with Lab(NAME, say=lambda _: None):
            pass

    def wait_line(self, pattern: str) -> None:
        """One that is printed from now on."""
        seen = len(self.lines)
        try:
            wait_until(lambda: any(re.search(pattern, line) for line in self.lines[seen:]), "", 40, poll=0.1,
                       alive=lambda: self.assertIsNone(self.process.poll(), "".join(self.lines)))
        except TimeoutError:
            self.fail(f"no line {pattern!r}:\n" + "".join(self.lines[-40:]))

    def test_deaths_are_seen_and_mended(self) -> None:
        all_three = "".join(f".*{name} used, BGP up up, .*announced 203.0.113.10 " for name in ("lb1", "lb2", "lb3"))
        self.wait_line(r"s: [1-9]\d* requests/s, .* 0 broke; fleet: leader lb\d, revision 1, all agree" + all_three
                       + r".*10.0.1.1 up 25")
        self.wait_line(r"s: .* 0 failed; of 40 kept connections 0 broke")
        for process in ("bird .*", "etcd .*--data-dir "):
            [pid] = subprocess.run(["pgrep", "-of", f"{process}{STATE / NAME}/{'lb2' if 'bird' in process else 'etcd/m0'}"],
                                   capture_output=True, text=True, check=True).stdout.split()
            os.kill(int(pid), signal.SIGKILL)
        self.wait_line("lb1 used, .*lb2 NOT used")
        self.wait_line("all agree" + all_three)
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(0, self.process.wait(30))
        self.assertEqual([], namespaces_with_prefix(f"{NAME}-"))
        self.assertIn("What to try in another terminal", "".join(self.lines))


class FleetCheck(unittest.TestCase):
    def test_what_held_is_one_json_object(self) -> None:
        """An etcd member and a control plane die, and revisions are applied: nothing failed, and all tables are equal."""
        environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-m", "lab.demo", "--fleet", "--check", "--name", f"check-{LAB_NAME}"],
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(([], 0, 0, ["lb1", "lb2", "lb3"]), (report["problems"], report["requests_failed"],
                                                             report["kept_broken"], report["routed_to"]))
        self.assertIn(report["leader"], ("lb1", "lb2", "lb3"))
        self.assertGreaterEqual(report["revision"], 3)
        self.assertGreater(report["requests"], 100)
