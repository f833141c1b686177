"""Echo requests to a VIP, answered by Linimo itself."""

from __future__ import annotations

import struct

from scapy.layers.inet import ICMP, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_SSRR
from scapy.layers.inet6 import (ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN,
                                RouterAlert)
from scapy.packet import Packet, Raw

from .case import HOSTS_OWN, LINIMOS_ALONE, NOT_FORWARDED, Cases, Step, answered, dropped, ip, link, unclaimed
from .forwarding import TAGS
from .tunnel import fold, words
from .world import INSIDE_PREFIX, OWN_VIP, PRIVATE_VIP, REJECT_VIP, VIP_OF_POOL, vip

ROW = "echo request: answered"
ROUTED = "echo request with a source route: not answered"
NUMBER = VIP_OF_POOL["ipip4"]


def add_to(cases: Cases) -> None:
    for family in (4, 6):
        _plain(cases, family)
        _corners(cases, family)
        _wherever(cases, family)
        for number in (HOSTS_OWN, LINIMOS_ALONE):
            _not_answered(cases, family, number)
    _headers(cases)
    _source_routes(cases)


def ping(family: int, payload: bytes = b"ping", number: int = NUMBER, *, header: Packet | None = None,
         identifier: int = 1, **fields: object) -> Packet:
    kind = ICMP(type=8, id=identifier, seq=1) if family == 4 else ICMPv6EchoRequest(id=identifier, seq=1)
    return (header or ip(family, number, **fields)) / kind / Raw(payload)


def _l4(packet: bytes) -> int:
    """Where ICMP begins."""
    if packet[0] >> 4 == 4:
        return (packet[0] & 15) * 4
    at, following = 40, packet[6]
    while following in (0, 43, 44, 60):
        at, following = at + (8 if following == 44 else 8 + 8 * packet[at + 1]), packet[at]
    return at


def _reply(packet: bytes) -> bytes:
    """RFC 1624 for ICMP's checksum: one that was wrong stays as wrong. 0xffff instead of 0, which not every message may
    have (one of zeroes alone), while 0xffff is right for all."""
    at = _l4(packet)
    old = words(packet[at:at + 2])
    answer = b"\0\0" if packet[0] >> 4 == 4 else b"\x81\0"
    checksum = 0xFFFF - fold(0xFFFF - words(packet[at + 2:at + 4]) + 0xFFFF - old + words(answer)) or 0xFFFF
    icmp = answer + struct.pack("!H", checksum) + packet[at + 4:]
    if packet[0] >> 4 == 4:
        header = bytearray(packet[:8] + b"\x40" + packet[9:10] + b"\0\0" + packet[16:20] + packet[12:16] + packet[20:at])
        header[10:12] = struct.pack("!H", 0xFFFF - fold(words(bytes(header))))
        return bytes(header) + icmp
    return packet[:7] + b"\x40" + packet[24:40] + packet[8:24] + packet[40:at] + icmp


def echoed(packet: Packet | bytes, frame: bytes | None = None, wrong: bool = False) -> Step:
    whole = bytes(packet)
    reply = _reply(whole)
    at = _l4(whole)
    if whole[0] >> 4 == 4:
        right = fold(words(reply[at:])) == 0xFFFF
    else:
        right = fold(words(reply[8:40]) + len(reply) - at + 58 + words(reply[at:])) == 0xFFFF
        assert IPv6(reply).plen == len(reply) - 40
    assert right is not wrong
    return answered(frame or link(whole), reply, "echo_reply")


def _plain(cases: Cases, family: int) -> None:
    lengths = [*range(10), 56, 57, 1000, 1001, 1400, 1401]
    payload = bytes(range(256)) * 6
    cases.add(f"echo_v{family}", ROW, *(echoed(ping(family, payload[:length])) for length in lengths),
              *(echoed(ping(family, identifier=identifier)) for identifier in (0, 0xFFFF)))
    packet = ping(family)
    cases.add(f"echo_frames_v{family}", "replies made here keep the packet's own tags",
              *(echoed(packet, link(packet, tags, pad=pad)) for tags in [(), *TAGS.values()]
                for pad in (b"", b"\0" * 18, b"\xff" * 7)))


