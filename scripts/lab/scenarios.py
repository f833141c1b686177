"""`scripts/demo --scenario NAME --check`: something breaks under traffic, and what that cost, and how long it took.

Each scenario is done three times in one lab; times are the median of the three, what broke is the worst of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Iterator

from .bird import RouteWatch
from .client import ConnectionBroken, KeepAlive, Load
from .lab import Lab
from .node import Node
from .routed import Routed
from .topology import VIP
from .wait import wait_until

ROUNDS = 3
BACKENDS = 4
KEPT_CONNECTIONS = 200
REQUEST_RATE = 100  # a second, each over a new connection
QUIET_S = 2.0  # for what must not happen


class Kept:
    """Connections that stay open, each asked again and again."""

    def __init__(self, lab: Lab, threads: int = 4) -> None:
        self.connections = [KeepAlive(lab.client, VIP[4]) for _ in range(KEPT_CONNECTIONS)]
        self.broken: dict[int, str] = {}  # by index
        self.requests = 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(range(first, KEPT_CONNECTIONS, threads),), daemon=True)
                         for first in range(threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        """All of them are asked once more: a connection that broke late has broken too."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._round(range(KEPT_CONNECTIONS))
        for connection in self.connections:
            connection.close()

    def _work(self, mine: range) -> None:
        while not self._ending.is_set():
            self._round(mine)
            time.sleep(0.05)

    def _round(self, mine: range) -> None:
        for index in mine:
            connection = self.connections[index]
            if index in self.broken:
                continue
            try:
                answered_by = connection.request()
                self.requests += 1
                if answered_by != connection.backend:
                    self.broken[index] = f"{connection.backend}'s was answered by {answered_by}"
            except ConnectionBroken as error:
                self.broken[index] = f"{connection.backend}: {type(error).__name__}: {error}"


@dataclass
class Round:
    milliseconds: dict[str, float] = field(default_factory=dict)
    kept_broken: int = 0
    requests: int = 0
    requests_failed: int = 0
    first_error: str = ""


@dataclass(frozen=True)
class Limits:
    nodes: int = 2
    kept_broken: float = 0.0  # share of the connections
    requests_failed: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)  # by step, of the median


class World:
    """What a scenario acts upon. Between rounds all is well."""

    def __init__(self, lab: Lab, routed: Routed) -> None:
        self.lab, self.routed = lab, routed
        self.node: Node = lab.nodes[0]
        self.round = Round()

    def took(self, step: str, seconds: float) -> None:
        self.round.milliseconds[step] = round(seconds * 1000, 1)

    def leaves(self, watch: RouteWatch, since: float) -> float:
        """When the router stops sending IPv4 packets to the first node."""
        wait_until(lambda: "lb1" not in self.routed.reach(), "the router leaves the node", 15, poll=0.01)
        return watch.since(since, VIP[4])[0].at - since

    @contextlib.contextmanager
    def traffic(self) -> Iterator[Kept]:
        kept = Kept(self.lab)
        with Load(self.lab.client, VIP[4], threads=4, rate=REQUEST_RATE).in_background() as load, kept:
            wait_until(lambda: load.requests >= 20, "traffic flows")
            yield kept
        errors = [failure.error for failure in load.failures] + list(kept.broken.values())
        self.round.kept_broken = len(kept.broken)
        self.round.requests, self.round.requests_failed = load.requests, len(load.failures)
        self.round.first_error = errors[0] if errors else ""


def all_backends_down(world: World) -> None:
    """The node's last backend goes, and with it the VIP; and back."""
    lab = world.lab
    with RouteWatch(world.node.box) as own, RouteWatch(lab.topology.router) as theirs:
        for step, ill in (("withdrawn", True), ("announced", False)):
            began = time.time()
            for backend in lab.backends.values():
                backend.ask_to_drain(ill)
            routes = [own.wait(began, vip, ill, 20).at for vip in VIP.values()]
            router = [theirs.wait(began, vip, ill).at for vip in VIP.values()]
            decided = decision(world.node, began, "down" if ill else "up")
            world.took(f"{step}_after_decision", max(routes) - decided)
            world.took(f"{step}_router_after_kernel", max(0.0, *(b - a for a, b in zip(routes, router))))
        world.node.wait_settled()
        world.routed.wait_announced()


