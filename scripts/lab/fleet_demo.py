"""`scripts/demo --fleet`: three nodes behind a router and three etcd members, live. What is killed is started again, as a
service manager would, so that it can be tried what a death costs."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from .backend import Backend
from .fleet import Fleet, told as told_of_fleet
from .lab import Lab
from .node import Node
from .table import Rate, Screen
from .topology import VIP
from .traffic import Traffic, traffic
from .wait import wait_until

RESTART_S = 5.0
BACKENDS = 4
KEPT = 40  # connections that stay open
LOG_LINES = 6


def run_fleet(lab: Lab, engine: str) -> None:
    """Until it is interrupted."""
    fleet = start_fleet(lab, engine)
    screen, keeper = Screen(), Keeper(fleet)
    print("\n".join(what_to_try(fleet)) + "\n", flush=True)
    with traffic(lab, timeout=2, threads=8, kept=KEPT) as flowing:
        view = View(fleet, flowing)
        while True:
            keeper.look()
            screen.draw(view.lines() if sys.stdout.isatty() else [view.line()])
            time.sleep(1)


def check_fleet(lab: Lab, engine: str) -> dict[str, Any]:
    """What a fleet that is well looks like, before and after an etcd member's and a node's death: nothing may fail."""
    fleet = start_fleet(lab, engine)
    problems: list[str] = []
    with traffic(lab, timeout=5, threads=4, kept=KEPT) as flowing:
        for died in ("nobody", "an etcd member", "a control plane"):
            if died == "an etcd member":
                fleet.etcd.kill(0)
            elif died == "a control plane":
                fleet.nodes[0].stop_controlplane(signal.SIGKILL)
                fleet.nodes[0].start_controlplane()
            lab.node.config.backends[1] = 50 if died == "an etcd member" else 100
            wait_until(lambda: fleet.nodes[1].cli("config", "apply", fleet.file(), check=False).returncode == 0,
                       f"a change is possible though {died} died", 20)
            digests = fleet.wait_agreed(30)
            if len(digests) != 1:
                problems.append(f"after the death of {died} tables differ: {sorted(digests)}")
            fleet.routed.wait_announced()
    if flowing.failures:
        problems.append(f"{len(flowing.failures)} requests failed, the first: {flowing.errors[0]}")
    said = told_of_fleet(fleet.nodes[1])
    return {"engine": engine, "nodes": len(fleet.nodes), "leader": said["leader"], "revision": said["active"],
            "digest": said["table"]["digest"], "routed_to": sorted(fleet.routed.reach()), "requests": flowing.requests,
            "requests_failed": len(flowing.failures), "kept_connections": KEPT, "kept_broken": len(flowing.kept.broken),
            "problems": problems}


def start_fleet(lab: Lab, engine: str) -> Fleet:
    lab.node.config.engine = engine
    lab.build(BACKENDS)
    fleet = Fleet(lab, members=3)
    fleet.start()
    return fleet


class Keeper:
    """Starts what has died, a while after it did."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._dead_since: dict[str, float] = {}

    def look(self) -> None:
        for node, bird in zip(self._fleet.lab.nodes, self._fleet.routed.birds):
            name = node.config.name
            self._keep(f"{name} data plane", node.dataplane, node.spawn_dataplane)
            self._keep(f"{name} control plane", node.controlplane, node.start_controlplane)
            self._keep(f"{name} BIRD", bird.process, bird.spawn)
        for backend in self._fleet.lab.backends.values():
            self._keep(backend.address(), backend.process, backend.start_nginx)
        etcd = self._fleet.etcd
        for member, process in enumerate(etcd.processes):
            self._keep(f"etcd {member}", process, functools.partial(etcd.start_member, member))

    def _keep(self, name: str, process: subprocess.Popen[bytes] | None, start: Callable[[], None]) -> None:
        if process and process.poll() is None:
            self._dead_since.pop(name, None)
        elif time.monotonic() - self._dead_since.setdefault(name, time.monotonic()) >= RESTART_S:
            del self._dead_since[name]
            start()


