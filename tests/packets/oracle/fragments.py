"""Fragments to a VIP: every one of a datagram reaches the backend that its first one chose."""

from __future__ import annotations

import random
from dataclasses import dataclass

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting, PadN)
from scapy.packet import Packet, Raw

from .case import (HOSTS_OWN, LINIMOS_ALONE, NOT_FORWARDED, Cases, Settling, Step, dropped, forwarded, ip, kernel, link, tcp,
                   udp, unclaimed)
from .echo import echoed
from .forwarding import TAGS
from .tunnel import Datagram, Flow
from .world import CLIENTS, FORWARDING, GUE, OWN_VIP, PRIVATE_VIP, TAGGED, TRACKED_VIP, UNTRACKED_VIP, VIP_OF_POOL, vip

ROW = "every fragment of one datagram reaches the same backend"
ORDER = "whichever order they arrive in"
UNMATCHED = "what cannot be held"
TRANSPORT = {6: tcp, 17: udp}
PORT = {6: 80, 17: 53}


@dataclass
class Fragments:
    """A datagram in pieces, first to last."""
    family: int
    number: int
    pool: str
    protocol: int = 17
    identification: int = 0x1234
    source: str = ""
    sport: int = 40000
    size: int = 16  # of a piece; a multiple of 8
    pieces: int = 4

    def __post_init__(self) -> None:
        self.source = self.source or CLIENTS[self.family]
        destination = vip(self.family, self.number)
        whole = ip(self.family, self.number, src=self.source) / TRANSPORT[self.protocol](
            PORT[self.protocol], sport=self.sport) / (bytes(range(256)) * 8)
        l4 = bytes(whole)[20 if self.family == 4 else 40:]
        cuts = [l4[n * self.size:(n + 1) * self.size] for n in range(self.pieces - 1)]
        cuts.append(l4[(self.pieces - 1) * self.size:][:self.size + 3])
        self.packets = [self._piece(n, cut) for n, cut in enumerate(cuts)]
        self.flow = Flow(self.source, destination, self.protocol, self.sport, PORT[self.protocol])
        self.datagram = Datagram(self.source, destination, self.protocol, self.identification)

    def _piece(self, n: int, data: bytes) -> bytes:
        more, offset = n < self.pieces - 1, n * self.size // 8
        if self.family == 4:
            return bytes(IP(src=self.source, dst=vip(4, self.number), id=self.identification, ttl=57, frag=offset,
                            flags="MF" if more else 0, proto=self.protocol) / Raw(data))
        return bytes(IPv6(src=self.source, dst=vip(6, self.number), hlim=57) / IPv6ExtHdrFragment(
            nh=self.protocol, offset=offset, m=more, id=self.identification) / Raw(data))

    def sent(self, n: int, label: str = "", **more: object) -> Step:
        return forwarded(self.packets[n], self.pool, flow=self.datagram if n else self.flow, label=label, **more)

    def held(self, n: int) -> Step:
        return Step(link(self.packets[n]), "held")

    def arriving(self, order: list[int], label: str = "") -> list[Step | Settling]:
        """What becomes of them in this order: those before the first are released once it has come."""
        early = order[:order.index(0)]
        return [*(self.held(n) for n in early), *(self.sent(n, label) for n in order[len(early):]),
                Settling([self.sent(n, label) for n in early]), Settling([])]


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        for pool in FORWARDING | GUE | TAGGED:
            for protocol in (6, 17):
                pieces = Fragments(family, VIP_OF_POOL[pool], pool, protocol, size=24, identification=0xBEEF)
                cases.add(f"fragments_in_order_v{family}_{pool}_{protocol}", ROW, *pieces.arriving([0, 1, 2, 3]),
                          ordered=True)
                cases.add(f"fragments_last_first_v{family}_{pool}_{protocol}", ORDER, *pieces.arriving([3, 1, 2, 0]),
                          ordered=True)
        _orders(cases, family)
        _choice(cases, family)
        _frames(cases, family)
        _keys(cases, family)
        _first_missing(cases, family)
        _no_service(cases, family)
        _other_protocols(cases, family)
        _malformed(cases, family)
    _extensions(cases)
    _atomic(cases)


