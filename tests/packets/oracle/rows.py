"""The rows of the packet rules, section by section, each as the cases name it. A row that no case names fails the build;
so does a case that names none of them.

Elsewhere: a full queue and a frame in several buffers are an engine's own tests; rate limits are reply_limit_test.cc, what
tracking does as time passes is tracking_test.cc."""

from __future__ import annotations

from .case import Cases

ROWS = {
    "not ours": [
        "ARP, LLDP, unknown EtherType",
        "truncated before the IP header ends",
        "to an address that is no VIP",
        "to a VIP's address but to no service",
        "unless the address is also the host's own",
        "neighbour discovery, MLD, router advertisements",
        "BGP and BFD have a ring of their own",
        "destination MAC is not the port's own",
    ],
    "ours": [
        "well formed",
        "IPv4 with or without options",
        "IPv6 with or without extension headers",
        "more than 6 extension headers",
        "one 802.1Q tag, or two",
        "out with the tags of the route's device",
        "replies made here keep the packet's own tags",
        "padded to the 60-byte minimum frame",
        "malformed",
        "IP header length that does not fit the frame",
        "total length that does not fit the frame",
        "payload length that does not fit the frame",
        "length that does not fit the frame",
        "TCP data offset under 5 or past the end",
        "UDP length that does not fit",
        "IPv4 header checksum wrong",
        "source not in allow_sources",
        "no route / next hop not resolved / a port that is not ours",
        "service has no live backend",
        'no_backend = "reject"',
        "source is one of the VIPs, an address of the node, loopback, multicast, broadcast or unspecified",
    ],
    "choosing the backend": [
        "key: source address, destination address, protocol, source port, destination port",
        "a source-hash service uses the source address alone",
        "the service is the most specific match",
        "the table's choice",
        "a server id in the connection id wins over the table",
        "so a client may change address",
        "not for Initial and 0-RTT packets",
        "not for ids whose first three bits are 111",
        "a short header whose fixed bit is cleared is one all the same",
    ],
    "encapsulation": [
        "the inner packet is not altered in any byte",
        "DSCP and ECN copied from the inner",
        "DF as the inner packet's; identification 0 where DF is set",
        "header checksum right",
        "flow label from the flow hash",
        "encap_source_prefix: host bits come from the flow hash",
        "GUE: UDP checksum right over IPv6",
    ],
    "too big for the way": [
        "the result would be longer than the egress MTU",
        "IPv4 with DF, IPv6: answered",
        "IPv4 without DF",
        "inner IPv6 packet of at most 1280 bytes: the outer packet in fragments",
        "never in answer to an ICMP error or to a fragment other than the first",
    ],
    "ICMP": [
        "echo request: answered",
        "checksum right for every identifier and payload",
        "echo request: also while every backend is down",
        "an ICMP error quoting a packet from a service of this VIP",
        "to the backend of the quoted flow",
        "quoting something else; other ICMP; fragments of ICMP: to the kernel if the host has that address itself",
        "echo with a source route",
    ],
    "fragments": [
        "every fragment of one datagram reaches the same backend",
        "whichever order they arrive in",
        "by (source, destination, protocol, identification)",
        "what cannot be held",
    ],
}


def check(cases: Cases) -> None:
    known = {row for section in ROWS.values() for row in section}
    covered = {case.row for case in cases}
    assert known == covered, f"rows without a case: {known - covered}; cases of no row: {covered - known}"
