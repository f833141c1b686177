"""Tags of the route's device on what leaves; those of the frame that came in stay behind."""

from __future__ import annotations

from .case import Cases, forwarded, ip, link, request, udp
from .forwarding import TAGS
from .world import TAGGED, VIP_OF_POOL

ROW = "out with the tags of the route's device"


def add_to(cases: Cases) -> None:
    for pool in TAGGED:
        for family in (4, 6):
            packet = request(family, pool)
            cases.add(f"egress_tags_v{family}_{pool}", ROW, forwarded(packet, pool),
                      *(forwarded(packet, pool, frame=link(packet, tags, pad=b"pad")) for tags in TAGS.values()),
                      *(forwarded(ip(family, VIP_OF_POOL[pool]) / udp() / bytes(length), pool)
                        for length in (0, 1, 999)))
