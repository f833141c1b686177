"""The test that Debian runs of the installed package (debian/tests) does what it says, with the programs of this build."""

from __future__ import annotations

import os
import subprocess
import unittest
from pathlib import Path

from case import LAB_NAME
from lab.lab import BUILD

PROGRAM = Path(__file__).resolve().parents[2] / "debian/tests/forwards"
PLACES = ("dataplane", "controlplane", "bpf/decap")


class Autopkgtest(unittest.TestCase):
    def test_forwards(self) -> None:
        places = ":".join(str(BUILD / place) for place in PLACES)
        environment = os.environ | {"LINIMO_LAB": f"{LAB_NAME}-installed", "PATH": f"{places}:{os.environ['PATH']}"}
        done = subprocess.run([PROGRAM], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment)
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertIn("IPv6: 100 requests, 0 failed, 3 backends answered", done.stdout)
