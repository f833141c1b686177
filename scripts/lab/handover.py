"""A hand-over in which one of the two data planes is killed, in each of its phases.

    killing = KilledHandover(node)            # whose program is a copy of its own
    left = killing.kill_in("takes over", "old")
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

from .node import Node
from .wait import wait_until

# What the log says at the beginning of a phase, and what it says only once the phase is over.
PHASES = {"gets ready": "is ready", "letting go": "takes over", "takes over": "ready: waiting"}
VICTIMS = ("old", "new")
_TRIES = 5  # a phase may be over before both are stopped
_PATIENCE_S = 60  # DPDK starts slowly on an emulated CPU, and is deaf meanwhile


class KilledHandover:
    """The node's program is replaced by a copy of it, and by others for a while."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.built = node.dataplane_program
        node.dataplane_program = Path(shutil.copy2(self.built, node.folder))

    def replace_program(self, text: str | None = None) -> None:
        """As a package does, by another file of that name."""
        fresh = self._node.folder / "fresh"
        if text is None:
            shutil.copy2(self.built, fresh)
        else:
            fresh.write_text(text)
            fresh.chmod(0o755)
        fresh.rename(self._node.dataplane_program)

    def kill_in(self, phase: str, victim: str) -> str:
        """Which of the two is left and is the data plane: "old", "new" or "nobody". The other one has ended."""
        for _ in range(_TRIES):
            if left := self._try(phase, victim):
                return left
        raise TimeoutError(f"the phase in which it {phase} was always over too soon")

    def said_since(self, before: int, phase: str) -> re.Match[str]:
        return wait_until(lambda: re.search(rf"pid (\d+)[^\n]* {phase}", self.log()[before:]), f"the log says: {phase}", _PATIENCE_S, poll=0.001)

    def log(self) -> str:
        return (self._node.folder / "linimo-dataplane.log").read_text()

    def _try(self, phase: str, victim: str) -> str:
        """Empty if both were stopped too late, or there was no such phase."""
        node = self._node
        assert node.dataplane
        old = node.dataplane.pid
        before = len(self.log())
        if phase == "gets ready":
            self.replace_program(f'#!/bin/sh\nkill -STOP $$\nexec {self.built} "$@"\n')
        command = node.spawn_upgrade()
        try:
            new = int(self.said_since(before, phase)[1])
        except TimeoutError:
            if command.poll() is None:
                raise
            command.communicate()  # the machine is too busy: the old one has given the new one up
            return ""
        with contextlib.suppress(ProcessLookupError):
            for pid in (old, new):
                os.kill(pid, signal.SIGSTOP)
        if PHASES[phase] in self.log()[before:]:
            with contextlib.suppress(ProcessLookupError):
                for pid in (new, old):
                    os.kill(pid, signal.SIGCONT)
            command.communicate(timeout=_PATIENCE_S)
            node.follow_dataplane()
            return ""
        os.kill(old if victim == "old" else new, signal.SIGKILL)
        if victim == "old":
            assert node.dataplane.wait(5) == -signal.SIGKILL
            os.kill(new, signal.SIGCONT)
        else:
            os.kill(old, signal.SIGCONT)
        assert command.wait(_PATIENCE_S) == 1, "the command says that it went wrong"
        command.communicate()
        self.replace_program()
        if victim == "new":
            assert node.dataplane.poll() is None
            return "old"
        if phase != "takes over":  # as after any other end
            wait_until(lambda: has_ended(new), "the new one ends", _PATIENCE_S)
            return "nobody"
        wait_until(lambda: (node.config.runtime_dir / "dataplane.lock").read_text().strip() == str(new), "the new one has it", _PATIENCE_S)
        node.follow_dataplane()
        assert node.dataplane.poll() is None
        return "new"


def has_ended(orphan: int) -> bool:
    """Nobody has it any more: the one that started it may have waited for it already."""
    try:
        os.kill(orphan, signal.SIGCONT)  # again: the script may only now have stopped itself
        return os.waitpid(orphan, os.WNOHANG)[0] == orphan
    except (ProcessLookupError, ChildProcessError):
        return True
