"""Datagrams whose fragments come to different nodes of a fleet, as where routers hash ports: each arrives whole, at one
backend, whichever nodes its fragments come to and in whichever order, also while nodes come and go."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import socket
import threading
import time
from typing import ClassVar, Iterator

from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from fleet_case import FleetCase
from lab.fleet import told
from lab.meanwhile import meanwhile
from lab.netns import Namespace
from lab.node import Node
from lab.topology import CLIENT, VIP2
from lab.wait import wait_until
from test_fragments import PORT, UDP_SERVICE, Receiver

DATAGRAM_BYTES = 8000
SEED = 8
ROUND = 40  # datagrams of each family
RECALL_S = 3.0  # a fragment is held for two seconds
DEAF_S = 1.0  # with what a lease of three seconds may have lost already
RATE = 100  # datagrams a second, while nodes come and go


class Sprayer:
    """Puts each fragment on the wire of one of the nodes, at random: worse than any router."""

    def __init__(self, router: Namespace, nodes: list[Node], links: list[str]) -> None:
        self.random = random.Random(SEED)
        self.identifications = itertools.count(1)
        self.sent_at: dict[int, float] = {}
        self.wires: dict[str, tuple[socket.socket, Ether]] = {}
        for node, link in zip(nodes, links):
            with router.entered():
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                wire.bind((link, 0))
            self.wires[node.config.name] = (wire, Ether(src=_mac(router, link), dst=_mac(node.box, "eth0")))

    def close(self) -> None:
        for wire, _ in self.wires.values():
            wire.close()

    def fragments(self, family: int, port: int, payload: bytes) -> list[Packet]:
        udp = UDP(sport=port, dport=PORT) / Raw(payload)
        number = next(self.identifications)
        # Many sources: who handles a datagram's fragments is a matter of its addresses.
        if family == 4:
            source = f"198.51.100.{self.random.randrange(1, 255)}"
            return fragment(IP(src=source, dst=VIP2[4], id=number) / udp, 1400)
        source = f"{CLIENT[6].rsplit(':', 1)[0]}:{self.random.randrange(1, 0xffff):x}"
        return fragment6(IPv6(src=source, dst=VIP2[6]) / IPv6ExtHdrFragment(id=number) / udp, 1400)

    def send(self, family: int, port: int, payload: bytes, to: list[str]) -> None:
        self.sent_at[port] = time.time()
        packets = self.fragments(family, port, payload)
        for packet in self.random.sample(packets, len(packets)):
            wire, ethernet = self.wires[self.random.choice(to)]
            wire.send(bytes(ethernet / packet))


def _mac(box: Namespace, link: str) -> str:
    return box.run(["ip", "-br", "link", "show", "dev", link]).stdout.split()[2]


class _FleetFragments(FleetCase):
    receivers: ClassVar[dict[int, Receiver]]
    sprayer: ClassVar[Sprayer]
    ports = itertools.count(20_000)

    @classmethod
    def configure(cls) -> None:
        super().configure()
        cls.lab.node.config.more = UDP_SERVICE

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.receivers = {number: Receiver(backend.box) for number, backend in cls.lab.backends.items()}
        links = [wire.link for wire in cls.lab.topology.wires]
        cls.sprayer = Sprayer(cls.lab.topology.router, cls.nodes, links)
        cls.addClassCleanup(cls.sprayer.close)

    def setUp(self) -> None:
        self.names = [node.config.name for node in self.nodes]
        self._settled()

    def _settled(self) -> None:
        """All agree on who handles what, and have ceased to tell of it."""
        self._wait_handlers([node.config.addresses[4] for node in self.nodes])

    def _wait_handlers(self, addresses: list[str]) -> None:
        wanted = {"handlers": sorted(addresses), "move": False}
        for node in self.nodes:
            wait_until(lambda: told(node).get("fragments") == wanted, f"{node.config.name} passes fragments between {addresses}", 15,
                       alive=node.check_alive)

    def _counted(self, outcome: str) -> int:
        return sum(node.outcomes()[outcome] for node in self.nodes if node.dataplane)

    def _arrived(self, port: int, payload: bytes) -> list[int]:
        return [number for number, receiver in self.receivers.items() if (port, payload) in receiver.datagrams]

    def _assert_whole(self, sent: dict[int, bytes]) -> None:
        """All of them; else how long after the first one those that did not were sent."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: all(self._arrived(port, payload) for port, payload in sent.items()), "all arrive", RECALL_S)
        times = self.sprayer.sent_at
        began = min(times[port] for port in sent)
        self.assertEqual([], [f"{times[port] - began:.2f} s" for port, payload in sent.items() if not self._arrived(port, payload)])
        self.assertEqual({1}, {len(self._arrived(port, payload)) for port, payload in sent.items()}, "at one backend each")

    def test_every_datagram_arrives_whole(self) -> None:
        passed, unmatched = self._counted("fragment_passed"), self._counted("fragment_unmatched")
        sent = {next(self.ports): self.sprayer.random.randbytes(DATAGRAM_BYTES) for _ in range(2 * ROUND)}
        for number, (port, payload) in enumerate(sent.items()):
            self.sprayer.send(4 if number % 2 else 6, port, payload, self.names)
            time.sleep(0.005)
        self._assert_whole(sent)
        self.assertEqual(unmatched, self._counted("fragment_unmatched"))
        share = (self._counted("fragment_passed") - passed) / (2 * ROUND * 6)
        self.say(f"{2 * ROUND} datagrams of 6 fragments, each fragment to any of {len(self.nodes)} nodes: all whole, "
                 f"{100 * share:.0f} % of the fragments passed on")
        self.assertGreater(share, 0.3)

    @contextlib.contextmanager
    def _spraying(self, to: list[str]) -> Iterator[dict[int, bytes]]:
        """Datagrams without a pause, to the nodes of a list that may change."""
        sent: dict[int, bytes] = {}

        def spray(ends: threading.Event) -> None:
            while not ends.wait(1 / RATE):
                port, payload = next(self.ports), self.sprayer.random.randbytes(DATAGRAM_BYTES)
                self.sprayer.send(4 if port % 2 else 6, port, payload, to)
                sent[port] = payload

        with meanwhile(spray):
            yield sent

    @contextlib.contextmanager
    def _deaf(self, node: Node) -> Iterator[None]:
        """It hears of what happens late, if within its lease: its control plane is stopped meanwhile."""
        assert node.controlplane
        node.controlplane.send_signal(signal.SIGSTOP)
        try:
            yield
            time.sleep(DEAF_S)
        finally:
            node.controlplane.send_signal(signal.SIGCONT)

    def test_a_node_leaves_and_joins(self) -> None:
        """Drained, and announced again, datagrams coming to all that the router sends to; another node is late to know."""
        node = self.nodes[-1]
        to = list(self.names)
        with self._spraying(to) as sent:
            time.sleep(0.5)
            with self._deaf(self.nodes[0]):
                node.cli("node", "drain")
            self.fleet.routed.wait_announced({wire.link for wire in self.lab.topology.wires[:-1]})
            to.remove(node.config.name)
            self._wait_handlers([one.config.addresses[4] for one in self.nodes[:-1]])
            left = len(sent)
            with self._deaf(self.nodes[0]):
                node.cli("node", "undrain")
            self.fleet.routed.wait_announced()
            to.append(node.config.name)
            self._settled()
        self.say(f"{left} datagrams while a node left, {len(sent) - left} while it joined")
        self._assert_whole(sent)

    def test_a_control_plane_that_is_restarted_changes_nothing(self) -> None:
        with self._spraying(list(self.names)) as sent:
            time.sleep(0.5)
            self.nodes[1].stop_controlplane()
            self.nodes[1].start_controlplane()
            self.nodes[1].wait_settled()
            time.sleep(RECALL_S)
        self._assert_whole(sent)


class FleetFragmentsInXdp(_FleetFragments):
    pass


class FleetFragmentsInDpdk(_FleetFragments):
    engines = ("dpdk", "dpdk", "dpdk")


class FleetFragmentsMixed(_FleetFragments):
    engines = ("dpdk", "xdp", "dpdk")


del _FleetFragments  # its tests are for engines