def decision(node: Node, since: float, state: str) -> float:
    """When the control plane said of a backend that it is so: the last that died, the first that lives."""
    found = []
    for line in (node.folder / "linimo-controlplane.log").read_text().splitlines():
        if 'msg="backend state changed"' in line and f"to={state}" in line:
            at = datetime.fromisoformat(re.sub(r"\+0000$", "+00:00", line.split()[0])).timestamp()
            if at >= since - 0.001:  # the log has milliseconds
                found.append(at)
    return max(found) if state == "down" else min(found)


def node_killed(world: World) -> None:
    """One of two nodes' data planes dies: its flows go on through the other node."""
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        world.node.stop_dataplane(signal.SIGKILL)
        world.took("router_leaves", world.leaves(watch, began))
        time.sleep(1)  # for what was under way to be sent again
    world.node.start_dataplane()
    world.node.wait_settled()
    world.routed.wait_announced()


def node_frozen(world: World) -> None:
    """One of two nodes' data planes stands still: BFD, which passes through it, finds out."""
    assert world.node.dataplane
    pid = world.node.dataplane.pid
    with RouteWatch(world.lab.topology.router) as watch:
        try:
            with world.traffic():
                began = time.time()
                os.kill(pid, signal.SIGSTOP)
                world.took("router_leaves", world.leaves(watch, began))
                time.sleep(1)
        finally:
            os.kill(pid, signal.SIGCONT)
    world.node.wait_settled()
    world.routed.wait_announced()


def node_drained(world: World) -> None:
    """An operator takes one of two nodes out, and puts it back."""
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        world.node.cli("node", "drain", "--wait")
        world.took("drained", time.time() - began)
        world.took("router_leaves", world.leaves(watch, began))
        world.node.cli("node", "undrain")
        world.routed.wait_announced()


def controlplane_killed(world: World) -> None:
    """The control plane of one of two nodes dies and comes back: no route changes."""
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        world.node.stop_controlplane(signal.SIGKILL)
        time.sleep(QUIET_S)
        returned = time.time()
        world.node.start_controlplane()
        world.node.wait_settled()
        world.took("settled_again", time.time() - returned)
        changes = [event for vip in VIP.values() for event in watch.since(began, vip)]
        if changes:
            raise RuntimeError(f"a route changed: {changes[0].text}")


def bird_killed(world: World) -> None:
    """BIRD of one of two nodes dies: the router turns to the other node."""
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        world.routed.birds[0].kill()
        world.took("router_leaves", world.leaves(watch, began))
        time.sleep(1)
        world.routed.birds[0].again()
        world.routed.wait_announced()


def backend_killed(world: World) -> None:
    """One of four backends falls silent: only what it carried breaks, and new connections soon go elsewhere."""
    lab = world.lab
    victim = lab.backends[1]
    with world.traffic() as kept:
        began = time.time()
        victim.unplug()
        for node in lab.nodes:
            wait_until(lambda: node.backend_states()[victim.address()] == "down", "the node finds out", 15)
        world.took("out_of_the_tables", time.time() - began)
        load = Load(lab.client, VIP[4])
        load.run(100)
        if load.failures:
            raise RuntimeError(f"a new connection failed afterwards: {load.failures[0].error}")
    others = [error for index, error in kept.broken.items() if kept.connections[index].backend != victim.address()]
    if others:
        raise RuntimeError(f"a connection to a backend that lives broke: {others[0]}")
    victim.plug_in()
    for node in lab.nodes:
        node.wait_settled()


