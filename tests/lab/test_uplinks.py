"""A node with two uplinks: what goes by one that loses its carrier goes by the other."""

from __future__ import annotations

import re
import signal

from lab.client import Load
from lab.topology import VIP
from lab.wait import wait_until
from test_announce import AnnounceCase

NOTICED_S = 2.0
CONVERGED_S = 5.0  # by when BGP, the routes to the backends and the checks have found the other way


class Uplinks(AnnounceCase):
    devices: tuple[str, str]  # by which routes to the uplinks leave

    @classmethod
    def configure(cls) -> None:
        cls.lab.topology.add_uplink()
        cls.lab.node.config.more_interfaces = ("eth1",)
        if cls.engine == "xdp":
            cls.lab.let_pass("1b")

    def tearDown(self) -> None:
        router = self.lab.topology.router
        for link in ("lb1", "lb1b"):
            router.run(["ip", "link", "set", link, "up"])
        self.routed.wait_announced()

    def lose_carrier(self, link: str) -> None:
        """By the cable's other end, which keeps its IPv6 address meanwhile."""
        router = self.lab.topology.router
        router.sysctl({f"net.ipv6.conf.{link}.keep_addr_on_down": 1})
        router.run(["ip", "link", "set", link, "down"])

    def checks_passed(self) -> dict[str, int]:
        """Of each backend, since the control plane began."""
        rows = re.findall(r'^linimo_health_checks_total\{(.*),result="success"\} (\d+)$', self.metrics(), re.MULTILINE)
        return {backend: int(count) for backend, count in rows}

    def said_to_be_announced(self) -> set[str]:
        return {vip["vip"] for vip in self.announced["vips"] if vip["announced"]}

    def test_either_uplink_does_without_the_other(self) -> None:
        """The VIPs stay announced, by the routers' word and by ours, and are served over the uplink that is left."""
        for link, left, device in (("lb1", "lb1b", self.devices[1]), ("lb1b", "lb1", self.devices[0])):
            with self.subTest(lost=link):
                self.lose_carrier(link)
                wait_until(lambda: self.in_table() == {vip: {device} for vip in VIP.values()},
                           f"the routes are by {device}", NOTICED_S)
                # That they are up may yet be what checks found by the way that is lost.
                before = self.checks_passed()
                wait_until(lambda: all(now > before[backend] for backend, now in self.checks_passed().items()),
                           "the backends are reached by the other way", CONVERGED_S)
                wait_until(lambda: set(self.lab.node.backend_states().values()) == {"up"} and self.lab.node.up_to_date(),
                           "packets go to all of them", CONVERGED_S)
                self.routed.wait_announced({left}, CONVERGED_S)
                self.assertEqual(set(VIP.values()), self.said_to_be_announced())
                self.assertTrue(self.lab.node.status()["serves"])
                load = Load(self.lab.client, VIP[4], threads=2)
                load.run(100)
                self.assert_served(load)
                self.lab.topology.router.run(["ip", "link", "set", link, "up"])
                self.routed.wait_announced()

    def test_without_any_nothing_is_announced(self) -> None:
        for link in ("lb1", "lb1b"):
            self.lose_carrier(link)
        wait_until(lambda: not self.said_to_be_announced(), "nothing is said to be announced", NOTICED_S)
        self.assertFalse(self.lab.node.status()["serves"])
        self.assertIn("carrier eth1", self.lab.node.status()["serves_not_why"])


class UplinksDpdk(Uplinks):
    devices = ("linimo0", "linimo1")


class UplinksXdp(Uplinks):
    engine = "xdp"
    devices = ("eth0", "eth1")

    def test_a_dead_route_is_not_called_announced(self) -> None:
        """While nobody tells the control plane that the carrier is lost, since the data plane stands still."""
        dataplane = self.lab.node.dataplane
        assert dataplane
        device = next(iter(self.in_table()[VIP[4]]))
        link = "lb1" if device == "eth0" else "lb1b"
        dataplane.send_signal(signal.SIGSTOP)
        try:
            self.lose_carrier(link)
            wait_until(lambda: not self.said_to_be_announced(), "it is not said to be announced", NOTICED_S)
            self.assertEqual({device}, self.in_table()[VIP[4]], "the route is there, and dead")
        finally:
            dataplane.send_signal(signal.SIGCONT)
        wait_until(lambda: self.said_to_be_announced() == set(VIP.values()), "by the other uplink it is", CONVERGED_S)


del Uplinks, AnnounceCase  # they are no tests of their own
