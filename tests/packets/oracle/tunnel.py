"""The frame that should leave: packets.md's table of outer headers, built by scapy."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

import xxhash
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from .world import ENCAP_SOURCES, PORT_MACS, SEED, Backend

GRE_TYPE = {4: 0x0800, 6: 0x86DD}
IP_IN_IP = {4: 4, 6: 41}


class Flow(NamedTuple):
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int

    @staticmethod
    def of(inner: Packet) -> Flow:
        l4 = inner[TCP] if TCP in inner else inner[UDP]
        return Flow(inner.src, inner.dst, 6 if TCP in inner else 17, l4.sport, l4.dport)

    def hash(self, source_alone: bool = False) -> int:
        """XXH3-64 of the canonical key: everything in network byte order, zeros to the end."""
        source = ip_address(self.source)
        destination = ip_address(self.destination)
        rest = struct.pack("!HHB3x", self.source_port, self.destination_port, self.protocol)
        if source_alone:
            key = source.packed + bytes(len(destination.packed) + len(rest))
        else:
            key = source.packed + destination.packed + rest
        return xxhash.xxh3_64_intdigest(key, SEED)


def traffic_class(inner: bytes) -> int:
    return inner[1] if inner[0] >> 4 == 4 else struct.unpack("!H", inner[:2])[0] >> 4 & 0xFF


def outer_ip(backend: Backend, gre: bool, inner: bytes, flow_hash: int) -> Packet:
    inner_family = inner[0] >> 4
    following = 47 if gre else IP_IN_IP[inner_family]
    if backend.family == 6:
        return IPv6(src=ENCAP_SOURCES[6], dst=backend.address, tc=traffic_class(inner), fl=flow_hash & 0xFFFFF,
                    hlim=64, nh=following)
    keep_whole = inner_family == 6 or bool(inner[6] & 0x40)
    identification = 0 if keep_whole else struct.unpack("!H", inner[4:6])[0]
    return IP(src=ENCAP_SOURCES[4], dst=backend.address, tos=traffic_class(inner), ttl=64, proto=following,
              id=identification, flags="DF" if keep_whole else 0)


def tunnelled(inner: bytes, flow_hash: int, backend: Backend, encapsulation: str) -> bytes:
    """`inner` from its IP header to the end of the IP payload: no padding."""
    gre = encapsulation == "gre"
    link = Ether(src=PORT_MACS[backend.port], dst=backend.mac, type=GRE_TYPE[backend.family])
    packet = link / outer_ip(backend, gre, inner, flow_hash)
    if gre:
        packet /= GRE(proto=GRE_TYPE[inner[0] >> 4])
    return bytes(packet / Raw(inner))
