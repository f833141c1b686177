"""The control plane is killed under load and comes back: nobody notices, whatever has happened meanwhile."""

from __future__ import annotations

import contextlib
import signal
import struct
import sys
import time
from typing import Any, Iterator

from case import LabCase
from lab.client import ConnectionBroken, KeepAlive, Load
from lab.topology import VIP
from lab.wait import wait_until
from seam import BACKENDS, Snapshot

ENOUGH = 150  # requests over new connections, to have shown something
LOAD_THREADS = 4
START_S = 1.0  # that a control plane takes to start on a busy machine


class ControlPlaneDies(LabCase):
    @classmethod
    def configure(cls) -> None:
        # A silent backend is found out one second after the start, which is long enough to see what is done until then.
        cls.lab.node.config.health.interval_ms = cls.lab.node.config.health.timeout_ms = 1000

    def setUp(self) -> None:
        node = self.lab.node
        node.config.backends = {1: 100, 2: 100, 3: 100}
        if not node.controlplane:
            node.start_controlplane()
        node.reload_if_changed()
        node.wait_settled()

    def test_nothing_has_changed_meanwhile(self) -> None:
        """No request fails and no connection breaks, and the generation is the same afterwards: nothing was published
        that was live already."""
        node = self.lab.node
        with self._connections() as kept, self._load() as load:
            before = node.status()["generation"]
            self._kill()
            self._await_requests(load)
            self._assert_live(kept)
            node.start_controlplane()
            status = node.wait_settled()
            self._await_checks()
            self._await_requests(load)
            self._assert_live(kept)
            self.assertEqual(before, status["generation"])
            self.assertEqual(before, node.status()["generation"])
        self.assert_served(load, self._addresses(1, 2, 3))

    def test_a_configuration_is_the_death_of_one_process_at_most(self) -> None:
        """A control plane that dies before a configuration is in force leaves a mark: the next one starts with the last one
        that was, says so, and takes whatever the file says next."""
        node = self.lab.node
        dataplane = node.dataplane
        assert dataplane
        node.config.backends = {1: 100, 2: 100, 3: 50}
        good = node.reload()["config"]["revision"]
        node.config.backends = {1: 100, 2: 100, 3: 25}
        dataplane.send_signal(signal.SIGSTOP)  # so that it cannot be in force too soon
        try:
            node.write_config()
            wait_until((node.folder / "state/config.trying").exists, "it is on trial")
            self._kill()
        finally:
            dataplane.send_signal(signal.SIGCONT)
        for again in (False, True):
            with self.subTest(again=again):
                if again:
                    self._kill()
                node.start_controlplane()
                wait_until(self._answers, "the new one answers", alive=node.check_alive)
                config = node.status()["config"]
                self.assertEqual(good, config["revision"])
                self.assertIn("the process died when it loaded this", config["last_error"])
                self.assertIn("REFUSED", node.cli("status").stdout)
                self.assertIn('level=error msg="configuration not loaded"', node.logs())
                self.assertEqual({100, 50}, {backend["weight"] for backend in node.backend_list()})
        node.config.backends = {1: 100, 2: 100, 3: 75}
        self.assertIsNone(node.reload()["config"]["last_error"])
        self.assertEqual({100, 75}, {backend["weight"] for backend in node.backend_list()})
        self._kill()
        node.start_controlplane()
        self.assertIsNone(node.wait_settled()["config"]["last_error"], "it has passed")

    def test_ids_outlive_their_file(self) -> None:
        """The same without ids.json: what is live says which id is whose, and connections are tracked by it."""
        node = self.lab.node
        ids = self._ids()
        with self._connections() as kept, self._load() as load:
            self._kill()
            (node.config.runtime_dir.parent / "state/ids.json").unlink()
            node.config.backends = {1: 100, 2: 50, 3: 100}  # so that there is something to publish
            node.write_config()
            node.start_controlplane()
            self._await_weight(2, 50)
            self.assertEqual(ids, self._ids())
            self._assert_live(kept)
        self.assert_served(load)

    def test_backend_died_meanwhile(self) -> None:
        """It is taken out when its checks have failed, not before: until then it is what it was, and so are the others.
        Connections to the others live through all of it."""
        node, lab = self.lab.node, self.lab
        health = node.config.health
        dead = lab.backends[3]
        with self._connections() as kept:
            others = self._to(kept, 1, 2)
            before = node.status()["generation"]
            self._kill()
            dead.unplug()
            self.addCleanup(dead.plug_in)
            started = time.monotonic()
            node.start_controlplane()
            seen = self._watch(before, dead.address(), START_S + health.detection_bound_s)
            noticed = time.monotonic() - started
            self._assert_live(others)
        print(f"    noticed {noticed:.2f} s after the start; seen until then: {sorted(seen)}", file=sys.stderr)
        self.assertGreaterEqual(noticed, health.timeout_ms / 1000, "it was taken out before a check can have failed")
        self.assertNotIn("down", seen)
        self.assertEqual({dead.address(): "down", **{address: "up" for address in self._addresses(1, 2)}},
                         node.backend_states())
        load = Load(lab.client, VIP[4], threads=4)
        load.run(ENOUGH)
        self.assert_served(load, self._addresses(1, 2))
        dead.plug_in()
        node.wait_settled()

    def test_configuration_changed_meanwhile(self) -> None:
        """It is taken: a backend that is gone from it gets nothing more, connections to the others live."""
        node = self.lab.node
        with self._connections() as kept, self._load() as load:
            others = self._to(kept, 1, 2)
            before = node.status()["generation"]
            self._kill()
            node.config.backends = {1: 100, 2: 100}
            node.write_config()
            self._await_requests(load)
            self.assertIn(self.lab.backends[3].address(), load.served, "without a control plane the old table is used")
            node.start_controlplane()
            status = node.wait_settled(after_generation=before)
            self.assertEqual(before + 1, status["generation"], "one change is one generation")
            settled = time.monotonic()
            self._assert_live(others)
        # Who was at the backend when it went loses that one request.
        self.assertEqual([], [failure for failure in load.failures if not settled - 1 < failure.began < settled])
        self.assertLessEqual(len(load.failures), LOAD_THREADS)
        load = Load(self.lab.client, VIP[4], threads=4)
        load.run(ENOUGH)
        self.assert_served(load, self._addresses(1, 2))

    def test_killed_again_and_again(self) -> None:
        """At whatever moment of its start: what is live stays live."""
        node = self.lab.node
        with self._connections() as kept, self._load() as load:
            before = node.status()["generation"]
            self._kill()
            for turn in range(10):
                node.start_controlplane()
                time.sleep(turn * 0.01)  # the moment is the point: before it connects, while it checks, after
                self._kill()
            node.start_controlplane()
            self.assertEqual(before, node.wait_settled()["generation"])
            self._assert_live(kept)
        self.assert_served(load)

    def _kill(self) -> None:
        self.assertEqual(-signal.SIGKILL, self.lab.node.stop_controlplane(signal.SIGKILL))

    def _watch(self, generation: int, backend: str, limit: float) -> set[str]:
        """Until a new generation is there: the states in which that backend was seen before."""
        seen: set[str] = set()

        def replaced() -> bool:
            with contextlib.suppress(RuntimeError):  # the control socket is not there yet
                state = self.lab.node.backend_states()[backend]
                if self._dataplane()["generation"] > generation:
                    return True
                seen.add(state)
            return False

        wait_until(replaced, "the dead backend is noticed", limit, alive=self.lab.node.check_alive)
        return seen

    def _answers(self) -> bool:
        with contextlib.suppress(RuntimeError):  # the control socket is not there yet
            return bool(self.lab.node.status())
        return False

    def _dataplane(self) -> dict[str, Any]:
        return self.lab.node.status()["dataplane"]

    def _await_checks(self) -> None:
        """Every backend was asked, so whatever was going to be published has been."""
        log = self.lab.node.folder / "linimo-controlplane.log"
        wait_until(lambda: "health known" in log.read_text().split("msg=started")[-1], "every backend was checked")

    def _await_weight(self, number: int, weight: int) -> None:
        wait_until(lambda: self._records()[number - 1][1] == weight, "the new weight is live")

    def _ids(self) -> list[int]:
        return [identity for identity, _ in self._records()]

    def _records(self) -> list[tuple[int, int]]:
        """(id, weight) of each backend, sorted by address, as the data plane keeps them."""
        snapshot = Snapshot((self.lab.node.config.runtime_dir / "snapshot").read_bytes())
        return [struct.unpack_from("=II", snapshot.bytes, snapshot.at(BACKENDS, index, 16))
                for index in range(snapshot.section(BACKENDS)[1])]

    def _load(self) -> contextlib.AbstractContextManager[Load]:
        return Load(self.lab.client, VIP[4], threads=LOAD_THREADS, rate=200).in_background()

    @staticmethod
    def _await_requests(load: Load) -> None:
        before = load.requests
        wait_until(lambda: load.requests >= before + ENOUGH, f"{ENOUGH} requests are answered", 20)

    @contextlib.contextmanager
    def _connections(self) -> Iterator[list[KeepAlive]]:
        """Some over each family, that last."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(KeepAlive(self.lab.client, VIP[family])) for family in (4, 4, 6) for _ in range(6)]

    def _to(self, kept: list[KeepAlive], *numbers: int) -> list[KeepAlive]:
        """Those to these backends; there must be some, or nothing is shown."""
        addresses = {self.lab.backends[number].address(family) for number in numbers for family in (4, 6)}
        found = [connection for connection in kept if connection.backend in addresses]
        self.assertGreater(len(found), 2)
        return found

    def _assert_live(self, kept: list[KeepAlive]) -> None:
        for connection in kept:
            try:
                self.assertEqual(connection.backend, connection.request())
            except ConnectionBroken as error:
                self.fail(f"a connection to {connection.backend} broke: {error}")

    def _addresses(self, *numbers: int) -> set[str]:
        return {self.lab.backends[number].address() for number in numbers}
