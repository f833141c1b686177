"""The configuration that nearly all cases run under: one node with two ports, and services whose backend is forced.

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
    server_id: int = 0
    tags: list[list[int]] = field(default_factory=list)  # [TPID, control information] of the route's device, outermost first

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
    gue_port: int = 6080
    server_id_length: int = 0

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
    scheduler: str = "maglev"
    no_backend: str = "drop"
    quic: bool = False
    server_id_offset: int = 1
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
GUE = {
    "gue4": Pool("gue4", [Backend("10.0.3.1", 31, mtu=1528)], "gue"),
    "gue6": Pool("gue6", [Backend("2001:db8:3::1", 32, port=1, mtu=1548)], "gue"),
    "gue4_port": Pool("gue4_port", [Backend("10.0.3.2", 33, port=1)], "gue", gue_port=9),
    "gue6_port": Pool("gue6_port", [Backend("2001:db8:3::2", 34)], "gue", gue_port=65535),
}
TAG, SERVICE_TAG = [0x8100, 0x6007], [0x88A8, 0x1FFF]  # priority 3, VLAN 7; drop eligible, VLAN 4095
TAGGED = {
    "tagged4": Pool("tagged4", [Backend("10.0.4.1", 41, tags=[TAG])]),
    "tagged6": Pool("tagged6", [Backend("2001:db8:4::1", 42, port=1, mtu=1600, tags=[SERVICE_TAG, TAG])], "gre"),
    "tagged_gue6": Pool("tagged_gue6", [Backend("2001:db8:4::2", 43, mtu=1500, tags=[TAG, TAG])], "gue"),
}
SMALL = {
    "small_ipip4": Pool("small_ipip4", [Backend("10.0.5.1", 51, mtu=400)]),
    "small_ipip6": Pool("small_ipip6", [Backend("2001:db8:5::1", 52, port=1, mtu=400)]),
    "small_gre4": Pool("small_gre4", [Backend("10.0.5.2", 53, mtu=401)], "gre"),
    "small_gre6": Pool("small_gre6", [Backend("2001:db8:5::2", 54, mtu=1280)], "gre"),
    "small_gue4": Pool("small_gue4", [Backend("10.0.5.3", 55, port=1, mtu=402, tags=[TAG])], "gue"),
    "small_gue6": Pool("small_gue6", [Backend("2001:db8:5::3", 56, mtu=1400)], "gue"),
    "tiny": Pool("tiny", [Backend("2001:db8:5::4", 57, mtu=100)], "gue"),  # leaves less than IPv4's least MTU of 68
}
QUIC = {
    "quic": Pool("quic", [Backend("10.0.6.1", 61, server_id=0x010203), Backend("10.0.6.2", 62, server_id=0),
                          Backend("10.0.6.3", 63, server_id=0xFFFFFF, state="draining"),
                          Backend("10.0.6.4", 64, server_id=0xABCDEF, state="down")], server_id_length=3),
    "quic8": Pool("quic8", [Backend(f"2001:db8:6::{n}", 64 + n, server_id=n << 56 | n) for n in (1, 2)], "gre",
                  server_id_length=8),
    "quic1": Pool("quic1", [Backend(f"10.0.6.1{n}", 70 + n, server_id=0x40 + n) for n in (1, 2)], "gue",
                  server_id_length=1),
}
JUMBO = {
    "jumbo_ipip4": Pool("jumbo_ipip4", [Backend("10.0.8.1", 101, mtu=9100)]),
    "jumbo_gre6": Pool("jumbo_gre6", [Backend("2001:db8:8::1", 102, port=1, mtu=9100)], "gre"),
    "jumbo_gue4": Pool("jumbo_gue4", [Backend("10.0.8.2", 103, mtu=9100, tags=[TAG])], "gue"),
    "jumbo_gue6": Pool("jumbo_gue6", [Backend("2001:db8:8::2", 104, mtu=9100)], "gue"),
}
# Each fails in two ways.
TWICE = {
    "down_no_route": Pool("down_no_route", [Backend("10.0.7.1", 81, state="down", next_hop="no_route")]),
    "narrow_no_route": Pool("narrow_no_route", [Backend("10.0.7.2", 82, next_hop="no_route", mtu=400)]),
    "narrow_no_nexthop": Pool("narrow_no_nexthop", [Backend("2001:db8:7::3", 83, next_hop="unresolved", mtu=400)]),
    "narrow_wrong_egress": Pool("narrow_wrong_egress", [Backend("10.0.7.4", 84, next_hop="wrong_egress", mtu=400)], "gre"),
}
POOLS = FORWARDING | FAILING | MANY | GUE | TAGGED | SMALL | QUIC | TWICE | JUMBO


def vip(family: int, number: int) -> str:
    return f"203.0.113.{number}" if family == 4 else f"2001:db8:f::{number}"


def both(number: int) -> list[str]:
    return [vip(4, number), vip(6, number)]


# Each pool that forwards or fails has a VIP pair of its own, with TCP port 80 and UDP port 53.
VIP_OF_POOL = {name: number for number, name in enumerate(FORWARDING | FAILING | GUE | TAGGED | SMALL | JUMBO, start=1)}
OWN_VIP = 30  # the host has it as well
assert max(VIP_OF_POOL.values()) < OWN_VIP
PRIVATE_VIP = 40  # allow_sources
PRECEDENCE_VIP = 41
PREFIX_VIPS = ["203.0.113.64/28", "2001:db8:f:64::/64"]
INSIDE_PREFIX = ["203.0.113.70", "2001:db8:f:64::70"]
SOURCE_HASH_VIP, TRACKED_VIP, UNTRACKED_VIP, UNTRACKED6_VIP = 50, 51, 52, 53

REJECT_VIP, REJECT_DRAINING_VIP = 54, 55  # both ports; no backend lives
QUIC_VIP, QUIC8_VIP, QUIC1_VIP, NOT_QUIC_VIP = 56, 57, 58, 59  # UDP 443
TWICE_VIP = {name: number for number, name in enumerate(TWICE, start=90)}
PRIVATE_REJECT_VIP = 60  # allow_sources, and no backend lives

TCP80 = [[80, 80]]
UDP53 = [[53, 53]]
UDP443 = [[443, 443]]
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
        Service("many", both(SOURCE_HASH_VIP), "tcp", TCP80, tracking="off", scheduler="source-hash"),
        Service("many", both(TRACKED_VIP), "tcp", TCP80),
        Service("many", both(TRACKED_VIP), "udp", UDP53, idle_timeout_s=60),
        Service("many", both(UNTRACKED_VIP), "tcp", ANY, tracking="off"),
        Service("many", both(UNTRACKED_VIP), "udp", ANY, tracking="off", idle_timeout_s=60),
        Service("many6", both(UNTRACKED6_VIP), "tcp", ANY, tracking="off"),
        Service("down", both(REJECT_VIP), "tcp", ANY, no_backend="reject"),
        Service("down", both(REJECT_VIP), "udp", ANY, tracking="off", no_backend="reject"),
        Service("draining", both(REJECT_DRAINING_VIP), "tcp", TCP80, no_backend="reject"),
        Service("draining", both(REJECT_DRAINING_VIP), "udp", UDP53, tracking="off", no_backend="reject"),
        Service("quic", both(QUIC_VIP), "udp", UDP443, idle_timeout_s=60, quic=True),
        Service("quic8", both(QUIC8_VIP), "udp", UDP443, tracking="off", quic=True, server_id_offset=12),
        Service("quic1", both(QUIC1_VIP), "udp", UDP443, idle_timeout_s=60, quic=True, server_id_offset=0),
        Service("quic", both(NOT_QUIC_VIP), "udp", UDP443, idle_timeout_s=60),
    ]
    private = {"allow_sources": ["198.51.100.0/25", "2001:db8:c::/48"], "no_backend": "reject"}
    for pool, numbers, more in [*((pool, both(number), {}) for pool, number in TWICE_VIP.items()),
                                ("down_no_route", both(PRIVATE_REJECT_VIP), private)]:
        services += [Service(pool, numbers, "tcp", TCP80, **more),
                     Service(pool, numbers, "udp", UDP53, tracking="off", idle_timeout_s=60, **more)]
    return services


# How many leading bits of the outer sources stay; the rest comes from the flow hash.
ENCAP_PREFIXES = {"main": {4: 32, 6: 128}, "source_prefix": {4: 10, 6: 64}, "source_prefix_odd": {4: 31, 6: 107},
                  "source_prefix_all": {4: 0, 6: 128}}


def configurations() -> dict:
    return {name: _configuration(prefixes) for name, prefixes in ENCAP_PREFIXES.items()}


def _configuration(encap_prefixes: dict[int, int]) -> dict:
    """As the case file has it: the index of a service is its id, pools are named, prefixes count in 128 bits."""
    return {
        "hash_seed": SEED,
        "encap_sources": list(ENCAP_SOURCES.values()),
        "encap_prefixes": [96 + encap_prefixes[4], encap_prefixes[6]],
        "port_macs": PORT_MACS,
        "host_addresses": HOST_ADDRESSES,
        "pools": [asdict(pool) for pool in POOLS.values()],
        "services": [asdict(service) for service in _services()],
    }
