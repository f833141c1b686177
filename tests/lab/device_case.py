"""A test class whose node's devices change: what all of them look at."""

from __future__ import annotations

import re
import socket

from case import LabCase
from lab.client import ConnectionBroken, Load, fetch
from lab.topology import NODE, VIP, VIPS
from lab.wait import wait_until

FOLLOWS_S = 2.0  # from a change to its being served


class DeviceCase(LabCase):
    alone = True  # times are judged

    def _node(self, *command: str) -> str:
        return self.lab.topology.node.run(command).stdout

    def _router(self, *command: str) -> str:
        return self.lab.topology.router.run(command).stdout

    def _log(self) -> str:
        return (self.lab.node.folder / "linimo-dataplane.log").read_text()

    def _answered(self) -> bool:
        try:
            with self.lab.client.entered():
                return all(fetch(vip, timeout=0.5) for vip in VIP.values())
        except ConnectionBroken:
            return False

    def _wait_answered(self, what: str, timeout: float = FOLLOWS_S) -> None:
        wait_until(self._answered, f"requests are answered after {what}", timeout, alive=self.lab.node.check_alive)

    def _wait_logged(self, text: str, since: int, timeout: float = FOLLOWS_S) -> None:
        wait_until(lambda: text in self._log()[since:], f"the log says \"{text}\"", timeout,
                   alive=self.lab.node.check_alive)

    def _lose_carrier(self) -> None:
        """By the link's other end. The router keeps its IPv6 address meanwhile."""
        self.lab.topology.router.sysctl({"net.ipv6.conf.lb1.keep_addr_on_down": 1})
        self._router("ip", "link", "set", "lb1", "down")

    def _wait_routes_back(self) -> None:
        """A link that goes down takes the router's static routes with it."""
        for vip in VIPS:
            self.lab.topology.router.run(["ip", "route", "replace", vip, "via", NODE[6 if ":" in vip else 4]])
        self._wait_answered("the link came back")

    def _assert_all_tracked(self, requests: int = 400) -> None:
        """New connections over all queues: each is answered, and is a new flow with an entry of its own."""
        node = self.lab.node
        before, tracked = node.service("web")["new_flows"], node.status()["flows"]["tracked"]
        load = Load(self.lab.client, VIP[4])
        load.run(requests)
        self.assert_served(load)
        # A veth puts a flow on the queue of whichever CPU sends, so one may be begun at two of them.
        self.assertLessEqual(requests, node.service("web")["new_flows"] - before)
        wait_until(lambda: node.status()["flows"]["tracked"] - tracked >= requests, "all of them are tracked", 6)


    def _failing(self) -> set[str]:
        return {condition["name"] for condition in self.lab.node.status()["conditions"] if condition["state"] == "fails"}

    @classmethod
    def _set_queues(cls, count: int) -> None:
        """A veth may send on no more queues than its other end receives on."""
        ends = [(cls.lab.topology.node, "eth0"), (cls.lab.topology.router, "lb1")]
        for kind in ("tx", "rx") if count == 1 else ("rx", "tx"):
            for box, link in ends:
                box.run(["ethtool", "-L", link, kind, str(count)])

    def _assert_queues_stay(self) -> None:
        """The kernel does not let them go while a data plane serves them, and says why."""
        with self.assertRaisesRegex(RuntimeError, "too low for existing .*AF_XDP sockets"):
            self._set_queues(1)
        self._wait_answered("queues were to go")

    def _assert_addresses_are_followed(self, link: str) -> None:
        """One that the host gets later: it is reached; and where it is a VIP, too, the host is asked what no service has."""
        later = {4: "10.0.0.99/24", 6: "2001:db8::99/64"}
        for family, address in later.items():
            self._node("ip", "addr", "add", address, "dev", link)
            wait_until(lambda: self._pinged(address.partition("/")[0]), f"{address} is reached", 2 * FOLLOWS_S)
            self._node("ip", "addr", "del", address, "dev", link)
            vip = f"{VIP[family]}/{128 if family == 6 else 32}"
            self.assertEqual("silent", self._no_service(family))
            self._node("ip", "addr", "add", vip, "dev", link)
            wait_until(lambda: self._no_service(family) == "refused", "the host refuses", 2 * FOLLOWS_S)
            self._node("ip", "addr", "del", vip, "dev", link)
            wait_until(lambda: self._no_service(family) == "silent", "nobody answers", 2 * FOLLOWS_S)
        self._wait_answered("addresses came and went")

    def _pinged(self, address: str) -> bool:
        return "bytes from" in self.lab.topology.router.run(["ping", "-c", "1", "-W", "1", address], check=False).stdout

    def _no_service(self, family: int) -> str:
        """What becomes of a connection to a port of the VIP that no service has."""
        with self.lab.client.entered():
            try:
                socket.create_connection((VIP[family], 81), timeout=0.3).close()
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                return "silent"
        return "answered"

    def _assert_vlan_tags_stay(self) -> None:
        """The driver is told to leave them in frames, and told again if somebody says otherwise."""
        stay = lambda: "rx-vlan-offload: off" in self._node("ethtool", "-k", "eth0")
        self.assertTrue(stay())
        self._node("ethtool", "-K", "eth0", "rxvlan", "on")
        wait_until(stay, "the tags are left in frames again", FOLLOWS_S)

    def _assert_advised_of_the_other_end(self) -> None:
        """Nobody sees from here what a veth's other end leaves undone: log and status say so once, with what to do, and no
        condition fails by it."""
        advice = "eth0: what its other end leaves to a NIC (checksums, VLAN tags) nobody does"
        self.assertRegex(self._log(), "level=warn.*eth0: peer-offloads unknown: what its other end leaves to a NIC .*"
                         "`ethtool -K DEV tx off txvlan off` there")
        status = self.lab.node.cli("status").stdout
        self.assertRegex(status, f"(?m)^advice +peer-offloads {re.escape(advice)}.*ethtool -K DEV tx off")
        self.assertNotRegex(status, "FAILS +peer-offloads")
