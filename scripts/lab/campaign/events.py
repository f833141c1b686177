"""What can happen to a node and around it. Each kind is a function that does it and returns what puts it right, or None
where Linimo itself has to. What puts right does what a service manager or a network manager would: it starts a process
again, it configures a link that has come back; no more."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from typing import Callable

from ..lab import Lab
from ..netns import Namespace
from ..node import Node
from ..routed import Routed
from ..topology import FABRIC_MTU, VIP, Wire
from .watch import Probes

Undo = Callable[[], None]


@dataclass
class Stage:
    """What an event acts upon: one node, and what belongs to it."""
    lab: Lab
    routed: Routed
    probes: Probes
    number: int  # of the node, from 1
    chance: random.Random

    @property
    def node(self) -> Node:
        return self.lab.nodes[self.number - 1]

    @property
    def wire(self) -> Wire:
        return self.lab.topology.wires[self.number - 1]

    @property
    def box(self) -> Namespace:
        return self.wire.box

    @property
    def uplink(self) -> str:
        """Which device has the node's addresses and routes."""
        return "linimo0" if self.node.config.takes_netdev else "eth0"

    def ip(self, *words: str) -> None:
        """In the node's box; what is not there cannot be taken away, and that is no fault of the campaign."""
        self.box.run(["ip", *words], check=False)

    def default_routes(self) -> None:
        for family, gateway in self.wire.router.items():
            self.ip(f"-{family}", "route", "replace", "default", "via", gateway)


def dataplane_killed(on: Stage) -> Undo:
    on.node.stop_dataplane(signal.SIGKILL)
    return on.node.spawn_dataplane


def controlplane_killed(on: Stage) -> Undo:
    on.node.stop_controlplane(signal.SIGKILL)
    return on.node.start_controlplane


def _frozen(pid: int) -> Undo:
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def dataplane_frozen(on: Stage) -> Undo:
    assert on.node.dataplane
    return _frozen(on.node.dataplane.pid)


def controlplane_frozen(on: Stage) -> Undo:
    assert on.node.controlplane
    return _frozen(on.node.controlplane.pid)


def bird_killed(on: Stage) -> Undo:
    bird = on.routed.birds[on.number - 1]
    bird.kill()
    return bird.spawn


def rule_deleted(on: Stage) -> None:
    for family in VIP:
        on.ip(f"-{family}", "rule", "del", "pref", "7800")


def carrier_lost(on: Stage) -> Undo:
    """The router's end goes down; the node sees its link without a carrier."""
    router = on.lab.topology.router
    router.run(["ip", "link", "set", on.wire.link, "down"])

    def mend() -> None:
        router.run(["ip", "link", "set", on.wire.link, "up"])
        on.probes.route(on.wire)

    return mend


def uplink_down(on: Stage) -> Undo:
    on.ip("link", "set", "eth0", "down")

    def mend() -> None:
        on.ip("link", "set", "eth0", "up")
        on.default_routes()

    return mend


def interface_recreated(on: Stage) -> Undo:
    """The NIC is pulled and plugged in again, and the network manager gives it its addresses."""
    on.lab.topology.router.run(["ip", "link", "del", on.wire.link])

    def mend() -> None:
        on.lab.topology.connect(on.wire)
        if not on.node.config.takes_netdev:
            on.lab.let_pass(on.number)
        on.probes.route(on.wire)

    return mend


def queues_changed(on: Stage) -> Undo:
    set_queues(on.lab, on.wire, 2)
    return lambda: set_queues(on.lab, on.wire, 1)


def set_queues(lab: Lab, wire: Wire, count: int) -> None:
    """Of a node's NIC and of the router's end: a veth with XDP wants no more to send on than the other has to receive."""
    router, few, many = lab.topology.router, str(min(count, 1)), str(count)
    for box, link, receive, send in ((router, wire.link, "2", few), (wire.box, "eth0", many, many),
                                     (router, wire.link, many, many)):
        box.run(["ethtool", "-L", link, "rx", receive, "tx", send], check=False)


def xdp_off(on: Stage) -> None:
    on.ip("link", "set", "eth0", "xdp", "off")


def mac_changed(on: Stage) -> Undo:
    before = on.box.run(["cat", "/sys/class/net/eth0/address"], check=False).stdout.strip()
    on.ip("link", "set", "eth0", "address", "02:00:00:00:77:77")
    return lambda: on.ip("link", "set", "eth0", "address", before)


def mtu_changed(on: Stage) -> Undo:
    on.ip("link", "set", "eth0", "mtu", "1500")
    return lambda: on.ip("link", "set", "eth0", "mtu", str(FABRIC_MTU))


def backend_killed(on: Stage) -> Undo:
    backend = on.lab.backends[on.chance.choice(sorted(on.lab.backends))]
    backend.kill_nginx()
    return backend.start_nginx


def backend_unplugged(on: Stage) -> Undo:
    backend = on.lab.backends[on.chance.choice(sorted(on.lab.backends))]
    backend.unplug()
    return backend.plug_in


def route_removed(on: Stage) -> Undo:
    """To the backends: they are behind the default route."""
    for family in VIP:
        on.ip(f"-{family}", "route", "del", "default")
    return on.default_routes


def neighbours_flushed(on: Stage) -> None:
    on.ip("neigh", "flush", "all")


def config_churn(on: Stage) -> Undo:
    """A dozen changes as fast as they can be written, here and on the other nodes; back to the beginning at the end."""
    weights = [on.chance.choice([0, 50, 150]) for _ in range(12)]
    numbers = [on.chance.choice(sorted(on.lab.backends)) for _ in weights]
    before = dict(on.node.config.backends)

    def write(backends: dict[int, int]) -> None:
        for node in on.lab.nodes:
            node.config.backends = backends
            node.write_config()
            node.signal_reload()

    for number, weight in zip(numbers, weights):
        write({**before, number: weight})
    return lambda: write(before)


def node_drained(on: Stage) -> Undo:
    on.node.cli("node", "drain", check=False)
    return lambda: on.node.cli("node", "undrain", check=False) and None


def backend_drained(on: Stage) -> Undo:
    name = f"web/{on.lab.backends[on.chance.choice(sorted(on.lab.backends))].address()}"
    for node in on.lab.nodes:
        node.cli("backend", "drain", name, check=False)
    return lambda: [node.cli("backend", "undrain", name, check=False) for node in on.lab.nodes] and None


@dataclass(frozen=True)
class Kind:
    do: Callable[[Stage], Undo | None]
    engines: tuple[str, ...] = ("dpdk", "xdp")


KINDS = {
    "dataplane-killed": Kind(dataplane_killed),
    "dataplane-frozen": Kind(dataplane_frozen),
    "controlplane-killed": Kind(controlplane_killed),
    "controlplane-frozen": Kind(controlplane_frozen),
    "bird-killed": Kind(bird_killed),
    "rule-deleted": Kind(rule_deleted),
    "carrier-lost": Kind(carrier_lost),
    "uplink-down": Kind(uplink_down),
    "interface-recreated": Kind(interface_recreated),
    "queues-changed": Kind(queues_changed, ("xdp",)),
    "xdp-off": Kind(xdp_off, ("xdp",)),
    "mac-changed": Kind(mac_changed),
    "mtu-changed": Kind(mtu_changed),
    "backend-killed": Kind(backend_killed),
    "backend-unplugged": Kind(backend_unplugged),
    "route-removed": Kind(route_removed),
    "neighbours-flushed": Kind(neighbours_flushed),
    "config-churn": Kind(config_churn),
    "node-drained": Kind(node_drained),
    "backend-drained": Kind(backend_drained),
}
