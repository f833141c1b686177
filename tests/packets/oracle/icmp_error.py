"""ICMP errors about what a backend sent from a VIP: to the backend of the flow that they quote."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN)
from scapy.packet import Packet, Raw

from .case import (HOSTS_OWN, LINIMOS_ALONE, NOT_FORWARDED, Cases, Step, dropped, forwarded, ip, link, tcp, udp,
                   unclaimed)
from .forwarding import TAGS
from .tunnel import Flow
from .world import (CLIENTS, FORWARDING, GUE, INSIDE_PREFIX, OWN_VIP, PRECEDENCE_VIP, PRIVATE_VIP, REJECT_VIP,
                    SOURCE_HASH_VIP, TAGGED, TRACKED_VIP, UNTRACKED_VIP, VIP_OF_POOL, vip)

ROW = "an ICMP error quoting a packet from a service of this VIP"
ROUTER = {4: "192.0.2.77", 6: "2001:db8:a::77"}
KINDS = {4: [ICMP(type=3, code=code) for code in (0, 1, 3, 13)] + [ICMP(type=3, code=4, nexthopmtu=1400)] +
            [ICMP(type=11, code=code) for code in (0, 1)] + [ICMP(type=12, ptr=9)],
         6: [ICMPv6DestUnreach(code=code) for code in (0, 1, 4)] + [ICMPv6PacketTooBig(mtu=1400)] +
            [ICMPv6TimeExceeded(code=code) for code in (0, 1)] + [ICMPv6ParamProblem(code=1, ptr=6)]}
KIND = {4: ICMP(type=11), 6: ICMPv6TimeExceeded()}
L4 = {6: TCP, 17: UDP}
PORT = {6: 80, 17: 53}


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        for pool in FORWARDING | GUE | TAGGED:
            _pool(cases, family, pool)
        _quotes(cases, family)
        _same_backend(cases, family)
        _services(cases, family)
        for number in (HOSTS_OWN, LINIMOS_ALONE):
            _something_else(cases, family, number)


def sent(family: int, source: str, protocol: int = 6, *, port: int | None = None, client_port: int = 40000,
         client: str | None = None, **fields: object) -> Packet:
    """The headers of what a backend sent to a client."""
    destination = client or CLIENTS[family]
    header = (IP(src=source, dst=destination, ttl=1, **fields) if family == 4 else
              IPv6(src=source, dst=destination, hlim=1, **fields))
    return header / L4[protocol](sport=PORT[protocol] if port is None else port, dport=client_port)


def error(family: int, destination: str, quote: Packet | bytes, kind: Packet | None = None, **fields: object) -> Packet:
    return ip(family, 0, dst=destination, src=ROUTER[family], **fields) / (kind or KIND[family]) / Raw(bytes(quote))


def to_backend(family: int, destination: str, quote: Packet | bytes, pool: str, *, protocol: int = 6,
               kind: Packet | None = None, client_port: int = 40000, port: int | None = None, frame: bytes | None = None,
               source_hash: bool = False, **fields: object) -> Step:
    flow = Flow(CLIENTS[family], destination, protocol, client_port, PORT[protocol] if port is None else port)
    return forwarded(error(family, destination, quote, kind, **fields), pool, flow=flow, outcome="icmp_error",
                     frame=frame, source_hash=source_hash)


def _pool(cases: Cases, family: int, pool: str) -> None:
    destination = vip(family, VIP_OF_POOL[pool])
    steps = []
    for protocol in (6, 17):
        whole = bytes(sent(family, destination, protocol) / b"payload")
        shortest = (20 if family == 4 else 40) + 8
        steps += [to_backend(family, destination, whole, pool, protocol=protocol, kind=kind) for kind in KINDS[family]]
        steps += [to_backend(family, destination, quote, pool, protocol=protocol) for quote in (
            whole[:shortest], whole[:shortest + 1], whole + bytes(500), whole + bytes(501))]
    quote = sent(family, destination)
    frame = link(error(family, destination, quote), TAGS["twice_tagged"], pad=b"padding")
    fields = {"tos": 0xB9, "flags": "DF"} if family == 4 else {"tc": 0xB9, "fl": 3}
    cases.add(f"icmp_error_v{family}_{pool}", ROW, *steps, to_backend(family, destination, quote, pool, frame=frame),
              to_backend(family, destination, quote, pool, **fields))


def _quotes(cases: Cases, family: int) -> None:
    """Whatever stands in the quoted header: nothing but addresses and ports is asked for."""
    pool = "gre6"
    destination = vip(family, VIP_OF_POOL[pool])
    if family == 4:
        quotes = [sent(4, destination, options=[IPOption_NOP()] * length) for length in (4, 20, 40)]
        quotes += [sent(4, destination, **fields) for fields in (
            {"chksum": 0x0BAD}, {"len": 20}, {"len": 65535}, {"len": 0}, {"flags": "DF"}, {"flags": "MF"}, {"tos": 255})]
        outside = [ip(4, 0, dst=destination, src=ROUTER[4], options=[IPOption_NOP()] * 8) / KIND[4] / Raw(bytes(quotes[0]))]
    else:
        hop, options = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"")]), IPv6ExtHdrDestOpt(options=[PadN(optdata=b"")])
        routing = IPv6ExtHdrRouting(addresses=["2001:db8::5"], segleft=0)
        quotes = []
        for headers in ([hop], [options], [routing], [hop, options, routing], [options] * 6,
                        [IPv6ExtHdrFragment(m=1, id=7)], [hop, IPv6ExtHdrFragment(m=0, id=7), options]):
            packet = IPv6(src=destination, dst=CLIENTS[6])
            for header in headers:
                packet /= header
            quotes.append(packet / TCP(sport=80, dport=40000))
        quotes += [sent(6, destination, **fields) for fields in ({"plen": 0}, {"plen": 65535}, {"tc": 255, "fl": 1})]
        chain = ip(6, 0, dst=destination, src=ROUTER[6]) / hop / options
        outside = [chain / KIND[6] / Raw(bytes(quotes[-1]))]
    flow = Flow(CLIENTS[family], destination, 6, 40000, 80)
    cases.add(f"icmp_error_quotes_v{family}", ROW, *(to_backend(family, destination, quote, pool) for quote in quotes),
              *(forwarded(packet, pool, flow=flow, outcome="icmp_error") for packet in outside))
    wrong = error(family, destination, quotes[0])
    wrong[KIND[family].__class__].fields["chksum" if family == 4 else "cksum"] = 0x0BAD
    cases.add(f"icmp_error_wrong_checksum_v{family}", "the inner packet is not altered in any byte",
              forwarded(wrong, pool, flow=flow, outcome="icmp_error"))


def _same_backend(cases: Cases, family: int) -> None:
    for name, number in (("tracked", TRACKED_VIP), ("untracked", UNTRACKED_VIP)):
        for protocol, kind in ((6, tcp), (17, udp)):
            destination = vip(family, number)
            steps = []
            for client_port in range(40000, 40016):
                of_flow = [
                    forwarded(ip(family, number) / kind(sport=client_port) / b"x", "many"),
                    to_backend(family, destination, sent(family, destination, protocol, client_port=client_port), "many",
                               protocol=protocol, client_port=client_port),
                    forwarded(ip(family, number) / kind(sport=client_port) / b"y", "many")]
                # The table alone decides while nothing is tracked: errors before any packet go the same way.
                for step in of_flow[1:2] + of_flow:
                    steps.append(Step(step.frame, step.outcome, step.out, str(client_port)))
            cases.add(f"icmp_error_same_{name}_{protocol}_v{family}",
                      "to the backend of the quoted flow", *steps, choice="same", ordered=True)
    destination = vip(family, SOURCE_HASH_VIP)
    cases.add(f"icmp_error_source_hash_v{family}", "to the backend of the quoted flow",
              *(forwarded(ip(family, SOURCE_HASH_VIP) / tcp(sport=port), "many", source_hash=True) for port in (1, 2)),
              *(to_backend(family, destination, sent(family, destination, client_port=port), "many", client_port=port,
                           source_hash=True) for port in (3, 4)), choice="same", ordered=True)


def _services(cases: Cases, family: int) -> None:
    own, inside, several = vip(family, OWN_VIP), INSIDE_PREFIX[family == 6], vip(family, PRECEDENCE_VIP)
    private = vip(family, PRIVATE_VIP)
    cases.add(f"icmp_error_services_v{family}", ROW, to_backend(family, own, sent(family, own), "ipip4"),
              to_backend(family, private, sent(family, private), "ipip4"),
              to_backend(family, inside, sent(family, inside), "ipip4"),
              *(to_backend(family, several, sent(family, several, port=port), pool, port=port)
                for port, pool in ((8080, "gre4"), (8079, "ipip4"), (0, "ipip6"))))
    steps = []
    for pool in ("down", "draining", "empty"):
        destination = vip(family, VIP_OF_POOL[pool])
        steps += [dropped(link(error(family, destination, sent(family, destination, protocol))), "no_backend")
                  for protocol in (6, 17)]
    reject = vip(family, REJECT_VIP)
    steps.append(dropped(link(error(family, reject, sent(family, reject))), "no_backend"))
    cases.add(f"icmp_error_no_backend_v{family}", "service has no live backend", *steps)
    ways = []
    for reason in ("no_route", "no_nexthop", "wrong_egress"):
        destination = vip(family, VIP_OF_POOL[reason])
        ways.append(dropped(link(error(family, destination, sent(family, destination))), reason))
    cases.add(f"icmp_error_no_way_v{family}", "no route / next hop not resolved / a port that is not ours", *ways)


def _something_else(cases: Cases, family: int, number: int) -> None:
    name = "own_" if number == HOSTS_OWN else ""
    destination = vip(family, number)
    other = vip(family, VIP_OF_POOL["gre4"])
    good = bytes(sent(family, destination))
    header = 20 if family == 4 else 40
    quotes: list[bytes | Packet] = [good[:length] for length in (0, 1, header - 1, header, header + 7)]
    quotes += [sent(family, other), sent(family, destination, port=81), sent(family, destination, 17, port=80),
               sent(family, CLIENTS[family], client=destination)]
    base = (lambda **f: IP(src=destination, dst=CLIENTS[4], **f)) if family == 4 else (
        lambda **f: IPv6(src=destination, dst=CLIENTS[6], **f))
    field = "proto" if family == 4 else "nh"
    quotes += [base(**{field: protocol}) / Raw(bytes(TCP(sport=80, dport=40000))) for protocol in (1, 4, 58, 132, 255)]
    if family == 4:
        quotes += [sent(4, destination, frag=1), sent(4, destination, flags="MF", frag=185),
                   sent(4, destination, version=6), sent(4, destination, version=0),
                   *(sent(4, destination, ihl=words) for words in (0, 4)),
                   bytes(sent(4, destination, ihl=15))[:28], bytes(sent(4, destination, options=[IPOption_NOP()] * 40))[:67],
                   IPv6(src=vip(6, number), dst=CLIENTS[6]) / TCP(sport=80, dport=40000)]
    else:
        options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"")])
        chain = base()
        for _ in range(7):
            chain /= options
        quotes += [base() / IPv6ExtHdrFragment(offset=1, id=7) / TCP(sport=80, dport=40000),
                   sent(6, destination, version=4), sent(6, destination, version=7),
                   chain / TCP(sport=80, dport=40000), bytes(base() / options / TCP(sport=80, dport=40000))[:55],
                   base(nh=60) / Raw(b"\x06\xff" + bytes(30)), IP(src=vip(4, number), dst=CLIENTS[4]) / TCP(sport=80)]
    cases.add(f"icmp_error_something_else_{name}v{family}", NOT_FORWARDED,
              *(unclaimed(link(error(family, destination, quote)), number) for quote in quotes),
              unclaimed(link(error(family, destination, good[:header + 7]), pad=bytes(30)), number))
    kinds = [ICMP(type=kind) for kind in (4, 5, 0, 9, 10, 13, 30)] if family == 4 else [
        Raw(bytes([kind, 0, 0, 0, 0, 0, 0, 0])) for kind in (0, 5, 100, 127, 129, 138, 200, 255)]
    more = {} if family == 4 else {"nh": 58}
    cases.add(f"icmp_other_{name}v{family}", NOT_FORWARDED,
              *(unclaimed(link(error(family, destination, good, kind, **more)), number) for kind in kinds))
    sources = [destination, "127.0.0.1" if family == 4 else "::1", "224.0.0.1" if family == 4 else "ff02::1"]
    cases.add(f"icmp_error_martian_{name}v{family}",
              "source is one of the VIPs, an address of the node, loopback, multicast, broadcast or unspecified",
              *(dropped(link(ip(family, number, src=source) / KIND[family] / Raw(good)), "martian")
                for source in sources))
