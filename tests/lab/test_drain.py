"""Draining a backend: new connections avoid it, those that it has go on, and when none is left, that is said."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import subprocess
import threading
import time

from case import LabCase
from lab.backend import Backend
from lab.client import ConnectionBroken, KeepAlive, Load
from lab.meanwhile import meanwhile
from lab.netns import Namespace
from lab.topology import VIP, VIP2
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
ENDED_S = 11.0  # that a connection has to be silent for after its FIN


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

    def test_a_dry_run_changes_nothing(self) -> None:
        """It says what a drain, or another configuration, would do; tests/unit/foresee_test.cc holds it against what then happens."""
        node, name = self.lab.node, f"web/{self.lab.backends[2].address()}"
        states = node.backend_states()
        told = json.loads(node.cli("backend", "drain", name, "--dry-run", "-o", "json").stdout)
        self.assertGreaterEqual(told["pools"][0]["share_moved"], 0.33)
        self.assertEqual({"web": 0, "short": 0}, {service["name"]: service["share_breaking"] for service in told["services"]})
        self.assertIn("slots would move", node.cli("backend", "drain", name, "--dry-run").stdout)
        self.assertEqual("no slot would move, and no flow break\n", node.cli("reload", "--dry-run", str(node.config_file)).stdout)
        fewer = node.folder / "fewer.toml"
        fewer.write_text(re.sub(r".*10\.0\.1\.2\b.*\n", "", node.config.render()))
        self.assertIn("% of its live flows would break", node.cli("reload", "--dry-run", str(fewer)).stdout)
        self.assertEqual(1, node.cli("reload", "--dry-run", "/nonexistent", check=False).returncode)
        self.assertEqual((states, True), (node.backend_states(), node.up_to_date()))

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
                       8 * COUNTED_S, alive=node.check_alive)
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
                                  ("app/10.0.1.1", 1, "in a pool named app"), ("web/x", 2, "names no backend")):
            refused = self.lab.node.cli("backend", "drain", name, check=False)
            self.assertEqual((code, True), (refused.returncode, words in refused.stderr), refused.stderr)


class DrainXdp(Drain):
    engine = "xdp"


class DrainEnds(LabCase):
    """In a lab of its own: what ends by RST is counted for the whole idle timeout."""
    engine = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine

    def test_a_drain_ends_with_the_last_connection_that_lives(self) -> None:
        """With an idle timeout of 15 minutes. Connections end by FIN and by RST, and their ports come back with new ones,
        which go elsewhere: what is left falls, and the wait ends soon after the last one that lives has ended."""
        lab, node = self.lab, self.lab.node
        first, finished, reset = on_one_backend(lab.client, VIP[4], 3)
        name, backend = f"web/{first.backend}", first.backend
        with first, finished, reset:
            node.cli("backend", "drain", name)
            waiting = node.box.spawn([str(node.cli_program), "--socket", str(node.config.runtime_dir / "control.sock"),
                                      "backend", "drain", name, "--wait"])
            for port in (finished, reset):
                port.end(by_reset=port is reset)
            left = lambda: next(one for one in node.backend_list() if one["address"] == backend)["drain"]["tcp_flows"]
            for _ in range(2):
                time.sleep(5)  # longer than a reset connection must be silent for
                self.assertEqual(backend, first.request())
                for port in (finished, reset):
                    port.connect()
                    self.assertNotEqual(backend, port.backend)
                    port.end(by_reset=port is reset)
            wait_until(lambda: left() == 1, "one connection is left", 2 * COUNTED_S + 2)
            self.assertEqual(backend, first.request())
            self.assertIsNone(waiting.poll())
            first.end()
            self.assertEqual(0, waiting.wait(ENDED_S + 2 * COUNTED_S + 4))
        node.cli("backend", "undrain", name)
        wait_until(lambda: all(one["share"] > 0 for one in node.backend_list()) and node.up_to_date(), "the tables follow")


class DrainEndsXdp(DrainEnds):
    engine = "xdp"


class Port:
    """A client's port that has one connection after another."""

    def __init__(self, box: Namespace, host: str, number: int) -> None:
        self._box, self._host, self._number = box, host, number
        self._socket: socket.socket | None = None
        self.backend = ""
        self.connect()

    def connect(self) -> None:
        with self._box.entered():
            self._socket = socket.create_connection((self._host, 80), 5, ("", self._number))
        self.backend = self.request()

    def request(self, last: bool = False) -> str:
        """`last`: the server is the first to close, so that the port is not kept in TIME_WAIT."""
        assert self._socket
        close = b"Connection: close\r\n" if last else b""
        self._socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + close + b"\r\n")
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return response.read().decode().strip()

    def end(self, by_reset: bool = False) -> None:
        assert self._socket
        if by_reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.request(last=True)
            self._socket.recv(1)  # its FIN
        self._socket.close()
        self._socket = None

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()


def on_one_backend(box: Namespace, host: str, count: int) -> list[Port]:
    """Connections that one backend has."""
    found: list[Port] = []
    for number in range(30_000, 30_100):
        port = Port(box, host, number)
        if found and port.backend != found[0].backend:
            port.end()
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} of 100 connections went to one backend")


@contextlib.contextmanager
def kept_busy(connections: list[KeepAlive]):  # type: ignore[no-untyped-def]
    """A request over each, again and again. Gives a function that says what has gone wrong so far."""
    failures: list[str] = []

    def work(done: threading.Event) -> None:
        while not done.wait(0.3):
            for connection in connections:
                try:
                    if (answer := connection.request()) != connection.backend:
                        failures.append(f"{connection.backend} became {answer}")
                except ConnectionBroken as error:
                    failures.append(f"{connection.backend}: {error}")
            if failures:
                return

    with meanwhile(work):
        yield lambda: failures
