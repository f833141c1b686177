"""Changing backends under traffic: planned (a reload) and not (a backend dies and returns)."""

from __future__ import annotations

import contextlib
import signal
import time

from case import LabCase
from lab.client import ConnectionBroken, Download, KeepAlive, Load
from lab.topology import VIP
from lab.wait import wait_until

IDLE_S = 4
SLOW = "/files/big?rate=50000000"  # 200 MB in some four seconds: reloads and failures happen meanwhile


class Reload(LabCase):
    def tearDown(self) -> None:
        """Three backends, all up, as every test expects to find them."""
        if self.lab.node.config.backends != {1: 100, 2: 100, 3: 100}:
            self.lab.node.config.backends = {1: 100, 2: 100, 3: 100}
            self.lab.node.reload()

    def test_download_survives_a_backend_added_and_one_removed(self) -> None:
        """A reload that does not touch the serving backend does not touch its connections either."""
        lab, config = self.lab, self.lab.node.config
        lab.add_backend(4)
        with Download(lab.client, VIP[4], SLOW) as download:
            removed = next(number for number in (1, 2, 3) if lab.backends[number].address() != download.backend)
            kept = [KeepAlive(lab.client, VIP[4]) for _ in range(20)]
            kept = [one for one in kept if one.backend != lab.backends[removed].address()]
            self.assertGreater(len(kept), 0)
            del config.backends[removed]
            config.backends[4] = 100
            lab.node.reload()
            at_reload = download.received_bytes
            self.assertTrue(download.running, "the reload took longer than the download: nothing was shown")
            self._assert_all_live(kept)
            download.join(60)
            self._assert_all_live(kept)
        self.assertIsNone(download.error)
        self.assertTrue(download.complete)
        self.assertLess(at_reload, download.expected_bytes)
        self._assert_only_these_serve({lab.backends[number].address() for number in config.backends})

    def test_connections_go_back_and_forth_with_the_table_unharmed(self) -> None:
        """Six reloads in a row, each with another set of backends around the one that serves."""
        lab, config = self.lab, self.lab.node.config
        with Download(lab.client, VIP[6], "/files/big?rate=25000000") as download:
            serving = next(n for n in (1, 2, 3) if lab.backends[n].address(6) == download.backend)
            others = [n for n in (1, 2, 3) if n != serving]
            for turn in range(6):
                config.backends = {serving: 100, others[turn % 2]: 50 + turn}
                lab.node.reload()
            self.assertTrue(download.running, "the reloads took longer than the download: nothing was shown")
            download.join(60)
        self.assertTrue(download.complete, download.error)

    def test_killed_backend_is_left_in_time_and_comes_back(self) -> None:
        """Its connections are lost; new ones go elsewhere within the time that the configuration promises."""
        lab = self.lab
        bound = lab.node.config.health.detection_bound_s
        with Load(lab.client, VIP[4], threads=12, rate=300, timeout=1.0).in_background() as load:
            with Download(lab.client, VIP[4], SLOW) as download:
                dead = next(b for b in lab.backends.values() if b.address() == download.backend)
                dead.unplug()
                dead.kill_nginx()
                died = time.monotonic()
                wait_until(lambda: lab.node.backend_states()[dead.address()] == "down", "the backend is seen down", bound)
                time.sleep(max(0.0, died + bound + 2.0 - time.monotonic()))  # two seconds in which nothing may fail
            late = [failure for failure in load.failures if failure.began > died + bound]
            self.assertEqual([], late)
            self.assertTrue(any(failure.began > died for failure in load.failures), "its death was not even noticed")
            self.assertEqual([], [failure for failure in load.failures if failure.began < died - 1.0])
            before = load.served.copy()
            time.sleep(0.5)
            serving = {address for address, count in load.served.items() if count > before[address]}
            self.assertEqual({b.address() for b in lab.backends.values() if b is not dead and b.number <= 3}, serving)

            dead.plug_in()
            dead.start_nginx()
            dead.wait_ready()
            lab.node.wait_settled()
            came_back = time.monotonic()
            wait_until(lambda: load.served[dead.address()] > before[dead.address()], "the backend serves again", 2.0)
            time.sleep(0.5)
        self.assertEqual([], [failure for failure in load.failures if failure.began > came_back])

    def test_all_backends_dead_is_said_and_survived(self) -> None:
        """Nothing is forwarded, the outcome has a name, and traffic flows again as soon as one returns."""
        lab = self.lab
        backends = [lab.backends[number] for number in (1, 2, 3)]
        for backend in backends:
            backend.kill_nginx()
        wait_until(lambda: set(lab.node.backend_states().values()) == {"down"}, "all are down", 10)
        wait_until(self._lacks_a_backend, "the table without a backend is live", 5)
        no_backend = lab.node.outcomes()["no_backend"]
        load = Load(lab.client, VIP[4], threads=4, timeout=0.3)
        load.run(4)
        self.assertEqual(4, len(load.failures))
        self.assertGreaterEqual(lab.node.outcomes()["no_backend"], no_backend + 4)
        for backend in backends:
            backend.start_nginx()
            backend.wait_ready()
        lab.node.wait_settled()
        self._assert_only_these_serve({backend.address() for backend in backends})

    def _lacks_a_backend(self) -> bool:
        before = self.lab.node.outcomes()["no_backend"]
        Load(self.lab.client, VIP[4], threads=1, timeout=0.3).run(1)
        return self.lab.node.outcomes()["no_backend"] > before

    def _assert_all_live(self, kept: list[KeepAlive]) -> None:
        for connection in kept:
            try:
                self.assertEqual(connection.backend, connection.request())
            except ConnectionBroken as error:
                self.fail(f"a connection to {connection.backend} broke: {error}")

    def _assert_only_these_serve(self, addresses: set[str]) -> None:
        load = Load(self.lab.client, VIP[4])
        load.run(300)
        self.assert_served(load, addresses)