def config_churn(world: World) -> None:
    """Both nodes' configuration changes ten times: no connection breaks and no VIP's route changes."""
    lab = world.lab
    with RouteWatch(lab.topology.router) as watch, world.traffic():
        began = time.time()
        for number in range(10):
            for node in lab.nodes:
                node.config.backends = {**node.config.backends, 1 + number % BACKENDS: 50 + 10 * number}
                node.reload()
        world.took("reload", (time.time() - began) / 10 / len(lab.nodes))
        changes = [event for vip in VIP.values() for event in watch.since(began, vip)]
        if changes:
            raise RuntimeError(f"a route changed: {changes[0].text}")
    for node in lab.nodes:
        node.config.backends = {backend: 100 for backend in node.config.backends}
        node.reload()


# A backend that dies takes its quarter of the connections along, and the requests until that is known.
SCENARIOS: dict[str, tuple[Callable[[World], None], Limits]] = {
    "all-backends-down": (all_backends_down, Limits(1, milliseconds={
        "withdrawn_after_decision": 1000, "withdrawn_router_after_kernel": 50,
        "announced_after_decision": 1000, "announced_router_after_kernel": 50})),
    "node-killed": (node_killed, Limits(kept_broken=0.01, requests_failed=0.01, milliseconds={"router_leaves": 300})),
    "node-frozen": (node_frozen, Limits(kept_broken=0.01, requests_failed=0.01, milliseconds={"router_leaves": 300})),
    "node-drained": (node_drained, Limits()),
    "controlplane-killed": (controlplane_killed, Limits()),
    "bird-killed": (bird_killed, Limits(milliseconds={"router_leaves": 300})),
    "backend-killed": (backend_killed, Limits(kept_broken=0.4, requests_failed=0.4)),
    "config-churn": (config_churn, Limits()),
}


def run_scenario(name: str, lab: Lab, say: Callable[[str], None]) -> dict[str, Any]:
    """The verdict: "problems" is empty when all of it held."""
    act, limits = SCENARIOS[name]
    say(f"{name}: {limits.nodes} node{'s' if limits.nodes > 1 else ''}, {BACKENDS} backends, BIRD, {ROUNDS} rounds")
    lab.build(BACKENDS)
    while len(lab.nodes) < limits.nodes:
        lab.add_node()
    routed = Routed(lab, 'drain_wait = "1s"')
    routed.start()
    rounds: list[Round] = []
    problems: list[str] = []
    for number in range(1, ROUNDS + 1):
        world = World(lab, routed)
        try:
            act(world)
        except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            problems.append(f"round {number}: {error}")
            say("\n".join([*(node.logs() for node in lab.nodes), routed.logs()]))
            break
        rounds.append(world.round)
        say(f"round {number}: {world.round}")
    report = judge(rounds, limits, problems)
    return {"scenario": name, "engine": "dpdk", "nodes": limits.nodes, "backends": BACKENDS, **report}


def judge(rounds: list[Round], limits: Limits, problems: list[str]) -> dict[str, Any]:
    median: dict[str, float] = {}
    for step in rounds[0].milliseconds if rounds else ():
        median[step] = statistics.median(of.milliseconds[step] for of in rounds)
    for step, limit in limits.milliseconds.items():
        if median.get(step, 0) > limit:
            problems.append(f"{step} took {median[step]} ms, at most {limit} are allowed")
    for number, of in enumerate(rounds, 1):
        for what, broken, of_all, limit in (("kept connections", of.kept_broken, KEPT_CONNECTIONS, limits.kept_broken),
                                            ("requests", of.requests_failed, of.requests, limits.requests_failed)):
            if broken > limit * of_all:
                problems.append(f"round {number}: {broken} of {of_all} {what} broke, first: {of.first_error}")
    return {"milliseconds": median, "rounds": [vars(of) for of in rounds],
            "kept_connections": KEPT_CONNECTIONS,
            "kept_broken": max((of.kept_broken for of in rounds), default=0),
            "requests_failed": max((of.requests_failed for of in rounds), default=0), "problems": problems}
