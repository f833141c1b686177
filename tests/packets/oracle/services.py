"""The service is the most specific match: exact port before a range before any, longer prefix before shorter."""

from __future__ import annotations

from scapy.packet import Packet

from .case import Cases, dropped, forwarded, ip, kernel, link, tcp, udp
from .world import INSIDE_PREFIX, OWN_VIP, PRECEDENCE_VIP

ROW = "the service is the most specific match"


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        def to(l4: Packet, destination: str | None = None) -> Packet:
            fields = {} if destination is None else {"dst": destination}
            return ip(family, PRECEDENCE_VIP, **fields) / l4 / b"x"

        cases.add(f"port_precedence_v{family}", ROW, forwarded(to(tcp(8080)), "gre4"),
                  *(forwarded(to(tcp(port)), "ipip4") for port in (8000, 8079, 8081, 8100, 9000, 9009)),
                  *(forwarded(to(tcp(port)), "ipip6") for port in (0, 1, 7999, 8101, 8999, 9010, 65535)),
                  *(forwarded(to(udp(port)), "gre6") for port in (0, 8080, 65535)))

        inside = INSIDE_PREFIX[family == 6]
        first, last, before, after = (
            ("203.0.113.64", "203.0.113.79", "203.0.113.63", "203.0.113.80") if family == 4 else
            ("2001:db8:f:64::", "2001:db8:f:64:ffff:ffff:ffff:ffff", "2001:db8:f:63::1", "2001:db8:f:65::"))
        cases.add(f"prefix_v{family}", ROW, *(forwarded(to(tcp(80), end), "ipip4") for end in (first, last)),
                  *(dropped(link(to(tcp(81), end)), "no_service") for end in (first, last)))
        cases.add(f"prefix_precedence_v{family}", ROW,
                  forwarded(to(tcp(80), inside), "ipip4"),  # the exact port of the shorter prefix
                  forwarded(to(tcp(8050), inside), "ipip4"), forwarded(to(tcp(81), inside), "gre4"),
                  forwarded(to(udp(53), inside), "ipip6"), dropped(link(to(udp(54), inside)), "no_service"))
        cases.add(f"beside_the_prefix_v{family}", "to an address that is no VIP",
                  *(kernel(link(to(tcp(80), address))) for address in (before, after)))
        cases.add(f"own_address_with_service_v{family}", ROW, forwarded(ip(family, OWN_VIP) / tcp() / b"x", "ipip4"))