class ReloadTrackedAdaptively(Reload):
    """All of it once more, where flows are remembered only by slots that changed."""

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.tracking = "adaptive"


class ReloadTrackedAdaptivelyWithXdp(ReloadTrackedAdaptively):
    @classmethod
    def configure(cls) -> None:
        super().configure()
        cls.lab.node.config.engine = "xdp"


class SlotsSettle(LabCase):
    """An idle timeout that a test can wait for."""

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.tracking = "adaptive"
        cls.lab.node.config.idle_timeout = f"{IDLE_S}s"

    def test_flows_take_entries_while_their_slot_is_not_settled(self) -> None:
        """Cold start changes tables too: wait until none of that is left, change one weight, and wait again."""
        lab = self.lab
        wait_until(lambda: self._entries_of_new_flows() == 0, "all slots are settled", 20)
        before = self._entries()
        kept = [KeepAlive(lab.client, VIP[4]) for _ in range(60)]
        self.assertEqual(before, self._entries())
        lab.node.config.backends = {1: 100, 2: 100, 3: 25}
        lab.node.reload()
        for connection in kept:
            self.assertEqual(connection.backend, connection.request())
        self.assertGreater(self._entries(), before)
        self.assertLess(self._entries(), before + len(kept) / 2, "connections of settled slots took entries")
        wait_until(lambda: self._entries_of_new_flows() == 0, "they settle again", 20)

    def test_windows_that_are_over_stay_over(self) -> None:
        """A backend drains, its slots settle, connections begin on others; then a process is replaced, and tables change:
        nobody is sent where the slots' flows went before."""
        lab, node = self.lab, self.lab.node
        node.config.backends = {1: 95, 2: 100, 3: 100}
        node.reload()
        wait_until(lambda: self._entries_of_new_flows() == 0, "all slots are settled", 20)
        drained = f"web/{lab.backends[3].address()}"
        node.cli("backend", "drain", drained)
        wait_until(lambda: self._entries_of_new_flows() == 0, "the slots have settled", 20)

        def replace_dataplane() -> None:
            node.stop_dataplane()
            node.start_dataplane()

        def replace_controlplane() -> None:
            node.stop_controlplane()
            node.start_controlplane()

        def up_to_date() -> bool:
            with contextlib.suppress(RuntimeError):  # it does not listen yet
                return node.up_to_date()
            return False

        for weight, replace in ((90, replace_controlplane), (80, replace_dataplane), (70, replace_controlplane)):
            with self.subTest(replace.__name__):
                kept = [KeepAlive(lab.client, VIP[6 if number % 2 else 4]) for number in range(60)]
                replace()
                wait_until(up_to_date, "it forwards by what is wanted", 15, alive=node.check_alive)
                generation = node.status()["generation"]
                node.config.backends = {1: weight, 2: 100, 3: 100}
                node.write_config()
                node.signal_reload()
                wait_until(lambda: node.status()["generation"] > generation and node.up_to_date(), "another table is live", 15)
                broken = []
                for connection in kept:
                    try:
                        connection.request()
                    except ConnectionBroken as error:
                        broken.append(str(error))
                    connection.close()
                self.assertEqual([], broken)
                wait_until(lambda: self._entries_of_new_flows() == 0, "the slots have settled", 20)
        node.cli("backend", "undrain", drained)
        node.wait_settled()

    def _entries(self) -> int:
        return self.lab.node.service("web")["new_flows"]

    def _entries_of_new_flows(self) -> int:
        before = self._entries()
        load = Load(self.lab.client, VIP[4])
        load.run(100)
        self.assert_served(load)
        return self._entries() - before


class SlotsSettleWithXdp(SlotsSettle):
    @classmethod
    def configure(cls) -> None:
        super().configure()
        cls.lab.node.config.engine = "xdp"

    def test_what_slots_have_yet_to_learn_outlives_the_process(self) -> None:
        """Killed as soon as the table has changed, and again and again: flows stay; no window begins anew."""
        node = self.lab.node
        idle_s = 4 * IDLE_S  # bases count for two thirds of it, and a busy machine takes some of that to start a process
        node.config.idle_timeout = f"{idle_s}s"
        node.config.backends = {1: 90, 2: 100, 3: 100}
        node.reload()
        wait_until(lambda: self._entries_of_new_flows() == 0, "all slots are settled", 30)
        kept = [KeepAlive(self.lab.client, VIP[4]) for _ in range(60)]
        node.config.backends = {1: 100, 2: 100, 3: 25}
        node.reload()
        self._restart()
        for connection in kept:
            self.assertEqual(connection.backend, connection.request())
            connection.close()
        self.assertGreater(self._entries_of_new_flows(), 0)
        silent = time.monotonic()
        while time.monotonic() < silent + 1.25 * idle_s:
            self._restart()
        restarted = time.monotonic()
        wait_until(lambda: self._entries_of_new_flows() == 0, "they have settled", 30)
        self.assertLess(time.monotonic() - restarted, idle_s - 1, "a window began anew")
        node.config.idle_timeout = f"{IDLE_S}s"
        node.reload()

    def _restart(self) -> None:
        self.lab.node.stop_dataplane(signal.SIGKILL)
        self.lab.node.start_dataplane()
        self.lab.node.wait_settled()
