"""no_backend = "reject": who asks for a service without a living backend is told so."""

from __future__ import annotations

from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet

from .case import Cases, Step, answered, dropped, ip, link, tcp, udp
from .forwarding import TAGS
from .reply import back, port_unreachable, sound
from .world import REJECT_DRAINING_VIP, REJECT_VIP

ROW = 'no_backend = "reject"'


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        _tcp(cases, family)
        _udp(cases, family)
        _nothing_to_answer(cases, family)


def reset(packet: Packet, l4: Packet, frame: bytes | None = None) -> Step:
    """RFC 9293, 3.10.7.1."""
    inner = bytes(packet)
    payload = len(packet[TCP].payload)
    if l4.flags & 0x10:
        answer = TCP(sport=l4.dport, dport=l4.sport, seq=l4.ack, ack=0, flags="R", window=0)
    else:
        length = payload + bool(l4.flags & 0x02) + bool(l4.flags & 0x01)
        answer = TCP(sport=l4.dport, dport=l4.sport, seq=0, ack=(l4.seq + length) % 2**32, flags="RA", window=0)
    return answered(frame or link(inner), sound(back(inner) / answer), "reject_reply")


def refused(packet: Packet, frame: bytes | None = None) -> Step:
    inner = bytes(packet)
    return answered(frame or link(inner), port_unreachable(inner), "reject_reply")


def _tcp(cases: Cases, family: int) -> None:
    steps = []
    for flags in ("S", "A", "PA", "SA", "F", "FA", "SF", "", "U", "FSPAUEC", "SEC"):
        for seq, ack in ((1, 1), (0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x80000000, 0x12345678)):
            for payload in (b"", b"x", b"GET / HTTP/1.1\r\n"):
                l4 = tcp(flags=flags, seq=seq, ack=ack)
                steps.append(reset(ip(family, REJECT_VIP) / l4 / payload, l4))
    cases.add(f"reject_tcp_v{family}", ROW, *steps)
    l4 = tcp(flags="S", options=[("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)])
    packet = ip(family, REJECT_VIP) / l4 / b"early data"
    long = ip(family, REJECT_VIP) / l4 / bytes(1300)
    fields = {"tos": 0xB9, "ttl": 1, "id": 7} if family == 4 else {"tc": 0xB9, "hlim": 1, "fl": 9}
    other = ip(family, REJECT_VIP, **fields) / tcp(1, flags="S", sport=65535)
    cases.add(f"reject_tcp_frames_v{family}", ROW, reset(packet, l4), reset(long, l4), reset(other, other[TCP]),
              *(reset(packet, l4, link(packet, tags, pad=pad)) for tags in TAGS.values() for pad in (b"", b"pad")),
              reset(ip(family, REJECT_DRAINING_VIP) / tcp(flags="S"), tcp(flags="S")))


def _udp(cases: Cases, family: int) -> None:
    sizes = [0, 1, 2, 519, 520, 521, 1183, 1184, 1185, 1186, 1400]
    packets = [ip(family, REJECT_VIP) / udp() / (bytes(range(251)) * 6)[:size] for size in sizes]
    tagged = packets[1]
    cases.add(f"reject_udp_v{family}", ROW, *(refused(packet) for packet in packets),
              *(refused(tagged, link(tagged, tags, pad=b"padding")) for tags in [(), *TAGS.values()]),
              refused(ip(family, REJECT_DRAINING_VIP) / udp() / b"x"))
    if family == 4:
        first = ip(4, REJECT_VIP, flags="MF") / udp(len=3000, chksum=0) / bytes(800)
    else:
        first = ip(6, REJECT_VIP) / IPv6ExtHdrFragment(m=1, id=5) / udp(len=3000) / bytes(800)
        options = ip(6, REJECT_VIP) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]) / udp() / b"x"
        cases.add("reject_udp_extensions", ROW, refused(options))
    cases.add(f"reject_udp_first_fragment_v{family}", ROW, refused(first))


def _nothing_to_answer(cases: Cases, family: int) -> None:
    resets = [ip(family, REJECT_VIP) / tcp(flags=flags) / b"x" for flags in ("R", "RA", "RS")]
    first = (ip(4, REJECT_VIP, flags="MF") if family == 4 else
             ip(6, REJECT_VIP) / IPv6ExtHdrFragment(m=1, id=5)) / tcp() / bytes(64)
    cases.add(f"reject_never_v{family}", "service has no live backend",
              *(dropped(link(packet), "no_backend") for packet in [*resets, first]))
