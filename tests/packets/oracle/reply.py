"""What Linimo itself sends back: IP headers, and ICMP errors with their quote, built by scapy."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.packet import Packet, Raw

LONGEST = {4: 576, 6: 1280}  # RFC 1812, 4.3.2.3; RFC 4443, 3.1


def back(request: bytes, tos: int = 0) -> Packet:
    """The header of an answer to a packet: from its destination to its source."""
    if request[0] >> 4 == 4:
        return IP(src=IP(request).dst, dst=IP(request).src, tos=tos, id=0, flags="DF", ttl=64)
    return IPv6(src=IPv6(request).dst, dst=IPv6(request).src, hlim=64)


def sound(packet: Packet) -> Packet:
    """The packet, once scapy has read its bytes and has come to the same checksums and lengths."""
    again = packet.__class__(bytes(packet))
    for layer in again.layers():
        for field in ("chksum", "cksum", "len", "plen"):
            if layer.__name__ in ("IP", "IPv6", "TCP", "ICMP", "ICMPv6PacketTooBig", "ICMPv6DestUnreach",
                                  "ICMPv6EchoReply") and field in again[layer].fields:
                del again[layer].fields[field]
        if layer.__name__.startswith(("TCP", "ICMP")):
            break
    assert bytes(again) == bytes(packet), packet
    return packet


def _error(inner: bytes, kind4: Packet, kind6: Packet) -> Packet:
    family = inner[0] >> 4
    header = back(inner, tos=0xC0) / (kind4 if family == 4 else kind6)
    return sound(header / Raw(inner[:LONGEST[family] - len(header)]))


def too_big(inner: bytes, mtu: int) -> Packet:
    return _error(inner, ICMP(type=3, code=4, nexthopmtu=max(mtu, 68)), ICMPv6PacketTooBig(mtu=max(mtu, 1280)))


def port_unreachable(inner: bytes) -> Packet:
    return _error(inner, ICMP(type=3, code=3), ICMPv6DestUnreach(code=4))
