"""Ours, and sound, but there is no way to a backend."""

from __future__ import annotations

from scapy.packet import Packet

from .case import Cases, dropped, forwarded, ip, link, request, tcp, udp
from .outer import OVERHEAD
from .world import FORWARDING, VIP_OF_POOL, Pool


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        for reason in ("no_route", "no_nexthop", "wrong_egress"):
            cases.add(f"{reason}_v{family}", "no route / next hop not resolved / a port that is not ours",
                      dropped(link(request(family, reason)), reason),
                      dropped(link(ip(family, VIP_OF_POOL[reason]) / udp() / b"x"), reason))
        for pool in ("down", "draining", "weightless", "empty"):
            cases.add(f"no_backend_{pool}_v{family}", "service has no live backend",
                      dropped(link(request(family, pool)), "no_backend"),
                      dropped(link(ip(family, VIP_OF_POOL[pool]) / udp() / b"x"), "no_backend"))
    add_pools(cases, FORWARDING)


def largest_inner(pool: Pool) -> int:
    """The longest packet whose tunnel is not longer than the egress MTU."""
    return pool.only.mtu - (20 if pool.only.family == 4 else 40) - OVERHEAD[pool.encapsulation]


def add_pools(cases: Cases, pools: dict[str, Pool]) -> None:
    for name, pool in pools.items():
        _fit(cases, name, largest_inner(pool))


def _fit(cases: Cases, pool: str, largest: int) -> None:
    def packet(family: int, length: int, **fields: object) -> Packet:
        header = ip(family, VIP_OF_POOL[pool], **fields)
        return header / tcp() / bytes(length - len(header) - 20)

    room = min(largest, 1500)
    cases.add(f"just_fits_{pool}", "the result would be longer than the egress MTU",
              forwarded(packet(4, room), pool), forwarded(packet(4, room, flags="DF"), pool),
              forwarded(packet(6, room), pool), forwarded(packet(4, room - 1), pool))
    if largest < 1500:
        lengths = (largest + 1, largest + 2, 1500)
        cases.add(f"too_big_{pool}", "IPv4 without DF", *(
            dropped(link(packet(4, length)), "too_big") for length in lengths if length <= 1500))
