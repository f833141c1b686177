"""The configuration that all cases run under: one node with two ports, and services whose backend is forced.

Nearly every pool has one backend, so that a case need not know the Maglev table to know every byte that leaves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from ipaddress import ip_address

SEED = 0x6D61676C65762E01
ENCAP_SOURCES = {4: "10.0.0.11", 6: "2001:db8::11"}
PORT_MACS = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
HOST_ADDRESSES = ["192.0.2.11", "2001:db8:a::11", "203.0.113.30", "2001:db8:f::30"]  # the last two are VIPs too
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:c::7"}
CLIENT_MAC = "02:00:00:00:0c:01"


@dataclass
class Backend:
    address: str
    id: int
    port: int = 0  # by which the next hop is reached
    mac: str = ""
    mtu: int = 1500
    next_hop: str = "resolved"  # resolved | unresolved | no_route | wrong_egress
    state: str = "up"  # up | draining | down
    weight: int = 100

    def __post_init__(self) -> None:
        self.mac = f"02:00:00:00:01:{self.id:02x}"

    @property
    def family(self) -> int:
        return ip_address(self.address).version


@dataclass
class Pool:
    name: str
    backends: list[Backend]
    encapsulation: str = "ipip"

    @property
    def only(self) -> Backend:
        (backend,) = self.backends
        return backend


@dataclass
class Service:
    pool: str
    vips: list[str]
    protocol: str
    ports: list[list[int]]  # [first, last]
    tracking: str = "full"
    source_hash: bool = False
    idle_timeout_s: int = 900
    allow_sources: list[str] = field(default_factory=list)


# Both families of backend for both encapsulations; MTUs differ, so that each is looked up where it belongs.
FORWARDING = {
    "ipip4": Pool("ipip4", [Backend("10.0.1.1", 1)]),
    "ipip6": Pool("ipip6", [Backend("2001:db8:1::1", 2, port=1, mtu=1600)]),
    "gre4": Pool("gre4", [Backend("10.0.1.2", 3, port=1, mtu=1524)], "gre"),
    "gre6": Pool("gre6", [Backend("2001:db8:1::2", 4, mtu=1400)], "gre"),
}
FAILING = {
    "no_route": Pool("no_route", [Backend("10.0.1.5", 5, next_hop="no_route")]),
    "no_nexthop": Pool("no_nexthop", [Backend("10.0.1.6", 6, next_hop="unresolved")]),
    "wrong_egress": Pool("wrong_egress", [Backend("2001:db8:1::7", 7, next_hop="wrong_egress")]),
    "down": Pool("down", [Backend("10.0.1.8", 8, state="down")]),
    "draining": Pool("draining", [Backend("10.0.1.9", 9, state="draining")]),
    "weightless": Pool("weightless", [Backend("10.0.1.10", 10, weight=0)]),
    "empty": Pool("empty", []),
}
MANY = {
    "many": Pool("many", [Backend(f"10.0.2.{n}", 20 + n) for n in range(1, 5)]),
    "many6": Pool("many6", [Backend(f"2001:db8:2::{n}", 24 + n, port=1) for n in range(1, 4)], "gre"),
}
POOLS = FORWARDING | FAILING | MANY


def vip(family: int, number: int) -> str:
    return f"203.0.113.{number}" if family == 4 else f"2001:db8:f::{number}"


def both(number: int) -> list[str]:
    return [vip(4, number), vip(6, number)]


# Each pool that forwards or fails has a VIP pair of its own, with TCP port 80 and UDP port 53.
VIP_OF_POOL = {name: number for number, name in enumerate(FORWARDING | FAILING, start=1)}
OWN_VIP = 30  # the host has it as well
PRIVATE_VIP = 40  # allow_sources
PRECEDENCE_VIP = 41
PREFIX_VIPS = ["203.0.113.64/28", "2001:db8:f:64::/64"]
INSIDE_PREFIX = ["203.0.113.70", "2001:db8:f:64::70"]
SOURCE_HASH_VIP, TRACKED_VIP, UNTRACKED_VIP, UNTRACKED6_VIP = 50, 51, 52, 53

TCP80 = [[80, 80]]
UDP53 = [[53, 53]]
ANY = [[0, 65535]]


def _services() -> list[Service]:
    services = []
    for pool, number in VIP_OF_POOL.items():
        services += [Service(pool, both(number), "tcp", TCP80),
                     Service(pool, both(number), "udp", UDP53, tracking="off", idle_timeout_s=60)]
    services += [
        Service("ipip4", both(OWN_VIP), "tcp", TCP80),
        Service("ipip4", both(PRIVATE_VIP), "tcp", TCP80, allow_sources=["198.51.100.0/25", "2001:db8:c::/48"]),
        Service("gre4", both(PRIVATE_VIP), "udp", UDP53, allow_sources=["0.0.0.0/0"]),
        Service("gre6", both(PRIVATE_VIP), "udp", [[54, 54]], allow_sources=["::/0"]),
        # An exact port before a range before any; then the longer prefix.
        Service("gre4", both(PRECEDENCE_VIP), "tcp", [[8080, 8080]]),
        Service("ipip4", both(PRECEDENCE_VIP), "tcp", [[8000, 8100], [9000, 9009]]),
        Service("ipip6", both(PRECEDENCE_VIP), "tcp", ANY),
        Service("gre6", both(PRECEDENCE_VIP), "udp", ANY),
        Service("ipip4", PREFIX_VIPS, "tcp", [[80, 80], [8000, 8100]]),
        Service("ipip6", PREFIX_VIPS, "udp", UDP53),
        Service("gre4", INSIDE_PREFIX, "tcp", [[0, 65535]]),
        Service("many", both(SOURCE_HASH_VIP), "tcp", TCP80, tracking="off", source_hash=True),
        Service("many", both(TRACKED_VIP), "tcp", TCP80),
        Service("many", both(TRACKED_VIP), "udp", UDP53, idle_timeout_s=60),
        Service("many", both(UNTRACKED_VIP), "tcp", ANY, tracking="off"),
        Service("many", both(UNTRACKED_VIP), "udp", ANY, tracking="off", idle_timeout_s=60),
        Service("many6", both(UNTRACKED6_VIP), "tcp", ANY, tracking="off"),
    ]
    return services


def configuration() -> dict:
    """As the case file has it: the index of a service is its id, pools are named."""
    return {
        "hash_seed": SEED,
        "encap_sources": list(ENCAP_SOURCES.values()),
        "port_macs": PORT_MACS,
        "host_addresses": HOST_ADDRESSES,
        "pools": [asdict(pool) for pool in POOLS.values()],
        "services": [asdict(service) for service in _services()],
    }