def _orders(cases: Cases, family: int) -> None:
    shuffled = random.Random(family)
    for name in range(6):
        steps: list[Step | Settling] = []
        for n in range(8):
            order = list(range(6))
            shuffled.shuffle(order)
            pieces = Fragments(family, VIP_OF_POOL["ipip4"], "ipip4", identification=1000 + n, sport=1000 + n, pieces=6)
            steps += pieces.arriving(order)
        cases.add(f"fragments_shuffled_{name}_v{family}", ORDER, *steps, ordered=True)
    big = Fragments(family, VIP_OF_POOL["ipip4"], "ipip4", size=1024, pieces=2)
    cases.add(f"fragments_long_v{family}", ROW, *big.arriving([0, 1]), ordered=True)
    # The same datagram again, and one of its pieces twice.
    again = Fragments(family, VIP_OF_POOL["ipip4"], "ipip4")
    cases.add(f"fragments_twice_v{family}", ROW, *again.arriving([0, 1, 1, 2, 3]), again.sent(0), again.sent(3),
              ordered=True)
    cases.add(f"fragments_held_twice_v{family}", ORDER, again.held(2), again.held(2), Settling([]), again.sent(0),
              Settling([again.sent(2), again.sent(2)]), ordered=True)


def _choice(cases: Cases, family: int) -> None:
    """Several datagrams, interleaved: each goes where its flow's other packets go."""
    for name, number in (("tracked", TRACKED_VIP), ("untracked", UNTRACKED_VIP)):
        steps: list[Step | Settling] = []
        flows = [Fragments(family, number, "many", sport=40000 + n, identification=500 + n) for n in range(24)]
        for pieces in flows:
            steps.append(pieces.held(2))
        for pieces in flows:
            label = str(pieces.sport)
            steps.append(pieces.sent(0, label))
            steps.append(pieces.sent(1, label))
            plain = ip(family, number) / udp(sport=pieces.sport) / b"x"
            steps.append(forwarded(plain, "many", label=label))
        steps += [Settling([pieces.sent(2, str(pieces.sport)) for pieces in flows])]
        steps += [pieces.sent(3, str(pieces.sport)) for pieces in flows]
        cases.add(f"fragments_choice_{name}_v{family}", ROW, *steps, choice="same", ordered=True)


def _frames(cases: Cases, family: int) -> None:
    pieces = Fragments(family, VIP_OF_POOL["gre6"], "gre6")
    steps: list[Step | Settling] = []
    early = link(pieces.packets[3], TAGS["twice_tagged"], pad=b"padding")
    steps.append(Step(early, "held"))
    for n, tags in enumerate(((), TAGS["tagged"], TAGS["twice_tagged"])):
        steps.append(pieces.sent(n, frame=link(pieces.packets[n], tags, pad=b"padding")))
    cases.add(f"fragments_framing_v{family}", ROW, *steps, Settling([pieces.sent(3)]), ordered=True)


def _keys(cases: Cases, family: int) -> None:
    """Identifications are each client's own, and for IPv4 each protocol's."""
    other = "198.51.100.8" if family == 4 else "2001:db8:c::8"
    number = VIP_OF_POOL["ipip4"]
    mine, theirs = Fragments(family, number, "ipip4"), Fragments(family, number, "ipip4", source=other)
    next_one = Fragments(family, number, "ipip4", identification=0x1235)
    elsewhere = Fragments(family, VIP_OF_POOL["gre6"], "gre6")
    cases.add(f"fragments_of_two_clients_v{family}", "by (source, destination, protocol, identification)",
              mine.sent(0), theirs.held(1), next_one.held(1), elsewhere.held(1), Settling([]), mine.sent(1),
              theirs.sent(0), Settling([theirs.sent(1)]), elsewhere.sent(0), Settling([elsewhere.sent(1)]),
              next_one.sent(0), Settling([next_one.sent(1)]), mine.sent(2), theirs.sent(2), ordered=True)
    stream = Fragments(family, number, "ipip4", protocol=6, size=24)
    if family == 4:
        cases.add("fragments_of_two_protocols", "by (source, destination, protocol, identification)", mine.sent(0),
                  stream.held(1), Settling([]), stream.sent(0), Settling([stream.sent(1)]), ordered=True)
    else:
        wide = [Fragments(6, number, "ipip4", identification=value) for value in (0, 0x10000, 0x00010000 << 8, 1)]
        cases.add("fragments_wide_identification", "by (source, destination, protocol, identification)", wide[0].sent(0),
                  *(pieces.held(1) for pieces in wide[1:]), Settling([]), wide[0].sent(1), ordered=True)


def _first_missing(cases: Cases, family: int) -> None:
    pieces = Fragments(family, VIP_OF_POOL["ipip4"], "ipip4")
    cases.add(f"fragments_without_first_v{family}", UNMATCHED, *(pieces.held(n) for n in (1, 2, 3)), Settling([]),
              ordered=True)
    many = Fragments(family, VIP_OF_POOL["ipip4"], "ipip4", size=8, pieces=70)
    given_up = [dropped(link(many.packets[n]), "fragment_unmatched") for n in range(65, 70)]
    cases.add(f"fragments_too_many_of_one_v{family}", UNMATCHED, *(many.held(n) for n in range(1, 65)), *given_up,
              many.sent(0), Settling([many.sent(n) for n in range(1, 65)]), ordered=True)


