"""What befalls the store of a fleet of three nodes, whose lease is the usual one, and its three etcd members: nothing that
is forwarded or announced is harmed, and all agree again without anybody's help."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable, Iterator

from fleet_case import FleetCase
from lab.fleet import told
from lab.meanwhile import meanwhile
from lab.node import Node
from lab.wait import wait_until

ALARM_S = 5


class FleetStore(FleetCase):
    members = 3
    lease_s = 5

    def test_an_etcd_member_is_killed(self) -> None:
        with self.served_meanwhile():
            for member in range(3):
                self.fleet.etcd.kill(member)
                began, file = time.monotonic(), self.changed()
                wait_until(lambda: self.nodes[0].cli("config", "apply", file, check=False).returncode == 0, "a change is possible", 20)
                self.say(f"etcd member {member} killed: a change went through after {time.monotonic() - began:.1f} s")
                self.fleet.etcd.start_member(member)
                self.fleet.wait_agreed()

    def test_etcd_is_killed_whole(self) -> None:
        self.assert_outlived("etcd killed", self.fleet.etcd.kill, self.fleet.etcd.start_member)

    def test_etcd_is_frozen(self) -> None:
        self.assert_outlived("etcd frozen", self.fleet.etcd.freeze, self.fleet.etcd.thaw)

    def test_etcd_has_no_quorum(self) -> None:
        self.assert_outlived("no quorum", self.fleet.etcd.kill, self.fleet.etcd.start_member, 2)

    def assert_outlived(self, what: str, fail: Callable[[int], None], mend: Callable[[int], None], members: int = 3) -> None:
        """Three times, of that many members of etcd: all nodes raise the alarm in time, tables stay and changes are refused with the reason; then all
        agree by themselves, and a change is possible."""
        before, times = self.digests(), []
        with self.served_meanwhile():
            for _ in range(3):
                for member in range(members):
                    fail(member)
                times.append(self.wait_alarm("store-out-of-reach", ALARM_S + 1))
                self.assertIn("out of reach", self.refused(0, "config", "apply", self.fleet.file()))
                self.assertEqual(before, self.digests())
                for member in range(members):
                    mend(member)
                self.fleet.wait_agreed(30)
                self.assertEqual(before, self.digests())
            file = self.changed()
            wait_until(lambda: self.nodes[0].cli("config", "apply", file, check=False).returncode == 0, "a change is possible", 20)
        self.fleet.wait_agreed()
        self.assert_median(f"{what}: the alarm showed", times, ALARM_S)

    def test_what_a_leader_writes_too_late_is_refused(self) -> None:
        """It wrote while it led, and freezes; so does the member of etcd that has it in its socket, until another node leads.
        Then the member asks the others for this one transaction, and nothing that a leader writes changes in the store."""
        etcd, name = self.fleet.etcd, f"web/{self.lab.backends[3].address()}"
        frozen, other = self.leader_and_another()
        member = etcd.endpoints.index(told(frozen)["store"]["endpoint"])
        with self.served_meanwhile(), contextlib.ExitStack() as until_then:
            with self.cut_off([frozen]):
                drain = threading.Thread(target=other.cli, args=("backend", "drain", name), kwargs={"check": False})
                drain.start()  # of which the leader hears, cut off or not, and upon which it writes
                wait_until(lambda: self.queued(frozen) > 200, "it has written", 5, poll=0.01)
                until_then.enter_context(self.frozen(frozen))
                asked = etcd.transactions(member)
                etcd.freeze(member)
                until_then.callback(etcd.thaw, member)
            wait_until(lambda: self.queued(frozen) == 0, "it has come to the member")
            self.wait_other_leader(frozen, other)
            drain.join()
            wait_until(lambda: told(other).get("agree"), "the others are at rest", 15)
            written = self.written_by_leaders()
            etcd.thaw(member)
            wait_until(lambda: etcd.transactions(member) > asked, "the member asks for what it wrote")
            self.assertEqual(written, self.written_by_leaders())
            other.cli("backend", "undrain", name)
        self.fleet.wait_agreed()

    def written_by_leaders(self) -> list[int]:
        """The revisions at which that was, once it has been the same for a second. Other nodes may write meanwhile what is theirs: also through the
        member that thaws."""
        seen: list[tuple[float, list[int]]] = []

        def rests() -> bool:
            seen.append((time.monotonic(), [self.fleet.etcd.written(key) for key in ("now/active", "now/state")]))
            return any(at < seen[-1][0] - 1 and all(one[1] == seen[-1][1] for one in seen[number:]) for number, (at, _) in enumerate(seen))

        wait_until(rests, "no leader writes", 20)
        self.assertGreater(min(seen[-1][1]), 0)
        return seen[-1][1]

    def queued(self, node: Node) -> int:
        """Bytes that it wants to send to the store, most of them over one connection."""
        sockets = node.box.run(["ss", "-Htn", "dst", self.fleet.etcd.address]).stdout.splitlines()
        return max((int(line.split()[2]) for line in sockets), default=0)

    def test_a_member_that_lags(self) -> None:
        """The member of etcd that a node uses is frozen, others write, and it thaws as the next one freezes: no node ever goes
        back, and all follow."""
        etcd, node = self.fleet.etcd, self.nodes[0]
        with self.served_meanwhile(), self.never_goes_back():
            for _ in range(2):
                lagging = etcd.endpoints.index(told(node)["store"]["endpoint"])
                etcd.freeze(lagging)
                try:
                    file = self.changed()
                    wait_until(lambda: self.nodes[1].cli("config", "apply", file, check=False).returncode == 0, "others write", 20)
                    next_one = etcd.endpoints.index(told(node)["store"]["endpoint"])
                    self.assertNotEqual(lagging, next_one)
                    etcd.freeze(next_one)
                finally:
                    etcd.thaw(lagging)
                wait_until(lambda: told(node)["store"]["endpoint"] != etcd.endpoints[next_one], "it leaves that one, too", 20)
                etcd.thaw(next_one)
                self.fleet.wait_agreed(30)

    @contextlib.contextmanager
    def never_goes_back(self) -> Iterator[None]:
        """No node forwards by an earlier revision or state than it did."""
        seen = [[(0, 0)] for _ in self.nodes]

        def look(over: threading.Event) -> None:
            while not over.wait(0.1):
                for node, tables in zip(self.nodes, seen):
                    if said := told(node):
                        tables.append((said["table"]["revision"], said["table"]["state"]))

        with meanwhile(look):
            yield
        for tables in seen:
            self.assertGreater(len(tables), 10)
            self.assertEqual(sorted(tables), tables)

    def test_a_compaction_that_a_watch_does_not_survive(self) -> None:
        """A control plane stands still while so much is written that etcd cannot be rid of it, which compacts it away: the watch
        ends, the node reads anew and follows."""
        node, etcd = next(one for one in self.nodes if one.config.name != told(one)["leader"]), self.fleet.etcd
        log, member = node.folder / "linimo-controlplane.log", etcd.endpoints.index(told(node)["store"]["endpoint"])
        with self.served_meanwhile():
            with self.frozen(node):
                etcd.fill("/linimo/v1/lab/now/drains/backend/web/192.0.2.1", '{"by": "' + 4000 * "x" + '"}',
                          lambda: etcd.metric(member, "etcd_debugging_mvcc_slow_watcher_total") > 0)
                etcd.ctl("compact", str(etcd.revision()), check=True)
            wait_until(lambda: "compacted" in log.read_text(), "its watch ends", 20)
            etcd.ctl("del", "--prefix", "/linimo/v1/lab/now/drains/", check=True)
            self.fleet.wait_agreed(30)
            self.change_something()
        self.fleet.wait_agreed()
