"""Tunnels that would be longer than the egress MTU."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet, Raw

from .case import Cases, Step, answered, dropped, forwarded, ip, link, tcp, udp
from .forwarding import TAGS
from .reply import too_big
from .tunnel import Datagram, Flow
from .undeliverable import largest_inner
from .world import CLIENTS, POOLS, SMALL, VIP_OF_POOL, vip

REPLY = "IPv4 with DF, IPv6: answered"
CUT = "inner IPv6 packet of at most 1280 bytes: the outer packet in fragments"
NEVER = "an ICMP error, a fragment other than the first: not answered"


def add_to(cases: Cases) -> None:
    for pool in SMALL:
        for family in (4, 6):
            _sizes(cases, family, pool)
            _no_answer(cases, family, pool)
        _fragments(cases, pool)
    _headers(cases)


def refused(packet: Packet | bytes, pool: str, frame: bytes | None = None, **flow: object) -> Step:
    """Or sent in fragments, if it is one that every way must take."""
    inner = bytes(packet)
    if inner[0] >> 4 == 6 and len(inner) <= 1280:
        return forwarded(packet, pool, frame=frame or link(inner), **flow)
    return answered(frame or link(inner), too_big(inner, largest_inner(POOLS[pool])), "too_big_reply")


def _packet(family: int, pool: str, length: int, l4: Packet, **fields: object) -> Packet:
    header = ip(family, VIP_OF_POOL[pool], **({"flags": "DF"} if family == 4 else {}), **fields)
    return header / l4 / Raw((bytes(range(251)) * 6)[:length - len(header) - len(l4)])


def _sizes(cases: Cases, family: int, pool: str) -> None:
    """One over, odd and even, and where RFC 1812 and RFC 4443 cut the quote: 548 and 1232 bytes."""
    largest = largest_inner(POOLS[pool])
    sizes = sorted(size for size in {largest + 1, largest + 2, 547, 548, 549, 550, 1231, 1232, 1233, 1234, 1279, 1280, 1281,
                                     1282, 1499, 1500} if largest < size <= 1500 and size >= 68)
    cut = [size for size in sizes if family == 6 and size <= 1280]
    for name, row, some in (("reply", REPLY, [size for size in sizes if size not in cut]), ("cut", CUT, cut)):
        if not some:
            continue
        cases.add(f"too_big_{name}_v{family}_{pool}", row, *(refused(_packet(family, pool, size, l4), pool)
                                                           for size in some for l4 in (tcp(), udp())))
        packet = _packet(family, pool, some[0], tcp())
        cases.add(f"too_big_{name}_frames_v{family}_{pool}",
                  row if name == "cut" else "replies made here keep the packet's own tags",
                  *(refused(packet, pool, link(packet, tags, pad=pad)) for tags in [(), *TAGS.values()]
                    for pad in (b"", b"padding")))
    if largest >= 68:
        cases.add(f"still_fits_v{family}_{pool}", "the result would be longer than the egress MTU",
                  *(forwarded(_packet(family, pool, largest - less, tcp()), pool) for less in (0, 1)))
    if family == 4:
        cases.add(f"too_big_fragmentable_{pool}", "IPv4 without DF", *(dropped(
            link(ip(4, VIP_OF_POOL[pool], flags=flags) / tcp() / bytes(size - 40)), "too_big")
            for size in sizes for flags in (0, "evil")))


def _no_answer(cases: Cases, family: int, pool: str) -> None:
    number = VIP_OF_POOL[pool]
    length = max(largest_inner(POOLS[pool]), 100)
    if length > 1300:
        return  # an error is not that long
    if family == 4:
        quote = IP(src=vip(4, number), dst=CLIENTS[4], flags="DF") / TCP(sport=80, dport=40000) / bytes(length)
        error = ip(4, number, src="192.0.2.77", flags="DF") / ICMP(type=11) / quote
    else:
        quote = IPv6(src=vip(6, number), dst=CLIENTS[6]) / TCP(sport=80, dport=40000) / bytes(length)
        error = ip(6, number, src="2001:db8:a::77") / ICMPv6TimeExceeded() / quote
    if family == 6 and len(error) <= 1280:
        flow = Flow(CLIENTS[6], vip(6, number), 6, 40000, 80)
        cases.add(f"too_big_error_cut_{pool}", CUT, forwarded(error, pool, flow=flow, outcome="icmp_error"))
        error /= Raw(bytes(1281 - len(error)))
    cases.add(f"too_big_error_v{family}_{pool}", NEVER, dropped(link(error), "too_big"))


def _fragments(cases: Cases, pool: str) -> None:
    """The first one asks as any packet does; others get no answer."""
    number = VIP_OF_POOL[pool]
    size = max(largest_inner(POOLS[pool]) + 1, 100)
    payload = bytes(size // 8 * 8)

    def first4(flags: str) -> Packet:
        return ip(4, number, flags=flags) / udp(len=3000, chksum=0) / payload

    first6 = ip(6, number) / IPv6ExtHdrFragment(m=1, id=5) / udp(len=3000) / payload
    of_first6 = Flow(CLIENTS[6], vip(6, number), 17, 40000, 53)
    cases.add(f"too_big_first_fragment_{pool}", REPLY, refused(first4("MF+DF"), pool), refused(first6, pool, flow=of_first6),
              dropped(link(first4("MF")), "too_big"))
    if largest_inner(POOLS[pool]) < 100:
        return
    small = b"x" * 16
    steps = []
    flow = Flow(CLIENTS[4], vip(4, number), 17, 40000, 53)
    steps.append(forwarded(ip(4, number, id=77, flags="MF") / udp(len=3000, chksum=0) / small, pool, flow=flow))
    later = [ip(4, number, id=77, proto=17, frag=3, flags=flags) / Raw(payload) for flags in (0, "DF", "MF+DF")]
    flow = Flow(CLIENTS[6], vip(6, number), 17, 40000, 53)
    steps.append(forwarded(ip(6, number) / IPv6ExtHdrFragment(m=1, id=77) / udp(len=3000) / small, pool, flow=flow))
    longest = bytes(1288)  # with headers more than 1280
    later.append(ip(6, number) / IPv6ExtHdrFragment(nh=17, offset=3, id=77) / Raw(longest if len(payload) < 1288 else payload))
    cut = ip(6, number) / IPv6ExtHdrFragment(nh=17, offset=3, id=77) / Raw(payload)
    datagram = Datagram(CLIENTS[6], vip(6, number), 17, 77)
    cases.add(f"too_big_later_fragment_{pool}", NEVER, *steps,
              *(dropped(link(packet), "too_big") for packet in later),
              *([refused(cut, pool, flow=datagram)] if len(cut) <= 1280 else []), ordered=True)


def _headers(cases: Cases) -> None:
    pool = "small_ipip4"
    fields4 = ({"tos": 0xFF}, {"id": 0}, {"id": 0xFFFF}, {"ttl": 0})
    fields6 = ({"tc": 0xFF}, {"fl": 0xFFFFF}, {"hlim": 0})
    cases.add("too_big_headers", REPLY, *(refused(_packet(4, pool, 400, udp(), **fields), pool) for fields in fields4),
              *(refused(_packet(6, pool, 401, udp(), **fields), pool) for fields in fields6))
    options = ip(6, VIP_OF_POOL[pool]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]) / tcp() / bytes(700)
    cases.add("too_big_extensions", REPLY, refused(options / bytes(600), pool))
    cases.add("too_big_extensions_cut", CUT, refused(options, pool))