def _corners(cases: Cases, family: int) -> None:
    """Every value that the checksum can have, near those where a sum wraps; over an even and an odd length."""
    for name, tail in (("", b""), ("_odd", b"x")):
        def request(value: int) -> Packet:
            return ping(family, struct.pack("!H", value) + tail)

        # Raising the payload by one lowers the checksum by one: find where the request's and the reply's wrap.
        start = words(bytes(request(0))[_l4(bytes(request(0))) + 2:][:2])
        difference = 0x0800 if family == 4 else 0xFEFF
        values = {(start + where + offset) % 0xFFFF for where in (0, difference, -difference, 0x0100, -0x0100)
                  for offset in (-2, -1, 0, 1, 2)} | {0xFFFF}
        steps = [echoed(request(value)) for value in sorted(values | set(range(0, 0x10000, 1021)))]
        checksums = {words(bytes.fromhex(step.out[0]["bytes"])[14:][_l4(step.frame[14:]) + 2:][:2]) for step in steps}
        assert 0xFFFF in checksums
        cases.add(f"echo_checksums_v{family}{name}", "checksum right for every identifier and payload", *steps)
    at = 20 if family == 4 else 40
    wrong = []
    for checksum in (0, 1, 0x0BAD, 0xF7FF, 0xF800, 0x0100, 0x00FF, 0xFFFF):
        packet = bytes(ping(family))
        wrong.append(echoed(packet[:at + 2] + struct.pack("!H", checksum) + packet[at + 4:], wrong=True))
    cases.add(f"echo_wrong_checksum_v{family}", "checksum right for every identifier and payload", *wrong)
    if family == 4:  # a message of zeroes alone: 0 would be no checksum of it
        zeroes = [ip(4, NUMBER) / ICMP(type=8, id=0, seq=0) / Raw(bytes(length)) for length in (0, 1, 2, 56)]
        cases.add("echo_of_zeroes", "checksum right for every identifier and payload",
                  *(echoed(packet) for packet in zeroes))


def _wherever(cases: Cases, family: int) -> None:
    """Any VIP answers: without a living backend, the host's own, of a prefix, for sources that no service allows."""
    numbers = [VIP_OF_POOL[pool] for pool in ("down", "draining", "empty", "no_route", "gre6")]
    steps = [echoed(ping(family, number=number)) for number in [*numbers, REJECT_VIP, OWN_VIP, PRIVATE_VIP]]
    steps += [echoed(ping(family, dst=INSIDE_PREFIX[family == 6]))]
    source = "10.0.0.1" if family == 4 else "fe80::1"
    cases.add(f"echo_wherever_v{family}", "echo request: also while every backend is down", *steps,
              echoed(ping(family, number=PRIVATE_VIP, src=source)))
    cases.add(f"echo_often_v{family}", ROW, *(echoed(ping(family, identifier=n)) for n in range(200)))


def _headers(cases: Cases) -> None:
    lists = [[IPOption_NOP()] * 4, [IPOption_NOP()] * 40,
             [IPOption_RR(length=23, pointer=4, routers=["0.0.0.0"] * 5)]]
    cases.add("echo_v4_headers", ROW, *(echoed(ping(4, options=options)) for options in lists),
              *(echoed(ping(4, **fields)) for fields in (
                  {"ttl": 0}, {"ttl": 1}, {"ttl": 255}, {"tos": 0xB9}, {"flags": "DF"}, {"flags": "DF", "id": 0},
                  {"id": 0xFFFF}, {"flags": "evil"})))
    cases.add("echo_v4_header_checksums", ROW, *(echoed(ping(4, id=value)) for value in range(0, 0x10000, 509)))
    hop = IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")])
    options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
    done = IPv6ExtHdrRouting(addresses=["2001:db8::5"], segleft=0)
    lists = [[hop], [options], [done], [hop, options, done], [options] * 6]
    steps = []
    for headers in lists:
        header = ip(6, NUMBER)
        for extension in headers:
            header /= extension
        steps.append(echoed(ping(6, header=header)))
    cases.add("echo_v6_headers", ROW, *steps, *(echoed(ping(6, **fields)) for fields in (
        {"hlim": 0}, {"hlim": 1}, {"hlim": 255}, {"tc": 0xB9}, {"fl": 0xFFFFF})))


