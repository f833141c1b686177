"""What is seen of the nodes all the while: what the router does, what a client gets, what the node says of itself.

Two addresses of the client are routed by a table each, which has the VIPs at one node whatever BGP says. So it is known
of each node whether it serves, also while the router sends it nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from typing import Any, Callable

from ..bird import routes
from ..client import ConnectionBroken
from ..lab import Lab
from ..node import Node
from ..topology import CLIENT, VIP, Wire
from .table import Said
from .timeline import Violation, black_holes, contradictions

HOLD_S = 3.0  # BGP's, by scripts/bird: the longest that the router may believe in a node that is silent
LIMIT_S = HOLD_S + 1
SAMPLE_S = 0.1
STATUS_S = 0.5
ANSWER_S = 0.9  # for one request


class Probes:
    """The client's own ways past BGP."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        for number, wire in enumerate(lab.topology.wires, 1):
            for family in VIP:
                lab.client.run(["ip", "addr", "add", f"{source(family, number)}/{24 if family == 4 else 64}", "dev", "eth0"])
                lab.topology.router.run(["ip", f"-{family}", "rule", "add", "from", source(family, number), "lookup",
                                         str(100 + number)])
            self.route(wire)

    def route(self, wire: Wire) -> None:
        """Again, after the router's link was gone."""
        number = self._lab.topology.wires.index(wire) + 1
        for family, vip in VIP.items():
            self._lab.topology.router.run(["ip", f"-{family}", "route", "replace", vip, "via", wire.node[family], "dev",
                                           wire.link, "table", str(100 + number)], check=False)
            # While that way is gone, packets must not take the way that all others do.
            self._lab.topology.router.run(["ip", f"-{family}", "route", "replace", "unreachable", vip, "metric", "9999",
                                           "table", str(100 + number)])


def source(family: int, node_number: int) -> str:
    return f"{CLIENT[family][:-1]}{'' if family == 4 else '10'}{node_number + (100 if family == 4 else 0)}"


class Watch:
    """All of it, while the block runs."""

    def __init__(self, lab: Lab, status_s: float = STATUS_S) -> None:
        """`status_s`: how often nodes are asked for their status."""
        self._lab = lab
        self._ending = threading.Event()
        links = [wire.link for wire in lab.topology.wires]
        self.routed: dict[tuple[str, int], list[tuple[float, bool]]] = {(link, family): [] for link in links for family in VIP}
        self.said: dict[tuple[str, int], list[tuple[float, bool | None]]] = {key: [] for key in self.routed}
        self.answered: dict[tuple[str, int], list[float]] = {key: [] for key in self.routed}
        self.told: dict[str, list[tuple[float, Said]]] = {link: [] for link in links}
        self.asked = 0
        self.blind: list[Violation] = []
        self._threads = [self._repeat(self._look_at_routes, SAMPLE_S)]
        for number, (node, link) in enumerate(zip(lab.nodes, links), 1):
            self._threads.append(self._repeat(lambda node=node, link=link: self._ask_status(node, link), status_s))
            for family in VIP:
                self._threads.append(self._repeat(
                    lambda number=number, link=link, family=family: self._request(number, link, family), SAMPLE_S))

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def violations(self) -> list[Violation]:
        found = list(self.blind)
        for (link, family), routed in self.routed.items():
            found += black_holes(list(routed), list(self.answered[link, family]), LIMIT_S, f"{VIP[family]} at {link}")
            found += contradictions(list(self.said[link, family]), list(routed), LIMIT_S, f"{VIP[family]} at {link}")
        return sorted(found, key=lambda of: of.began)

    def _repeat(self, what: Callable[[], None], pause: float) -> threading.Thread:
        def work() -> None:
            while not self._ending.is_set():
                begun = time.monotonic()
                try:
                    what()
                except Exception as error:  # noqa: BLE001  (whatever it is: who does not see cannot judge)
                    self.blind.append(Violation(begun, begun, f"the campaign sees nothing: {type(error).__name__}: {error}"))
                    return
                self._ending.wait(max(0.0, begun + pause - time.monotonic()))

        return threading.Thread(target=work, daemon=True)

    def _look_at_routes(self) -> None:
        for family, vip in VIP.items():
            now, links = time.monotonic(), routes(self._lab.topology.router, vip)
            for wire in self._lab.topology.wires:
                self.routed[wire.link, family].append((now, wire.link in links))

    def _request(self, number: int, link: str, family: int) -> None:
        began = time.monotonic()
        self.asked += 1
        with contextlib.suppress(*ConnectionBroken), self._lab.client.entered():
            connection = http.client.HTTPConnection(VIP[family], 80, timeout=ANSWER_S,
                                                    source_address=(source(family, number), 0))
            try:
                connection.request("GET", "/")
                if connection.getresponse().status == 200:
                    self.answered[link, family].append(began)
            finally:
                connection.close()

    def _ask_status(self, node: Node, link: str) -> None:
        """Announced is what the table has and BIRD's session tells the router; a status that says of either that it is
        not so has not claimed it."""
        now = time.monotonic()
        status = None
        with contextlib.suppress(RuntimeError, ValueError, subprocess.SubprocessError):  # it is dead, or stands still
            status = json.loads(ask(node))
        self.told[link].append((now, said(status) if status else Said()))
        for family, vip in VIP.items():
            self.said[link, family].append((now, announced(status["announce"], vip, family) if status else None))


def said(status: dict[str, Any]) -> Said:
    return Said(True, status["serves"],
                frozenset(condition["name"] for condition in status["conditions"] if condition["state"] == "fails"),
                frozenset(one["vip"] for one in status["announce"]["vips"] if one["announced"]), status["digest"])


def announced(announce: dict[str, Any], vip: str, family: int) -> bool:
    in_table = any(one["vip"].split("/")[0] == vip and one["announced"] for one in announce["vips"])
    sessions = [session["up"] for session in announce["bird"]["sessions"] if session["protocol"].endswith(str(family))]
    return in_table and not announce["bird"]["error"] and any(sessions)


def ask(node: Node) -> str:
    return node.box.run([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"), "status", "-o",
                         "json"], timeout=2).stdout
