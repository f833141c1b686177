"""`scripts/demo --scenario NAME --check`: something breaks under traffic, and what that cost, and how long it took.

What has a time to be judged is done three times; times are the median of the three, what broke is judged of each.
judge.py runs them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from datetime import datetime
from typing import Callable

from .bird import RouteWatch
from .client import fetch
from .config import Health
from .node import Node
from .topology import VIP
from .traffic import Traffic
from .wait import wait_until
from .world import Scenario, Setup, World

QUIET_S = 2.0  # for what must not happen
RESENT_S = 1.0  # for what was under way to be sent again
CHURN_CHANGES = 100
CHURN_S = 10.0


def all_backends_down(world: World) -> None:
    """The node's last backend goes, and with it the VIP; and back."""
    lab = world.lab
    world.may_break(1, 1)  # the router tells the client that there is no such VIP any more
    with RouteWatch(world.node.box) as own, RouteWatch(lab.topology.router) as theirs, world.traffic():
        for step, ill in (("withdrawn", True), ("announced", False)):
            began = time.time()
            for backend in lab.backends.values():
                backend.ask_to_drain(ill)
            routes = [own.wait(began, vip, ill, 20).at for vip in VIP.values()]
            router = [theirs.wait(began, vip, ill).at for vip in VIP.values()]
            decided = decision(world.node, began, "down" if ill else "up")
            world.took(f"{step}_after_decision", max(routes) - decided)
            world.took(f"{step}_router_after_kernel", max(0.0, *(b - a for a, b in zip(routes, router))))
    world.all_is_well()
    world.requests_succeed()


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
    """One of two nodes' data planes dies: its flows go on through the other node. In the last round the tables have
    changed while the flows ran."""
    changed = world.number == 3
    if changed:
        world.may_break(0.01, 0.01)
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        if changed:
            for node in world.lab.nodes:
                node.config.backends = {**node.config.backends, 2: 50}
            world.reload()
        began = time.time()
        world.node.stop_dataplane(signal.SIGKILL)
        world.took("router_leaves", world.leaves(watch, began))
        time.sleep(RESENT_S)
    world.node.start_dataplane()
    world.all_is_well()
    if changed:
        same_weights(world)


def same_weights(world: World) -> None:
    for node in world.lab.nodes:
        node.config.backends = {backend: 100 for backend in world.lab.backends}
    world.reload()


def node_frozen(world: World) -> None:
    """One of two nodes' data planes stands still: BFD, which passes through it, finds out."""
    with RouteWatch(world.lab.topology.router) as watch, contextlib.ExitStack() as after, world.traffic():
        after.callback(freeze(world.node))
        began = time.time()
        world.took("router_leaves", world.leaves(watch, began))
        time.sleep(RESENT_S)
    world.all_is_well()


def node_frozen_xdp(world: World) -> None:
    """The same with programs in the kernel, which need no process: nobody notices."""
    with RouteWatch(world.lab.topology.router) as watch, contextlib.ExitStack() as after, world.traffic():
        began = time.time()
        after.callback(freeze(world.node))
        time.sleep(QUIET_S)
        world.no_route_changed(watch, began)
    world.all_is_well()


def freeze(node: Node) -> Callable[[], None]:
    """Returns what thaws it again."""
    assert node.dataplane
    pid = node.dataplane.pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


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
    """The control plane of one node dies, then those of all: no route changes, nothing breaks. A backend that dies
    meanwhile is found out when they are back."""
    nodes = world.lab.nodes
    victim = world.lab.backends[1]
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        nodes[0].stop_controlplane(signal.SIGKILL)
        time.sleep(QUIET_S)
        for node in nodes[1:]:
            node.stop_controlplane(signal.SIGKILL)
        time.sleep(QUIET_S)
        world.no_route_changed(watch, began)
    victim.kill_nginx()
    returned = time.time()
    for node in nodes:
        node.start_controlplane()
    for node in nodes:
        wait_until(lambda: answers(node), f"{node.config.name}'s control plane answers", alive=node.check_alive)
    world.wait_down(victim)
    world.took("noticed_after_restart", time.time() - returned)
    world.requests_succeed()
    world.no_route_changed(watch, began)
    victim.start_nginx()
    world.all_is_well()


