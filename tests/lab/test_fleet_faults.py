"""What befalls nodes and leaders of a fleet of three, and what its store holds, under load: nothing that is forwarded or announced is
harmed, and all agree again without anybody's help, except where the store itself went back."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Iterator

from documented import WITHOUT_SERVICES, documented
from fleet_case import FleetCase
from lab.fleet import told
from lab.node import Node
from lab.wait import wait_until

ALARM_S = 5


class FleetFaults(FleetCase):
    members = 3

    def test_the_leader_freezes(self) -> None:
        """Three times: another one leads soon, and changes are possible; the one that thaws follows."""
        with self.served_meanwhile():
            self.assert_median("leader frozen: another one leads", [self.replaced_after() for _ in range(3)], self.lease_s + 1)

    def replaced_after(self) -> float:
        frozen, other = self.leader_and_another()
        with self.frozen(frozen):
            took = self.wait_other_leader(frozen, other)
            self.change_something(self.nodes.index(other))
            state = told(other)["state"]
            self.assertRegex(other.cli("node", "list").stdout, rf"{frozen.config.name} .* ended \d+ s ago")
        self.fleet.wait_agreed()
        self.assertNotIn("ended", other.cli("node", "list").stdout)
        self.assertNotEqual(frozen.config.name, told(frozen)["leader"])
        self.assertGreaterEqual(told(frozen)["state"], state)
        return took

    def test_what_a_leader_writes_too_late_is_refused_by_nodes(self) -> None:
        """As if the store had taken it: a state by a leader that has been succeeded, in which all backends are down."""
        frozen, other = self.leader_and_another()
        key, etcd, before = "/linimo/v1/lab/now/state", self.fleet.etcd, self.digests()
        earlier = json.loads(etcd.ctl("get", "--print-value-only", key, check=True).stdout)["fence"]
        with self.served_meanwhile():
            with self.frozen(frozen):
                self.wait_other_leader(frozen, other)
            self.change_something(self.nodes.index(other))
            self.fleet.wait_agreed()
            before, valid = self.digests(), etcd.ctl("get", "--print-value-only", key, check=True).stdout
            late = json.loads(valid)
            self.assertNotEqual(earlier, late["fence"])
            late |= {"fence": earlier, "number": late["number"] + 1, "backends": dict.fromkeys(late["backends"], "d")}
            etcd.ctl("put", key, json.dumps(late), check=True)
            self.wait_alarm("store-went-back", self.lease_s + 5)
            for node in self.nodes:
                self.assertRegex(told(node)["alarms"]["store-went-back"], "by an earlier leader|by a leader that had been succeeded")
            self.assertEqual(before, self.digests())
            etcd.ctl("put", key, valid, check=True)
            self.wait_no_alarm()
        self.fleet.wait_agreed()

    def test_the_store_is_emptied(self) -> None:
        newest, before = told(self.nodes[0])["active"], self.digests()
        with self.served_meanwhile():
            self.fleet.etcd.ctl("del", "--prefix", "/linimo/", check=True)
            self.assert_refuses_to_go_back(0, newest, before)
            self.nodes[2].cli("fleet", "accept")
            self.wait_no_alarm()
            self.assertEqual(before, self.digests())
            wait_until(lambda: self.nodes[0].cli("config", "apply", self.fleet.file(), check=False).returncode == 0,
                       "the configuration is applied again", 15)
        self.assertEqual(1, len(self.fleet.wait_agreed()))

    def test_the_store_is_restored(self) -> None:
        """From a snapshot, as the handbook says. Once that is accepted what it holds is in force, and changes are possible."""
        save, restore = documented("fleet.md", "Backup and restore")
        etcd, old, at_that_time = self.fleet.etcd, told(self.nodes[0])["active"], self.digests()
        etcd.sh(save)
        self.change_something()
        self.fleet.wait_agreed()
        newest, before = told(self.nodes[0])["active"], self.digests()
        with self.served_meanwhile():
            for member in range(3):
                etcd.kill(member)
            for member in range(3):
                etcd.sh(WITHOUT_SERVICES + restore, **etcd.environment(member))
                etcd.start_member(member)
            self.assert_refuses_to_go_back(old, newest, before)
            self.nodes[2].cli("fleet", "accept")
            self.wait_no_alarm()
            self.fleet.wait_agreed()
            self.assertEqual((old, at_that_time), (told(self.nodes[0])["active"], self.digests()))
            self.fleet.apply()
            self.fleet.wait_agreed()
            self.assertEqual(before, self.digests())

    def assert_refuses_to_go_back(self, to: int, newest: int, digests: list[str]) -> None:
        """Each node names the revision that is there and the one that was, follows nothing of it and writes nothing to it."""
        self.wait_alarm("store-went-back", 2 * self.lease_s + 10)
        for node in self.nodes:
            self.assertIn(f"revision {to} is active, and {newest} was", node.cli("fleet", "status", check=False).stdout)
        self.assertIn("went back", self.refused(0, "config", "apply", self.fleet.file()))
        self.assertEqual(digests, self.digests())

    def test_a_node_is_cut_off_from_the_store_alone(self) -> None:
        node = self.nodes[1]
        with self.served_meanwhile():
            with self.cut_off([node]):
                self.wait_alarm("store-out-of-reach", ALARM_S, [node])
                wait_until(lambda: len(told(self.nodes[0])["nodes"]) == 2, "it is no member any more", 10)
                behind = told(node)["active"]
                self.change_something()
                self.assertEqual(behind, told(node)["active"])
            self.fleet.wait_agreed(30)

    def test_all_nodes_are_cut_off_from_the_store(self) -> None:
        """None of them is lost: all go on, and none withdraws."""
        before = self.digests()
        with self.served_meanwhile():
            with self.cut_off(self.nodes):
                self.wait_alarm("store-out-of-reach", ALARM_S)
                time.sleep(2 * self.lease_s)  # whatever a lease's end brings
            self.fleet.wait_agreed(30)
        self.assertEqual(before, self.digests())

    def test_all_processes_are_replaced_one_after_the_other(self) -> None:
        """As an upgrade does: every data plane, then every control plane. No request fails, no kept connection breaks,
        and all end with the tables that they had."""
        before = self.fleet.wait_agreed()
        with self.served_meanwhile():
            for replace in (self.replace_dataplane, self.replace_controlplane):
                for node in self.nodes:
                    replace(node)
                    wait_until(lambda: told(node).get("agree"), f"{node.config.name} agrees again", 20, alive=node.check_alive)
        self.assertEqual(before, self.fleet.wait_agreed())

    @staticmethod
    def replace_dataplane(node: Node) -> None:
        node.stop_dataplane()
        node.start_dataplane()

    @staticmethod
    def replace_controlplane(node: Node) -> None:
        node.stop_controlplane()
        node.start_controlplane()

    def test_a_node_is_rebooted_while_the_store_is_away(self) -> None:
        """Runtime folder and all processes are gone, what is pinned too. It serves by the revision that it kept, and says that the store
        is out of reach. Of documents that are torn it says so, and announces nothing, until the store tells them again."""
        node, before = self.nodes[2], self.fleet.wait_agreed()
        documents = node.config.runtime_dir.parent / "state/fleet-documents.json"
        with self._store_away():
            with self.served_meanwhile(stays_announced=False):
                self.wait_alarm("store-out-of-reach", 30)
                self._reboot(node)
                self.wait_alarm("store-out-of-reach", 30, [node])
                self.fleet.routed.wait_announced(timeout=30)
                self.assertEqual(before, {node.status()["digest"]})
            node.stop()  # it is written once more at the end
            documents.write_text(documents.read_text()[:-20])
            documents.with_stem(f"{documents.stem}-before").write_text("{}")
            said = self._reboot(node)
            self.assertIn("fleet-documents.json is damaged, ", said)
            self.assertIn("fleet-documents-before.json has another revision's", said)
            self.fleet.routed.wait_announced({"lb1", "lb2"}, 30)
        self.assertEqual(before, self.fleet.wait_agreed(60))
        self.fleet.routed.wait_announced()

    @contextlib.contextmanager
    def _store_away(self) -> Iterator[None]:
        """However this ends, the next test has the store back."""
        etcd = self.fleet.etcd
        for member in range(self.members):
            etcd.kill(member)
        try:
            yield
        finally:
            for member in range(self.members):
                etcd.start_member(member)

    @staticmethod
    def _reboot(node: Node) -> str:
        """What the control plane says."""
        log = node.folder / "linimo-controlplane.log"
        begun = len(log.read_text())
        node.stop()
        for kept in node.config.runtime_dir.iterdir():
            if kept != node.config.seed_file and not kept.is_dir():
                kept.unlink()
        node.start_dataplane()
        node.start_controlplane()
        wait_until(lambda: told(node), "it answers", 60, alive=node.check_alive)
        return log.read_text()[begun:]

    def test_a_node_that_has_lost_its_way_withdraws(self) -> None:
        """Two of three backends are out of reach for it alone: they stay up, and it stops announcing until it agrees. The others
        serve meanwhile, and what they carry goes on when it is back."""
        node = self.nodes[1]
        lost = [self.lab.backends[number].address() for number in (1, 2)]
        with contextlib.ExitStack() as mended:
            mended.enter_context(self.unreachable([node], lost))
            self.wait_alarm("contradiction", 20, [node])
            self.fleet.routed.wait_announced({"lb1", "lb3"}, 20)
            with self.served_meanwhile(stays_announced=False):
                states = self.nodes[0].backend_states()
                self.assertEqual({"up"}, {states[address] for address in lost})
                mended.close()
                self.fleet.routed.wait_announced(timeout=30)
        self.fleet.wait_agreed()

    def test_a_node_is_cut_off_from_the_store_and_from_most_backends(self) -> None:
        """It hears from the others that they have the store, and leaves its VIPs to them. Where nobody has, it takes
        them again, and all stay."""
        first, node, last = self.nodes
        with self.cut_off([node], 1, 2):
            self.wait_alarm("contradiction", 20, [node])
            self.fleet.routed.wait_announced({"lb1", "lb3"}, 20)
            with self.cut_off([first, last], 1, 2):
                self.fleet.routed.wait_announced(timeout=20)
                with self.announced_meanwhile():
                    self.wait_alarm("contradiction", 20)
                    time.sleep(self.lease_s)  # whatever follows from that
        self.fleet.wait_agreed(30)
