"""Ethernet frames, made and taken apart by hand: they must be what is on the wire to the byte. Checksums: RFC 1071."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, 0x8100
UDP, TCP = 17, 6
SYN, ACK = 2, 16
_INNER_TYPE = {4: _IPV4, 41: _IPV6}


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address_bytes(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def packet(source: str, destination: str, protocol: int, transport: bytes) -> bytes:
    """An IP packet. The transport's checksum, still zero, is filled in."""
    ends = address_bytes(source) + address_bytes(destination)
    at = {UDP: 6, TCP: 16}[protocol]
    pseudo = ends + struct.pack("!II", len(transport), protocol)
    transport = transport[:at] + struct.pack("!H", checksum(pseudo + transport) or 0xFFFF) + transport[at + 2:]
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(transport), protocol, 64) + ends + transport
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 0, 0x4000, 64, protocol, 0) + ends
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + transport


def transport_is_sound(ip: bytes) -> bool:
    """Is the checksum of the UDP datagram or TCP segment right?"""
    header, protocol, ends = (40, ip[6], ip[8:40]) if ip[0] >> 4 == 6 else (20, ip[9], ip[12:20])
    return checksum(ends + struct.pack("!II", len(ip) - header, protocol) + ip[header:]) == 0


def udp(source: str, destination: str, source_port: int, port: int, payload: bytes) -> bytes:
    return packet(source, destination, UDP, struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload)


def tcp(source: str, destination: str, source_port: int, port: int, flags: int, payload: bytes = b"") -> bytes:
    return packet(source, destination, TCP,
                  struct.pack("!HHIIBBHHH", source_port, port, 1, 1, 5 << 4, flags, 0xFFFF, 0, 0) + payload)


def fragments(ip: bytes, first: int) -> tuple[bytes, bytes]:
    """The packet as two: the first with so many bytes of what is behind its header, a multiple of eight. RFC 791, RFC 8200."""
    if ip[0] >> 4 == 4:
        def piece(data: bytes, offset: int, more: int) -> bytes:
            header = ip[:2] + struct.pack("!HHH", 20 + len(data), 7, more << 13 | offset // 8) + ip[8:10] + b"\0\0" + ip[12:20]
            return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + data
        return piece(ip[20:20 + first], 0, 1), piece(ip[20 + first:], first, 0)

    def piece6(data: bytes, offset: int, more: int) -> bytes:
        return (ip[:4] + struct.pack("!HB", 8 + len(data), 44) + ip[7:40] +
                struct.pack("!BBHI", ip[6], 0, offset | more, 7) + data)
    return piece6(ip[40:40 + first], 0, 1), piece6(ip[40 + first:], first, 0)


def too_big(data: bytes) -> tuple[str, int] | None:
    """A frame that says "too big" (RFC 792, 4443): to whom, and the MTU that it names. None: it is none."""
    ip = data[14:]
    if data[12:14] == b"\x08\0" and ip[9:10] == b"\x01" and ip[20:22] == b"\x03\x04":
        return socket.inet_ntop(socket.AF_INET, ip[16:20]), int.from_bytes(ip[26:28], "big")
    if data[12:14] == b"\x86\xdd" and ip[6:7] == b"\x3a" and ip[40:42] == b"\x02\0":
        return socket.inet_ntop(socket.AF_INET6, ip[24:40]), int.from_bytes(ip[44:48], "big")
    return None


def frame(destination_mac: str, source_mac: str, ip: bytes, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else struct.pack("!HH", _VLAN, vlan)
    kind = struct.pack("!H", _IPV6 if ip[0] >> 4 == 6 else _IPV4)
    return mac_bytes(destination_mac) + mac_bytes(source_mac) + tag + kind + ip


@dataclass(frozen=True)
class Tunnel:
    """A frame that Linimo has sent, taken apart."""
    mac: str  # to which
    source: str
    destination: str
    kind: str  # "ipip", "gre", "gue"
    inner: bytes
    vlan: int | None = None


def tunnel(data: bytes) -> Tunnel | None:
    """None: it is none, or not sound."""
    [kind], vlan = struct.unpack("!H", data[12:14]), None
    ip = data[14:]
    if kind == _VLAN:
        vlan, kind = struct.unpack("!HH", data[14:18])
        ip = data[18:]
    if kind == _IPV4 and len(ip) >= 20:
        if checksum(ip[:20]) != 0:
            return None
        [length] = struct.unpack("!H", ip[2:4])
        source, destination = (socket.inet_ntop(socket.AF_INET, ip[at:at + 4]) for at in (12, 16))
        protocol, inner = ip[9], ip[20:length]
    elif kind == _IPV6 and len(ip) >= 40:
        [length] = struct.unpack("!H", ip[4:6])
        source, destination = (socket.inet_ntop(socket.AF_INET6, ip[at:at + 16]) for at in (8, 24))
        protocol, inner = ip[6], ip[40:40 + length]
    else:
        return None
    if protocol in _INNER_TYPE:
        name = "ipip"
    elif protocol == 47 and inner[:4] in (b"\0\0\x08\0", b"\0\0\x86\xdd"):
        name, inner = "gre", inner[4:]
    elif protocol == UDP and inner[8:] and inner[8] >> 6 == 1:  # GUE variant 1: the IP packet itself
        name, inner = "gue", inner[8:]
    else:
        return None
    return Tunnel(data[:6].hex(":"), source, destination, name, inner, vlan)
