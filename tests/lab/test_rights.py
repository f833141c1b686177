"""Both daemons as a user of their own: with the capabilities that the packages' units give, all works; without any one of
them, something does not. The other suites show the first in full (scripts/lab/rights.py)."""

from __future__ import annotations

import shutil
import sys
from typing import ClassVar

from case import LabCase
from lab.client import Load
from lab.rights import CAPABILITIES, FOR_AF_XDP, Rights
from lab.topology import VIP, backend_address
from lab.wait import wait_until
from test_health_checks import PROGRAM, program

SECONDS = 8  # more than any of it takes


class _Rights(LabCase):
    engine: ClassVar[str]
    capabilities: ClassVar[dict[str, tuple[str, ...]]] = CAPABILITIES
    daemons = False

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.lab.start_node()  # what it does once for all starts
        cls.lab.node.stop()

    @classmethod
    def configure(cls) -> None:
        cls.enterClassContext(program("#!/bin/sh\n! grep '^CapEff.*[1-9a-f]' /proc/self/status\n"))
        config = cls.lab.node.config
        config.engine = cls.engine
        config.announce = 'via = "bird"'
        config.more = f'''
[[pool]]
name = "executed"
health = {{ type = "exec", program = "{PROGRAM}", interval = "1s", timeout = "1s", rise = 1, fall = 1 }}
backends = [ {{ address = "{backend_address(1, 4)}" }} ]

[[service]]
name = "executed"
vips = ["{VIP[4]}"]
protocol = "tcp"
ports = [82]
pool = "executed"

[[pool]]
name = "pinged"
health = {{ type = "icmp", interval = "200ms", timeout = "200ms", rise = 1, fall = 1 }}
backends = [ {{ address = "{backend_address(1, 4)}" }} ]

[[service]]
name = "pinged"
vips = ["{VIP[4]}"]
protocol = "tcp"
ports = [81]
pool = "pinged"
'''

    def what_is_amiss(self, rights: Rights) -> str:
        """With these rights; empty: nothing."""
        node = self.lab.node
        node.rights = rights
        shutil.rmtree(node.config.runtime_dir, ignore_errors=True)  # what was known before would hide what cannot be found out
        for log in node.folder.glob("*.log"):
            log.unlink()
        try:
            node.start()
            load = Load(self.lab.client, VIP[4])
            load.run(50)
            if load.failures:
                return f"requests fail: {load.failures[0].error}"
            wait_until(lambda: node.backend_states("executed") == {backend_address(1, 4): "up"},
                       "a program has none of the control plane's rights", SECONDS)
            wait_until(lambda: node.backend_states("pinged") == {backend_address(1, 4): "up"}, "pings are answered", SECONDS)
            wait_until(lambda: VIP[4] in node.box.run(["ip", "route", "show", "table", "77"], check=False).stdout,
                       "the VIP is announced", SECONDS)
            return self.said_amiss()
        except (RuntimeError, TimeoutError) as error:
            return str(error)
        finally:
            for process in (node.controlplane, node.dataplane):
                if process and process.poll() is None:
                    process.kill()
                if process:
                    process.wait()
            node.controlplane = node.dataplane = None
            node.detach()
            node.box.kill_all()

    def said_amiss(self) -> str:
        """What works less well than it could without a right."""
        lines = (self.lab.node.folder / "linimo-dataplane.log").read_text().splitlines()
        return "\n".join(line for line in lines if "not permitted" in line or "Permission denied" in line)

    def test_each_is_needed_and_no_other(self) -> None:
        """Without it, something does not work; with all of them, all does."""
        for daemon, names in self.capabilities.items():
            for name in names:
                with self.subTest(daemon=daemon, capability=name):
                    fewer = {**self.capabilities, daemon: tuple(other for other in names if other != name)}
                    amiss = self.what_is_amiss(Rights(capabilities=fewer, besides=False))
                    print(f"    {daemon} without {name}: {amiss.splitlines()[-1][:150] if amiss else 'well'}", file=sys.stderr)
                    self.assertNotEqual("", amiss)
        self.assertEqual("", self.what_is_amiss(Rights(capabilities=self.capabilities, besides=False)))


class RightsXdp(_Rights):
    engine = "xdp"


class RightsDpdk(_Rights):
    engine = "dpdk"
    # By AF_XDP, in the lab; what that needs comprises what XDP needs.
    capabilities = {**CAPABILITIES, "linimo-dataplane": ("net_admin", "net_raw", *FOR_AF_XDP)}


del _Rights, LabCase  # they are no tests of their own
