"""A test class with a fleet of its own: nodes that have their configuration from a real etcd, behind a router with BIRD and ECMP."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
import threading
import time
from typing import ClassVar, Iterator

from case import LabCase
from lab.backend import Backend
from lab.bird import RouteWatch
from lab.etcd import Etcd
from lab.fleet import NODES, Fleet, told
from lab.meanwhile import meanwhile
from lab.node import Node
from lab.topology import VIP
from lab.traffic import Traffic, traffic
from lab.wait import wait_until

KEPT = 40  # connections that stay open, half of them over IPv6


class FleetCase(LabCase):
    daemons = False
    members: ClassVar[int] = 1  # of etcd
    size: ClassVar[int] = NODES
    lease_s: ClassVar[int] = 3
    engines: ClassVar[tuple[str, ...]] = ("xdp",) * NODES
    fleet: ClassVar[Fleet]
    nodes: ClassVar[list[Node]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.lab.node.config.engine = "xdp"
        cls.lab.node.config.health.more += ', drain_header = "X-Drain"'
        cls.fleet = Fleet(cls.lab, cls.members, cls.size, cls.lease_s, cls.start_etcd)
        cls.nodes = cls.fleet.nodes
        for node, engine in zip(cls.nodes, cls.engines):
            node.config.engine = engine
        began = time.monotonic()
        cls.start_fleet()
        cls.say(f"first nodes, first apply: {1000 * (time.monotonic() - began):.0f} ms")

    @classmethod
    def start_etcd(cls, etcd: Etcd) -> None:
        etcd.start()

    @classmethod
    def start_fleet(cls) -> None:
        cls.fleet.start()

    @classmethod
    def say(cls, text: str) -> None:
        print(f"{cls.__name__}: {text}", flush=True)

    def tearDown(self) -> None:
        if not self._outcome_is_good():
            print("\n".join(node.logs() for node in self.nodes))

    def _outcome_is_good(self) -> bool:
        result = getattr(self._outcome, "result", None)
        return not result or not any(test is self for test, _ in [*result.failures, *result.errors])

    @contextlib.contextmanager
    def served_meanwhile(self, kept: int = KEPT, stays_announced: bool = True) -> Iterator[Traffic]:
        """Over both families requests are answered and connections that are there already go on; and no node ceases to announce
        for a moment, unless that is what the test is about."""
        with self.announced_meanwhile() if stays_announced else contextlib.nullcontext():
            with traffic(self.lab, threads=4, kept=kept) as flowing:
                yield flowing
        self.assertEqual([], flowing.failures[:3], f"{len(flowing.failures)} of {flowing.requests} requests failed")
        self.assertEqual({}, flowing.kept.broken)
        self.fleet.routed.wait_announced()

    @contextlib.contextmanager
    def announced_meanwhile(self, nodes: list[Node] | None = None) -> Iterator[None]:
        """None of these nodes, or of all, changes a VIP's route. Seen where it announces: on a busy machine the router's BFD may lose a node for a
        moment that is well."""
        with contextlib.ExitStack() as watched:
            routes = [watched.enter_context(RouteWatch(node.box)) for node in nodes or self.nodes]
            began = time.time()
            yield
            changed = [f"{node.config.name}: {event.text}" for node, seen in zip(nodes or self.nodes, routes) for vip in VIP.values()
                       for event in seen.since(began, vip)]
            self.assertEqual([], changed)

    def assert_median(self, what: str, times: list[float], at_most: float) -> None:
        self.assertEqual(3, len(times))
        self.say(f"{what} after {', '.join(f'{time:.2f}' for time in times)} s")
        self.assertLessEqual(statistics.median(times), at_most)

    def wait_state(self, address: str, state: str, timeout: float = 15.0) -> None:
        for node in self.nodes:
            wait_until(lambda: node.backend_states().get(address) == state and node.up_to_date(),
                       f"{node.config.name} holds {address} {state}", timeout, alive=node.check_alive)

    def wait_alarm(self, name: str, timeout: float, nodes: list[Node] | None = None) -> float:
        """Until all of these nodes show it, which together have so much time; how long it took."""
        began = time.monotonic()
        for node in nodes or self.nodes:
            wait_until(lambda: name in told(node).get("alarms", {}), f"{node.config.name} raises {name}",
                       max(0.0, began + timeout - time.monotonic()))
        return time.monotonic() - began

    def wait_no_alarm(self) -> None:
        for node in self.nodes:
            wait_until(lambda: not told(node)["alarms"], f"{node.config.name} has no alarm", 15)

    def rewrite(self, node: Node, text: str) -> None:
        """A node's own file."""
        before = node.status()["config"]["revision"]
        node.write_config(text)
        node.signal_reload()
        wait_until(lambda: node.status()["config"]["revision"] != before, "the file is loaded", alive=node.check_alive)

    def refused(self, node: int, *words: str) -> str:
        done = self.nodes[node].cli(*words, check=False)
        self.assertEqual(1, done.returncode, done.stdout)
        return done.stderr

    def changed(self) -> str:
        """The lab's configuration with another weight: a file to be applied."""
        weights = self.lab.node.config.backends
        weights[1] = 50 if weights[1] == 100 else 100
        return self.fleet.file()

    def change_something(self, node: int = 0) -> None:
        """A revision that differs from the last one, at a node whose control plane runs."""
        self.nodes[node].cli("config", "apply", self.changed())

    def leader_and_another(self) -> tuple[Node, Node]:
        name = told(self.nodes[0])["leader"]
        leader, other = sorted(self.nodes, key=lambda node: node.config.name != name)[:2]
        return leader, other

    @staticmethod
    @contextlib.contextmanager
    def frozen(node: Node) -> Iterator[None]:
        assert node.controlplane
        os.kill(node.controlplane.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(node.controlplane.pid, signal.SIGCONT)

    def wait_other_leader(self, than: Node, of: Node) -> float:
        began = time.monotonic()
        wait_until(lambda: told(of)["leader"] not in (None, than.config.name), "another one leads", self.lease_s + 3)
        return time.monotonic() - began

    def digests(self) -> list[str]:
        """Of the tables: a generation may say anew who handles fragments."""
        return [node.status()["digest"] for node in self.nodes]

    def cut_off(self, nodes: list[Node], *backends: int) -> contextlib.AbstractContextManager[None]:
        """From the store, and from these backends."""
        return self.unreachable(nodes, [self.fleet.etcd.address, *(self.lab.backends[number].address() for number in backends)])

    @staticmethod
    @contextlib.contextmanager
    def unreachable(nodes: list[Node], addresses: list[str]) -> Iterator[None]:
        try:
            for node in nodes:
                for address in addresses:
                    node.box.run(["ip", "route", "add", "blackhole", f"{address}/32"])
            yield
        finally:
            for node in nodes:
                for address in addresses:
                    node.box.run(["ip", "route", "del", "blackhole", f"{address}/32"], check=False)

    @contextlib.contextmanager
    def falls_ill_meanwhile(self, backend: Backend, pool: str) -> Iterator[list[float]]:
        """By its health check alone, again and again; when the fleet has noticed."""
        changes: list[float] = []

        def work(over: threading.Event) -> None:
            ill = False
            while not over.is_set() or ill:
                ill = not ill
                backend.fall_ill(ill)
                wanted = "down" if ill else "up"
                wait_until(lambda: self.nodes[0].backend_states(pool)[backend.address()] == wanted, "it is noticed", 15, poll=0.1)
                changes.append(time.monotonic())

        with meanwhile(work):
            yield changes

    @contextlib.contextmanager
    def drain_in_turn_meanwhile(self) -> Iterator[list[str]]:
        """One backend after the other drains for a moment."""
        drained: list[str] = []

        def work(over: threading.Event) -> None:
            for backend in itertools.cycle(self.lab.backends.values()):
                name = f"web/{backend.address()}"
                self.nodes[0].cli("backend", "drain", name)
                over.wait(1)
                self.nodes[0].cli("backend", "undrain", name)
                drained.append(name)
                if over.wait(1):
                    return

        with meanwhile(work):
            yield drained
