"""`scripts/demo --fleet` without a terminal: a line a second of what is, deaths and returns among it; interrupted, it
leaves nothing behind."""

from __future__ import annotations

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
        both = "lb1 used, BGP up up, [1-9].* announced 203.0.113.10 .*lb2 used, BGP up up, .*announced 203.0.113.10 "
        self.wait_line(r"s: [1-9]\d* requests/s, .* 0 broke; " + both + r".*10.0.1.1 up 25")
        self.wait_line(r"s: .* 0 failed; of 40 kept connections 0 broke")
        # The oldest: its guardian bears its name.
        [pid] = subprocess.run(["pgrep", "-of", f"linimo-dataplane --config {STATE / NAME}/lb2/"], capture_output=True,
                               text=True, check=True).stdout.split()
        os.kill(int(pid), signal.SIGKILL)
        self.wait_line("lb1 used, .*lb2 NOT used")
        self.wait_line(both)
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(0, self.process.wait(30))
        self.assertEqual([], namespaces_with_prefix(f"{NAME}-"))
        self.assertIn("What to try in another terminal", "".join(self.lines))
