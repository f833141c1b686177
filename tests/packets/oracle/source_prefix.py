"""Outer sources whose host bits come from the flow hash."""

from __future__ import annotations

from scapy.layers.l2 import Ether

from .case import Cases, forwarded, ip, request, tcp, udp
from .world import ENCAP_PREFIXES, FORWARDING, GUE, TAGGED, VIP_OF_POOL

ROW = "encap_source_prefix: host bits come from the flow hash"


def add_to(cases: Cases) -> None:
    for configuration in ENCAP_PREFIXES:
        if configuration == "main":
            continue
        for pool in FORWARDING | GUE | TAGGED:
            steps = [forwarded(ip(family, VIP_OF_POOL[pool]) / l4 / b"x", pool, configuration=configuration)
                     for family in (4, 6) for port in range(40000, 40012) for l4 in (tcp(sport=port), udp(sport=port))]
            sources = {Ether(bytes.fromhex(step.out[0]["bytes"])).payload.src for step in steps}
            assert len(sources) > 1 or ENCAP_PREFIXES[configuration][6] == 128 or pool.startswith("tagged"), sources
            cases.add(f"{configuration}_{pool}", ROW, *steps, forwarded(request(4, pool, flags="DF"), pool,
                                                                     configuration=configuration),
                      configuration=configuration)
