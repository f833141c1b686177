"""Two rules broken at once: what is judged first gives the packet its outcome. A pair for each two neighbours in the order
of the contract, so that no engine can judge in another one."""

from __future__ import annotations

from scapy.layers.inet import ICMP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet, Raw

from .case import HOSTS_OWN, Cases, dropped, ip, link, tcp, udp
from .echo import ping
from .icmp_error import KIND, error, sent
from .reject import refused, reset
from .world import ENCAP_SOURCES, PRIVATE_REJECT_VIP, TWICE_VIP, VIP_OF_POOL, vip

NUMBER = VIP_OF_POOL["ipip4"]
NOBODYS = {4: ("127.0.0.1", "224.0.0.1", "0.0.0.0"), 6: ("::1", "ff02::1", "::")}
NODES = {family: (vip(family, NUMBER), vip(family, 2), ENCAP_SOURCES[family]) for family in (4, 6)}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        _ip_header(cases, family)
        _sources(cases, family)
        _private(cases, family)
        _no_backend(cases, family)
        _no_way(cases, family)


def _ip_header(cases: Cases, family: int) -> None:
    row = "the IP header's version and lengths, before its checksum and the source"
    wrong = [{"len": 19}, {"len": 1500}, {"ihl": 4}, {"version": 5}] if family == 4 else [{"plen": 1500}, {"version": 4}]
    for name, more in (("checksum", [{"chksum": 0x0BAD}] if family == 4 else []),
                       ("source", [{"src": source} for source in NOBODYS[family] + NODES[family]])):
        if more:
            cases.add(f"lengths_before_{name}_v{family}", row, *(
                dropped(link(ip(family, NUMBER, **one, **other) / tcp() / b"x", ethertype=ETHERTYPE[family]), "malformed")
                for one in wrong for other in more))
    if family == 4:
        cases.add("checksum_before_source", "the IPv4 header's checksum, before the source", *(
            dropped(link(ip(4, NUMBER, src=source, chksum=0x0BAD) / l4), "bad_checksum")
            for source in NOBODYS[4] + NODES[4] for l4 in (tcp(), udp(), tcp(dataofs=4), ICMP(type=8, id=1))))


def _unsound(family: int, source: str) -> list[Packet]:
    """Sound IP headers, and behind them what is not."""
    header = ip(family, NUMBER, src=source)
    packets = [header / tcp(dataofs=4) / b"x", header / tcp(dataofs=15) / b"x", header / udp(len=7), header / udp(len=99),
               ip(family, NUMBER, src=source, **{"proto" if family == 4 else "nh": 6}) / Raw(bytes(19))]
    if family == 6:
        options, fragment = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]), IPv6ExtHdrFragment(m=1, id=7)
        packets.append(header / options / options / options / options / options / options / options / tcp())
        packets.append(ip(6, NUMBER, src=source, nh=60) / Raw(bytes([6, 9]) + bytes(22)))
        packets.append(header / fragment / fragment / udp() / bytes(8))
    return packets


def _asking(family: int, source: str) -> list[Packet]:
    """Sound packets that would be answered, handed to the kernel, held, dropped by another name."""
    def of(number: int) -> Packet:
        return ip(family, number, src=source)

    fields = {"flags": "DF"} if family == 4 else {}
    later = (ip(4, NUMBER, src=source, id=9, frag=3, proto=17) if family == 4 else
             ip(6, NUMBER, src=source) / IPv6ExtHdrFragment(nh=17, offset=3, id=9)) / Raw(bytes(24))
    quote = sent(family, vip(family, NUMBER))
    return [of(NUMBER) / tcp(81), of(HOSTS_OWN) / tcp(81), of(PRIVATE_REJECT_VIP) / tcp(), of(PRIVATE_REJECT_VIP) / udp(),
            of(VIP_OF_POOL["down"]) / tcp(), of(VIP_OF_POOL["no_route"]) / udp(), later, ping(family, src=source),
            ip(family, NUMBER, src=source) / KIND[family] / quote,
            ip(family, VIP_OF_POOL["small_ipip4"], src=source, **fields) / tcp() / bytes(1400),
            ip(family, NUMBER, src=source, **{"proto" if family == 4 else "nh": 132}) / Raw(bytes(16)),
            ip(family, HOSTS_OWN, src=source, **{"proto" if family == 4 else "nh": 132}) / Raw(bytes(16))]


def _sources(cases: Cases, family: int) -> None:
    cases.add(f"nobodys_source_first_v{family}", "a source that nobody may have, before what lies behind the IP header", *(
        dropped(link(packet), "martian") for source in NOBODYS[family]
        for packet in _unsound(family, source) + _asking(family, source)))
    cases.add(f"transport_before_nodes_source_v{family}", "what lies behind the IP header, before sources that are the node's",
              *(dropped(link(packet), "malformed") for source in NODES[family] for packet in _unsound(family, source)))
    cases.add(f"nodes_source_before_service_v{family}", "sources that are the node's or VIPs, before what the packet asks for",
              *(dropped(link(packet), "martian") for source in NODES[family] for packet in _asking(family, source)))


def _private(cases: Cases, family: int) -> None:
    row = "`allow_sources`, before the backends"
    stranger = "10.0.0.1" if family == 4 else "fe80::1"
    cases.add(f"private_before_reject_v{family}", row,
              *(dropped(link(ip(family, PRIVATE_REJECT_VIP, src=stranger) / l4 / b"x"), "not_allowed")
                for l4 in (tcp(), tcp(flags="S"), udp())))


def _no_backend(cases: Cases, family: int) -> None:
    row = "a living backend, before the way to it"
    number = TWICE_VIP["down_no_route"]
    destination = vip(family, number)
    cases.add(f"no_backend_before_way_v{family}", row,
              *(dropped(link(ip(family, number) / l4 / b"x"), "no_backend") for l4 in (tcp(), udp())),
              dropped(link(error(family, destination, sent(family, destination))), "no_backend"))
    segment = tcp(flags="S")
    cases.add(f"reject_before_way_v{family}", row, reset(ip(family, PRIVATE_REJECT_VIP) / segment, segment),
              refused(ip(family, PRIVATE_REJECT_VIP) / udp() / b"x"))


def _no_way(cases: Cases, family: int) -> None:
    """Nobody is told a size for a way that there is not."""
    row = "the way, before its MTU"
    for reason in ("no_route", "no_nexthop", "wrong_egress"):
        number = TWICE_VIP[f"narrow_{reason}"]
        destination = vip(family, number)
        packets = [ip(family, number, **fields) / l4 / bytes(size) for l4 in (tcp(), udp()) for size in (700, 1400)
                   for fields in (({}, {"flags": "DF"}) if family == 4 else ({},))]
        packets.append(error(family, destination, bytes(sent(family, destination)) + bytes(1300)))
        cases.add(f"{reason}_before_mtu_v{family}", row, *(dropped(link(packet), reason) for packet in packets))
