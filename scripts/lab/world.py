"""What a scenario is, and what it acts upon: a lab with routing, made for it alone. After a change of the tables the
nodes are learning for a quarter of an hour, so that what one scenario did would show in the next."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

from .backend import Backend
from .bird import RouteWatch
from .client import Load
from .lab import Lab
from .node import Node
from .routed import Routed
from .topology import VIP
from .traffic import Traffic, traffic
from .wait import wait_until


@dataclass(frozen=True)
class Setup:
    """A lab. A fleet's nodes track adaptively: a flow that comes over from another node is then known by the tables,
    which are the same, and not by that node's connection table, which nobody else has."""
    nodes: int = 2
    engine: str = "dpdk"
    backends: int = 4
    slow_start: str = "0s"


@dataclass
class Round:
    milliseconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)  # what else was seen
    kept_broken: int = 0
    kept_may_break: float = 0.0  # share of the connections
    requests: int = 0
    requests_failed: int = 0
    requests_may_fail: float = 0.0
    first_error: str = ""


@dataclass(frozen=True)
class Scenario:
    act: Callable[[World], None]
    setup: Setup = Setup()
    rounds: int = 1  # three where a time is judged: its median is
    milliseconds: dict[str, float] = field(default_factory=dict)  # at most, by step


class World:
    """Between rounds all is well."""

    def __init__(self, lab: Lab, setup: Setup) -> None:
        self.lab, self.setup = lab, setup
        self.node: Node = lab.node
        self.node.config.engine = setup.engine
        self.node.config.tracking = "adaptive"
        self.node.config.health.more = f'slow_start = "{setup.slow_start}", flap_half_life = "0s"'
        lab.build(setup.backends)
        while len(lab.nodes) < setup.nodes:
            lab.add_node()
        self.routed = Routed(lab, 'drain_wait = "1s"')
        self.routed.start()
        self.begin_round(1)

    def begin_round(self, number: int) -> None:
        self.number, self.round = number, Round()

    def took(self, step: str, seconds: float) -> None:
        self.round.milliseconds[step] = round(seconds * 1000, 1)

    @contextlib.contextmanager
    def traffic(self, timeout: float = 5.0, threads: int = 2) -> Iterator[Traffic]:
        with traffic(self.lab, timeout, threads) as both:
            yield both
        self.round.kept_broken += len(both.kept.broken)
        self.round.requests += both.requests
        self.round.requests_failed += len(both.failures)
        self.round.first_error = self.round.first_error or next(iter(both.errors), "")

    def may_break(self, kept: float, requests: float) -> None:
        """Shares, of this round."""
        self.round.kept_may_break, self.round.requests_may_fail = kept, requests

    def requests_succeed(self, count: int = 100) -> None:
        for vip in VIP.values():
            load = Load(self.lab.client, vip)
            load.run(count // len(VIP))
            if load.failures:
                raise RuntimeError(f"a new connection failed afterwards: {load.failures[0].error}")

    def leaves(self, watch: RouteWatch, since: float, link: str = "lb1") -> float:
        """How long until the router sent no packets to a node any more, of either family."""
        wait_until(lambda: not any(link in self.routed.reach(family) for family in VIP), f"the router leaves {link}",
                   15, poll=0.01)
        return max(wait_until(lambda: watch.since(since, vip), f"{vip}'s route is seen to change")[0].at
                   for vip in VIP.values()) - since

    def all_is_well(self) -> None:
        for node in self.lab.nodes:
            node.wait_settled()
        self.routed.wait_announced()

    def wait_down(self, backend: Backend) -> None:
        """Until all nodes have found it down, and forward by that."""
        for node in self.lab.nodes:
            wait_until(lambda: node.backend_states()[backend.address()] == "down" and node.up_to_date(),
                       f"{node.config.name} finds {backend.address()} down", 15, alive=node.check_alive)

    def reload(self) -> None:
        """All nodes' configurations, of which something was changed."""
        for node in self.lab.nodes:
            node.reload()

    def check_through_tunnel(self, wanted: bool) -> None:
        """No new tables come of it."""
        more = ", through_tunnel = true"
        for node in self.lab.nodes:
            node.config.health.more = node.config.health.more.removesuffix(more) + (more if wanted else "")
            node.write_config()
            node.signal_reload()
            wait_until(lambda: node.ask("/v1/pools")[0]["health"]["through_tunnel"] is wanted,
                       f"{node.config.name} takes the configuration over", alive=node.check_alive)

    def digests(self) -> set[str]:
        """Of the nodes' live tables."""
        return {node.status()["digest"] for node in self.lab.nodes}

    def no_route_changed(self, watch: RouteWatch, since: float) -> None:
        changes = [event for vip in VIP.values() for event in watch.since(since, vip)]
        if changes:
            raise RuntimeError(f"a route changed: {changes[0].text}")
