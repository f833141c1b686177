"""What tests of `linimo doctor` have in common: how it is asked, how things are broken, and how what it says mends them."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Callable, ClassVar, Iterator

from lab.backend import Backend
from lab.netns import Namespace
from lab.topology import VIP
from lab.wait import wait_until

COMMANDS = {"ip", "sysctl", "ethtool", "nft", "birdc", "linimo-decap"}  # with which a mend begins
SHORT = ("--watch-seconds", "0.1")  # where nothing is to be seen growing

# A few new connections every tenth of a second, which nobody ends before they are old.
BEGINNER = f"""
import contextlib, socket, time
begun = []
while True:
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(("{VIP[4]}", 80))
        begun.append(one)
    for one in begun[:-200]:
        one.close()
    del begun[:-200]
    time.sleep(0.1)
"""


class DoctorCase:
    engine: ClassVar[str]
    workers = 2
    lab: Any

    @classmethod
    def configure(cls) -> None:
        config = cls.lab.node.config
        config.engine = cls.engine
        config.health.interval_ms = config.health.timeout_ms = 300
        config.health.more += ', through_tunnel = true'

    def findings(self, *options: str) -> list[dict[str, Any]]:
        done = self.lab.node.cli("doctor", "-o", "json", *options, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual(1 if found else 0, done.returncode, done.stderr)
        return found

    def wait_for_all(self, wanted: dict[str, str | None], *options: str, seconds: float = 20) -> dict[str, dict[str, Any]]:
        """By cause, the findings of these causes and subjects, found by one look."""
        def look() -> dict[str, dict[str, Any]] | None:
            found = {one["cause"]: one for one in self.findings(*options) if one["subject"] == wanted.get(one["cause"], "")}
            return found if found.keys() == wanted.keys() else None
        try:
            return wait_until(look, f"{wanted} is named", seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.findings(*options)}") from None

    def wait_for(self, cause: str, subject: str | None, *options: str, seconds: float = 20) -> dict[str, Any]:
        return self.wait_for_all({cause: subject}, *options, seconds=seconds)[cause]

    def assert_healthy(self, *options: str) -> None:
        options = options or SHORT
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.findings(*options), "nothing is wrong", 30)
            return
        self.assertEqual([], self.findings(*options))

    @contextlib.contextmanager
    def broken_for_now(self, *mends: Callable[[], object]) -> Iterator[None]:
        """Whatever happens, it is mended."""
        try:
            yield
        finally:
            for mend in mends:
                mend()

    @contextlib.contextmanager
    def broken(self, *mends: Callable[[], object]) -> Iterator[None]:
        """And then nothing is wrong any more."""
        with self.broken_for_now(*mends):
            yield
        self.assert_healthy()

    @contextlib.contextmanager
    def connections(self) -> Iterator[None]:
        """Clients begin some meanwhile."""
        beginner = self.lab.client.spawn(["/usr/bin/python3", "-c", BEGINNER])
        try:
            yield
        finally:
            beginner.kill()
            beginner.wait()

    def metric(self, name: str, labels: str) -> int:
        page = self.lab.node.box.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                      "http://linimo/metrics"]).stdout
        return int(re.search(rf"^{name}\{{{labels}\}} (\d+)$", page, re.MULTILINE)[1])

    def node(self, command: str) -> None:
        self.lab.node.box.run(command.split())

    def router(self, command: str) -> None:
        self.lab.topology.router.run(command.split())

    def backend(self, number: int) -> Backend:
        return self.lab.backends[number]

    def name(self, number: int) -> str:
        return f"web/{self.backend(number).address()}"

    def script_at(self, number: int, code: int = 1) -> str:
        """What the script for backends finds there."""
        script = self.lab.node.cli("doctor", "--backend-script").stdout
        told = self.backend(number).box.run(["sh", "-c", script], check=False)
        self.assertEqual(code, told.returncode, told.stdout + told.stderr)
        return told.stdout

    def run_mend(self, found: dict[str, Any], box: Namespace, where: str = "there: ", **placeholders: str) -> None:
        """The finding's own commands, with what only a person knows filled in: what stands behind `where`, without the prose
        behind them."""
        self.assertIn(where, found["mend"])
        for command in re.split(r"; |, ", found["mend"].partition(where)[2] if where else found["mend"]):
            if command.split()[0] not in COMMANDS:
                break
            for name, value in placeholders.items():
                command = re.sub(rf"\b{name}\b", value, command)
            box.run(["sh", "-ec", command])