def _source_routes(cases: Cases) -> None:
    """RFC 1122, 3.2.1.8: the answer would have to go back by the route that the request came by. IPv6's routing header is
    ignored where it is done (RFC 8200, 4.4)."""
    hops = ["192.0.2.1", "192.0.2.2"]
    routes = [kind(routers=hops, pointer=pointer) for kind in (IPOption_LSRR, IPOption_SSRR) for pointer in (4, 8, 12)]
    for number in (HOSTS_OWN, LINIMOS_ALONE):
        name = "own_" if number == HOSTS_OWN else ""
        lists = [[route] for route in routes] + [[IPOption_NOP()] * 3 + [routes[0]]]
        lists += [[IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"]), routes[4]], [IPOption_RR(length=7, pointer=8, routers=["192.0.2.9"]), routes[1]]]
        cases.add(f"echo_source_route_{name}v4", ROUTED,
                  *(unclaimed(link(ping(4, number=number, options=options)), number) for options in lists),
                  unclaimed(link(_raw_options(number, b"\x83\x02\0\0")), number),
                  unclaimed(link(_raw_options(number, b"\x01" * 39 + b"\x89")), number))
        to_come = IPv6ExtHdrRouting(addresses=["2001:db8::5"], segleft=1)
        cases.add(f"echo_source_route_{name}v6", ROUTED,
                  unclaimed(link(ping(6, header=ip(6, number) / to_come)), number))
    # Bytes that look like one, within another option, behind the end of the list, or in no list at all.
    cases.add("echo_no_source_route", ROW, *(echoed(_raw_options(NUMBER, options)) for options in (
        b"\x07\x07\x04\x83\x03\x04\x00\0", b"\0\x83\x03\x04", b"\x01\x44\x00\x83", b"\x44\x01\x83\x03", b"\x01\x01\x01\x44",
        b"\x44\xff\x83\x03", b"\x82\x84\x88\x8a")))


def _raw_options(number: int, options: bytes) -> bytes:
    packet = bytearray(bytes(ping(4, number=number))[:20] + options + bytes(ping(4, number=number))[20:])
    packet[0] = 0x45 + len(options) // 4
    packet[2:4] = struct.pack("!H", len(packet))
    packet[10:12] = b"\0\0"
    packet[10:12] = struct.pack("!H", 0xFFFF - fold(words(bytes(packet[:20 + len(options)]))))
    return bytes(packet)


def _not_answered(cases: Cases, family: int, number: int) -> None:
    at = 20 if family == 4 else 40
    whole = bytes(ping(family))
    kind = whole[at:at + 1]
    name = "own_" if number == HOSTS_OWN else ""
    field = "proto" if family == 4 else "nh"
    protocol = 1 if family == 4 else 58

    def message(data: bytes, **more: object) -> bytes:
        return link(ip(family, number, **{field: protocol, **more}) / Raw(data))

    cases.add(f"echo_other_code_{name}v{family}", NOT_FORWARDED, *(
        unclaimed(message(kind + bytes([code]) + whole[at + 2:]), number) for code in (1, 2, 255)))
    cases.add(f"icmp_cut_{name}v{family}", NOT_FORWARDED,
              *(unclaimed(message(whole[at:at + length]), number) for length in range(8)),
              unclaimed(link(bytes(ip(family, number, **{field: protocol}) / Raw(whole[at:at + 7])), pad=bytes(20)), number))
    if number == HOSTS_OWN:
        return
    other = 58 if family == 4 else 1
    cases.add(f"icmp_of_the_other_family_v{family}", "to a VIP's address but to no service",
              dropped(message(whole[at:], **{field: other}), "no_service"))
    sources = [vip(family, NUMBER), "127.0.0.1" if family == 4 else "::1", "224.0.0.1" if family == 4 else "ff02::1"]
    cases.add(f"echo_martian_v{family}", "source is one of the VIPs, an address of the node, loopback, multicast, broadcast or unspecified",
              *(dropped(link(ping(family, src=source)), "martian") for source in sources))
    if family == 4:
        frame = bytearray(link(ping(4)))
        frame[14 + 10] ^= 1
        cases.add("echo_bad_header", "IPv4 header checksum wrong", dropped(bytes(frame), "bad_checksum"))
