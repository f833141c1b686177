"""What the data plane finds when it starts: it makes do with what it can, and says what it cannot before it touches
anything."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from case import LabCase
from lab.client import Load
from lab.topology import VIP

RESERVED = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


class DataPlaneStarts(LabCase):
    daemons = False
    alone = True  # hugepages belong to the machine

    def test_without_hugepages(self) -> None:
        """It says that there are none, and forwards all the same."""
        before = RESERVED.read_text()
        self.addCleanup(RESERVED.write_text, before)
        RESERVED.write_text("0")
        self.addCleanup(self.lab.node.stop)
        self.lab.node.start()
        self.assertIn("no hugepages", self.lab.node.logs())
        self._assert_served()
        self._assert_restarts_at_once()

    def _assert_served(self) -> None:
        load = Load(self.lab.client, VIP[4])
        load.run(300)
        self.assert_served(load)

    def _assert_restarts_at_once(self) -> None:
        """After `kill -9`, whose memory and interface are not free yet: it waits for them without a word of an error."""
        node = self.lab.node
        log = node.folder / "linimo-dataplane.log"
        for _ in range(3):
            begun = len(log.read_text())
            node.stop_dataplane(signal.SIGKILL)
            node.start_dataplane()
            node.wait_settled()
            self.assertNotIn("level=error", log.read_text()[begun:])
        self._assert_served()

    def test_more_workers_than_queues(self) -> None:
        """Refused with both numbers and what to do; the interface is as it was."""
        self._assert_refused("workers", 2, "eth0 has 1 receive queue(s), fewer than the 2 workers")

    def test_interface_that_is_not_there(self) -> None:
        self._assert_refused("interface", "eth7", "there is no interface eth7")

    def _assert_refused(self, field: str, value: object, reason: str) -> None:
        node = self.lab.node
        self.addCleanup(setattr, node.config, field, getattr(node.config, field))
        setattr(node.config, field, value)
        node.prepare()
        addresses = self._addresses()
        result = node.box.run(node.command(node.dataplane_program), check=False)
        self.assertEqual(1, result.returncode, result.stderr)
        self.assertIn(reason, result.stderr)
        self.assertEqual(addresses, self._addresses())
        self.assertFalse(node.has_link("linimo0"))

    def _addresses(self) -> str:
        return self.lab.node.box.run(["ip", "-brief", "address", "show", "dev", "eth0"]).stdout


@dataclass
class Trouble:
    """What the operator has done, and the one line that both programs, or the one that minds, say of it."""
    name: str
    right: str  # of the lab's configuration, a regular expression
    wrong: str  # {folder}: one that is there and empty
    says: str
    dataplane: bool = False  # it minds, too


TROUBLES = [
    Trouble("a runtime folder where none can be", 'runtime_dir = ".*"', 'runtime_dir = "/dev/null/run"',
            r"/dev/null: Not a directory \(runtime_dir in \[node\]", dataplane=True),
    Trouble("a runtime folder that is a file", 'runtime_dir = ".*"', 'runtime_dir = "{folder}/file"',
            r"{folder}/file: .* \(runtime_dir in \[node\]", dataplane=True),
    Trouble("a state folder where none can be", 'state_dir = ".*"', 'state_dir = "/dev/null/state"',
            r"/dev/null: Not a directory \(state_dir in \[node\]"),
    Trouble("no seed", 'seed_file = ".*"', 'seed_file = "{folder}/none/seed"',
            r"{folder}/none/seed does not exist; expected .*mkdir -p {folder}/none && head -c 32 /dev/urandom"),
    Trouble("a seed whose disk is not mounted", 'seed_file = ".*"', 'seed_file = "{folder}/link"',
            r"{folder}/link is a symbolic link to {folder}/nowhere, which does not exist; expected the fleet's seed, [^&]*$"),
    Trouble("a seed in a file's place", 'seed_file = ".*"', 'seed_file = "{folder}/file/seed"',
            r"{folder}/file/seed cannot be read: Not a directory; expected [^&]*leave the seed as it is"),
    Trouble("a folder for a seed", 'seed_file = ".*"', 'seed_file = "{folder}"', r"{folder} is not a file that can be read; expected [^&]*$"),
    Trouble("a seed for all to see", 'seed_file = ".*"', 'seed_file = "{folder}/file"', r"{folder}/file can be read by others .* chmod 600 {folder}/file"),
    Trouble("a seed that is cut short", 'seed_file = ".*"', 'seed_file = "{folder}/short"', r"{folder}/short has 5 bytes, fewer than 16; expected [^&]*$"),
]


class WhatOperatorsDo(LabCase):
    """Each trouble is one line that names the thing and what to do, and the end by exit code 1."""

    daemons = False

    @classmethod
    def configure(cls) -> None:
        cls.lab.let_pass(1)
        cls.lab.node.rights = None  # by hand, as root

    def setUp(self) -> None:
        self.folder = self.lab.folder / "operator"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "file").write_text("0123456789abcdef")
        (self.folder / "file").chmod(0o644)
        (self.folder / "short").write_text("01234")
        (self.folder / "short").chmod(0o600)
        (self.folder / "link").unlink(missing_ok=True)
        (self.folder / "link").symlink_to(self.folder / "nowhere")
        self.lab.node.config.engine = "xdp"
        self.lab.node.prepare()

    def test_each_trouble_is_one_line(self) -> None:
        node = self.lab.node
        for trouble in TROUBLES:
            text, found = re.subn(trouble.right, trouble.wrong.format(folder=self.folder), node.config.render())
            self.assertEqual(1, found)
            node.write_config(text)
            programs = [node.cli_program.with_name("linimo-controlplane"), *([node.dataplane_program] if trouble.dataplane else [])]
            for program in programs:
                with self.subTest(trouble.name, program=program.name):
                    done = node.box.run([str(program), "--config", str(node.config_file)], check=False, timeout=10)
                    self.assertEqual(1, done.returncode, done.stderr)
                    errors = [line for line in done.stderr.splitlines() if "level=error" in line]
                    self.assertEqual(1, len(errors), done.stderr)
                    self.assertRegex(errors[0].removesuffix('"'), trouble.says.replace("{folder}", re.escape(str(self.folder))))

    def test_folders_that_are_not_there_are_made(self) -> None:
        """With all that leads to them."""
        node = self.lab.node
        run, state = self.folder / "a/b/run", self.folder / "c/d/state"
        self.addCleanup(setattr, node.config, "runtime_dir", node.config.runtime_dir)
        text = re.sub('state_dir = ".*"', f'state_dir = "{state}"', re.sub('runtime_dir = ".*"', f'runtime_dir = "{run}"', node.config.render()))
        node.config.runtime_dir = run
        node.write_config(text)
        self.addCleanup(node.stop)
        node.start_dataplane()
        node.start_controlplane()
        node.wait_settled()
        self.assertNotIn("level=error", node.logs())
        self.assertTrue(state.is_dir())

    def test_another_engine_without_a_detach(self) -> None:
        """What the one left to the kernel would meet the other's packets: it is named, with the command that ends it."""
        node = self.lab.node
        self.addCleanup(node.stop)
        node.start()
        node.stop_controlplane()
        node.stop_dataplane()
        node.config.engine = "dpdk"
        node.write_config()
        done = node.box.run(node.command(node.dataplane_program), check=False, timeout=30)
        self.assertEqual(1, done.returncode)
        errors = [line for line in done.stderr.splitlines() if "level=error" in line]
        self.assertEqual(1, len(errors), done.stderr)
        self.assertIn(f"engine xdp still forwards on eth0: end that by `linimo dataplane detach --config {node.config_file}` first", errors[0])
        detached = node.detach()
        assert detached
        self.assertEqual(0, detached.returncode, detached.stderr)
        node.start_dataplane()
