"""What becomes of a backend that is back, that comes and goes, that wishes to leave, or that is one of few.

With engine dpdk; the tables are the same with the other."""

from __future__ import annotations

import contextlib
import signal

from case import LabCase
from lab.backend import Backend
from lab.client import KeepAlive, Load
from lab.topology import VIP
from lab.wait import wait_until


class UnwellBackends(LabCase):
    settings = ""

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.health.interval_ms = cls.lab.node.config.health.timeout_ms = 200
        cls.lab.node.config.health.more = cls.settings

    def of(self, backend: Backend) -> dict[str, object]:
        return next(one for one in self.lab.node.backend_list() if one["address"] == backend.address())

    def wait_state(self, backend: Backend, state: str) -> None:
        """And the tables follow."""
        node = self.lab.node
        try:
            wait_until(lambda: self.of(backend)["state"] == state and node.up_to_date(), "", alive=node.check_alive)
        except TimeoutError:
            self.fail(f"not {state}: {self.of(backend)}")

    def kill(self, backend: Backend) -> None:
        backend.kill_nginx()
        self.wait_state(backend, "down")

    def revive(self, backend: Backend) -> None:
        backend.start_nginx()
        backend.wait_ready()

    def served(self) -> set[str]:
        """Who answers new connections, of which every one must be answered."""
        load = Load(self.lab.client, VIP[4])
        load.run(300)
        self.assert_served(load)
        return set(load.served)


class SlowStart(UnwellBackends):
    settings = 'slow_start = "7s", flap_half_life = "0s"'

    def test_share_grows_by_eighths(self) -> None:
        """From an eighth of its weight to all of it, in steps, while the others keep what they do not have to give. A control
        plane that is killed and comes back meanwhile goes on where it was."""
        lab = self.lab
        first = lab.backends[1]
        self.assertAlmostEqual(1 / 3, self.of(first)["share"], 3)
        self.kill(first)
        self.revive(first)
        self.wait_state(first, "up")
        seen: list[float] = []

        def whole() -> bool:
            share = self.of(first)["share"]
            if share and share not in seen:
                seen.append(share)
            return self.of(first)["start_eighths"] == 8

        wait_until(lambda: whole() or len(seen) == 3, "the third step", 15, alive=lab.node.check_alive)
        lab.node.stop_controlplane(signal.SIGKILL)
        lab.node.start_controlplane()
        wait_until(lambda: lab.node.cli("status", check=False).returncode == 0, "the control plane is back")
        wait_until(lambda: lab.node.status()["health_known"], "it knows", alive=lab.node.check_alive)
        self.assertEqual(3, self.of(first)["start_eighths"])
        wait_until(whole, "its start is over", 15, alive=lab.node.check_alive)
        whole()
        expected = [eighths / (eighths + 16) for eighths in range(1, 9)]  # of the pool, the other two having 8 each
        self.assertEqual(expected, [min(expected, key=lambda one: abs(one - share)) for share in seen])
        for share, step in zip(seen, expected):
            self.assertAlmostEqual(step, share, 3)
        self.assertEqual({backend.address() for backend in lab.backends.values()}, self.served())


class Leaving(UnwellBackends):
    settings = 'slow_start = "0s", flap_half_life = "0s", drain_header = "X-Drain"'

    def test_backend_drains_itself(self) -> None:
        """503 with the header: no new connections come, those that are there go on; and it may change its mind."""
        lab = self.lab
        with contextlib.ExitStack() as open_ones:
            kept = [open_ones.enter_context(KeepAlive(lab.client, VIP[4])) for _ in range(20)]
            leaving = next(backend for backend in lab.backends.values() if backend.address() == kept[0].backend)
            leaving.ask_to_drain()
            self.wait_state(leaving, "draining")
            self.assertEqual("asks for no new flows", self.of(leaving)["detail"])
            self.assertEqual({backend.address() for backend in lab.backends.values() if backend is not leaving}, self.served())
            for connection in kept:
                self.assertEqual(connection.backend, connection.request())
            leaving.ask_to_drain(False)
            self.wait_state(leaving, "up")
            self.assertEqual({backend.address() for backend in lab.backends.values()}, self.served())


class Flapping(UnwellBackends):
    settings = 'slow_start = "0s", flap_half_life = "8s", down_interval = "200ms"'

    def test_backend_that_comes_and_goes_is_held_back(self) -> None:
        """At its third return at the latest it gets no new connections, until it has been there for a while."""
        lab = self.lab
        flapping = lab.backends[2]
        for _ in range(2):
            self.kill(flapping)
            self.revive(flapping)
            self.wait_state(flapping, "up")
        self.kill(flapping)
        self.revive(flapping)
        self.wait_state(flapping, "held")
        self.assertEqual({lab.backends[number].address() for number in (1, 3)}, self.served())
        wait_until(lambda: self.of(flapping)["state"] == "up" and lab.node.up_to_date(), "the penalty has decayed", 20)
        self.assertEqual({backend.address() for backend in lab.backends.values()}, self.served())


class Panic(UnwellBackends):
    settings = 'slow_start = "0s", flap_half_life = "0s"'

    def test_few_left_are_not_overrun(self) -> None:
        """Two of three fail their checks and serve all the same: everyone is used, and it is said."""
        lab = self.lab
        liars = [lab.backends[1], lab.backends[2]]
        self.assertEqual([], lab.node.status()["pools_in_panic"])
        for backend in liars:
            backend.ask_to_drain()  # a status like any other, as no header is configured
        for backend in liars:
            self.wait_state(backend, "down")
        wait_until(lambda: lab.node.status()["pools_in_panic"] == ["web"], "the panic is said")
        self.assertIn("PANIC", lab.node.cli("status").stdout)
        self.assertEqual({backend.address() for backend in lab.backends.values()}, self.served())
        # The last one's death is an error, and not the end of the panic.
        log = lab.node.folder / "linimo-controlplane.log"
        lab.backends[3].ask_to_drain()
        self.wait_state(lab.backends[3], "down")
        wait_until(lambda: 'level=error msg="no backend is up: new connections fail" pool=web' in log.read_text(), "it is said")
        self.assertEqual(["web"], lab.node.status()["pools_in_panic"])
        for backend in lab.backends.values():
            backend.ask_to_drain(False)
        for backend in lab.backends.values():
            self.wait_state(backend, "up")
        wait_until(lambda: lab.node.status()["pools_in_panic"] == [], "the panic is over")
        self.assertEqual(1, log.read_text().count('msg="enough backends are up again"'))
