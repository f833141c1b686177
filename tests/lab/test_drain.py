"""Draining a backend: new connections avoid it, those that it has go on, and when none is left, that is said."""

from __future__ import annotations

import contextlib
import subprocess
import threading

from case import LabCase
from lab.backend import Backend
from lab.client import ConnectionBroken, KeepAlive, Load
from lab.topology import VIP2
from lab.wait import wait_until

# A connection that is silent for 3 s has ended here, so that the test needs no 15 minutes.
SHORT = f'''
[[service]]
name = "short"
vips = ["{VIP2[4]}"]
protocol = "tcp"
ports = [80]
pool = "web"
idle_timeout = "3s"
'''
COUNTED_S = 4.0  # in which the data plane counts flows once


class Drain(LabCase):
    engine = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.config.more = SHORT

    def of(self, backend: Backend) -> dict[str, object]:
        return next(one for one in self.lab.node.backend_list() if one["address"] == backend.address())

    def health_known(self) -> bool:
        with contextlib.suppress(RuntimeError):  # the control socket is not there yet
            return bool(self.lab.node.status()["health_known"])
        return False

    def served(self) -> set[str]:
        """Who answers new connections, of which every one must be answered."""
        load = Load(self.lab.client, VIP2[4])
        load.run(300)
        self.assert_served(load)
        return set(load.served)

    def others(self, backend: Backend) -> set[str]:
        return {other.address() for other in self.lab.backends.values() if other is not backend}

    def test_connections_outlive_a_drain_and_its_end_is_said(self) -> None:
        lab, node = self.lab, self.lab.node
        with contextlib.ExitStack() as open_ones:
            kept = [open_ones.enter_context(KeepAlive(lab.client, VIP2[4])) for _ in range(12)]
            alive = open_ones.enter_context(kept_busy(kept))
            drained = next(backend for backend in lab.backends.values() if backend.address() == kept[0].backend)
            left = sum(connection.backend == drained.address() for connection in kept)
            name = f"web/{drained.address()}"
            self.assertIn(f"{name} drains", node.cli("backend", "drain", name).stdout)
            wait_until(lambda: self.of(drained)["share"] == 0 and node.up_to_date(), "the tables follow")
            self.assertEqual(self.others(drained), self.served())
            self.assertEqual("draining", self.of(drained)["state"])
            wait_until(lambda: (self.of(drained)["drain"] or {}).get("tcp_flows") == left, f"{left} flows are left",
                       2 * COUNTED_S + 5, alive=node.check_alive)
            self.assertIn(f"drains: {left} TCP and 0 UDP flows left", node.cli("backend", "list").stdout)

            node.stop_controlplane()
            node.start_controlplane()
            wait_until(self.health_known, "health is known again", alive=node.check_alive)
            self.assertEqual("draining", self.of(drained)["state"], "the wish is remembered")
            self.assertEqual(self.others(drained), self.served())
            self.assertEqual([], alive(), "a connection did not go on")
        waiting = lab.node.box.spawn([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"),
                                      "backend", "drain", name, "--wait"], subprocess.DEVNULL)
        self.assertEqual(0, waiting.wait(3 + 3 * COUNTED_S + 10))
        self.assertEqual("drained", self.of(drained)["state"])
        self.assertEqual(0, self.of(drained)["flows"])
        node.cli("backend", "undrain", name)
        wait_until(lambda: self.of(drained)["share"] > 0 and node.up_to_date(), "the tables follow")
        self.assertEqual({backend.address() for backend in lab.backends.values()}, self.served())

    def test_configuration_drains_too(self) -> None:
        node, first = self.lab.node, self.lab.backends[1]
        text = node.config.render()
        node.write_config(text.replace("weight = 100 }", "weight = 100, drain = true }", 1))
        node.signal_reload()
        wait_until(lambda: self.of(first)["state"] == "draining" and node.up_to_date(), "the tables follow")
        self.assertEqual(self.others(first), self.served())
        refused = node.cli("backend", "undrain", f"web/{first.address()}", check=False)
        self.assertEqual(1, refused.returncode)
        self.assertIn("the configuration drains it", refused.stderr)
        node.reload()
        self.assertEqual({backend.address() for backend in self.lab.backends.values()}, self.served())

    def test_what_cannot_be_drained_is_refused(self) -> None:
        for name, code, words in (("10.0.1.1", 2, "names no backend"), ("web/10.0.1.99", 1, "no backend 10.0.1.99"),
                                  ("app/10.0.1.1", 1, "in a pool named app"), ("web/x", 1, "say which")):
            refused = self.lab.node.cli("backend", "drain", name, check=False)
            self.assertEqual((code, True), (refused.returncode, words in refused.stderr), refused.stderr)


class DrainXdp(Drain):
    engine = "xdp"


@contextlib.contextmanager
def kept_busy(connections: list[KeepAlive]):  # type: ignore[no-untyped-def]
    """A request over each, again and again. Gives a function that says what has gone wrong so far."""
    failures: list[str] = []
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.3):
            for connection in connections:
                try:
                    if (answer := connection.request()) != connection.backend:
                        failures.append(f"{connection.backend} became {answer}")
                except ConnectionBroken as error:
                    failures.append(f"{connection.backend}: {error}")
            if failures:
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: failures
    finally:
        done.set()
        thread.join()
