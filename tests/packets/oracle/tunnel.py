"""The frame that should leave: its outer headers by the RFCs' rules, built by scapy."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

import xxhash
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw

from .world import ENCAP_PREFIXES, ENCAP_SOURCES, PORT_MACS, SEED, Backend, Pool

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


class Datagram(NamedTuple):
    """What the fragments of a datagram have in common: their key is no flow's. It gives those without ports their place
    in a backend's receive queues."""
    source: str
    destination: str
    protocol: int  # of IPv4; RFC 8200, 4.5 knows none
    identification: int

    def hash(self) -> int:
        source, destination = ip_address(self.source), ip_address(self.destination)
        if source.version == 4:
            rest = struct.pack("!HHBB2x", self.identification, 0, self.protocol, 1)
        else:
            rest = struct.pack("!IB3x", self.identification, 0xFF)
        return xxhash.xxh3_64_intdigest(source.packed + destination.packed + rest, SEED)


def traffic_class(inner: bytes) -> int:
    return inner[1] if inner[0] >> 4 == 4 else struct.unpack("!H", inner[:2])[0] >> 4 & 0xFF


def outer_source(family: int, flow_hash: int, configuration: str = "main") -> str:
    """The node's own, its last bits those of the hash as far as the prefix leaves them open."""
    address = ip_address(ENCAP_SOURCES[family])
    hosts = (1 << address.max_prefixlen - ENCAP_PREFIXES[configuration][family]) - 1
    return str(address.__class__(int(address) & ~hosts | flow_hash & hosts))


def outer_ip(backend: Backend, encapsulation: str, inner: bytes, flow_hash: int, configuration: str = "main") -> Packet:
    inner_family = inner[0] >> 4
    following = {"ipip": IP_IN_IP[inner_family], "gre": 47, "gue": 17}[encapsulation]
    source = outer_source(backend.family, flow_hash, configuration)
    if backend.family == 6:
        return IPv6(src=source, dst=backend.address, tc=traffic_class(inner), fl=flow_hash & 0xFFFFF,
                    hlim=64, nh=following)
    keep_whole = inner_family == 6 or bool(inner[6] & 0x40)
    identification = 0 if keep_whole else struct.unpack("!H", inner[4:6])[0]
    return IP(src=source, dst=backend.address, tos=traffic_class(inner), ttl=64, proto=following,
              id=identification, flags="DF" if keep_whole else 0)


def gue_header(outer: Packet, pool: Pool, inner: bytes, flow_hash: int) -> UDP:
    header = UDP(sport=0xC000 | flow_hash & 0x3FFF, dport=pool.gue_port, len=8 + len(inner), chksum=0)
    if outer.version == 6:
        pseudo = ip_address(outer.src).packed + ip_address(outer.dst).packed + struct.pack("!IxxxB", header.len, 17)
        sum_ = fold(words(pseudo) + words(bytes(header)) + inner_sum(inner))
        header.chksum = 0xFFFF - sum_ or 0xFFFF
    return header


def words(data: bytes) -> int:
    return sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))


def fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def inner_sum(inner: bytes) -> int:
    """Local checksum offload: where the packet's own checksum covers the rest of it, that rest and its pseudo header add
    up to all ones, which is believed."""
    found = covered_part(inner)
    if found is None:
        return words(inner)
    start, protocol = found
    addresses = inner[12:20] if inner[0] >> 4 == 4 else inner[8:40]
    pseudo = addresses + struct.pack("!IxxxB", len(inner) - start, protocol)
    return words(inner[:start]) + 0xFFFF - fold(words(pseudo))


def covered_part(inner: bytes) -> tuple[int, int] | None:
    """Where TCP or UDP begins that has a checksum over all the rest, and which it is."""
    if inner[0] >> 4 == 4:
        if struct.unpack("!H", inner[6:8])[0] & 0x3FFF:
            return None
        start, protocol = (inner[0] & 15) * 4, inner[9]
    else:
        start, protocol = 40, inner[6]
        while protocol in (0, 43, 44, 60):
            if protocol == 44 and struct.unpack("!H", inner[start + 2:start + 4])[0] & 0xFFF9:
                return None
            if protocol == 43 and inner[start + 3] != 0:
                return None  # the pseudo header has another destination
            length = 8 if protocol == 44 else 8 + 8 * inner[start + 1]
            start, protocol = start + length, inner[start]
    if protocol == 6:
        return start, protocol
    if protocol == 17:
        length, checksum = struct.unpack("!HH", inner[start + 4:start + 8])
        if checksum != 0 and length == len(inner) - start:
            return start, protocol
    return None


LEAST_MTU = 1280  # of IPv6, RFC 8200


def leaving(inner: bytes, flow_hash: int, backend: Backend, pool: Pool, configuration: str = "main") -> list[bytes]:
    """The frames that a packet becomes: one, or, where an IPv6 packet that every way must take does not fit into this one, the
    fragments of its tunnel (RFC 2473, 7.1)."""
    whole = tunnelled(inner, flow_hash, backend, pool, configuration)
    link = 14 + 4 * len(backend.tags)
    if inner[0] >> 4 == 4 or len(inner) > LEAST_MTU or len(whole) - link <= backend.mtu:
        return [whole]
    return [whole[:link] + fragment for fragment in _fragments(whole[link:], backend.mtu)]


def _fragments(outer: bytes, mtu: int) -> list[bytes]:
    """Their identification is the engine's choice, and 0 here."""
    v6 = outer[0] >> 4 == 6
    header, payload = (IPv6(outer[:40]), outer[40:]) if v6 else (IP(outer[:20]), outer[20:])
    size = (mtu - (48 if v6 else 20)) // 8 * 8
    fragments = []
    for start in range(0, len(payload), size):
        more = start + size < len(payload)
        fragment = header.copy()
        if v6:
            fragment.plen, fragment.nh = None, 44
            fragment /= IPv6ExtHdrFragment(nh=header.nh, offset=start // 8, m=more, id=0)
        else:
            fragment.len = fragment.chksum = None
            fragment.flags, fragment.frag, fragment.id = "MF" if more else 0, start // 8, 0
        fragments.append(bytes(fragment / Raw(payload[start:start + size])))
    return fragments


def tunnelled(inner: bytes, flow_hash: int, backend: Backend, pool: Pool, configuration: str = "main") -> bytes:
    """`inner` from its IP header to the end of the IP payload: no padding."""
    packet = outer_ip(backend, pool.encapsulation, inner, flow_hash, configuration)
    if pool.encapsulation == "gre":
        packet /= GRE(proto=GRE_TYPE[inner[0] >> 4])
    elif pool.encapsulation == "gue":
        packet /= gue_header(packet, pool, inner, flow_hash)
    link = bytes(Ether(src=PORT_MACS[backend.port], dst=backend.mac, type=GRE_TYPE[backend.family]))
    tags = b"".join(struct.pack("!HH", *tag) for tag in backend.tags)
    return link[:12] + tags + link[12:] + bytes(packet / Raw(inner))