def _no_service(cases: Cases, family: int) -> None:
    def first(number: int, l4: Packet, **fields: object) -> bytes:
        header = (ip(4, number, flags="MF", **fields) if family == 4 else
                  ip(6, number, **fields) / IPv6ExtHdrFragment(m=1, id=9))
        return link(header / l4 / bytes(24))

    number = VIP_OF_POOL["ipip4"]
    later = Fragments(family, number, "ipip4")
    cases.add(f"fragments_no_service_v{family}", "to a VIP's address but to no service",
              dropped(first(number, tcp(81)), "no_service"), dropped(first(number, udp(80, len=2000)), "no_service"),
              kernel(first(OWN_VIP, tcp(81))), later.held(1), Settling([]), ordered=True)
    source = "10.0.0.1" if family == 4 else "fe80::1"
    martian = "127.0.0.1" if family == 4 else "::1"
    cases.add(f"fragments_not_allowed_v{family}", "source not in allow_sources",
              dropped(first(PRIVATE_VIP, tcp(), src=source), "not_allowed"))
    pieces = Fragments(family, number, "ipip4", source=martian)
    self_made = Fragments(family, number, "ipip4", source=vip(family, number))
    cases.add(f"fragments_martian_v{family}", "source is one of the VIPs, an address of the node, loopback, multicast, broadcast or unspecified",
              *(dropped(link(one.packets[n]), "martian") for one in (pieces, self_made) for n in (0, 1)))
    steps = [dropped(first(VIP_OF_POOL[pool], tcp()), "no_backend") for pool in ("down", "draining", "empty")]
    steps += [dropped(first(VIP_OF_POOL[pool], tcp()), pool) for pool in ("no_route", "no_nexthop", "wrong_egress")]
    cases.add(f"fragments_no_backend_v{family}", "service has no live backend", *steps)


def _other_protocols(cases: Cases, family: int) -> None:
    def piece(number: int, protocol: int, offset: int, more: bool, data: bytes = bytes(24)) -> bytes:
        if family == 4:
            return link(ip(4, number, proto=protocol, frag=offset, flags="MF" if more else 0) / Raw(data))
        return link(ip(6, number) / IPv6ExtHdrFragment(nh=protocol, offset=offset, m=more, id=9) / Raw(data))

    number, icmp = VIP_OF_POOL["ipip4"], 1 if family == 4 else 58
    ping = bytes(ICMP(type=8, id=1) / bytes(16) if family == 4 else ICMPv6EchoRequest(id=1, data=bytes(16)))
    places = ((0, True), (3, True), (3, False))
    cases.add(f"fragments_of_icmp_v{family}", NOT_FORWARDED, *(
        unclaimed(piece(to, icmp, *place, ping), to) for place in places for to in (LINIMOS_ALONE, HOSTS_OWN)))
    others = (4, 41, 47, 50, 132, 253, 58 if family == 4 else 1)
    cases.add(f"fragments_of_other_protocols_v{family}", "to a VIP's address but to no service",
              *(dropped(piece(number, protocol, *place), "no_service") for protocol in others for place in places))
    cases.add(f"fragments_of_other_protocols_own_v{family}", "to a VIP's address that the host has too, but to no service",
              *(kernel(piece(OWN_VIP, protocol, *place)) for protocol in others for place in places))


def _malformed(cases: Cases, family: int) -> None:
    number = VIP_OF_POOL["ipip4"]

    def first(l4: bytes, protocol: int) -> Step:
        if family == 4:
            return dropped(link(ip(4, number, proto=protocol, flags="MF") / Raw(l4)), "malformed")
        return dropped(link(ip(6, number) / IPv6ExtHdrFragment(nh=protocol, m=1, id=9) / Raw(l4)), "malformed")

    row = "TCP data offset under 5 or past the end"
    segment, packet = bytes(tcp(chksum=1) / bytes(8)), bytes(udp(len=2000, chksum=1) / bytes(8))
    cases.add(f"first_fragments_cut_v{family}", row, *(first(segment[:length], 6) for length in (0, 8, 16, 19)),
              *(first(packet[:length], 17) for length in (0, 1, 7)),
              *(first(bytes(tcp(dataofs=words, chksum=1) / bytes(4)), 6) for words in (0, 4, 7, 15)),
              *(first(bytes(udp(len=length, chksum=1) / bytes(8)), 17) for length in (0, 7)))
    if family == 4:
        frame = bytearray(link(Fragments(4, number, "ipip4").packets[1]))
        frame[14 + 10] ^= 1
        cases.add("fragments_bad_checksum", "IPv4 header checksum wrong", dropped(bytes(frame), "bad_checksum"))
    whole = Fragments(family, number, "ipip4").packets[1]
    cases.add(f"fragments_cut_v{family}", "length that does not fit the frame",
              *(dropped(link(whole)[:14 + length], "malformed")
                for length in range(20 if family == 4 else 40, len(whole))))


