"""GUE: all that holds for every encapsulation, and the UDP checksum, which IPv6 may not leave out."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting, PadN
from scapy.packet import Packet

from . import forwarding, outer, undeliverable
from .case import Cases, forwarded, ip, tcp, udp
from .tunnel import Flow
from .world import CLIENTS, GUE, VIP_OF_POOL, vip

ROW = "GUE: UDP checksum right over IPv6"


def add_to(cases: Cases) -> None:
    for module in (forwarding, outer, undeliverable):
        module.add_pools(cases, GUE)
    for pool, entry in GUE.items():
        if entry.only.family == 6:
            _covered(cases, pool)
            _summed(cases, pool)
            _corners(cases, pool)


def _outer_checksum(packet: Packet, pool: str) -> int:
    """Of the tunnel that scapy reads back; also that it is the one that scapy would have put there."""
    sent = bytes.fromhex(forwarded(packet, pool).out[0]["bytes"])[14:]
    outer_header = IPv6(sent)
    said = outer_header[UDP].chksum
    del outer_header[UDP].chksum
    assert IPv6(bytes(outer_header))[UDP].chksum == said, pool
    return said


def _covered(cases: Cases, pool: str) -> None:
    """A checksum of the packet's own covers the rest of it, and is taken as right, even where it is not."""
    for family in (4, 6):
        header = ip(family, VIP_OF_POOL[pool])
        packets = [header / l4 / (b"x" * length) for length in (0, 1, 2, 3, 1000) for l4 in (tcp(), udp())]
        for packet in packets:
            _outer_checksum(packet, pool)
        wrong = [header / l4 / payload for payload in (b"xyz", b"") for value in (1, 0x0BAD, 0xFFFF)
                 for l4 in (tcp(chksum=value), udp(chksum=value))]
        wrong.append(header / tcp(chksum=0) / b"x")
        cases.add(f"gue_covered_v{family}_{pool}", ROW, *(forwarded(packet, pool) for packet in packets + wrong))


def _summed(cases: Cases, pool: str) -> None:
    """Nothing covers it: UDP without a checksum, or shorter than the IP payload; a route that is not yet done."""
    for family in (4, 6):
        header = ip(family, VIP_OF_POOL[pool])
        packets = [header / udp(chksum=0) / (b"\xa5" * length) for length in (0, 1, 2, 7, 64, 65, 1000, 1001, 1400)]
        packets += [header / udp(len=9, chksum=checksum) / b"more than it says" for checksum in (0, 0x1234)]
        cases.add(f"gue_summed_v{family}_{pool}", ROW, *(forwarded(packet, pool) for packet in packets))
    flow = Flow(CLIENTS[6], vip(6, VIP_OF_POOL[pool]), 6, 40000, 80)
    to_come = IPv6ExtHdrRouting(addresses=["2001:db8::5"], segleft=1)
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\1" * 4)])
    steps = [forwarded(ip(6, VIP_OF_POOL[pool]) / headers / tcp(chksum=0x0BAD) / payload, pool, flow=flow)
             for headers in (to_come, options / to_come, options, options / IPv6ExtHdrRouting(addresses=[]))
             for payload in (b"", b"odd")]
    cases.add(f"gue_extensions_{pool}", ROW, *steps)


def _corners(cases: Cases, pool: str) -> None:
    """Where the sum wraps: a computed 0 is sent as 0xffff."""
    for family in (4, 6):
        def packet(value: int) -> Packet:
            header = ip(family, VIP_OF_POOL[pool])
            return header / udp(chksum=0) / (value.to_bytes(2, "big") + b"x")

        seen = {value: _outer_checksum(packet(value), pool) for value in (0, 1)}
        wrap = (seen[0] if seen[0] != 0xFFFF else 0) % 0xFFFF  # raising the payload by one lowers the checksum by one
        values = [(wrap + offset) % 0xFFFF for offset in (-2, -1, 0, 1, 2)]
        assert 0xFFFF in [_outer_checksum(packet(value), pool) for value in values]
        cases.add(f"gue_corners_v{family}_{pool}", ROW, *(forwarded(packet(value), pool) for value in values),
                  *(forwarded(packet(value), pool) for value in range(0, 0x10000, 997)))
