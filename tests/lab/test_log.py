"""Every change stands in the control plane's log: who made it, what revision it made, what is different. No
secret does."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from pathlib import Path

from case import LabCase
from lab.topology import VIP
from lab.wait import wait_until

SECRET = "Sesame-5ec2e7"


class Log(LabCase):
    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.announce = 'via = "bird"\nbird_socket = "/nowhere"\ndrain_wait = "500ms"'

    def setUp(self) -> None:
        self.file = self.lab.node.folder / "linimo-controlplane.log"
        self.read_bytes = self.file.stat().st_size

    def wait_line(self, msg: str, **fields: str) -> dict[str, str]:
        """The first line since the test began that says so, taken apart. A field's value is a regular expression."""
        def found() -> dict[str, str] | None:
            with open(self.file) as log:
                log.seek(self.read_bytes)
                for line in log:
                    words = dict(word.split("=", 1) for word in shlex.split(line)[1:])
                    if words["msg"] == msg and all(re.fullmatch(of, words.get(key, "")) for key, of in fields.items()):
                        return words
            return None
        with contextlib.suppress(TimeoutError):
            return wait_until(found, "") or {}
        with open(self.file) as log:
            log.seek(self.read_bytes)
            self.fail(f"no line {msg!r} with {fields}:\n{log.read()}")

    def cli(self, *arguments: str) -> int:
        """The process that asked."""
        node = self.lab.node
        process = node.box.spawn([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"),
                                  *arguments], subprocess.DEVNULL)
        self.assertEqual(0, process.wait(20))
        return process.pid

    def test_change_of_the_file(self) -> None:
        config = self.lab.node.config
        before = self.lab.node.status()
        config.backends = {**config.backends, 2: 50}
        self.lab.node.write_config()
        loaded = self.wait_line("configuration loaded", by="configuration file")
        self.assertEqual("backend web/10.0.1.2: weight 100>50", loaded["changes"])
        self.assertRegex(loaded["revision"], "^[0-9a-f]{16}$")
        accepted = self.wait_line("generation accepted", by="configuration file")
        self.assertEqual("web/10.0.1.2 weight 100>50", accepted["changes"])
        after = self.lab.node.wait_settled(before["generation"])
        self.assertEqual((str(after["generation"]), after["digest"], after["config"]["revision"]),
                         (accepted["generation"], accepted["digest"], loaded["revision"]))
        self.assertNotEqual(before["config"]["revision"], after["config"]["revision"])

        config.backends = {**config.backends, 2: 100}
        self.lab.node.write_config()
        self.lab.node.wait_settled(after["generation"])
        self.assertEqual(before["config"]["revision"], self.lab.node.status()["config"]["revision"], "it is the text's")

    def test_wishes_of_the_operator(self) -> None:
        first = "web/10.0.1.1"
        who = f"control socket, uid 0 pid {self.cli('backend', 'drain', first)}"
        self.wait_line("backend is to drain", by=who, pool="web", backend="10.0.1.1")
        self.wait_line("generation accepted", by=who, changes=f"{first} up>draining")
        who = f"control socket, uid 0 pid {self.cli('backend', 'undrain', first)}"
        self.wait_line("backend is to take flows again", by=who)
        self.wait_line("generation accepted", by=who, changes=f"{first} draining>up")
        who = f"control socket, uid 0 pid {self.cli('reload')}"
        self.wait_line("configuration loaded", by=who, changes="none")
        self.lab.node.signal_reload()
        self.wait_line("configuration loaded", by="signal SIGHUP", changes="none")

    def test_health(self) -> None:
        dead = self.lab.backends[3]
        dead.kill_nginx()
        change = self.wait_line("backend state changed", backend=dead.address(), to="down")
        self.assertEqual(("up", "connect: Connection refused"), (change["from"], change["why"]))
        self.wait_line("generation accepted", by="health", changes="web/10.0.1.3 up>down")
        dead.start_nginx()
        self.wait_line("generation accepted", by="health", changes="web/10.0.1.3 down>up")

    def test_refused_change(self) -> None:
        node = self.lab.node
        node.write_config(node.config.render().replace("pool =", "pond ="))
        self.wait_line("configuration refused, the running one stays", by="configuration file", why=".*pond.*")
        node.write_config()
        self.wait_line("configuration loaded", by="configuration file", changes="none")

    def test_no_secret(self) -> None:
        """Neither the hash seed, whole or in part, nor what is sent to backends and expected of them."""
        node = self.lab.node
        seed = node.config.seed_file.read_text()
        before = node.status()["config"]["revision"]
        wanted = f', body = "ok", host = "{SECRET}", drain_header = "X-{SECRET}"'
        node.config.health.more += wanted
        try:
            node.write_config()
            loaded = self.wait_line("configuration loaded", by="configuration file")
            self.assertEqual("pool web: health", loaded["changes"])
            node.config.seed_file.write_text(SECRET * 3)
            node.signal_reload()
            self.wait_line("configuration loaded", changes="node: hash_seed")
            node.wait_settled()
        finally:
            node.config.health.more = node.config.health.more.removesuffix(wanted)
            node.config.seed_file.write_text(seed)
            node.write_config()
            node.signal_reload()
        wait_until(lambda: node.status()["config"]["revision"] == before, "the configuration is what it was",
                   alive=node.check_alive)
        for log in (self.file, Path(node.folder, "linimo-dataplane.log")):
            for secret in (SECRET, seed.strip()):
                self.assertNotIn(secret, log.read_text())

    def test_drain_of_a_node(self) -> None:
        who = f"control socket, uid 0 pid {self.cli('node', 'drain')}"
        self.wait_line("the node drains", by=who)
        self.wait_line("VIP announced", by=who, vip=VIP[4], metric="200")
        self.wait_line("VIP withdrawn", by="time", vip=VIP[6])
        who = f"control socket, uid 0 pid {self.cli('node', 'undrain')}"
        self.wait_line("the node drains no more", by=who)
        self.wait_line("VIP announced", by=who, vip=VIP[6], metric="100")