def _extensions(cases: Cases) -> None:
    number, pool = VIP_OF_POOL["ipip4"], "ipip4"
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
    routing = IPv6ExtHdrRouting(addresses=[], segleft=0)
    flow = Flow(CLIENTS[6], vip(6, number), 17, 40000, 53)
    datagram = Datagram(CLIENTS[6], vip(6, number), 17, 9)

    def packet(before: list[Packet], following: int, offset: int, more: bool, behind: Packet | bytes) -> Packet:
        header = ip(6, number)
        for extension in before:
            header /= extension
        return header / IPv6ExtHdrFragment(nh=following, offset=offset, m=more, id=9) / Raw(bytes(behind))

    def chain(headers: list[Packet]) -> bytes:
        inner = headers[0]
        for header in headers[1:]:
            inner /= header
        return bytes(inner / udp(len=2000, chksum=0x1234) / bytes(8))

    steps = []
    for before, behind in (([hop], [options]), ([routing, options], [options]), ([hop] + [options] * 2, [options] * 3),
                           ([], [options] * 6), ([], [routing])):
        kind = 43 if behind[0] is routing else 60
        steps.append(forwarded(packet(before, kind, 0, True, chain(behind)), pool, flow=flow))
        steps.append(forwarded(packet(before, kind, 9, True, bytes(16)), pool, flow=datagram))
    cases.add("fragments_extensions", ROW, *steps, ordered=True)
    early = forwarded(packet([hop], 60, 9, False, b"end"), pool, flow=datagram)
    cases.add("fragments_extensions_early", ORDER, Step(early.frame, "held"), steps[0], Settling([early]), ordered=True)
    cases.add("fragments_seven_extensions", "more than 6 extension headers", *(
        dropped(link(packet(before, 60, 0, True, chain(behind))), "malformed")
        for before, behind in (([], [options] * 7), ([options], [options] * 6), ([options] * 6, [options]),
                               ([options] * 3, [options] * 4))),
              dropped(link(packet([options] * 7, 17, 0, True, udp() / bytes(8))), "malformed"))
    second = bytes(IPv6ExtHdrFragment(nh=17, m=1, id=9) / udp(len=2000, chksum=1) / bytes(8))
    cases.add("fragments_two_headers", "malformed",
              dropped(link(packet([], 44, 0, True, second)), "malformed"),
              dropped(link(packet([], 44, 0, False, second)), "malformed"),
              dropped(link(packet([], 60, 0, True, bytes(IPv6ExtHdrDestOpt(
                  nh=44, options=[PadN(optdata=b"\0" * 4)])) + second)), "malformed"))
    cut = [ip(6, number, nh=44) / Raw(bytes(length)) for length in range(8)]
    cases.add("fragments_header_cut", "payload length that does not fit the frame",
              *(dropped(link(one), "malformed") for one in cut))


def _atomic(cases: Cases) -> None:
    """RFC 6946: whole, in spite of its Fragment header."""
    for pool in FORWARDING | GUE:
        number = VIP_OF_POOL[pool]
        steps = []
        for l4 in (tcp(), udp(), udp(chksum=0)):
            flow = Flow(CLIENTS[6], vip(6, number), 17 if l4.name == "UDP" else 6, 40000, l4.dport)
            steps.append(forwarded(ip(6, number) / IPv6ExtHdrFragment(id=9) / l4 / b"xyz", pool, flow=flow))
        cases.add(f"atomic_fragments_{pool}", "well formed", *steps)
    number = VIP_OF_POOL["ipip4"]
    wrong = ip(6, number) / IPv6ExtHdrFragment(id=9) / udp(len=2000) / b"x"
    pieces = Fragments(6, number, "ipip4", identification=9)
    flow = Flow(CLIENTS[6], vip(6, number), 17, 40000, 53)
    atomic = ip(6, number) / IPv6ExtHdrFragment(id=9) / udp() / b"x"
    cases.add("atomic_fragments_are_no_fragments", "well formed", dropped(link(wrong), "malformed"),
              forwarded(atomic, "ipip4", flow=flow), pieces.held(1), Settling([]),
              echoed(ip(6, number) / IPv6ExtHdrFragment(id=9) / ICMPv6EchoRequest(id=1, data=b"x")), ordered=True)
