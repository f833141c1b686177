"""Cases, as the rows write them and the case file holds them.

A case is a list of steps. A step is one frame in and what must become of it: an outcome (the name of its counter) and,
if a frame leaves, its port and bytes. Where the Maglev table decides, a step lists one possibility per backend, and
`choice` says how the steps must relate: "same" backend for all of a flow, or "spread" over all backends. A fragment
that comes too early is held; a settling step then says what is released."""

from __future__ import annotations

from dataclasses import dataclass, field

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Ether
from scapy.packet import Packet, Raw

from .tunnel import Datagram, Flow, leaving
from .world import CLIENT_MAC, CLIENTS, OWN_VIP, POOLS, PORT_MACS, VIP_OF_POOL, Backend, vip

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
PORT_MAC = bytes.fromhex(PORT_MACS[0].replace(":", ""))  # of the port that all frames come in by


def link(inner: Packet | bytes, tags: tuple[Packet, ...] = (), ethertype: int | None = None, pad: bytes = b"",
         destination: str = PORT_MACS[0]) -> bytes:
    """The frame around an IP packet. `pad` follows the packet; no minimum length is enforced."""
    inner = bytes(inner)
    ethertype = ethertype or ETHERTYPE[inner[0] >> 4]
    types = [0x88A8 if isinstance(tag, Dot1AD) else 0x8100 for tag in tags] + [ethertype]
    frame = Ether(src=CLIENT_MAC, dst=destination, type=types[0])
    for tag, following in zip(tags, types[1:]):
        frame /= tag.__class__(vlan=tag.vlan, prio=tag.prio, type=following)
    return bytes(frame / Raw(inner + pad))


def ip(family: int, number: int, **fields: object) -> Packet:
    """The header of a packet from the client to a VIP, by its number."""
    if family == 4:
        return IP(**{"src": CLIENTS[4], "dst": vip(4, number), "id": 0x1234, "ttl": 57, **fields})
    return IPv6(**{"src": CLIENTS[6], "dst": vip(6, number), "hlim": 57, **fields})


def tcp(port: int = 80, **fields: object) -> Packet:
    return TCP(**{"sport": 40000, "dport": port, "flags": "PA", "seq": 1, "ack": 1, **fields})


def udp(port: int = 53, **fields: object) -> Packet:
    return UDP(**{"sport": 40000, "dport": port, **fields})


def request(family: int, pool: str, **fields: object) -> Packet:
    """A small TCP packet to the service of a pool."""
    return ip(family, VIP_OF_POOL[pool], **fields) / tcp() / b"GET / HTTP/1.1\r\n"


@dataclass
class Step:
    frame: bytes
    outcome: str
    # Possibilities: {"port": n, "bytes": hex, "more": [hex, ...]}, more than one frame if in fragments; none: nothing leaves.
    out: list[dict] = field(default_factory=list)
    flow: str = ""  # which steps of a case are of one flow, where there are several

    def to_json(self) -> dict:
        return {"frame": self.frame.hex(), "outcome": self.outcome, "out": self.out, "flow": self.flow}


@dataclass
class Settling:
    """The engine has time for what it holds: these frames are released, in any order."""
    released: list[Step]

    def to_json(self) -> dict:
        return {"released": [step.to_json() for step in self.released]}


def forwarded(inner: Packet | bytes, pool: str, *, frame: bytes | None = None, flow: Flow | Datagram | None = None,
              source_hash: bool = False, outcome: str = "forwarded", configuration: str = "main",
              backends: list[Backend] | None = None, label: str = "") -> Step:
    """The packet goes to a backend of the pool, or one of `backends`. `frame` and `flow` where they do not follow from
    the packet; `label` where a case has several flows."""
    whole = bytes(inner)
    flow = flow or Flow.of(inner)
    flow_hash = flow.hash(source_hash) if isinstance(flow, Flow) else flow.hash()
    out = []
    for backend in POOLS[pool].backends if backends is None else backends:
        first, *more = leaving(whole, flow_hash, backend, POOLS[pool], configuration)
        out.append({"port": backend.port, "bytes": first.hex(), "more": [frame.hex() for frame in more]})
    return Step(frame or link(whole), outcome, out, label)


def answered(frame: bytes, packet: Packet | bytes, outcome: str) -> Step:
    """The packet goes back by the way that the frame came, from the port's own MAC, under the frame's own tags."""
    assert frame[:6] == PORT_MAC, "only what is for the port is answered"
    tags = 0
    while frame[12 + 4 * tags:14 + 4 * tags] in (b"\x81\x00", b"\x88\xa8"):
        tags += 1
    out = frame[6:12] + PORT_MAC + frame[12:14 + 4 * tags] + bytes(packet)
    return Step(frame, outcome, [{"port": 0, "bytes": out.hex()}])


def kernel(frame: bytes) -> Step:
    return Step(frame, "kernel", [{"bytes": frame.hex()}])


def control(frame: bytes) -> Step:
    return Step(frame, "kernel_control", [{"bytes": frame.hex()}])


def dropped(frame: bytes, reason: str) -> Step:
    return Step(frame, reason)


NOT_FORWARDED = "quoting something else; other ICMP; fragments of ICMP: to the kernel if the host has that address itself"
# Numbers of a VIP that the host has itself, and of one that it has not.
HOSTS_OWN, LINIMOS_ALONE = OWN_VIP, VIP_OF_POOL["ipip4"]


def unclaimed(frame: bytes, number: int) -> Step:
    """To a VIP, by its number, and nothing that Linimo does anything with: a host that has the address is asked. Another one's
    kernel would send it back to where it came from."""
    return kernel(frame) if number == HOSTS_OWN else dropped(frame, "no_service")


@dataclass
class Case:
    name: str
    row: str  # as the table of cases calls it
    steps: list[Step | Settling]
    choice: str = ""
    ordered: bool = False  # a step depends on those before it
    configuration: str = "main"

    def to_json(self) -> dict:
        return vars(self) | {"steps": [step.to_json() for step in self.steps]}

    @property
    def frames(self) -> list[bytes]:
        return [step.frame for step in self.steps if isinstance(step, Step)]


class Cases(list[Case]):
    def add(self, name: str, row: str, *steps: Step | Settling, **more: object) -> None:
        case = Case(name, row, list(steps), **more)
        assert case.frames and name not in {case.name for case in self}, name
        assert case.ordered or all(isinstance(step, Step) and step.outcome != "held" for step in steps), name
        self.append(case)