def answers(node: Node) -> bool:
    return node.cli("status", check=False).returncode == 0


def bird_killed(world: World) -> None:
    """BIRD of one of two nodes dies: traffic turns to the other node, and comes back with it."""
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        began = time.time()
        world.routed.birds[0].kill()
        world.took("router_leaves", world.leaves(watch, began))
        time.sleep(RESENT_S)
        before = [forwarded(node) for node in world.lab.nodes]
        wait_until(lambda: forwarded(world.lab.nodes[1]) > before[1] + 100, "the other node has the traffic")
        if forwarded(world.node) != before[0]:
            raise RuntimeError("the node that is not announced any more still forwards")
        world.routed.birds[0].again()
        world.routed.wait_announced()
        wait_until(lambda: forwarded(world.node) > before[0] + 100, "traffic is back at the node")


def forwarded(node: Node) -> int:
    return node.outcomes()["forwarded"]


def backend_killed(world: World) -> None:
    """One of four backends falls silent: only what it carried breaks, and new connections soon go elsewhere."""
    world.may_break(0.4, 0.4)  # a quarter, give or take
    victim = world.lab.backends[1]
    its_own = {victim.address(family) for family in VIP}
    with world.traffic(timeout=0.9, threads=24) as traffic:
        began = time.monotonic()
        victim.unplug()
        world.wait_down(victim)
        world.requests_succeed()
    if not traffic.failures:
        raise RuntimeError("no new connection went to the dead backend: this round shows nothing")
    world.took("last_new_connection", traffic.failures[-1].began - began)
    only_its_own_broke(traffic, its_own)
    victim.plug_in()
    world.all_is_well()


def only_its_own_broke(traffic: Traffic, its_own: set[str]) -> None:
    others = set(traffic.kept.broken) - traffic.kept.of(its_own)
    if others:
        raise RuntimeError(f"a connection to a backend that lives broke: {traffic.kept.broken[others.pop()]}")


def backend_drained(world: World) -> None:
    """An operator drains a backend and, when the owners of its connections have ended them, removes it."""
    victim = world.lab.backends[2]
    its_own = {victim.address(family) for family in VIP}
    with world.traffic() as traffic:
        for node in world.lab.nodes:
            node.cli("backend", "drain", f"web/{victim.address()}")
            wait_until(node.up_to_date, "the tables follow")
        before = sum(traffic.served.get(address, 0) for address in its_own)
        world.requests_succeed(200)
        time.sleep(QUIET_S)  # its connections live on
        if sum(traffic.served.get(address, 0) for address in its_own) > before + 2 * len(VIP):  # what was under way
            raise RuntimeError("the backend got new connections after the drain")
        kept = traffic.kept.of(its_own)
        if not kept or kept & set(traffic.kept.broken):
            raise RuntimeError("the drained backend's connections did not live on")
        traffic.kept.close(kept)
        wait_until(lambda: victim.connections() == 0, "the backend has no connections left")
        for node in world.lab.nodes:
            node.config.backends = {number: weight for number, weight in node.config.backends.items()
                                    if number != victim.number}
        world.reload()
        victim.kill_nginx()
        world.requests_succeed()
        world.round.notes["outlived_the_drain"] = len(kept)
    victim.start_nginx()
    victim.wait_ready()
    same_weights(world)


def backend_returns(world: World) -> None:
    """One of ten backends was dead and is back: its share grows in eighths, and nobody else's connection breaks."""
    node, victim = world.node, world.lab.backends[3]
    victim.kill_nginx()
    world.wait_down(victim)
    shares: list[float] = []
    with world.traffic():
        victim.start_nginx()

        def whole() -> bool:
            [backend] = [backend for backend in node.backend_list() if backend["address"] == victim.address()]
            if backend["share"] and backend["share"] not in shares:
                shares.append(backend["share"])
            return backend["state"] == "up" and backend["start_eighths"] == 8

        wait_until(whole, "its start is over", 20, alive=node.check_alive)
        wait_until(lambda: whole() and shares[-1] > 0.099, "it has a tenth of the table")
    world.round.notes["shares"] = [round(share, 4) for share in shares]
    # From an eighth of a tenth on; a busy machine may miss a step.
    if shares != sorted(shares) or len(shares) < 6 or shares[0] > 0.02:
        raise RuntimeError(f"its share did not grow in steps: {shares}")


