"""QUIC: a server id in the connection id wins over table and tracking."""

from __future__ import annotations

import struct

from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Packet

from .case import Cases, Step, forwarded, ip, udp
from .tunnel import Flow
from .world import CLIENTS, NOT_QUIC_VIP, POOLS, QUIC1_VIP, QUIC8_VIP, QUIC_VIP, Backend, vip

ROW = "a server id in the connection id wins over the table"
CHOSEN_BY_CLIENT = "not for Initial and 0-RTT packets"
V1, V2 = 1, 0x6B3343CF
# Packet types by version: Initial, 0-RTT, Handshake, Retry (RFC 9000, 17.2; RFC 9369, 3.2).
TYPES = {V1: (0, 1, 2, 3), V2: (1, 2, 3, 0), 0xFF00001D: (0, 1, 2, 3)}
UP = [backend for backend in POOLS["quic"].backends if backend.state == "up"]
FIRST, ZERO, DRAINING, DOWN = POOLS["quic"].backends
UNKNOWN = 0x030201


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        _short(cases, family)
        _long(cases, family)
        _cut(cases, family)
        _other_positions(cases, family)
        _flows(cases, family)


def short(connection_id: bytes, first: int = 0x40) -> bytes:
    return bytes([first]) + connection_id + b"protected"


def long(connection_id: bytes, kind: int, version: int = V1, *, fixed: int = 0x40, length: int | None = None) -> bytes:
    said = len(connection_id) if length is None else length
    return struct.pack("!BIB", 0x80 | fixed | kind << 4, version, said) + connection_id + b"\x04SRCD" + b"protected"


def with_id(server_id: int, offset: int = 1, size: int = 3, rest: bytes = b"nonce") -> bytes:
    return b"\x0f" * offset + server_id.to_bytes(size, "big") + rest


def datagram(family: int, payload: bytes, number: int = QUIC_VIP, **fields: object) -> Packet:
    return ip(family, number) / udp(443, **fields) / payload


def to(backend: Backend, packet: Packet, pool: str = "quic") -> Step:
    return forwarded(packet, pool, backends=[backend])


def any_up(packet: Packet, pool: str = "quic") -> Step:
    """As any packet."""
    return forwarded(packet, pool, backends=[backend for backend in POOLS[pool].backends if backend.state == "up"])


def _short(cases: Cases, family: int) -> None:
    alive = {FIRST.server_id: FIRST, 0: ZERO, DRAINING.server_id: DRAINING}
    cases.add(f"quic_short_v{family}", ROW, *(
        to(backend, datagram(family, short(with_id(server_id), first)))
        for server_id, backend in alive.items() for first in (0x40, 0x7F, 0x5A)), ordered=True)
    unknown = [datagram(family, short(with_id(server_id), 0x40), sport=1) for server_id in
               (UNKNOWN, DOWN.server_id, 0x010202, 0x020304)]
    cases.add(f"quic_as_any_udp_v{family}", ROW, *(any_up(packet) for packet in unknown),
              any_up(datagram(family, b"", sport=1)), choice="same", ordered=True)
    cases.add(f"quic_greased_v{family}", "a short header whose fixed bit is cleared is one all the same", *(
        to(backend, datagram(family, short(with_id(server_id), first), sport=1))
        for server_id, backend in alive.items() for first in (0, 0x3F, 0x15)), ordered=True)
    # The first byte of the id: its first three bits say which configuration made it, 111 that none did.
    for name, number in (("", QUIC_VIP), ("_at_0", QUIC1_VIP)):
        pool = POOLS["quic"] if number == QUIC_VIP else POOLS["quic1"]
        offset, size = (1, 3) if number == QUIC_VIP else (0, 1)
        unroutable = []
        for first in (0xE0, 0xE1, 0xFF, 0xF0):
            for backend in pool.backends:
                connection_id = bytes([first]) + with_id(backend.server_id, offset, size)[1:]
                unroutable += [datagram(family, payload, number, sport=6) for payload in (
                    short(connection_id), short(connection_id, 0), long(connection_id, 2), long(connection_id, 3, V2))]
        cases.add(f"quic_unroutable{name}_v{family}", "not for ids whose first three bits are 111",
                  *(any_up(packet, pool.name) for packet in unroutable), choice="same", ordered=True)
    routable = [bytes([first]) + with_id(DRAINING.server_id)[1:] for first in (0xDF, 0xC0, 0x7F, 0x00)]
    cases.add(f"quic_routable_v{family}", ROW, *(to(DRAINING, datagram(family, payload, sport=7))
                                                 for one in routable for payload in (short(one), long(one, 2))), ordered=True)


