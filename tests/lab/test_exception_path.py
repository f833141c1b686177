"""What is not for a VIP reaches the node's kernel and back, and however much of it there is, the VIP goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from typing import Iterator

from case import LabCase
from lab.client import Load
from lab.topology import CLIENT_MTU, NODE, VIP
from lab.wait import wait_until

PORT = 2222  # of a service on the node's own address
FLOOD_SECONDS = 3

# One sender as fast as Python can: about a hundred thousand small datagrams a second. It says how many.
FLOOD = f"""
import socket, sys, time
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 9))
end, sent = time.monotonic() + {FLOOD_SECONDS}, 0
while time.monotonic() < end and sent < 1_000_000:
    for _ in range(100):
        try:
            sock.send(b"flood")
            sent += 1
        except OSError:
            pass
print(sent)
"""


class ExceptionPath(LabCase):
    alone = True  # a flood takes a core, and delays are judged

    def test_ping(self) -> None:
        """Every request is answered, small or in fragments, in both families."""
        for family in (4, 6):
            for size in (56, 1400, 4000):
                with self.subTest(family=family, size=size):
                    self._assert_pings(family, size)

    def test_neighbours_are_found_from_scratch(self) -> None:
        """ARP and neighbour discovery work in both directions, and the VIP needs nothing that was learnt before."""
        router, node = self.lab.topology.router, self.lab.topology.node
        for family in (4, 6):
            with self.subTest(family=family):
                router.run(["ip", f"-{family}", "neigh", "flush", "dev", "lb1"])
                # The data plane asks for its next hop again at once, which `ip` takes for a flush that failed.
                node.run(["ip", f"-{family}", "neigh", "flush", "dev", "linimo0"], check=False)
                self._assert_pings(family, 56)
                router.run(["ip", f"-{family}", "neigh", "flush", "dev", "lb1"])
                load = Load(self.lab.client, VIP[family])
                load.run(50)
                self.assert_served(load)

    def test_tcp_service_on_the_nodes_own_address(self) -> None:
        """A connection to the node itself carries megabytes both ways without a flaw."""
        content = os.urandom(8 * 1024 * 1024)
        for family in (4, 6):
            with self.subTest(family=family), self._echo_service(family), self.lab.client.entered():
                with socket.create_connection((NODE[family], PORT), timeout=10) as connection:
                    sender = threading.Thread(target=lambda: (connection.sendall(content),
                                                              connection.shutdown(socket.SHUT_WR)))
                    sender.start()
                    digest, size = hashlib.blake2b(), 0
                    while chunk := connection.recv(1 << 18):
                        digest.update(chunk)
                        size += len(chunk)
                    sender.join()
                self.assertEqual(len(content), size)
                self.assertEqual(hashlib.blake2b(content).hexdigest(), digest.hexdigest())

    def test_flood_of_the_node_does_not_starve_the_vip(self) -> None:
        """While somebody floods the node's own address as fast as the machine can, requests to the VIP all succeed,
        hardly one waits for a lost packet to be sent again (TCP does that after a second), neighbours are still found,
        no backend's answer to a health check is lost in the flood, every packet has exactly one outcome, and afterwards
        the node answers as before."""
        lab = self.lab
        for family in (4, 6):
            with self.subTest(family=family):
                before = lab.node.outcomes()
                with lab.client.entered():
                    flood = subprocess.Popen([sys.executable, "-c", FLOOD, NODE[family]], stdout=subprocess.PIPE, text=True)
                self.addCleanup(flood.kill)
                wait_until(lambda: to_kernel(lab.node.outcomes()) > to_kernel(before) + 1000, "the flood arrives")
                with Load(lab.client, VIP[family], threads=4, rate=200, timeout=3).in_background() as load:
                    time.sleep(0.5)
                    # Under the flood the entry is back before `ip` has seen it gone, which it calls a failure.
                    lab.topology.router.run(["ip", "neigh", "flush", "dev", "lb1"], check=False)
                    time.sleep(FLOOD_SECONDS / 2)
                    self.assertIsNone(flood.poll(), "the flood was over too soon: nothing was shown")
                sent = int(flood.communicate(timeout=FLOOD_SECONDS * 4)[0])
                judged = to_kernel(lab.node.outcomes()) - to_kernel(before)
                print(f"    flood: {sent} sent, {judged} judged, {load.requests} requests meanwhile, "
                      f"slowest {load.slowest_s * 1000:.0f} ms", file=sys.stderr)
                self.assertGreater(judged, 10_000, "that was no flood")
                self.assertNotIn("to=down", lab.node.logs(1000), "a backend was taken for dead")
                self.assertLess(judged, sent + 1000, "packets were counted twice")
                self.assert_served(load)
                self.assertGreater(load.requests, 100)
                delayed = [latency for latency in load.latencies_s if latency > 0.9]
                self.assertLess(len(delayed), load.requests * 0.05)
                self._assert_pings(family, 56)

    def test_addresses_and_routes_are_on_the_tap(self) -> None:
        """The node's kernel sees one NIC, linimo0, that looks as eth0 did."""
        node = self.lab.topology.node
        links = {link["ifname"]: link for link in json.loads(node.run(["ip", "-j", "addr"]).stdout)}
        self.assertEqual(links["eth0"]["address"], links["linimo0"]["address"])
        self.assertEqual(links["eth0"]["mtu"], links["linimo0"]["mtu"])
        addresses = {info["local"] for info in links["linimo0"]["addr_info"]}
        self.assertLessEqual(set(NODE.values()), addresses)
        self.assertFalse(set(NODE.values()) & {info["local"] for info in links["eth0"]["addr_info"]})
        for family in (4, 6):
            default = json.loads(node.run(["ip", "-j", f"-{family}", "route", "show", "default"]).stdout)
            self.assertEqual(["linimo0"], [route["dev"] for route in default])

    def _assert_pings(self, family: int, size: int) -> None:
        if family == 6 and size > CLIENT_MTU:  # the node has to learn the way's MTU first: routers do not fragment IPv6
            self.lab.client.run(["ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "-s", str(size), NODE[6]], check=False)
        done = self.lab.client.run(["ping", "-n", "-q", "-c", "20", "-i", "0.01", "-W", "2", "-s", str(size), NODE[family]],
                                   check=False)
        self.assertRegex(done.stdout, r"\b20 received", done.stdout + done.stderr)
        self.assertIsNone(re.search("duplicates|errors", done.stdout), done.stdout)

    @contextlib.contextmanager
    def _echo_service(self, family: int) -> Iterator[None]:
        with self.lab.topology.node.entered():
            listener = socket.create_server((NODE[family], PORT), family=socket.AF_INET if family == 4 else socket.AF_INET6)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while chunk := connection.recv(1 << 18):
                    connection.sendall(chunk)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield
            server.join(10)
        finally:
            listener.close()


def to_kernel(outcomes: dict[str, int]) -> int:
    """Packets that were judged to be the kernel's, whether there was room for them or not."""
    return outcomes["kernel"] + outcomes["kernel_full"]
