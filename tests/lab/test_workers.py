"""One worker and two: all forward, and the counters add up to exactly what was sent."""

from __future__ import annotations

import re
import socket
import time

from case import LabCase
from lab.client import Load
from lab.topology import VIP, VIP2

FLOWS = 200
PACKETS_PER_FLOW = 50
PAYLOAD = b"x" * 72  # with UDP and IPv4 headers: 100 bytes

# UDP can be counted to the packet: nothing is sent again, and nothing comes back through the node.
UDP_SERVICE = f'''
[[service]]
name = "counted"
vips = ["{VIP2[4]}"]
protocol = "udp"
ports = [5000]
pool = "web"
'''


class OneWorker(LabCase):
    workers = 1

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.more = UDP_SERVICE

    def test_workers_are_as_configured(self) -> None:
        self.assertEqual(self.workers, self.lab.node.status()["dataplane"]["workers"])

    def test_every_datagram_is_counted(self) -> None:
        """By outcome, by service and by backend: three sums, each equal to what went out, in packets, bytes and flows."""
        before = self._counters()
        queues_before = self._queue_packets()
        self._send()
        sent = FLOWS * PACKETS_PER_FLOW
        deadline = time.monotonic() + 3
        while (after := self._counters()) != before and time.monotonic() < deadline:
            if after["service packets"] - before["service packets"] >= sent:
                break
            time.sleep(0.05)
        grown = {name: after[name] - before[name] for name in after}
        self.assertEqual({
            "service packets": sent, "service bytes": sent * (28 + len(PAYLOAD)), "service flows": FLOWS,
            "backend packets": sent, "backend bytes": sent * (28 + len(PAYLOAD)), "backend flows": FLOWS,
            "forwarded": sent,
        }, grown)
        used = [packets for packets in map(int.__sub__, self._queue_packets(), queues_before) if packets > sent / 10]
        self.assertEqual(self.workers, len(used), "each worker's queue had its part")

    def test_requests_are_served(self) -> None:
        """New connections over all queues: every one is a new flow, and is answered."""
        before = self.lab.node.service("web")["new_flows"]
        load = Load(self.lab.client, VIP[4])
        load.run(1000)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})
        self.assertEqual(1000, self.lab.node.service("web")["new_flows"] - before)

    def _send(self) -> None:
        """Paced: what is tested is counting, not how much fits into a veth's queue at once."""
        with self.lab.client.entered():
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
        for one in sockets:
            self.addCleanup(one.close)
        for _ in range(PACKETS_PER_FLOW):
            for number, one in enumerate(sockets):
                one.sendto(PAYLOAD, (VIP2[4], 5000))
                if number % 50 == 49:
                    time.sleep(0.002)

    def _counters(self) -> dict[str, int]:
        """Nothing but the datagrams passes meanwhile: health checks do not go through a VIP."""
        node = self.lab.node
        service, backends = node.service("counted"), node.backend_list()
        return {
            "service packets": service["packets"], "service bytes": service["bytes"], "service flows": service["new_flows"],
            "backend packets": sum(backend["packets"] for backend in backends),
            "backend bytes": sum(backend["bytes"] for backend in backends),
            "backend flows": sum(backend["new_flows"] for backend in backends),
            "forwarded": node.outcomes()["forwarded"],
        }

    def _queue_packets(self) -> list[int]:
        """What the kernel says each receive queue of the node's NIC has seen."""
        statistics = self.lab.topology.node.run(["ethtool", "-S", "eth0"]).stdout
        return [int(count) for count in re.findall(r"rx_queue_\d+_xdp_packets: (\d+)", statistics)]


class TwoWorkers(OneWorker):
    workers = 2
