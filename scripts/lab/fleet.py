"""`scripts/demo --fleet`: two nodes behind a router, live. What is killed is started again, as a service manager would,
so that it can be tried what a death costs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import Any, Callable

from .backend import Backend
from .lab import Lab
from .node import Node
from .table import Rate, Screen
from .topology import VIP
from .traffic import Traffic, traffic
from .world import Setup, World

RESTART_S = 5.0
KEPT = 40  # connections that stay open
LOG_LINES = 6


def run_fleet(lab: Lab, engine: str) -> None:
    """Until it is interrupted."""
    world = World(lab, Setup(engine=engine, slow_start="10s"))
    screen, keeper = Screen(), Keeper(world)
    print("\n".join(what_to_try(world)) + "\n", flush=True)
    with traffic(lab, timeout=2, threads=8, kept=KEPT) as flowing:
        view = View(world, flowing)
        while True:
            keeper.look()
            screen.draw(view.lines() if sys.stdout.isatty() else [view.line()])
            time.sleep(1)


class Keeper:
    """Starts what has died, a while after it did."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dead_since: dict[str, float] = {}

    def look(self) -> None:
        for node, bird in zip(self._world.lab.nodes, self._world.routed.birds):
            name = node.config.name
            self._keep(f"{name} data plane", node.dataplane, node.spawn_dataplane)
            self._keep(f"{name} control plane", node.controlplane, node.start_controlplane)
            self._keep(f"{name} BIRD", bird.process, bird.spawn)
        for backend in self._world.lab.backends.values():
            self._keep(backend.address(), backend.process, backend.start_nginx)

    def _keep(self, name: str, process: subprocess.Popen[bytes] | None, start: Callable[[], None]) -> None:
        if process and process.poll() is None:
            self._dead_since.pop(name, None)
        elif time.monotonic() - self._dead_since.setdefault(name, time.monotonic()) >= RESTART_S:
            del self._dead_since[name]
            start()


class View:
    def __init__(self, world: World, flowing: Traffic) -> None:
        self._world, self._traffic = world, flowing
        self._began = time.monotonic()
        self._requests = Rate()
        self._packets = [Rate() for _ in world.lab.nodes]
        self._served = {number: Rate() for number in world.lab.backends}

    def lines(self) -> list[str]:
        world = self._world
        lines = [f"Linimo, {len(world.lab.nodes)} nodes, engine {world.setup.engine}: client -> router with BIRD, ECMP "
                 f"and BFD -> nodes -> {len(world.lab.backends)} nginx", self._total(), "",
                 f"{'node':<6}{'data plane':<14}{'control':<14}{'router':<9}{'BGP':<11}{'packets/s':>10}  "
                 f"{'generation':<12}{'digest':<18}announced"]
        said = [told(node) for node in world.lab.nodes]
        for node, rate, (status, _) in zip(world.lab.nodes, self._packets, said):
            lines.append(f"{node.config.name:<6}{pid(node.dataplane):<14}{pid(node.controlplane):<14}"
                         f"{self._routed(node):<9}{sessions(status):<11}{packets(rate, status):>10.0f}  "
                         f"{status.get('generation', '?'):<12}{status.get('digest', '?'):<18}{announced(status)}")
        lines += ["", f"{'backend':<12}{'nginx':<14}"
                  + "".join(f"{'by ' + node.config.name:<26}" for node in world.lab.nodes) + f"{'requests/s':>10}"]
        for backend in world.lab.backends.values():
            lines.append(f"{backend.address():<12}{pid(backend.process):<14}"
                         + "".join(f"{standing(backend, backends):<26}" for _, backends in said)
                         + f"{self._rate(backend):>10.0f}")
        return [*lines, "", "the control planes' logs:", *self._log()]

    def line(self) -> str:
        """All of it in one, for where there is no terminal."""
        said = [told(node) for node in self._world.lab.nodes]
        nodes = [f"{node.config.name} {self._routed(node)}, BGP {sessions(status)}, "
                 f"{packets(rate, status):.0f} packets/s, announced {announced(status)}"
                 for node, rate, (status, _) in zip(self._world.lab.nodes, self._packets, said)]
        backends = [f"{backend.address()} {standing(backend, said[0][1])} {self._rate(backend):.0f}/s"
                    for backend in self._world.lab.backends.values()]
        return "; ".join([self._total(), *nodes, *backends])

    def _total(self) -> str:
        flowing = self._traffic
        return (f"{time.monotonic() - self._began:.0f} s: {self._requests.of(flowing.requests):.0f} requests/s, "
                f"{flowing.requests} in all, {len(flowing.failures)} failed; of {KEPT} kept connections "
                f"{len(flowing.kept.broken)} broke" + (f"; last: {flowing.errors[-1]}" if flowing.errors else ""))

    def _routed(self, node: Node) -> str:
        """Whether the router sends packets to it."""
        link = next(wire.link for wire in self._world.lab.topology.wires if wire.box is node.box)
        families = [family for family in VIP if link in self._world.routed.reach(family)]
        return {0: "NOT used", len(VIP): "used"}.get(len(families), f"IPv{families[0] if families else ''}")

    def _rate(self, backend: Backend) -> float:
        served = self._traffic.served
        return self._served[backend.number].of(sum(served.get(backend.address(family), 0) for family in VIP))

    def _log(self) -> list[str]:
        lines = []
        for node in self._world.lab.nodes:
            file = node.folder / "linimo-controlplane.log"
            lines += [(line.split(" ", 1)[0], node.config.name, line.split(" ", 1)[-1])
                      for line in file.read_text(errors="replace").splitlines()[-LOG_LINES:]]
        return [f"  {at[11:23]} {name} {text}" for at, name, text in sorted(lines)[-LOG_LINES:]]


