"""A process that another one has started and left behind, as if it were our own child: which it then is."""

from __future__ import annotations

import ctypes
import subprocess
import threading

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on the orphans of our children are ours, not the first process's."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Orphan(subprocess.Popen[bytes]):
    def __init__(self, pid: int, args: object) -> None:
        """Its parent has ended."""
        self.pid, self.args = pid, args  # type: ignore[assignment]
        self.returncode = None  # type: ignore[assignment]
        self.stdin = self.stdout = self.stderr = None
        self._child_created = True
        self._waitpid_lock = threading.Lock()
