"""The wires: which boxes there are, their addresses and routes, and how to build and remove them.

    client eth0 ---- client [router] lb1 ---- eth0 node
                              |
                            fabric (bridge)
                              +-- b1 ---- eth0 backend 1
                              +-- b2 ---- eth0 backend 2 ...

The router sends every VIP to the node; the backends answer the client through the router, past the node. The
fabric's MTU leaves room for a tunnel around the client's largest packet.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from .netns import Namespace, finish, ip_batch, namespaces_with_prefix

CLIENT_MTU = 1500
FABRIC_MTU = 1600  # the client's packet and the largest overhead: outer IPv6, 40, and GRE, 4 (or GUE, 8)

CLIENT = {4: "192.0.2.2", 6: "2001:db8:c::2"}
NODE = {4: "10.0.0.11", 6: "2001:db8::11"}
VIP = {4: "203.0.113.10", 6: "2001:db8:f::10"}
VIP2 = {4: "203.0.113.20", 6: "2001:db8:f::20"}
VIPS = (*VIP.values(), *VIP2.values())

_ROUTER_TO_CLIENT = {4: "192.0.2.1", 6: "2001:db8:c::1"}
_ROUTER_TO_NODE = {4: "10.0.0.1", 6: "2001:db8::1"}
_ROUTER_TO_FABRIC = {4: "10.0.1.254", 6: "2001:db8:1::fe"}
_PREFIX = {4: 24, 6: 64}

# A VIP answers from a box whose route back is another: reverse-path filters would drop it. Duplicate address detection
# would keep each IPv6 address unusable for a second.
_SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.dad_transmits": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}
_FORWARDING = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}


def backend_address(number: int, family: int) -> str:
    return f"10.0.1.{number}" if family == 4 else f"2001:db8:1::{number}"


@dataclass(frozen=True)
class Wire:
    """Between the router and a node."""
    box: Namespace  # the node's
    link: str  # the router's end of it
    node: dict[int, str]
    router: dict[int, str]


@dataclass
class Topology:
    name: str
    node_queues: int = 1
    client: Namespace = field(init=False)
    router: Namespace = field(init=False)
    node: Namespace = field(init=False)
    backends: dict[int, Namespace] = field(init=False, default_factory=dict)
    wires: list[Wire] = field(init=False)

    def __post_init__(self) -> None:
        self.client, self.router, self.node = (Namespace(f"{self.name}-{box}") for box in ("client", "router", "lb1"))
        self.wires = [Wire(self.node, "lb1", NODE, _ROUTER_TO_NODE)]

    def build(self, backends: int) -> None:
        boxes = (self.client, self.router, self.node)
        finish(ip_batch([f"netns add {box.name}" for box in boxes]))
        for box in boxes:  # before the links are there: each takes its settings over when it is made
            box.sysctl(_SYSCTLS)
        self.router.sysctl(_FORWARDING)
        finish(ip_batch([f"link add client netns {self.router.name} type veth peer name eth0 netns {self.client.name}"]))
        # A bridge's address is its own only if it is given one: else it takes the lowest of its ports', and every
        # backend loses its gateway when one is added. Nor must neighbour solicitations wait for multicast queries.
        router = ["link set lo up",
                  f"link add fabric address 02:00:00:00:00:fe mtu {FABRIC_MTU} type bridge mcast_snooping 0"]
        router += ["link set client up", "link set fabric up"]
        for link, addresses in (("client", _ROUTER_TO_CLIENT), ("fabric", _ROUTER_TO_FABRIC)):
            router += _addresses(addresses, link)
        for batch in [ip_batch(router, self.router.name),
                      ip_batch(_host(CLIENT, _ROUTER_TO_CLIENT, CLIENT_MTU), self.client.name)]:
            finish(batch)
        self.connect_node()
        for number in range(1, backends + 1):
            self.add_backend(number)

    def connect_node(self, mtu: int = FABRIC_MTU) -> None:
        """The wire between router and node, with all that the kernel forgets when it is deleted. Each time it is made
        both ends are other devices, with other MAC addresses."""
        queues = f"numrxqueues {self.node_queues} numtxqueues {self.node_queues}"
        # AF_XDP wants as many queues as workers; a veth delivers to the queue its peer sent on.
        finish(ip_batch([f"link add lb1 netns {self.router.name} {queues} type veth peer name eth0 "
                         f"netns {self.node.name} {queues}"]))
        router = [f"link set lb1 mtu {mtu} up", *_addresses(_ROUTER_TO_NODE, "lb1"),
                  *(f"route add {vip} via {NODE[6 if ':' in vip else 4]}" for vip in VIPS)]
        for batch in [ip_batch(router, self.router.name), ip_batch(_host(NODE, _ROUTER_TO_NODE, mtu), self.node.name)]:
            finish(batch)
        # XDP sees frames as they are: whoever sends towards it must finish its checksums and segments first.
        _no_offloads(self.router, "lb1")

    def add_node(self) -> Wire:
        """Another box beside the node, on a wire of its own. No VIP is routed to it."""
        number = len(self.wires) + 1
        link = f"lb{number}"
        wire = Wire(Namespace(f"{self.name}-{link}"), link, {4: f"10.0.{number}.11", 6: f"2001:db8:{number}::11"},
                    {4: f"10.0.{number}.1", 6: f"2001:db8:{number}::1"})
        finish(ip_batch([f"netns add {wire.box.name}"]))
        wire.box.sysctl(_SYSCTLS)
        self.connect(wire)
        self.wires.append(wire)
        return wire

    def connect(self, wire: Wire) -> None:
        """The cable to a node, with the addresses of both ends and the node's default route."""
        link = wire.link
        queues = f"numrxqueues {self.node_queues} numtxqueues {self.node_queues}"
        finish(ip_batch([f"link add {link} netns {self.router.name} {queues} type veth peer name eth0 "
                         f"netns {wire.box.name} {queues}"]))
        finish(ip_batch([f"link set {link} mtu {FABRIC_MTU} up", *_addresses(wire.router, link)], self.router.name))
        finish(ip_batch(_host(wire.node, wire.router, FABRIC_MTU), wire.box.name))
        _no_offloads(self.router, link)

    def add_uplink(self) -> Wire:
        """A second cable between the router and the node: its NIC eth1, and a default route for when eth0's is dead, which
        the node's kernel then passes over."""
        wire = Wire(self.node, "lb1b", {4: "10.0.101.11", 6: "2001:db8:101::11"}, {4: "10.0.101.1", 6: "2001:db8:101::1"})
        queues = f"numrxqueues {self.node_queues} numtxqueues {self.node_queues}"
        finish(ip_batch([f"link add {wire.link} netns {self.router.name} {queues} type veth peer name eth1 "
                         f"netns {self.node.name} {queues}"]))
        finish(ip_batch([f"link set {wire.link} mtu {FABRIC_MTU} up", *_addresses(wire.router, wire.link)], self.router.name))
        finish(ip_batch([f"link set eth1 mtu {FABRIC_MTU} up", *_addresses(wire.node, "eth1"),
                         *(f"route add default via {gateway} metric 2048" for gateway in wire.router.values())],
                        self.node.name))
        self.node.sysctl({f"net.ipv{family}.conf.{device}.ignore_routes_with_linkdown": 1
                          for family in (4, 6) for device in ("all", "default", "eth0", "eth1")})
        _no_offloads(self.router, wire.link)
        self.wires.append(wire)
        return wire

    def unroute_vips(self) -> None:
        """The router forgets where the VIPs are, for BGP to tell it; flows spread over nodes by their ports."""
        self.router.sysctl({"net.ipv4.fib_multipath_hash_policy": 1, "net.ipv6.fib_multipath_hash_policy": 1})
        finish(ip_batch([f"route del {vip}" for vip in VIPS], self.router.name))

    def add_backend(self, number: int) -> Namespace:
        box, port = Namespace(f"{self.name}-b{number}"), f"b{number}"
        finish(ip_batch([f"netns add {box.name}"]))
        box.sysctl(_SYSCTLS)
        finish(ip_batch([f"link add {port} netns {self.router.name} type veth peer name eth0 netns {box.name}"]))
        own = {family: backend_address(number, family) for family in (4, 6)}
        inside = ip_batch(_host(own, _ROUTER_TO_FABRIC, FABRIC_MTU) +
                          [f"addr add {vip}/{128 if ':' in vip else 32} dev lo" for vip in VIPS], box.name)
        outside = ip_batch([f"link set {port} mtu {FABRIC_MTU} master fabric", f"link set {port} up"], self.router.name)
        finish(inside)
        finish(outside)
        _no_offloads(self.router, port)
        self.backends[number] = box
        return box

    def widen(self, client_mtu: int) -> None:
        """Larger frames everywhere, with the same room for a tunnel around the client's."""
        mtu = client_mtu + FABRIC_MTU - CLIENT_MTU
        links = [(self.client, "eth0", client_mtu), (self.router, "client", client_mtu)]
        links += [(self.router, wire.link, mtu) for wire in self.wires] + [(wire.box, "eth0", mtu) for wire in self.wires]
        links += [(self.router, f"b{number}", mtu) for number in self.backends] + [(box, "eth0", mtu) for box in self.backends.values()]
        for box, link, wanted in [*links, (self.router, "fabric", mtu)]:
            box.run(["ip", "link", "set", link, "mtu", str(wanted)])

    def boxes(self) -> list[Namespace]:
        """What exists, from whichever run, the nodes first: they must still reach the others as they end."""
        names = namespaces_with_prefix(f"{self.name}-")
        return [Namespace(name) for name in sorted(names, key=lambda name: not name.startswith(f"{self.name}-lb"))]

    def remove(self) -> None:
        boxes = self.boxes()
        for box in boxes:
            box.kill_all()
        if boxes:
            with contextlib.suppress(RuntimeError):
                finish(ip_batch([f"netns delete {box.name}" for box in boxes]))
        self.backends.clear()
        del self.wires[1:]


def _addresses(addresses: dict[int, str], link: str) -> list[str]:
    return [f"addr add {address}/{_PREFIX[family]} dev {link}" for family, address in addresses.items()]


def _host(addresses: dict[int, str], gateways: dict[int, str], mtu: int) -> list[str]:
    """A box with one NIC, eth0, and a default route."""
    return ["link set lo up", f"link set eth0 mtu {mtu} up", *_addresses(addresses, "eth0"),
            *(f"route replace default via {gateway}" for gateway in gateways.values())]


def _no_offloads(box: Namespace, link: str) -> None:
    box.run(["ethtool", "-K", link, "tx", "off", "gso", "off", "tso", "off"])