def told(node: Node) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What its control plane says: status and backends; nothing while it is not there."""
    with contextlib.suppress(RuntimeError, json.JSONDecodeError):
        return node.status(), node.backend_list()
    return {}, []


def pid(process: subprocess.Popen[bytes] | None) -> str:
    return f"pid {process.pid}" if process and process.poll() is None else "DEAD"


def packets(rate: Rate, status: dict[str, Any]) -> float:
    return rate.of(status["outcomes"]["forwarded"]) if status else 0.0


def announced(status: dict[str, Any]) -> str:
    if not status:
        return "?"
    vips = [vip["vip"] + (f" ({status['announce']['state']})" if status["announce"]["state"] != "serving" else "")
            for vip in status["announce"]["vips"] if vip["announced"]]
    return " ".join(vips) or "NOTHING"


def sessions(status: dict[str, Any]) -> str:
    if not status:
        return "?"
    return " ".join("up" if session["up"] else "DOWN" for session in status["announce"]["bird"]["sessions"]) or "?"


def standing(backend: Backend, backends: list[dict[str, Any]]) -> str:
    for one in backends:
        if one["address"] == backend.address():
            start = f" ({one['start_eighths']}/8)" if one["start_eighths"] != 8 else ""
            return f"{one['state']}{start} {one['share']:.1%}"
    return "?"


def what_to_try(world: World) -> list[str]:
    node = world.lab.nodes[0]
    cli = f"{node.cli_program} --socket {node.config.runtime_dir}/control.sock"
    return [
        f"What to try in another terminal, as root; what dies is started again after {RESTART_S:.0f} s:",
        "  kill -9 PID, kill -STOP PID, kill -CONT PID    # of a data plane, a control plane, an nginx, as shown",
        f"  {cli} node drain    # and undrain: {node.config.name} is taken out without a loss",
        f"  {cli} backend drain web/{world.lab.backends[1].address()}    # and undrain",
        f"  {cli} status",
        f"  $EDITOR {node.config_file}    # a weight, say: it is reloaded as you save it",
        f"  ip netns exec {world.lab.client.name} curl http://{VIP[4]}/    # which backend?",
        f"  ip netns exec {world.lab.topology.router.name} ip route show {VIP[4]}    # over which nodes?",
        "Ctrl-C ends it and removes every trace.",
    ]
