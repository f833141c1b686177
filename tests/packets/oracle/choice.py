"""Choosing the backend, where the table decides: what is one flow, and what is not."""

from __future__ import annotations

from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet

from .case import Cases, Step, forwarded, ip, link, tcp, udp
from .tunnel import Flow
from .world import CLIENTS, SOURCE_HASH_VIP, TRACKED_VIP, UNTRACKED6_VIP, UNTRACKED_VIP, vip

POOLS = {TRACKED_VIP: "many", UNTRACKED_VIP: "many", UNTRACKED6_VIP: "many6"}


def add_to(cases: Cases) -> None:
    for number, pool in POOLS.items():
        name = {TRACKED_VIP: "tracked", UNTRACKED_VIP: "untracked", UNTRACKED6_VIP: "untracked_to_v6"}[number]
        for family in (4, 6):
            _same(cases, f"{name}_v{family}", family, number, pool)
            _spread(cases, f"{name}_v{family}", family, number, pool)
    _every_field_counts(cases)
    _source_hash(cases)


def _same(cases: Cases, name: str, family: int, number: int, pool: str) -> None:
    """Whatever else differs between two packets of a flow."""
    row = "key: source address, destination address, protocol, source port, destination port"
    fields = {4: [{"ttl": 3}, {"id": 9}, {"flags": "DF"}, {"tos": 0xB8}], 6: [{"hlim": 3}, {"fl": 77}, {"tc": 1}]}
    packets = [ip(family, number, **more) / tcp() / b"x" for more in [{}, *fields[family]]]
    packets += [ip(family, number) / tcp(seq=5, ack=9, window=1, flags=flags) for flags in ("S", "A", "PA")]
    steps = [forwarded(packet, pool) for packet in packets]
    plain = packets[0]
    for tags in ((Dot1Q(vlan=5),), (Dot1AD(vlan=5), Dot1Q(vlan=6))):
        steps.append(forwarded(plain, pool, frame=link(plain, tags)))
    steps.append(forwarded(plain, pool, frame=link(plain, pad=b"padding")))
    flow = Flow(CLIENTS[family], vip(family, number), 6, 40000, 80)
    header = ip(4, number, options=[IPOption_NOP()] * 8) if family == 4 else (
        ip(6, number) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]))
    steps.append(forwarded(header / tcp(), pool, flow=flow))
    cases.add(f"same_flow_{name}", row, *steps, choice="same")


def _spread(cases: Cases, name: str, family: int, number: int, pool: str) -> None:
    steps = [forwarded(ip(family, number) / tcp(sport=port) / b"x", pool) for port in range(40000, 40048)]
    cases.add(f"flows_spread_{name}", "the table's choice", *steps, choice="spread")
    if number == TRACKED_VIP:
        steps = [forwarded(ip(family, number) / udp(sport=port) / b"x", pool) for port in range(40000, 40048)]
        cases.add(f"udp_flows_spread_{name}", "the table's choice", *steps, choice="spread")


def _every_field_counts(cases: Cases) -> None:
    """Flows that differ in one part of the key alone do not all meet at one backend."""
    row = "key: source address, destination address, protocol, source port, destination port"

    def add(name: str, family: int, packets: list[Packet]) -> None:
        cases.add(f"key_has_{name}_v{family}", row, *(forwarded(packet, "many") for packet in packets), choice="spread")

    for family in (4, 6):
        sources = [f"198.51.{n}.7" if family == 4 else f"2001:db8:c:{n}::7" for n in range(48)]
        add("source", family, [ip(family, UNTRACKED_VIP, src=source) / tcp() / b"x" for source in sources])
        add("destination_port", family, [ip(family, UNTRACKED_VIP) / tcp(port) / b"x" for port in range(1, 49)])
        add("source_port", family, [ip(family, UNTRACKED_VIP) / udp(sport=port) / b"x" for port in range(1, 49)])


def _source_hash(cases: Cases) -> None:
    def step(family: int, source: str, **ports: int) -> Step:
        return forwarded(ip(family, SOURCE_HASH_VIP, src=source) / tcp(**ports) / b"x", "many", source_hash=True)

    row = "a source-hash service uses the source address alone"
    for family in (4, 6):
        cases.add(f"source_hash_same_v{family}", row,
                  *(step(family, CLIENTS[family], sport=port) for port in range(48)), choice="same")
        sources = [f"198.51.100.{n}" if family == 4 else f"2001:db8:c::{n}" for n in range(48)]
        cases.add(f"source_hash_spread_v{family}", row, *(step(family, source) for source in sources), choice="spread")
