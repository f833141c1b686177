"""`linimo flow` lists exactly the flows that are open, by service, backend and client, and clears those that it is told to (both
engines); `linimo top` shows what happens (`top.py`)."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from contextlib import ExitStack
from typing import Any, ClassVar

from case import LabCase
from lab.topology import CLIENT, VIP, VIP2, backend_address
from lab.wait import wait_until
from top import Top

OTHER_SERVICE = f'''
[[service]]
name = "other"
vips = ["{VIP2[4]}"]
protocol = "tcp"
ports = [80]
pool = "web"
tracking = "full"
'''


class Connection:
    """One that stays open, and who answers it."""

    def __init__(self, vip: str, port: int, service: str) -> None:
        source = CLIENT[6 if ":" in vip else 4]
        self.service = service
        self.source, self.to = (f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
                                for host, number in ((source, port), (vip, 80)))
        self.socket = socket.create_connection((vip, 80), 5, source_address=(source, port))
        self.backend = self.ask()

    def ask(self) -> str:
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        number = re.split("[.:]", self.socket.recv(4096).decode().strip())[-1]  # of 10.0.1.2, which is 2001:db8:1::2, too
        return f"web/{backend_address(int(number), 4)}"

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class Flows:
    """What both engines must do alike."""
    engine: ClassVar[str]
    lab: Any

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.backends = {1: 100, 2: 100, 3: 100}
        cls.lab.node.config.more = OTHER_SERVICE

    def setUp(self) -> None:
        self.lab.node.cli("flow", "clear", "--all")
        self.assertEqual(0, self.list()["matched"])

    def list(self, *filters: str) -> dict[str, Any]:
        return json.loads(self.lab.node.cli("flow", "list", *filters, "-o", "json").stdout)

    def open(self, stack: ExitStack, first_port: int, count: int = 10) -> list[Connection]:
        kinds = ((VIP[4], "web"), (VIP[6], "web"), (VIP2[4], "other"))
        with self.lab.client.entered():
            return [stack.enter_context(Connection(vip, first_port + i, service))
                    for i in range(count) for vip, service in (kinds[i % 3],)]

    def test_lists_exactly_what_is_open(self) -> None:
        with ExitStack() as stack:
            opened = self.open(stack, 30_000, 12)
            listed = self.list()
            self.assertEqual((12, 0), (listed["matched"], listed["left_off"]))
            self.assertEqual(Counter((one.service, one.backend) for one in opened),
                             Counter((flow["service"], flow["backend"]) for flow in listed["flows"]))
            self.assertLess({flow["state"] for flow in listed["flows"]}, {"embryonic", "established", "closing"})
            for flow in listed["flows"]:
                self.assertLess(flow["idle_s"], 10)
                self.assertGreater(flow["left_s"], 880)
            for service in ("web", "other"):
                self.assertEqual(sum(one.service == service for one in opened), self.list("--service", service)["matched"])
            for backend in {one.backend for one in opened}:
                self.assertEqual(sum(one.backend == backend for one in opened), self.list("--backend", backend)["matched"])
            for family in (4, 6):
                mine = {(one.source, one.to, one.backend) for one in opened if (":" in CLIENT[family]) == one.source.startswith("[")}
                found = self.list("--client", CLIENT[family])["flows"]
                self.assertEqual(mine, {(flow["from"], flow["to"], flow["backend"]) for flow in found})
            self.assertEqual(0, self.list("--client", "192.0.2.77")["matched"])
            few = self.lab.node.cli("flow", "list", "--limit", "5").stdout
            self.assertEqual(7, len(few.splitlines()), few)
            self.assertIn("7 more are not shown", few)
            wait_until(lambda: self.lab.node.status()["flows"]["tracked"] == 12, "the status counts as many", 5)

    def test_shows_one(self) -> None:
        with ExitStack() as stack:
            (one,) = self.open(stack, 31_000, 1)
            said = self.lab.node.cli("flow", "show", "tcp", one.source, one.to).stdout
            self.assertIn(f"service web, backend {one.backend}, ", said)
            self.assertIn({"dpdk": "worker 0", "xdp": "queue "}[self.engine], said)
            one.socket.close()
            wait_until(lambda: "closing" in self.lab.node.cli("flow", "show", "tcp", one.source, one.to).stdout,
                       "it has said FIN", 5)
        unknown = self.lab.node.cli("flow", "show", "tcp", f"{CLIENT[4]}:1", f"{VIP[4]}:80", check=False)
        self.assertEqual(1, unknown.returncode)
        self.assertIn("not tracked", unknown.stdout)

    def test_clears_what_it_is_told_to(self) -> None:
        """Exactly one backend's flows, and says how many; a flow's next packet makes it anew, at the same backend."""
        with ExitStack() as stack:
            opened = self.open(stack, 32_000, 24)
            backend = opened[0].backend
            its, others = ([one for one in opened if (one.backend == backend) == wanted] for wanted in (True, False))
            for words, number in ((("--backend", backend), len(its)), (("--all",), len(opened))):
                foretold = self.lab.node.cli("flow", "clear", *words, "--dry-run").stdout
                self.assertIn(f"{number} flow{'s' if number != 1 else ''} would be cleared", foretold)
            self.assertEqual(len(opened), self.list()["matched"], "nothing has been")
            said = self.lab.node.cli("flow", "clear", "--backend", backend).stdout
            self.assertEqual(f"{len(its)} flow{'s' if len(its) != 1 else ''} cleared", said.strip())
            self.assertEqual(Counter(one.backend for one in others), Counter(flow["backend"] for flow in self.list()["flows"]))
            wait_until(lambda: self.lab.node.status()["flows"]["tracked"] == len(others), "the status counts fewer", 5)
            self.assertEqual(backend, its[0].ask())
            self.assertEqual(1, self.list("--backend", backend)["matched"])
            again = self.lab.node.cli("flow", "clear", "--client", CLIENT[6], "--service", "web").stdout
            self.assertIn(" cleared", again)
            self.assertEqual(0, self.list("--client", CLIENT[6])["matched"])
            left = self.list()["matched"]
            self.assertIn(f"{left} flows cleared", self.lab.node.cli("flow", "clear", "--all").stdout)

    def test_wrong_questions(self) -> None:
        for arguments, code, says in ((("clear",), 2, "say which flows"),
                                      (("clear", "--all", "--service", "web"), 2, "say which flows"),
                                      (("list", "--service", "nosuch"), 1, "no service named nosuch"),
                                      (("list", "--backend", "10.0.1.1"), 2, "POOL/ADDRESS"),
                                      (("list", "--client", "192.0.2.1/24"), 2, "without host bits"),
                                      (("list", "--client", "0.0.0.0/0"), 1, "too many clients"),
                                      (("list", "--limit", "0"), 2, "limit"),
                                      (("show", "tcp", "192.0.2.2", "203.0.113.10:80"), 2, "ADDRESS:PORT"),
                                      (("show", "tcp", f"{CLIENT[4]}:1", f"{VIP[4]}:81"), 1, "no service has that"),
                                      ((), 2, "")):
            done = self.lab.node.cli("flow", *arguments, check=False)
            self.assertEqual(code, done.returncode, (arguments, done.stdout, done.stderr))
            self.assertIn(says, done.stderr)


class FlowsDpdk(Flows, LabCase):
    engine = "dpdk"


class FlowsXdp(Flows, Top, LabCase):
    engine = "xdp"
