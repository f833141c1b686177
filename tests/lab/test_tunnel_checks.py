"""Health checks through the tunnel test what clients use: a backend that answers on its own address and does not take the
tunnel off is down. Both engines, every encapsulation and family."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from typing import Any

from case import LabCase
from lab.backend import Backend
from lab.client import Load, fetch
from lab.topology import VIP
from lab.wait import wait_until

THROUGH = ', through_tunnel = true'


class TunnelBroken(LabCase):
    engine = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.health.interval_ms = cls.lab.node.config.health.timeout_ms = 300
        cls.lab.node.config.health.more += THROUGH

    def of(self, backend: Backend) -> dict[str, Any]:
        return next(one for one in self.lab.node.backend_list() if one["address"] == backend.address())

    def wait_state(self, backend: Backend, state: str) -> None:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.of(backend)["state"] == state, "", alive=self.lab.node.check_alive)
        self.assertEqual(state, self.of(backend)["state"], self.of(backend))

    def tunnel_ends(self, backend: Backend, works: bool) -> None:
        backend.box.run([str(backend.decap_program), "attach" if works else "detach", "eth0"])

    def check_through_tunnel(self, wanted: bool) -> None:
        """No new tables come of it."""
        node = self.lab.node
        node.config.health.more = node.config.health.more.removesuffix(THROUGH) + (THROUGH if wanted else "")
        node.write_config()
        node.signal_reload()
        wait_until(lambda: self.pool()["health"]["through_tunnel"] is wanted, "the configuration is taken over")

    def pool(self) -> dict[str, Any]:
        asked = self.lab.node.box.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                       "http://linimo/v1/pools"])
        return json.loads(asked.stdout)[0]

    def answers_itself(self, backend: Backend) -> bool:
        with self.lab.node.box.entered():
            return fetch(backend.address(), "/healthz") == "ok"

    def test_what_others_take_away_comes_back(self) -> None:
        """Rule, route and device of the checks' path are back within 2 s, by whatever they went; no backend flaps, and one
        that does not decapsulate is marked down by the path that came back."""
        box, node = self.lab.topology.node, self.lab.node
        flags = ["-4", "-6"]
        thefts = {"rule": [["ip", flag, "rule", "del", "pref", "7800"] for flag in flags],
                  "route": [["ip", flag, "route", "flush", "table", "78"] for flag in flags],
                  "link set down": [["ip", "link", "set", "dev", "linimo-hc", "down"]],
                  "link deleted": [["ip", "link", "del", "dev", "linimo-hc"]]}

        def there() -> bool:
            return all("linimo-hc" in box.run(["ip", flag, "route", "show", "table", "78"], check=False).stdout
                       and "7800:" in box.run(["ip", flag, "rule"]).stdout for flag in flags)

        self.assertTrue(there())
        generation = node.status()["generation"]
        for what, commands in thefts.items():
            with self.subTest(what):
                for command in commands:
                    box.run(command)
                wait_until(there, f"{what}: it is back", 2)
        self.assertEqual(generation, node.status()["generation"], "no backend went down meanwhile")
        self.assertEqual({"up"}, set(node.backend_states().values()))
        broken = self.lab.backends[2]
        self.tunnel_ends(broken, False)
        try:
            self.wait_state(broken, "down")
        finally:
            self.tunnel_ends(broken, True)
        self.wait_state(broken, "up")

    def test_broken_tunnel_is_found(self) -> None:
        lab = self.lab
        broken = lab.backends[2]
        self.tunnel_ends(broken, False)
        try:
            self.wait_state(broken, "down")
            self.assertIn("no answer within 300 ms", self.of(broken)["detail"])
            self.assertTrue(self.answers_itself(broken), "the backend serves, only its tunnel does not")
            load = Load(lab.client, VIP[4])
            load.run(300)
            self.assert_served(load, {lab.backends[number].address() for number in (1, 3)})
        finally:
            self.tunnel_ends(broken, True)
        self.wait_state(broken, "up")

    def test_check_beside_the_tunnel_does_not_find_it(self) -> None:
        """What the other kind of check is blind to; so the one above sees it for the reason that it says."""
        unseen = self.lab.backends[2]
        self.check_through_tunnel(False)
        try:
            self.tunnel_ends(unseen, False)
            time.sleep(self.lab.node.config.health.detection_bound_s)
            self.assertEqual("up", self.of(unseen)["state"])
        finally:
            self.tunnel_ends(unseen, True)
            self.check_through_tunnel(True)

    def test_dead_server_behind_a_sound_tunnel_is_found(self) -> None:
        dead = self.lab.backends[3]
        dead.kill_nginx()
        self.wait_state(dead, "down")
        self.assertEqual("connect: Connection refused", self.of(dead)["detail"])
        dead.start_nginx()
        self.wait_state(dead, "up")

    def test_every_encapsulation_and_family(self) -> None:
        lab, config = self.lab, self.lab.node.config
        try:
            for encapsulation in ("gre", "gue", "ipip"):
                for family in (6, 4):
                    with self.subTest(encapsulation=encapsulation, family=family):
                        config.encapsulation, config.backend_family = encapsulation, family
                        lab.node.reload()  # waits until all are up
        finally:
            config.encapsulation, config.backend_family = "ipip", 4
            lab.node.reload_if_changed()

    def test_ipv6_vip(self) -> None:
        """The first VIP of the service is asked; backends that were not there before are up by its answer alone."""
        node = self.lab.node
        try:
            for family in (6, 4):
                node.config.backend_family = family
                ordered = f'vips = ["{VIP[4]}", "{VIP[6]}"]'
                self.assertIn(ordered, node.config.render())
                node.write_config(node.config.render().replace(ordered, f'vips = ["{VIP[6]}", "{VIP[4]}"]'))
                node.signal_reload()
                node.wait_settled()
        finally:
            self.check_through_tunnel(True)  # the usual order again

    def test_rules_go_with_the_data_plane(self) -> None:
        """Those that lead checks to the device; after a kill, `linimo dataplane detach` removes them."""
        node = self.lab.node
        self.assertEqual(2, self.rules())
        node.stop_dataplane()
        self.assertEqual(0, self.rules())
        node.start_dataplane()
        self.assertEqual(2, self.rules())
        node.stop_dataplane(signal.SIGKILL)
        node.detach()
        self.assertEqual(0, self.rules())
        node.start_dataplane()
        node.wait_settled()

    def rules(self) -> int:
        return sum(self.lab.node.box.run(["ip", family, "rule", "show"]).stdout.count("lookup 78") for family in ("-4", "-6"))

    def test_without_a_data_plane_nothing_is_concluded(self) -> None:
        """Its death is no backend's: states stay, and are checked again when there is one."""
        lab, node = self.lab, self.lab.node
        node.stop_dataplane(signal.SIGKILL)
        wait_until(lambda: self.of(lab.backends[1])["detail"] == "no data plane takes checks to the tunnel", "it is said")
        time.sleep(node.config.health.detection_bound_s)
        self.assertEqual({"up"}, set(node.backend_states().values()))
        node.start_dataplane()
        lab.backends[1].kill_nginx()
        self.wait_state(lab.backends[1], "down")
        lab.backends[1].start_nginx()
        node.wait_settled()


class TunnelBrokenXdp(TunnelBroken):
    engine = "xdp"