class View:
    def __init__(self, fleet: Fleet, flowing: Traffic) -> None:
        self._fleet, self._traffic = fleet, flowing
        self._began = time.monotonic()
        self._requests = Rate()
        self._packets = [Rate() for _ in fleet.lab.nodes]
        self._served = {number: Rate() for number in fleet.lab.backends}

    def lines(self) -> list[str]:
        fleet = self._fleet
        lines = [f"Linimo, {len(fleet.lab.nodes)} nodes, engine {fleet.lab.node.config.engine}: client -> router with BIRD, "
                 f"ECMP and BFD -> nodes -> {len(fleet.lab.backends)} nginx", self._total(), "",
                 f"{'node':<6}{'data plane':<14}{'control':<14}{'router':<9}{'BGP':<11}{'packets/s':>10}  "
                 f"{'generation':<12}{'digest':<18}announced"]
        said = [told(node) for node in fleet.lab.nodes]
        for node, rate, (status, _) in zip(fleet.lab.nodes, self._packets, said):
            lines.append(f"{node.config.name:<6}{pid(node.dataplane):<14}{pid(node.controlplane):<14}"
                         f"{self._routed(node):<9}{sessions(status):<11}{packets(rate, status):>10.0f}  "
                         f"{status.get('generation', '?'):<12}{status.get('digest', '?'):<18}{announced(status)}")
        lines += ["", f"{'backend':<12}{'nginx':<14}"
                  + "".join(f"{'by ' + node.config.name:<26}" for node in fleet.lab.nodes) + f"{'requests/s':>10}"]
        for backend in fleet.lab.backends.values():
            lines.append(f"{backend.address():<12}{pid(backend.process):<14}"
                         + "".join(f"{standing(backend, backends):<26}" for _, backends in said)
                         + f"{self._rate(backend):>10.0f}")
        etcd = ", ".join(f"{member} {pid(process)}" for member, process in enumerate(fleet.etcd.processes))
        return [*lines, "", f"fleet: {self._agreement()}; etcd: {etcd}", "", "the control planes' logs:", *self._log()]

    def line(self) -> str:
        """All of it in one, for where there is no terminal."""
        said = [told(node) for node in self._fleet.lab.nodes]
        nodes = [f"{node.config.name} {self._routed(node)}, BGP {sessions(status)}, "
                 f"{packets(rate, status):.0f} packets/s, announced {announced(status)}"
                 for node, rate, (status, _) in zip(self._fleet.lab.nodes, self._packets, said)]
        backends = [f"{backend.address()} {standing(backend, said[0][1])} {self._rate(backend):.0f}/s"
                    for backend in self._fleet.lab.backends.values()]
        return "; ".join([self._total(), f"fleet: {self._agreement()}", *nodes, *backends])

    def _agreement(self) -> str:
        """As the first node that answers has it."""
        said = next((told for node in self._fleet.nodes if (told := told_of_fleet(node))), None)
        if said is None:
            return "no node answers"
        wrong = [*said["alarms"], *said["differences"]]
        return f"leader {said['leader']}, revision {said['active']}, {'all agree' if said['agree'] else '; '.join(wrong) or 'changing'}"

    def _total(self) -> str:
        flowing = self._traffic
        return (f"{time.monotonic() - self._began:.0f} s: {self._requests.of(flowing.requests):.0f} requests/s, "
                f"{flowing.requests} in all, {len(flowing.failures)} failed; of {KEPT} kept connections "
                f"{len(flowing.kept.broken)} broke" + (f"; last: {flowing.errors[-1]}" if flowing.errors else ""))

    def _routed(self, node: Node) -> str:
        """Whether the router sends packets to it."""
        link = next(wire.link for wire in self._fleet.lab.topology.wires if wire.box is node.box)
        families = [family for family in VIP if link in self._fleet.routed.reach(family)]
        return {0: "NOT used", len(VIP): "used"}.get(len(families), f"IPv{families[0] if families else ''}")

    def _rate(self, backend: Backend) -> float:
        served = self._traffic.served
        return self._served[backend.number].of(sum(served.get(backend.address(family), 0) for family in VIP))

    def _log(self) -> list[str]:
        lines = []
        for node in self._fleet.lab.nodes:
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


def what_to_try(fleet: Fleet) -> list[str]:
    node = fleet.lab.nodes[0]
    applied = fleet.lab.folder / "applied.toml"
    cli = f"{node.cli_program} --socket {node.config.runtime_dir}/control.sock"
    return [
        f"What to try in another terminal, as root; what dies is started again after {RESTART_S:.0f} s:",
        "  kill -9 PID, kill -STOP PID, kill -CONT PID    # of a data plane, a control plane, an nginx, an etcd, as shown",
        f"  {cli} node drain    # and undrain: {node.config.name} is taken out without a loss",
        f"  {cli} backend drain web/{fleet.lab.backends[1].address()}    # and undrain",
        f"  {cli} status",
        f"  $EDITOR {applied}; {cli} config apply {applied}    # a weight, say: in force on all nodes when it returns",
        f"  {cli} fleet status    # and node list, config history, config rollback 1",
        f"  ip netns exec {fleet.lab.client.name} curl http://{VIP[4]}/    # which backend?",
        f"  ip netns exec {fleet.lab.topology.router.name} ip route show {VIP[4]}    # over which nodes?",
        "Ctrl-C ends it and removes every trace.",
    ]
