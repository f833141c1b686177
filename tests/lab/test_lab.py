"""The lab itself: it removes what it made, and what a run that crashed has left, and nothing of a run that lives."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path

from case import LAB_NAME
from lab import lab as lab_module
from lab.lab import STATE, Lab
from lab.netns import namespaces_with_prefix

NAME = f"{LAB_NAME}-own"
SCRIPTS = Path(lab_module.__file__).parents[1]

OTHER_RUN = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from lab.lab import Lab
with Lab({NAME!r}) as lab:
    lab.build(1)
    print("built", flush=True)
    sys.stdin.read()
"""


class OwnTraces(unittest.TestCase):
    def setUp(self) -> None:
        self.other = subprocess.Popen([sys.executable, "-c", OTHER_RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        self.addCleanup(self._remove)
        assert self.other.stdout
        self.assertEqual("built\n", self.other.stdout.readline())
        self.assertEqual(4, len(namespaces_with_prefix(f"{NAME}-")))

    def test_ends_without_trace(self) -> None:
        self.other.communicate("")
        self._assert_no_trace()

    def test_what_a_crash_left_is_removed(self) -> None:
        """Namespaces, folder, and the nginx that lived on."""
        self.other.kill()
        self.other.communicate()
        nginx = int((STATE / NAME / "b1/nginx.pid").read_text())
        self.assertTrue(Path(f"/proc/{nginx}").exists(), "nothing was left: nothing is shown")
        with Lab(NAME):
            self._assert_no_namespace()
            self.assertFalse(Path(f"/proc/{nginx}/exe").exists())
        self._assert_no_trace()

    def test_a_lab_that_runs_is_not_touched(self) -> None:
        with self.assertRaisesRegex(BlockingIOError, str(self.other.pid)), Lab(NAME):
            self.fail("two runs had the lab at once")
        self.assertEqual(4, len(namespaces_with_prefix(f"{NAME}-")))

    def test_a_lab_that_runs_ends_when_asked(self) -> None:
        """As `scripts/demo down` asks."""
        lab = Lab(NAME, say=lambda _: None)
        lab.end_other_run()
        lab.close()
        self.assertIsNotNone(self.other.wait(5))
        self._assert_no_trace()

    def _remove(self) -> None:
        self.other.kill()
        self.other.communicate()
        with Lab(NAME):
            pass

    def _assert_no_trace(self) -> None:
        self._assert_no_namespace()
        self.assertFalse((STATE / NAME).exists())

    def _assert_no_namespace(self) -> None:
        self.assertEqual([], namespaces_with_prefix(f"{NAME}-"))
