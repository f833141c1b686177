"""The outer header: traffic class, DF, identification, checksum and flow label, each over its whole range."""

from __future__ import annotations

from scapy.layers.inet import IP
from scapy.packet import Packet

from .case import Cases, forwarded, ip, tcp
from .tunnel import Flow, outer_ip
from .world import FORWARDING, POOLS, VIP_OF_POOL, Pool


def inner(pool: str, family: int, sport: int = 40000, **fields: object) -> Packet:
    return ip(family, VIP_OF_POOL[pool], **fields) / tcp(sport=sport)


OVERHEAD = {"ipip": 0, "gre": 4, "gue": 8}


def add_to(cases: Cases) -> None:
    add_pools(cases, FORWARDING)


def add_pools(cases: Cases, pools: dict[str, Pool]) -> None:
    for pool, entry in pools.items():
        for family, field in ((4, "tos"), (6, "tc")):
            cases.add(f"traffic_class_v{family}_{pool}", "DSCP and ECN copied from the inner",
                      *(forwarded(inner(pool, family, **{field: value}), pool)
                        for value in range(0, 256, 5)))  # every ECN, and DSCPs over their range
        cases.add(f"dont_fragment_{pool}", "DF as the inner packet's; identification 0 where DF is set",
                  *(forwarded(inner(pool, 4, id=identification, flags=flags), pool)
                    for flags in (0, "DF", "evil", "evil+DF") for identification in (0, 1, 0x1234, 0x8000, 0xFFFF)))
        if entry.only.family == 4:
            _checksums(cases, pool)
        else:
            cases.add(f"flow_label_{pool}", "flow label from the flow hash",
                      *(forwarded(inner(pool, family, sport=port), pool) for family in (4, 6) for port in range(1, 65)))


def _checksums(cases: Cases, pool: str) -> None:
    """Identifications over all their range, and those around the places where a one's complement sum wraps."""
    def checksum(identification: int) -> int:
        packet = bytes(inner(pool, 4, id=identification))
        flow_hash = Flow.of(inner(pool, 4)).hash()
        header = outer_ip(POOLS[pool].only, POOLS[pool].encapsulation, packet, flow_hash)
        header.len = 20 + OVERHEAD[POOLS[pool].encapsulation] + len(packet)
        return IP(bytes(header)).chksum

    zero = checksum(0)  # raising the identification by one lowers the checksum by one
    wrap = [(zero + offset) % 65535 for offset in (-2, -1, 0, 1, 2)]
    assert 0 in (checksum(identification) for identification in wrap)
    identifications = sorted({*range(0, 65536, 1021), *wrap, 65535})
    cases.add(f"checksum_{pool}", "header checksum right",
              *(forwarded(inner(pool, 4, id=identification), pool) for identification in identifications))
