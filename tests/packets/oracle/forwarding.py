"""Ours, and well formed: into the tunnel with every byte of the packet and none of the frame's."""

from __future__ import annotations

from scapy.layers.inet import IPOption, IPOption_NOP, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, RouterAlert
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet

from .case import Cases, forwarded, ip, link, request, tcp, udp
from .tunnel import Flow
from .world import CLIENTS, FORWARDING, VIP_OF_POOL, Pool, vip

TAGS = {"tagged": (Dot1Q(vlan=7, prio=5),), "twice_tagged": (Dot1AD(vlan=9), Dot1Q(vlan=7)),
        "twice_tagged_8100": (Dot1Q(vlan=9), Dot1Q(vlan=0))}


def add_to(cases: Cases) -> None:
    add_pools(cases, FORWARDING)
    _left_alone(cases)


def add_pools(cases: Cases, pools: dict[str, Pool]) -> None:
    for pool in pools:
        for family in (4, 6):
            _plain(cases, family, pool)
            _framing(cases, family, pool)
        _options(cases, pool)
        _extensions(cases, pool)


def _plain(cases: Cases, family: int, pool: str) -> None:
    header = ip(family, VIP_OF_POOL[pool])
    row = "well formed"
    payloads = [b"", b"x", b"xy", bytes(range(256)) * 4]
    cases.add(f"tcp_v{family}_{pool}", row, *(forwarded(header / tcp() / payload, pool) for payload in payloads),
              *(forwarded(header / tcp(flags=flags), pool) for flags in ("S", "SA", "A", "F", "R", "FSRPAUEC", 0)),
              forwarded(header / tcp(options=[("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]), pool),
              forwarded(header / tcp(options=[("NOP", None)] * 40) / b"x", pool))
    cases.add(f"udp_v{family}_{pool}", row, *(forwarded(header / udp() / payload, pool) for payload in payloads),
              forwarded(header / udp(sport=0), pool), forwarded(header / udp(sport=65535), pool))


def _framing(cases: Cases, family: int, pool: str) -> None:
    packet = request(family, pool)
    for name, tags in TAGS.items():
        cases.add(f"{name}_v{family}_{pool}", "one 802.1Q tag, or two",
                  forwarded(packet, pool, frame=link(packet, tags)),
                  forwarded(packet, pool, frame=link(packet, tags, pad=b"pad")))
    row = "padded to the 60-byte minimum frame"
    short = ip(family, VIP_OF_POOL[pool]) / udp() / b"x"
    bare = ip(family, VIP_OF_POOL[pool]) / tcp()
    tagged = TAGS["tagged"]
    cases.add(f"padded_v{family}_{pool}", row,
              *(forwarded(inner, pool, frame=link(inner, pad=fill * max(60 - 14 - len(inner), 4)))
                for inner in (short, bare) for fill in (b"\0", b"\xff")),
              forwarded(short, pool, frame=link(short, tagged, pad=bytes(12))),
              *(forwarded(packet, pool, frame=link(packet, pad=b"p" * length)) for length in (1, 2, 3, 4, 100, 1300)))


def _options(cases: Cases, pool: str) -> None:
    number = VIP_OF_POOL[pool]
    lists = [[IPOption_NOP()] * 4 * words for words in range(1, 11)]
    lists += [[IPOption_RR(length=23, pointer=4, routers=["0.0.0.0"] * 5)], [IPOption_Timestamp(timestamp=1)],
              [IPOption(b"\x94\x04\x00\x00")]]
    inners = [ip(4, number, options=options) / l4 / b"x" for options in lists for l4 in (tcp(), udp())]
    cases.add(f"v4_options_{pool}", "IPv4 with or without options", *(forwarded(inner, pool) for inner in inners),
              forwarded(inners[0], pool, frame=link(inners[0], TAGS["twice_tagged"], pad=b"pad")))


def _chain(pool: str, headers: list[Packet], l4: Packet) -> Packet:
    packet = ip(6, VIP_OF_POOL[pool])
    for header in headers:
        packet /= header
    return packet / l4 / b"x"


def _extensions(cases: Cases, pool: str) -> None:
    hop = IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")])
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    long_options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 200)])
    routing = IPv6ExtHdrRouting(addresses=[], segleft=0)
    to_come = IPv6ExtHdrRouting(addresses=["2001:db8::5"], segleft=1)
    row = "IPv6 with or without extension headers"

    def flow(l4: Packet) -> Flow:
        protocol = 6 if l4.name == "TCP" else 17
        return Flow(CLIENTS[6], vip(6, VIP_OF_POOL[pool]), protocol, l4.sport, l4.dport)

    lists = [[hop], [options], [routing], [to_come], [long_options], [hop, options, routing, options],
             [hop, long_options, routing]]
    lists += [[options] * count for count in range(7)] + [[hop] + [options, routing] * 2 + [long_options]]
    cases.add(f"v6_extensions_{pool}", row, *(
        forwarded(_chain(pool, headers, l4), pool, flow=flow(l4)) for headers in lists for l4 in (tcp(), udp())))


def _left_alone(cases: Cases) -> None:
    """What is wrong above the headers that forwarding needs is the backend's to judge."""
    row = "the inner packet is not altered in any byte"
    pool = "ipip4"
    for family in (4, 6):
        header = ip(family, VIP_OF_POOL[pool])
        cases.add(f"left_alone_v{family}", row,
                  forwarded(header / tcp(chksum=0x0BAD) / b"x", pool),
                  forwarded(header / udp(chksum=0x0BAD) / b"x", pool),
                  forwarded(header / udp(chksum=0) / b"x", pool), forwarded(header / tcp(reserved=7, urgptr=9), pool),
                  forwarded(header / udp(len=9) / b"more than it says", pool))
    ttls = [request(4, pool, ttl=ttl) for ttl in (0, 1, 2, 255)]
    ttls += [request(6, pool, hlim=limit) for limit in (0, 1, 255)]
    cases.add("any_ttl", row, *(forwarded(packet, pool) for packet in ttls))
    labels = [request(6, pool, fl=label) for label in (0, 1, 0xFFFFF)]
    cases.add("any_flow_label", row, *(forwarded(packet, pool) for packet in labels))
