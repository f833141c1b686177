"""Not ours: to the kernel, unchanged, whatever is wrong with it."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6MLDMultAddrRec, ICMPv6MLQuery,
                                ICMPv6MLReport, ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                ICMPv6ND_Redirect, ICMPv6ND_RS, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt,
                                IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, RouterAlert)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from .case import (HOSTS_OWN, LINIMOS_ALONE, NOT_FORWARDED, Cases, Step, control, dropped, ip, kernel, link, request, tcp,
                   udp, unclaimed)
from .world import CLIENT_MAC, CLIENTS, OWN_VIP, PORT_MACS, REJECT_VIP, VIP_OF_POOL, vip

NON_VIP = {4: "192.0.2.99", 6: "2001:db8:a::99"}
HOST = {4: "192.0.2.11", 6: "2001:db8:a::11"}
LINK_LOCAL = "fe80::1"
TAG = Dot1Q(vlan=7)
SERVICE_TAG = Dot1AD(vlan=9)


def ethernet(ethertype: int, payload: bytes, destination: str = PORT_MACS[0]) -> bytes:
    return bytes(Ether(src=CLIENT_MAC, dst=destination, type=ethertype) / Raw(payload))


def add_to(cases: Cases) -> None:
    _link_layer(cases)
    _truncated(cases)
    _other_addresses(cases)
    _no_service(cases)
    _control(cases)
    _other_stations(cases)
    _icmp(cases)
    _no_neighbours(cases)


def _link_layer(cases: Cases) -> None:
    row = "ARP, LLDP, unknown EtherType"
    arp = bytes(ARP(op=1, psrc="192.0.2.1", pdst=vip(4, 1), hwsrc=CLIENT_MAC))
    broadcast = "ff:ff:ff:ff:ff:ff"
    cases.add("arp", row, control(ethernet(0x0806, arp, broadcast)), control(ethernet(0x0806, arp + bytes(18))),
              control(ethernet(0x0806, b"")))
    cases.add("arp_tagged", row, control(link(arp, (TAG,), 0x0806)), control(link(arp, (SERVICE_TAG, TAG), 0x0806)))
    cases.add("lldp", row, control(ethernet(0x88CC, b"\x02\x07\x04" + bytes(6) + bytes(2), "01:80:c2:00:00:0e")))
    ours = bytes(request(4, "ipip4"))
    types = (0x0000, 0x05DC, 0x0801, 0x6558, 0x8847, 0x8864, 0x88B5, 0x9100, 0xFFFF)
    cases.add("unknown_ethertype", row, *(kernel(ethernet(kind, ours)) for kind in types),
              kernel(link(ours, (TAG,), 0x88B5)), kernel(ethernet(0x88B5, b"")))
    cases.add("three_tags", row, kernel(link(ours, (TAG, TAG, TAG))),
              kernel(link(ours, (SERVICE_TAG, SERVICE_TAG, TAG))))


def _truncated(cases: Cases) -> None:
    row = "truncated before the IP header ends"
    for family, header in ((4, 20), (6, 40)):
        for name, tags in (("", ()), ("_tagged", (TAG,)), ("_twice_tagged", (SERVICE_TAG, TAG))):
            frame = link(request(family, "ipip4"), tags)
            end = 14 + 4 * len(tags) + header
            cases.add(f"truncated_v{family}{name}", row, *(kernel(frame[:length]) for length in range(14, end)))


def _other_addresses(cases: Cases) -> None:
    row = "to an address that is no VIP"
    for family in (4, 6):
        header = ip(family, 1, dst=NON_VIP[family])
        whole = header / tcp() / b"payload"
        cases.add(f"other_address_v{family}", row, *(kernel(link(packet)) for packet in (
            whole, header / udp() / b"payload", header / tcp() / bytes(1400), ip(family, 1, dst=HOST[family]) / tcp())),
            kernel(link(whole, (TAG,))), kernel(link(whole, pad=bytes(9))),
            *(kernel(link(whole)[:14 + length]) for length in range(len(header), len(whole))))
    _other_addresses_v4(cases, row)
    _other_addresses_v6(cases, row)


def _other_addresses_v4(cases: Cases, row: str) -> None:
    def other(**fields: object) -> Step:
        return kernel(link(ip(4, 1, **{"dst": NON_VIP[4], **fields}) / tcp() / bytes(64), ethertype=0x0800))

    cases.add("other_address_v4_fragments", row, other(flags="MF"), other(flags="MF", frag=5), other(frag=185))
    cases.add("other_address_v4_options", row, *(other(options=[IPOption_NOP()] * length) for length in (4, 40)))
    cases.add("other_address_v4_bad_checksum", row, other(chksum=0x0BAD), other(chksum=0))
    cases.add("other_address_v4_bad_lengths", row, other(len=19), other(len=0), other(len=1500), other(len=0xFFFF),
              other(ihl=4), other(ihl=0), other(ihl=15), other(version=5))
    cases.add("other_address_v4_protocols", row,
              *(other(proto=protocol) for protocol in (0, 1, 2, 4, 41, 47, 50, 89, 112, 132, 255)))
    cases.add("other_address_v4_sources", row, *(other(src=source) for source in (
        "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", vip(4, 1))))
    cases.add("other_address_v4_group", row, *(other(dst=group) for group in (
        "224.0.0.5", "239.1.2.3", "255.255.255.255", "203.0.113.255", "0.0.0.0")))
    ping = ip(4, 1, dst=HOST[4]) / ICMP(type=8, id=1, seq=1) / b"ping"
    cases.add("other_address_v4_ping", row, kernel(link(ping)))


def _other_addresses_v6(cases: Cases, row: str) -> None:
    def other(**fields: object) -> Step:
        return kernel(link(ip(6, 1, **{"dst": NON_VIP[6], **fields}) / tcp() / bytes(64), ethertype=0x86DD))

    extension = bytes(IPv6ExtHdrDestOpt(nh=60))
    cases.add("other_address_v6_extensions", row, kernel(link(ip(6, 1, dst=NON_VIP[6], nh=60) / Raw(extension * 9))),
              kernel(link(ip(6, 1, dst=NON_VIP[6]) / IPv6ExtHdrFragment(m=1, id=7) / tcp() / bytes(32))))
    cases.add("other_address_v6_bad_lengths", row, other(plen=0), other(plen=1), other(plen=0xFFFF), other(version=4))
    cases.add("other_address_v6_protocols", row,
              *(other(nh=protocol) for protocol in (1, 4, 41, 47, 50, 51, 59, 132, 135, 255)))
    cases.add("other_address_v6_sources", row,
              *(other(src=source) for source in ("::", "::1", "ff02::1", "::ffff:10.1.2.3", vip(6, 1))))
    mapped = [f"::ffff:{vip(4, 1)}", f"::{vip(4, 1)}", f"64:ff9b::{vip(4, 1)}"]
    cases.add("other_address_v6_mapped", row, *(other(dst=address) for address in mapped))
    cases.add("other_address_v6_ping", row,
              kernel(link(ip(6, 1, dst=HOST[6]) / ICMPv6EchoRequest(id=1, seq=1, data=b"ping"))))


def _no_service(cases: Cases) -> None:
    row = "to a VIP's address but to no service"
    own_row = "to a VIP's address that the host has too, but to no service"
    for family in (4, 6):
        number = VIP_OF_POOL["ipip4"]
        field = "proto" if family == 4 else "nh"
        strangers = [tcp(81), tcp(53), tcp(0), tcp(65535), udp(80), udp(54)]
        protocols = (4, 41, 47, 50, 132, 253) + ((58,) if family == 4 else (1, 51, 59))
        packets = [lambda to, l4=l4: ip(family, to) / l4 / b"x" for l4 in strangers]
        packets += [lambda to, p=p: ip(family, to, **{field: p}) / Raw(bytes(64)) for p in protocols]
        cases.add(f"no_service_v{family}", row, *(dropped(link(make(number)), "no_service") for make in packets))
        cases.add(f"no_service_own_v{family}", own_row, *(kernel(link(make(OWN_VIP))) for make in packets))
        cases.add(f"no_service_bgp_v{family}", row, dropped(link(ip(family, number) / tcp(179)), "no_service"))
        cases.add(f"no_service_own_bgp_v{family}", own_row, control(link(ip(family, OWN_VIP) / tcp(179))))


def _control(cases: Cases) -> None:
    row = "neighbour discovery, MLD, router advertisements"
    solicited = "ff02::1:ff00:1"
    lladdr = ICMPv6NDOptSrcLLAddr(lladdr=CLIENT_MAC)

    def local(message: object, destination: str, source: str = LINK_LOCAL) -> bytes:
        return link(IPv6(src=source, dst=destination, hlim=255) / message)

    cases.add("neighbour_discovery", row, *(control(frame) for frame in (
        local(ICMPv6ND_NS(tgt=vip(6, 1)) / lladdr, solicited),
        local(ICMPv6ND_NS(tgt=vip(6, 1)), solicited, "::"),  # duplicate address detection
        local(ICMPv6ND_NS(tgt=HOST[6]) / lladdr, HOST[6]),
        local(ICMPv6ND_NA(tgt=NON_VIP[6], R=0), HOST[6]),
        local(ICMPv6ND_Redirect(tgt=LINK_LOCAL, dst=NON_VIP[6]), HOST[6]))))
    cases.add("neighbour_discovery_to_vip", row, control(local(ICMPv6ND_NS(tgt=vip(6, 1)) / lladdr, vip(6, 1))),
              control(local(ICMPv6ND_NA(tgt=vip(6, 1)), vip(6, 1))))
    cases.add("neighbour_discovery_tagged", row,
              control(link(IPv6(src=LINK_LOCAL, dst=solicited, hlim=255) / ICMPv6ND_NS(tgt=vip(6, 1)), (TAG,))))
    cases.add("router_discovery", row, control(local(ICMPv6ND_RA() / lladdr, "ff02::1")),
              control(local(ICMPv6ND_RS() / lladdr, "ff02::2")))
    alert = IPv6ExtHdrHopByHop(options=[RouterAlert()])
    record = ICMPv6MLDMultAddrRec(rtype=4, dst=solicited)
    cases.add("mld", row, control(local(alert / ICMPv6MLQuery(), "ff02::1")),
              control(local(alert / ICMPv6MLReport(mladdr=solicited), solicited)),
              control(local(alert / ICMPv6MLReport2(records=[record]), "ff02::16")))

    row = "BGP and BFD have a ring of their own"
    for family in (4, 6):
        def to_host(l4: object) -> bytes:
            return link(ip(family, 1, dst=HOST[family], src=NON_VIP[family]) / l4)

        cases.add(f"bgp_v{family}", row, control(to_host(tcp(179))), control(to_host(tcp(40001, sport=179))),
                  kernel(to_host(udp(179))), kernel(to_host(tcp(178))))
        cases.add(f"bfd_v{family}", row, *(control(to_host(udp(port) / bytes(24))) for port in (3784, 3785, 4784)),
                  kernel(to_host(tcp(3784))), kernel(to_host(udp(3783))))


def _other_stations(cases: Cases) -> None:
    """A frame for somebody else, or for everybody, is not the port's to forward or to answer (RFC 1812, 5.3.4), whatever is
    inside: packets that would be forwarded, answered in every way, held or dropped."""
    row = "destination MAC is not the port's own"
    others = {"neighbour": "02:00:00:00:00:03", "other_port": PORT_MACS[1], "broadcast": "ff:ff:ff:ff:ff:ff",
              "group": "01:00:5e:00:00:01", "first_byte": "00:00:00:00:00:01", "last_byte": "02:00:00:00:00:00",
              "zero": "00:00:00:00:00:00"}
    for family in (4, 6):
        header = ip(family, VIP_OF_POOL["ipip4"])
        pings = (header / (ICMP(type=8, id=1, seq=1) if family == 4 else ICMPv6EchoRequest(id=1, seq=1)) / b"ping")
        packets = [request(family, "ipip4"), request(family, "ipip6"), header / udp() / b"x", header / tcp(81),
                   header / tcp(dataofs=4), pings, ip(family, REJECT_VIP) / tcp(), ip(family, REJECT_VIP) / udp(),
                   ip(family, VIP_OF_POOL["small_ipip4"], **({"flags": "DF"} if family == 4 else {})) / tcp() / bytes(1300)]
        for name, mac in others.items():
            cases.add(f"other_station_{name}_v{family}", row, *(
                kernel(link(packet, tags, destination=mac)) for packet in packets for tags in ((), (TAG,))),
                control(link(header / tcp(179), destination=mac)))


def _icmp(cases: Cases) -> None:
    for number in (HOSTS_OWN, LINIMOS_ALONE):
        name = "own_" if number == HOSTS_OWN else ""
        elsewhere = IP(src=NON_VIP[4], dst=CLIENTS[4]) / UDP(sport=5000, dport=6000)
        no_service = IP(src=vip(4, number), dst=CLIENTS[4]) / TCP(sport=81, dport=6000)
        cases.add(f"icmp_v4_unclaimed_{name}", NOT_FORWARDED, *(unclaimed(link(ip(4, number) / message), number) for message in (
            ICMP(type=13, ts_ori=1, ts_rx=2, ts_tx=3), ICMP(type=17), ICMP(type=0, id=1), ICMP(type=3, code=1) / elsewhere,
            ICMP(type=11) / no_service, ICMP(type=3, code=4) / Raw(b""))))
        elsewhere6 = IPv6(src=NON_VIP[6], dst=CLIENTS[6]) / UDP(sport=5000, dport=6000)
        cases.add(f"icmp_v6_unclaimed_{name}", NOT_FORWARDED,
                  unclaimed(link(ip(6, number) / ICMPv6DestUnreach(code=3) / elsewhere6), number),
                  unclaimed(link(ip(6, number, nh=58) / Raw(b"\x81\x00\x00\x00\x00\x01\x00\x01")), number))


def _no_neighbours(cases: Cases) -> None:
    """Neighbour and router discovery is between neighbours. What has crossed a router is none, nor are MLD's messages to a
    single address, or what is cut short or in fragments: a kernel that forwards would send them back."""
    row = NOT_FORWARDED
    for number in (HOSTS_OWN, LINIMOS_ALONE):
        def to_vip(message: object, **fields: object) -> Step:
            step = unclaimed(link(ip(6, number, src=LINK_LOCAL, **fields) / message), number)
            step.outcome = step.outcome.replace("kernel", "kernel_control")
            return step

        name = "own_" if number == HOSTS_OWN else ""
        messages = (ICMPv6ND_NS(tgt=vip(6, number)), ICMPv6ND_NA(tgt=vip(6, number)), ICMPv6ND_RA(), ICMPv6ND_RS(),
                    ICMPv6ND_Redirect(tgt=LINK_LOCAL, dst=NON_VIP[6]))
        cases.add(f"neighbour_discovery_from_afar_{name}", row, *(
            to_vip(message, hlim=hops) for message in messages for hops in (254, 64, 1)),
            to_vip(ICMPv6ND_NS(code=1, tgt=vip(6, number)), hlim=255),
            to_vip(Raw(b"\x87\0\0\0\0\0\0"), nh=58, hlim=255),
            to_vip(ICMPv6MLQuery(), hlim=1), to_vip(ICMPv6MLReport(mladdr="ff02::5"), hlim=255))
        cases.add(f"neighbour_discovery_near_{name}", "neighbour discovery, MLD, router advertisements", *(
            control(link(ip(6, number, src=LINK_LOCAL, hlim=255) / message)) for message in messages))
