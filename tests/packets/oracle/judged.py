"""Ours, and wrong: dropped, under the name of what is wrong with it. One thing is wrong in each frame."""

from __future__ import annotations

from scapy.layers.inet import IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from .case import Cases, Step, dropped, forwarded, ip, link, tcp, udp
from .echo import ping
from .world import ENCAP_SOURCES, HOST_ADDRESSES, INSIDE_PREFIX, PRIVATE_VIP, VIP_OF_POOL, vip

POOL = "ipip4"
NUMBER = VIP_OF_POOL[POOL]


def add_to(cases: Cases) -> None:
    _v4_lengths(cases)
    _v6_lengths(cases)
    _transport_lengths(cases)
    _cut(cases)
    _checksum(cases)
    _martian(cases)
    _not_allowed(cases)


def malformed(packet: Packet, ethertype: int | None = None, **more: object) -> Step:
    return dropped(link(packet, ethertype=ethertype, **more), "malformed")


def _v4_lengths(cases: Cases) -> None:
    def packet(**fields: object) -> Packet:
        return ip(4, NUMBER, **fields) / tcp() / b"payload"

    length = len(packet())
    cases.add("v4_total_length", "total length that does not fit the frame", *(
        malformed(packet(len=value)) for value in (0, 1, 19, 20, 39, length + 1, 1500, 0xFFFF)),
        malformed(packet(len=length + 5), pad=b"four"))
    cases.add("v4_header_length", "IP header length that does not fit the frame",
              *(malformed(packet(ihl=words), 0x0800) for words in range(5)),
              *(malformed(ip(4, NUMBER, ihl=words, len=20) / Raw(bytes(40)), 0x0800) for words in range(6, 16)),
              *(malformed(ip(4, NUMBER, ihl=words, len=20, proto=6), 0x0800) for words in range(6, 16)))
    cases.add("v4_version", "malformed", *(malformed(packet(version=version), 0x0800) for version in (0, 5, 6, 15)))


def _v6_lengths(cases: Cases) -> None:
    def packet(**fields: object) -> Packet:
        return ip(6, NUMBER, **fields) / tcp() / b"payload"

    length = len(packet()) - 40
    cases.add("v6_payload_length", "payload length that does not fit the frame", *(
        malformed(packet(plen=value)) for value in (0, 1, 19, length + 1, 1500, 0xFFFF)),
        malformed(packet(plen=length + 5), pad=b"four"))
    cases.add("v6_version", "malformed", *(malformed(packet(version=version), 0x86DD) for version in (0, 4, 5, 7, 15)))

    row = "more than 6 extension headers"
    options, routing = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]), IPv6ExtHdrRouting(addresses=[])
    hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])

    def chain(headers: list[Packet]) -> Packet:
        inner = ip(6, NUMBER)
        for header in headers:
            inner /= header
        return inner / tcp() / b"payload"

    cases.add("v6_seven_extensions", row, *(malformed(chain(headers)) for headers in (
        [options] * 7, [hop] + [options, routing] * 3, [options] * 8, [options] * 30)))
    cases.add("v6_extension_past_the_end", "payload length that does not fit the frame",
              *(malformed(ip(6, NUMBER, nh=first) / Raw(bytes([6, words]) + bytes(22)))
                for first in (0, 43, 60) for words in (3, 4, 255)),
              *(malformed(ip(6, NUMBER, nh=60) / Raw(bytes(length))) for length in range(8)),
              malformed(ip(6, NUMBER, nh=60, plen=8) / options / tcp(), pad=b"behind"))


def _transport_lengths(cases: Cases) -> None:
    for family in (4, 6):
        header = ip(family, NUMBER)
        short = dict(proto=6) if family == 4 else dict(nh=6)
        cases.add(f"tcp_lengths_v{family}", "TCP data offset under 5 or past the end",
                  *(malformed(header / tcp(dataofs=words) / b"payload") for words in (0, 1, 2, 3, 4, 7, 15)),
                  *(malformed(ip(family, NUMBER, **short) / Raw(bytes(tcp())[:length])) for length in range(20)),
                  malformed(ip(family, NUMBER, **short) / Raw(bytes(tcp())[:19]), pad=b"as padding"))
        short = dict(proto=17) if family == 4 else dict(nh=17)
        cases.add(f"udp_lengths_v{family}", "UDP length that does not fit",
                  *(malformed(header / udp(len=length) / b"payload") for length in (0, 1, 7, 16, 1500, 0xFFFF)),
                  *(malformed(ip(family, NUMBER, **short) / Raw(bytes(udp())[:length])) for length in range(8)),
                  malformed(header / udp(len=16) / b"payload", pad=b"as padding"))


def _cut(cases: Cases) -> None:
    """The frame ends before the packet does, at every length from the end of the IP header on."""
    for family, size in ((4, 20), (6, 40)):
        for name, tags in (("", ()), ("_tagged", (Dot1Q(vlan=7),))):
            frame = link(ip(family, NUMBER) / tcp() / b"payload", tags)
            start = 14 + 4 * len(tags) + size
            cases.add(f"cut_v{family}{name}", "length that does not fit the frame",
                      *(dropped(frame[:length], "malformed") for length in range(start, len(frame))))


