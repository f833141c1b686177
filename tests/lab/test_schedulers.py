"""Each scheduler has the shares that it promises, among real servers; shown by who answers real clients."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import ClassVar

from case import LabCase
from lab.client import KeepAlive, Load
from lab.topology import CLIENT, VIP, backend_address

WEIGHTS = {1: 100, 2: 200, 3: 300}
EQUAL = {1: 100, 2: 100, 3: 100}
REQUESTS = 600
# How far a member may be from its share of a worker's turns: see dataplane/forward/scheduler.h; its unit test shows it.
TURNS_OFF = 4
SOURCES = [f"192.0.2.{host}" for host in range(100, 164)]  # of one of three backends, none hears by a chance of 1e-11


class SchedulerCase(LabCase):
    engine: ClassVar[str] = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine

    def use(self, scheduler: str, weights: dict[int, int]) -> None:
        config = self.lab.node.config
        config.scheduler, config.backends = scheduler, dict(weights)
        self.lab.node.reload_if_changed()
        self.assertEqual((scheduler, "full"), self.of_service("scheduler", "tracking"))

    def open(self, stack: contextlib.ExitStack, count: int) -> list[KeepAlive]:
        return [stack.enter_context(KeepAlive(self.lab.client, VIP[4])) for _ in range(count)]

    def of_service(self, *fields: str) -> tuple:
        service = self.lab.node.service("web")
        return tuple(service[field] for field in fields)


class Turns(SchedulerCase):
    def test_round_robin_gives_each_as_many(self) -> None:
        """Whatever the weights. Each worker takes turns of its own, and is at most one flow from even."""
        self.use("round-robin", WEIGHTS)
        self._assert_shares(dict.fromkeys(WEIGHTS, 1), off_by=1)
        said = self.lab.node.cli("trace", "tcp", f"{CLIENT[4]}:4242", f"{VIP[4]}:80").stdout
        self.assertIn("by the service's scheduler (round-robin)", said)

    def test_round_robin_leaves_out_who_drains(self) -> None:
        self.use("round-robin", WEIGHTS | {2: 0})
        self._assert_shares({1: 1, 3: 1}, off_by=1)

    def test_weighted_round_robin_gives_by_weight(self) -> None:
        self.use("weighted-round-robin", WEIGHTS)
        self._assert_shares(WEIGHTS, off_by=TURNS_OFF)

    def test_a_change_of_scheduler_breaks_no_connection(self) -> None:
        self.use("round-robin", WEIGHTS)
        with contextlib.ExitStack() as stack:
            kept = self.open(stack, 12)
            for scheduler in ("least-connections", "maglev", "weighted-round-robin"):
                self.use(scheduler, WEIGHTS)
                for connection in kept:
                    self.assertEqual(connection.backend, connection.request())

    def _assert_shares(self, weights: dict[int, int], off_by: int) -> None:
        """But for so many flows of each worker. A request is a flow, unless it reuses a port whose entry still lives: it
        then follows that entry, and takes no turn."""
        flows_before = self._flows()
        load = Load(self.lab.client, VIP[4])
        load.run(REQUESTS)
        self.assert_served(load)
        followed = REQUESTS - (self._flows() - flows_before)
        self.assertLess(followed, REQUESTS / 100, "too few were flows of their own")
        for number, weight in weights.items():
            share = REQUESTS * weight / sum(weights.values())
            self.assertAlmostEqual(share, load.served[backend_address(number, 4)], msg=str(load.served),
                                   delta=off_by * self.workers + followed)
        self.assertEqual(len(weights), len(load.served))

    def _flows(self) -> int:
        return self.of_service("new_flows")[0]


class TurnsOfTwoWorkers(Turns):
    """Each for itself, and so together."""
    workers = 2


class TurnsWithXdp(Turns):
    engine = "xdp"


class LeastConnections(SchedulerCase):
    """One worker: two would each have an unknown part of the connections."""

    def test_who_has_fewer_gets_more(self) -> None:
        """Two members, so that both are asked for each flow, and nothing is left to chance."""
        self.use("least-connections", {1: 100})
        with contextlib.ExitStack() as stack, contextlib.ExitStack() as to_be_closed:
            self.assertEqual({1: 10}, self._count(self.open(stack, 10)))
            self.use("least-connections", {1: 100, 2: 200})
            self.assertEqual({2: 20}, self._count(self.open(to_be_closed, 20)), "until it has twice as many")
            evenly = self._count(self.open(stack, 30))
            self.assertAlmostEqual(10, evenly[1], delta=1)  # who is first on a tie
            to_be_closed.close()
            self.assertEqual({2: 20}, self._count(self.open(stack, 20)), "those that it has closed do not count")

    def test_all_end_with_as_many(self) -> None:
        """Of three members two are asked. In 20,000 simulated fills with 60 none was further than 5 from another."""
        self.use("least-connections", EQUAL)
        with contextlib.ExitStack() as stack:
            counts = self._count(self.open(stack, 60))
            self.assertEqual(set(EQUAL), set(counts))
            self.assertLessEqual(max(counts.values()) - min(counts.values()), 5)

    @staticmethod
    def _count(connections: list[KeepAlive]) -> Counter[int]:
        """By backend's number."""
        return Counter(int(connection.backend.rsplit(".", 1)[1]) for connection in connections)


class LeastConnectionsWithXdp(LeastConnections):
    engine = "xdp"


class SourceHash(LabCase):
    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.scheduler = "source-hash"

    def test_a_client_has_one_backend_whatever_its_port(self) -> None:
        link = "eth0"
        for source in SOURCES:
            self.lab.client.run(["ip", "address", "add", f"{source}/24", "dev", link])
        served = {source: self._ask_from(source) for source in (CLIENT[4], *SOURCES)}
        for source, backends in served.items():
            self.assertEqual(1, len(backends), f"{source} was answered by {backends}")
        self.assertEqual({backend_address(number, 4) for number in self.lab.node.config.backends},
                         set().union(*served.values()))

    def _ask_from(self, source: str) -> set[str]:
        """Who answers four connections, each from a port of its own."""
        answers = self.lab.client.run(["curl", "-sS", "--fail", "--max-time", "5", "--interface", source,
                                       "-w", "%{local_port}\n", "-H", "Connection: close",
                                       *4 * [f"http://{VIP[4]}/"]]).stdout.split()
        backends, ports = answers[::2], answers[1::2]
        self.assertEqual((4, 4), (len(backends), len(set(ports))), str(answers))
        return set(backends)