def _long(cases: Cases, family: int) -> None:
    steps, clients = [], []
    for version, types in TYPES.items():
        for backend in (FIRST, DRAINING):
            packet = [datagram(family, long(with_id(backend.server_id), kind, version, fixed=fixed), sport=2)
                      for kind in types[2:] for fixed in (0x40, 0)]
            steps += [to(backend, one) for one in packet]
        clients += [datagram(family, long(with_id(backend.server_id), kind, version), sport=3)
                    for kind in types[:2] for backend in (FIRST, DRAINING, ZERO)]
    cases.add(f"quic_long_v{family}", ROW, *steps, ordered=True)
    clients += [datagram(family, long(with_id(backend.server_id), kind, 0), sport=3)  # version negotiation
                for kind in range(4) for backend in (FIRST, DRAINING, ZERO)]
    cases.add(f"quic_chosen_by_client_v{family}", CHOSEN_BY_CLIENT, *(any_up(packet) for packet in clients),
              choice="same", ordered=True)


def _cut(cases: Cases, family: int) -> None:
    """The id must lie in the payload, and in what a long header says of its length."""
    whole = bytes([0x40]) + with_id(DRAINING.server_id, rest=b"")
    steps = [any_up(datagram(family, whole[:length], sport=4)) for length in range(len(whole))]
    header = long(with_id(DRAINING.server_id, rest=b""), 2)
    steps += [any_up(datagram(family, header[:length], sport=4)) for length in range(6 + 4)]
    said = [long(with_id(DRAINING.server_id), 2, length=length) for length in range(4)]
    steps += [any_up(datagram(family, payload, sport=4)) for payload in said]
    # The UDP length ends the payload, not the IP length.
    steps.append(any_up(ip(family, QUIC_VIP) / udp(443, sport=4, len=8 + len(whole) - 1, chksum=0) / (whole + b"beyond")))
    cases.add(f"quic_cut_v{family}", ROW, *steps, choice="same", ordered=True)
    just = [datagram(family, whole, sport=5), datagram(family, header[:10], sport=5),
            *(datagram(family, long(with_id(DRAINING.server_id), 2, length=length), sport=5) for length in (4, 20, 255))]
    cases.add(f"quic_just_whole_v{family}", ROW, *(to(DRAINING, packet) for packet in just), ordered=True)


def _other_positions(cases: Cases, family: int) -> None:
    for name, number, offset, size in (("quic8", QUIC8_VIP, 12, 8), ("quic1", QUIC1_VIP, 0, 1)):
        steps = []
        for backend in POOLS[name].backends:
            connection_id = with_id(backend.server_id, offset, size, rest=b"")
            steps += [to(backend, datagram(family, payload, number), name)
                      for payload in (short(connection_id), long(connection_id, 2), long(connection_id, 3, V2))]
        cases.add(f"quic_at_{offset}_v{family}", ROW, *steps, ordered=True)
        unknown = [datagram(family, short(with_id(value, offset, size)), number) for value in (0, 7, 0x99)]
        cases.add(f"quic_unknown_at_{offset}_v{family}", ROW, *(any_up(packet, name) for packet in unknown),
                  choice="same")


def _flows(cases: Cases, family: int) -> None:
    """A client that changes its address keeps its backend; a flow without an id goes where the id last took it."""
    packet = short(with_id(ZERO.server_id))
    moved = [to(ZERO, datagram(family, packet, sport=sport)) for sport in range(100, 140)]
    cases.add(f"quic_moving_client_v{family}", "a client that changes its address, in packets with that server id", *moved, ordered=True)
    steps = []
    for sport in range(200, 216):
        plain = datagram(family, b"\x00\xe0no id", sport=sport)
        for backend in (DRAINING, FIRST, ZERO):
            steps += [to(backend, datagram(family, short(with_id(backend.server_id)), sport=sport)), to(backend, plain)]
    cases.add(f"quic_redirects_v{family}", ROW, *steps, ordered=True)
    cases.add(f"quic_not_asked_for_v{family}", ROW, *(
        any_up(datagram(family, short(with_id(backend.server_id)), NOT_QUIC_VIP)) for backend in (FIRST, ZERO, DRAINING)),
              choice="same")
    flow = Flow(CLIENTS[family], vip(family, QUIC_VIP), 17, 40000, 443)
    header = ip(4, QUIC_VIP, flags="MF") if family == 4 else ip(6, QUIC_VIP) / IPv6ExtHdrFragment(m=1, id=3)
    first = header / udp(443, len=2000, chksum=0x1234) / short(with_id(DRAINING.server_id), 0x41).ljust(16)
    cases.add(f"quic_first_fragment_v{family}", ROW, forwarded(first, "quic", flow=flow, backends=[DRAINING]))