def _checksum(cases: Cases) -> None:
    row = "IPv4 header checksum wrong"
    frame = link(ip(4, NUMBER) / tcp() / b"payload")
    flips = []
    for bit in range(16):
        wrong = bytearray(frame)
        wrong[14 + 10 + bit // 8] ^= 1 << bit % 8
        flips.append(dropped(bytes(wrong), "bad_checksum"))
    cases.add("checksum_bits", row, *flips)
    options = bytearray(link(ip(4, NUMBER, options=[IPOption_NOP()] * 8) / udp() / b"payload"))
    options[14 + 27] ^= 0x10
    changed_ttl = bytearray(frame)
    changed_ttl[14 + 8] -= 1
    cases.add("checksum_covers_the_header", row, dropped(bytes(options), "bad_checksum"),
              dropped(bytes(changed_ttl), "bad_checksum"))


def _martian(cases: Cases) -> None:
    row = "source is one of the VIPs, an address of the node, loopback, multicast, broadcast or unspecified"
    sources = {
        4: {"vip": [vip(4, NUMBER), vip(4, 2), INSIDE_PREFIX[0], "203.0.113.79", vip(4, PRIVATE_VIP)],
            "loopback": ["127.0.0.1", "127.0.0.0", "127.255.255.255"],
            "multicast": ["224.0.0.0", "224.0.0.1", "239.255.255.255"],
            "broadcast": ["255.255.255.255"], "unspecified": ["0.0.0.0"],
            "node": [ENCAP_SOURCES[4], *(host for host in HOST_ADDRESSES if ":" not in host)]},
        6: {"vip": [vip(6, NUMBER), vip(6, 2), INSIDE_PREFIX[1], "2001:db8:f:64:ffff:ffff:ffff:ffff"],
            "loopback": ["::1"], "multicast": ["ff02::1", "ff00::", "ffff::1"], "unspecified": ["::"],
            "node": [ENCAP_SOURCES[6], *(host for host in HOST_ADDRESSES if ":" in host)]},
    }
    for family, kinds in sources.items():
        for kind, addresses in kinds.items():
            cases.add(f"martian_{kind}_v{family}", row,
                      *(dropped(link(ip(family, NUMBER, src=source) / l4 / b"x"), "martian")
                        for source in addresses for l4 in (tcp(), udp())),
                      *(dropped(link(ip(family, NUMBER, src=source) / l4 / b"x", (Dot1Q(vlan=7),)), "martian")
                        for source in addresses for l4 in (tcp(), udp())),
                      *(dropped(link(ping(family, src=source)), "martian") for source in addresses))
    near = {4: ["126.255.255.255", "128.0.0.1", "223.255.255.254", "1.0.0.1", "203.0.113.63", "203.0.113.80",
                "10.0.0.10", "10.0.0.12", "10.0.255.11", "192.0.2.10", "192.0.2.99", "11.0.0.10"],
            6: ["::2", "2001:db8:f:65::1", "2001:db8:f:63::1", "fe80::1", "fd00::1", "fc00::1",
                "2001:db8::10", "2001:db8::1:0:0:11", "2001:db8:a::12", "2001:db8:a:1::11"]}
    for family, addresses in near.items():
        cases.add(f"not_quite_martian_v{family}", "well formed",
                  *(forwarded(ip(family, NUMBER, src=source) / tcp() / b"x", POOL) for source in addresses))


def _not_allowed(cases: Cases) -> None:
    row = "source not in allow_sources"
    allowed = {4: ["198.51.100.0", "198.51.100.127"], 6: ["2001:db8:c::", "2001:db8:c:ffff:ffff:ffff:ffff:ffff"]}
    others = {4: ["198.51.100.128", "198.51.99.255", "10.0.0.1"], 6: ["2001:db8:b:ffff::1", "2001:db8:d::", "fe80::1"]}
    for family in (4, 6):
        cases.add(f"allowed_v{family}", row, *(
            forwarded(ip(family, PRIVATE_VIP, src=source) / tcp() / b"x", POOL) for source in allowed[family]))
        cases.add(f"not_allowed_v{family}", row, *(
            dropped(link(ip(family, PRIVATE_VIP, src=source) / tcp() / b"x"), "not_allowed")
            for source in others[family]))
    cases.add("allowed_family", row, forwarded(ip(4, PRIVATE_VIP, src="8.8.8.8") / udp() / b"x", "gre4"),
              dropped(link(ip(6, PRIVATE_VIP) / udp() / b"x"), "not_allowed"),
              forwarded(ip(6, PRIVATE_VIP) / udp(54) / b"x", "gre6"),
              dropped(link(ip(4, PRIVATE_VIP) / udp(54) / b"x"), "not_allowed"))
