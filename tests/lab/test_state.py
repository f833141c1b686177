"""What the operator has decided outlives the control plane, also where the disk is full and where it dies while it writes."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

from case import LabCase
from lab.topology import backend_address
from lab.wait import wait_until

KILLS = 12
SEED = 16  # of the moments: the same every time
BACKEND = f"web/{backend_address(1, 4)}"


class State(LabCase):
    folder: ClassVar[Path]

    @classmethod
    def configure(cls) -> None:
        """The state folder is a disk of its own, of 64 KB and 32 files."""
        node = cls.lab.node
        node.config.engine = "xdp"
        node.config.announce = 'via = "bird"\ndrain_wait = "100ms"'
        cls.folder = node.config.runtime_dir.parent / "state"
        cls.folder.mkdir(mode=0o750)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=32,mode=0750", "tmpfs", cls.folder], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", "--lazy", cls.folder], check=True)

    @property
    def first(self) -> str:
        return self.lab.node.backend_states()[backend_address(1, 4)]

    def restart(self) -> None:
        node = self.lab.node
        node.stop_controlplane(signal.SIGKILL)
        node.start_controlplane()
        wait_until(lambda: node.cli("status", check=False).returncode == 0 and node.status()["health_known"],
                   "the control plane is back", alive=node.check_alive)

    def fill(self) -> None:
        """No room for another byte, and for another file neither."""
        for number in itertools.count():
            try:
                with open(self.folder / f"filler{number}", "wb", buffering=0) as file:
                    while number == 0:
                        file.write(bytes(4096))
            except OSError:
                if number > 0:
                    return

    def test_full_disk(self) -> None:
        """What cannot be kept is refused, with the reason; what was kept stays; a configuration is loaded all the same."""
        node = self.lab.node
        node.cli("backend", "drain", BACKEND)
        self.fill()
        try:
            for wish in (("backend", "undrain", BACKEND), ("backend", "drain", f"web/{backend_address(2, 4)}"), ("node", "drain")):
                with self.subTest(wish):
                    refused = node.cli(*wish, check=False)
                    self.assertEqual(1, refused.returncode, refused.stdout)
                    self.assertIn("No space left on device", refused.stderr)
            node.config.backends[3] = 50
            before = node.status()["config"]["revision"]
            node.write_config()
            node.signal_reload()
            wait_until(lambda: node.status()["config"]["revision"] != before and node.up_to_date(), "it is in force")
            self.restart()
            self.assertIn(self.first, ("draining", "drained"))
            self.assertEqual("up", node.backend_states()[backend_address(2, 4)])
            self.assertEqual("serving", node.status()["announce"]["state"])
        finally:
            for file in self.folder.glob("filler*"):
                file.unlink()
        node.cli("backend", "undrain", BACKEND)
        self.restart()
        wait_until(lambda: self.first == "up", "it is back")
        node.config.backends[3] = 100
        node.reload()

    def test_killed_while_it_writes(self) -> None:
        """Killed at any moment, it comes back with what was confirmed last, or with the wish that was on its way."""
        node, dice = self.lab.node, random.Random(SEED)
        for number in range(KILLS):
            confirmed: list[str] = []
            asked: list[str] = []

            def wish() -> None:
                for turn in range(1000):
                    asked.append("undrain" if turn % 2 else "drain")
                    if node.cli("backend", asked[-1], BACKEND, check=False).returncode != 0:
                        return
                    confirmed.append(asked[-1])

            operator = threading.Thread(target=wish)
            operator.start()
            wait_until(lambda: confirmed, "something was confirmed")
            operator.join(dice.uniform(0, 0.15))
            assert node.controlplane
            node.controlplane.kill()
            operator.join()
            self.restart()
            kept = "drain" if self.first in ("draining", "drained") else "undrain"
            print(f"    killed after {len(confirmed)} wishes; confirmed {confirmed[-1]}, asked {asked[-1]}, kept {kept}", file=sys.stderr)
            self.assertIn(kept, {confirmed[-1], asked[-1]}, number)
            node.cli("backend", "undrain", BACKEND)
        self.assertEqual([], list(self.folder.glob("*.next")))