def tunnel_broken(world: World) -> None:
    """A backend serves on its own address and does not take the tunnel off: the check through the tunnel finds it."""
    victim = world.lab.backends[2]
    world.may_break(0.4, 0.4)
    its_own = {victim.address(family) for family in VIP}
    world.check_through_tunnel(True)
    with world.traffic() as traffic:
        began = time.time()
        victim.end_tunnel()
        world.wait_down(victim)
        world.took("found", time.time() - began)
        with world.node.box.entered():
            if fetch(victim.address(), "/healthz") != "ok":
                raise RuntimeError("the backend itself does not serve: this shows nothing")
        world.requests_succeed()
    only_its_own_broke(traffic, its_own)
    victim.begin_tunnel()
    world.all_is_well()
    world.check_through_tunnel(False)


def config_churn(world: World) -> None:
    """All nodes' configurations change a hundred times in ten seconds: no connection breaks, no VIP's route changes."""
    nodes = world.lab.nodes
    with RouteWatch(world.lab.topology.router) as watch, world.traffic():
        generations = [node.status()["generation"] for node in nodes]
        began = time.time()
        for number in range(CHURN_CHANGES):
            time.sleep(max(0.0, began + number * CHURN_S / CHURN_CHANGES - time.time()))
            for node in nodes:
                weight = 0 if number % 10 == 5 else 50 + number  # one is drained now and then
                node.config.backends = {**node.config.backends, 1 + number % len(world.lab.backends): weight}
                node.write_config()
                node.signal_reload()
        world.took("changes", time.time() - began)
        wanted = list(nodes[0].config.backends.values())
        wait_until(lambda: all([backend["weight"] for backend in node.backend_list()] == wanted for node in nodes),
                   "all nodes have the last configuration")
        wait_until(lambda: len(world.digests()) == 1, "all nodes have the same tables")
        made = [node.status()["generation"] - before for node, before in zip(nodes, generations)]
        world.round.notes["generations"] = made
        if min(made) < 0.9 * CHURN_CHANGES:
            raise RuntimeError(f"{CHURN_CHANGES} changes became {made} generations")
        world.no_route_changed(watch, began)
    same_weights(world)


XDP = Setup(engine="xdp")
DETECTED_MS = Health().detection_bound_s * 1000
TIMES = 3  # rounds, where times are judged

# A name has a scenario for each engine that it is about.
SCENARIOS: dict[str, list[Scenario]] = {
    "backend-killed": [Scenario(backend_killed, rounds=TIMES, milliseconds={"last_new_connection": DETECTED_MS})],
    "backend-drained": [Scenario(backend_drained)],
    "backend-returns": [Scenario(backend_returns, Setup(nodes=1, backends=10, slow_start="7s"))],
    "all-backends-down": [Scenario(all_backends_down, Setup(nodes=1), TIMES, milliseconds={
        "withdrawn_after_decision": 1000, "withdrawn_router_after_kernel": 50,
        "announced_after_decision": 1000, "announced_router_after_kernel": 50})],
    "node-killed": [Scenario(node_killed, rounds=TIMES, milliseconds={"router_leaves": 300})],
    "node-frozen": [Scenario(node_frozen, rounds=TIMES, milliseconds={"router_leaves": 300}),
                    Scenario(node_frozen_xdp, XDP)],
    "node-drained": [Scenario(node_drained)],
    "controlplane-killed": [Scenario(controlplane_killed)],
    "bird-killed": [Scenario(bird_killed, rounds=TIMES, milliseconds={"router_leaves": 300})],
    "config-churn": [Scenario(config_churn)],
    "tunnel-broken": [Scenario(tunnel_broken, rounds=TIMES, milliseconds={"found": DETECTED_MS}),
                      Scenario(tunnel_broken, XDP, TIMES, milliseconds={"found": DETECTED_MS})],
}
