"""Frames of up to 9000 bytes and more, which lie in several buffers where a page does not hold them. What is true of a short
packet is true of them."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet, Raw

from .case import Cases, dropped, forwarded, ip, kernel, link, tcp, udp
from .echo import echoed, ping
from .forwarding import TAGS
from .icmp_error import sent, to_backend
from .reject import refused as unreachable
from .reject import reset
from .too_big import REPLY, refused
from .tunnel import Datagram, Flow
from .undeliverable import largest_inner
from .world import CLIENTS, JUMBO, POOLS, REJECT_VIP, VIP_OF_POOL, vip

ROW = "the frame lies in several buffers"
PAGE = 3520 - 14  # a packet that the first of the kernel's buffers just holds, where a program is tried
SIZES = (1501, PAGE - 1, PAGE, PAGE + 1, 9000)
_BYTES = bytes(range(251)) * 40


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        for pool in JUMBO:
            _forwarded(cases, family, pool)
            _fragments(cases, family, pool)
        _too_big(cases, family)
        _answered(cases, family)
        _refused(cases, family)


def _long(family: int, number: int, length: int, l4: Packet, **fields: object) -> Packet:
    header = ip(family, number, **fields)
    return header / l4 / Raw(_BYTES[:max(length - len(header) - len(l4), 0)])


def _forwarded(cases: Cases, family: int, pool: str) -> None:
    number = VIP_OF_POOL[pool]
    packets = [_long(family, number, length, l4) for length in SIZES for l4 in (tcp(), udp())]
    packets.append(_long(family, number, 8999, udp(chksum=0)))  # whose sum GUE over IPv6 cannot take over
    cases.add(f"jumbo_v{family}_{pool}", ROW, *(forwarded(packet, pool) for packet in packets))
    padded = [_long(family, number, length, tcp()) for length in (0, 1600, PAGE - 1, PAGE, PAGE + 1)]
    cases.add(f"jumbo_padded_v{family}_{pool}", ROW, *(
        forwarded(packet, pool, frame=link(packet, tags, pad=_BYTES[:pad]))
        for packet in padded for tags in ((), TAGS["twice_tagged"]) for pad in (1, 100, 5000)))
    if family == 6:
        header = ip(6, number) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 200)] * 5)
        cases.add(f"jumbo_extensions_{pool}", ROW, forwarded(
            header / tcp() / _BYTES[:7000], pool, flow=Flow(CLIENTS[6], vip(6, number), 6, 40000, 80)))


def _fragments(cases: Cases, family: int, pool: str) -> None:
    """Behind the first one. Those before it the kernel does not hand to the process of engine xdp: jumbo_test.cc."""
    destination = vip(family, VIP_OF_POOL[pool])
    whole = bytes(udp(len=3 * 8000 + 8, chksum=0)) + _BYTES[:8000 * 3]

    def piece(n: int) -> bytes:
        data, more = whole[n * 8000:(n + 1) * 8000], n < 2
        if family == 4:
            return bytes(IP(src=CLIENTS[4], dst=destination, id=99, frag=n * 1000, flags="MF" if more else 0, proto=17) / data)
        return bytes(IPv6(src=CLIENTS[6], dst=destination) / IPv6ExtHdrFragment(nh=17, offset=n * 1000, m=more, id=99) / data)

    flow = Flow(CLIENTS[family], destination, 17, 40000, 53)
    datagram = Datagram(CLIENTS[family], destination, 17, 99)
    cases.add(f"jumbo_fragments_v{family}_{pool}", ROW, forwarded(piece(0), pool, flow=flow),
              *(forwarded(piece(n), pool, flow=datagram) for n in (1, 2)), ordered=True)


def _too_big(cases: Cases, family: int) -> None:
    """The quote is cut off the end of a frame that may lie in several buffers."""
    df = {"flags": "DF"} if family == 4 else {}
    for pool in ("small_ipip4", "small_gue6", "jumbo_ipip4"):
        largest = largest_inner(POOLS[pool])
        sizes = [size for size in (*SIZES, largest + 1) if size > largest]
        packets = [_long(family, VIP_OF_POOL[pool], size, l4, **df) for size in sizes for l4 in (tcp(), udp())]
        cases.add(f"jumbo_too_big_v{family}_{pool}", REPLY, *(refused(packet, pool) for packet in packets),
                  refused(packets[-1], pool, link(packets[-1], TAGS["tagged"], pad=b"pad")))
        if family == 4:
            cases.add(f"jumbo_fragmentable_{pool}", "IPv4 without DF", *(
                dropped(link(_long(4, VIP_OF_POOL[pool], size, tcp())), "too_big") for size in sizes))
    cases.add(f"jumbo_fits_v{family}", ROW, forwarded(
        _long(family, VIP_OF_POOL["jumbo_ipip4"], largest_inner(POOLS["jumbo_ipip4"]), tcp(), **df), "jumbo_ipip4"))


def _answered(cases: Cases, family: int) -> None:
    request = [ping(family, _BYTES[:length]) for length in (PAGE - 28, PAGE - 48, 4001, 8952)]
    cases.add(f"jumbo_echo_v{family}", ROW, *(echoed(packet) for packet in request),
              *(echoed(packet, link(packet, pad=bytes(pad))) for packet in request for pad in (1, 1000)))
    segment, datagram = (_long(family, REJECT_VIP, 9000, l4) for l4 in (tcp(), udp()))
    cases.add(f"jumbo_rejected_v{family}", ROW, reset(segment, segment[TCP]), unreachable(datagram), unreachable(datagram, link(datagram, pad=b"pad")))
    quote = sent(family, vip(family, VIP_OF_POOL["jumbo_gre6"])) / Raw(_BYTES[:8000])
    cases.add(f"jumbo_error_v{family}", ROW, to_backend(family, vip(family, VIP_OF_POOL["jumbo_gre6"]), quote, "jumbo_gre6"))


def _refused(cases: Cases, family: int) -> None:
    number = VIP_OF_POOL["jumbo_ipip4"]
    whole = bytes(_long(family, number, 9000, tcp()))
    cases.add(f"jumbo_cut_v{family}", "malformed", *(
        dropped(link(whole[:length]), "malformed") for length in (8999, PAGE + 1, PAGE, 1500, 60)))
    wrong = udp(len=9001 - (20 if family == 4 else 40))
    cases.add(f"jumbo_lengths_v{family}", "malformed", dropped(link(_long(family, number, 9000, wrong)), "malformed"))
    other = _long(family, 0, 9000, tcp(), dst="192.0.2.99" if family == 4 else "2001:db8:a::99")
    cases.add(f"jumbo_other_address_v{family}", "to an address that is no VIP", kernel(link(other)), kernel(link(other, pad=b"pad")))
