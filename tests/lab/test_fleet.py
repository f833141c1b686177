"""Three nodes that have their configuration from a real etcd and act as one: what operators do and see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import dashboard
from described import Described
from documented import documented
from fleet_case import FleetCase
from lab.backend import Backend
from lab.client import Load
from lab.etcd import Etcd
from lab.fleet import NODES, told
from lab.node import Node
from lab.topology import VIP
from lab.wait import wait_until


class FleetConfiguration(FleetCase):
    """Of an etcd with certificates and users, whose tokens soon expire."""

    @classmethod
    def start_etcd(cls, etcd: Etcd) -> None:
        etcd.options = ["--quota-backend-bytes=16777216"]
        etcd.secure(*documented("fleet.md", "Who may use the store"))

    def test_a_password_that_is_not_the_right_one_any_more(self) -> None:
        """Whoever changes something at any node is told who is not let in, and all goes on; with the right password it is
        possible again by itself. Expired tokens, of which there are many until here, nobody notices."""
        etcd, before = self.fleet.etcd, self.digests()
        wait_until(lambda: "Token is expired" in (etcd.folder / "m0.log").read_text(), "a token expires")
        with self.served_meanwhile():
            etcd.sh("echo of-nobody | etcdctl user passwd linimo --interactive=false")
            file = self.changed()
            for node in range(NODES):
                self.assertIn("user linimo is not let in", self.refused(node, "config", "apply", file))
            self.assertEqual(before, self.digests())
            etcd.sh("etcdctl user passwd linimo --interactive=false < etcd-password")
            same = self.fleet.file()
            wait_until(lambda: self.nodes[0].cli("config", "apply", same, check=False).returncode == 0, "it is let in again", 10)
            self.change_something()
        self.fleet.wait_agreed()

    def test_the_store_is_full(self) -> None:
        """Nothing can be written, and what is forwarded goes on; by the handbook's commands there is room again."""
        etcd, before = self.fleet.etcd, self.digests()
        [make_room] = documented("fleet.md", "A full store")
        with self.served_meanwhile():
            etcd.sh('dd if=/dev/zero bs=1M count=1 status=none | tr "\\0" x > junk\n'
                    "while etcdctl put junk < junk > /dev/null 2>&1; do :; done")
            self.assertIn("database space exceeded", self.refused(0, "config", "apply", self.changed()))
            self.assertEqual(before, self.digests())
            etcd.sh(make_room)
            self.fleet.apply()
            self.change_something()
        self.fleet.wait_agreed()
    def test_all_forward_by_what_was_applied_at_one(self) -> None:
        """From nothing: equal digests, routes to all, requests served; then a change reaches all."""
        self.assertEqual(1, len(self.fleet.wait_agreed()))
        load = Load(self.lab.client, VIP[4], threads=4)
        load.run(200)
        self.assert_served(load)
        config = self.lab.node.config
        with Load(self.lab.client, VIP[4], threads=4, rate=200).in_background() as load:
            times = []
            for weight in (50, 100, 50, 100, 50, 100):
                config.backends[1] = weight
                began = time.monotonic()
                said = self.fleet.apply()
                times.append(time.monotonic() - began)
                self.assertIn(f"weight {150 - weight}>{weight}", said)
            self.say(f"apply to all three: {sorted(round(1000 * t) for t in times)} ms")
        self.assert_served(load)
        self.assertEqual(1, len(self.fleet.wait_agreed()))
        listed = self.nodes[1].cli("node", "list").stdout
        for node in self.nodes:
            self.assertRegex(listed, rf"{node.config.name} .* {node.config.engine} .* lives .* ([1-9]) of \1 .*{VIP[4]}")
        self.assertIn("all agree", self.nodes[2].cli("fleet", "status").stdout)

    def test_dashboard_and_alerts_know_what_a_fleet_tells(self) -> None:
        """Of what a node of a fleet exports about it none is left out, and they ask for nothing else."""
        page = self.lab.topology.node.run(["curl", "-sS", "--unix-socket", str(self.lab.node.config.runtime_dir / "control.sock"),
                                           "http://linimo/metrics"]).stdout
        of_fleets = {name for name in dashboard.families(page) if name.startswith(dashboard.OF_FLEETS)}
        self.assertEqual(of_fleets, {name for name in dashboard.names_used() if name.startswith(dashboard.OF_FLEETS)})

    def test_answers_are_as_described(self) -> None:
        """Each path of the fleet's, done and refused: has what the API's description says, and nothing else."""
        node = self.nodes[0]
        described = Described(node.ask("/v1/openapi.json"))
        shared = self.lab.node.config.shared()
        newest = told(node)["active"]
        asked = [("get", "/v1/fleet", "", None, 200), ("get", "/v1/fleet/history", "", None, 200),
                 ("get", "/v1/fleet/revision", "", None, 200), ("get", "/v1/fleet/revision", f"?number={newest}", None, 200),
                 ("get", "/v1/fleet/revision", "?number=x", None, 400), ("get", "/v1/fleet/revision", "?number=999", None, 422),
                 ("get", "/v1/fleet/await", f"?number={newest}", None, 200), ("get", "/v1/fleet/await", "", None, 400),
                 ("post", "/v1/fleet/apply", "", {"text": shared, "file": "same.toml"}, 200),
                 ("post", "/v1/fleet/apply", "", {"text": "nonsense", "file": "bad.toml"}, 422),
                 ("post", "/v1/fleet/apply", "", {}, 400), ("post", "/v1/fleet/rollback", "", {"number": newest}, 200),
                 ("post", "/v1/fleet/rollback", "", {"number": 999}, 422), ("post", "/v1/fleet/accept", "", None, 422)]
        for method, path, query, body, status in asked:
            with self.subTest(f"{method} {path}{query}"):
                text, _, code = self.lab.topology.node.run(
                    ["curl", "-sS", "-X", method.upper(), "-d", json.dumps(body) if body is not None else "", "-w", "\\n%{http_code}",
                     "--unix-socket", str(node.config.runtime_dir / "control.sock"), f"http://linimo{path}{query}"]).stdout.rpartition("\n")
                self.assertEqual(status, int(code), text)
                self.assertEqual([], described.complaints(path, method, status, json.loads(text)))
        self.assertNotEqual([], described.complaints("/v1/fleet", "get", 200, told(node) | {"more": 1}))
        self.assertEqual({path for path in described.paths if path.startswith("/v1/fleet")}, {path for _, path, *_ in asked})
        self.fleet.wait_agreed()

    def test_a_revision_that_one_node_refuses_comes_into_force_nowhere(self) -> None:
        """lb2 alone has no IPv6 address to tunnel from; the operator's words are file, line and column. Nor is anything
        checked as it says. Once lb2 is mended, the same file applies."""
        before = told(self.nodes[0])["active"]
        odd = self.nodes[1]
        addresses = odd.config.addresses
        text = odd.config_file.read_text()
        self.rewrite(odd, text.replace(f', "{addresses[6]}"', ""))
        try:
            bad = self.lab.node.config.shared().replace('address = "10.0.1.3"', 'address = "2001:db8:1::3"')
            line = next(n for n, at in enumerate(bad.splitlines(), 1) if "2001:db8:1::3" in at)
            said = self.refused(0, "config", "apply", self.fleet.file(bad))
            self.assertRegex(said, rf"node lb2: {self.fleet.file(bad)}:{line}:\d+: .*encap_source has no IPv6 address")
            for node in self.nodes:
                self.assertEqual(before, told(node)["active"])
                self.assertEqual(before, told(node)["table"]["revision"])
            wrong_path = bad.replace('path = "/healthz"', 'path = "/nowhere"')
            self.assertNotEqual(bad, wrong_path)
            self.refused(0, "config", "apply", self.fleet.file(wrong_path))
            states = [node.backend_states() for _ in range(10) for node in self.nodes if not time.sleep(0.03)]
            self.assertEqual({"up"}, {state for each in states for state in each.values()})
            self.refused(0, "config", "apply", self.fleet.file(bad))
            self.rewrite(odd, text)
            self.fleet.apply(bad)
        finally:
            if odd.config_file.read_text() != text:
                self.rewrite(odd, text)
            self.fleet.apply()
        self.fleet.wait_agreed()

    def test_mistakes_are_refused_before_anything_is_written(self) -> None:
        newest = told(self.nodes[0])["newest"]
        bad = self.lab.node.config.shared().replace('encapsulation = "ipip"', 'encapsulation = "ipop"')
        said = self.refused(0, "config", "apply", self.fleet.file(bad))
        self.assertRegex(said, r"applied.toml:\d+:\d+: ")
        self.assertEqual(newest, told(self.nodes[0])["newest"])

    def test_history_diff_export_and_rollback(self) -> None:
        """What was exported applies; the second of two operators is told what the first has changed."""
        first = told(self.nodes[0])["active"]
        exported = self.nodes[1].cli("config", "export").stdout
        config = self.lab.node.config
        config.backends[2] = 70
        self.fleet.apply()
        second = told(self.nodes[0])["active"]
        wait_until(lambda: told(self.nodes[1])["active"] == second, "")
        said = self.refused(1, "config", "apply", self.fleet.file(exported))
        self.assertIn(f"made from revision {first}", said)
        self.assertIn("weight 100>70", said)
        diff = self.nodes[2].cli("config", "diff", str(first), str(second)).stdout
        self.assertIn('weight = 70', diff)
        back = self.nodes[2].cli("config", "rollback", str(first)).stdout
        self.assertIn("weight 70>100", back)
        config.backends[2] = 100
        history = json.loads(self.nodes[0].cli("config", "history", "-o", "json").stdout)
        self.assertEqual(second + 1, history[0]["number"])
        self.assertTrue(history[0]["active"])
        self.assertIn("uid 0", history[1]["by"])
        self.fleet.wait_agreed()

    def test_two_operators_at_the_same_moment(self) -> None:
        """With different wishes at different nodes: one of them is told who has written what under him, and that his own was not."""
        for number in range(20):
            answers = self.apply_at_once([20 + number, 60 + number])
            if late := [answer["error"] for answer in answers if "error" in answer]:
                break
        self.assertEqual(1, len(late), answers)
        self.assertRegex(late[0], r"nothing was changed: uid 0 pid \d+ at lb[12] wrote revision \d+ at the same time; "
                                  r"yours differs from it: backend web/10.0.1.\d: weight \d+>\d+")
        self.fleet.apply()
        self.fleet.wait_agreed()

    def apply_at_once(self, weights: list[int]) -> list[dict[str, Any]]:
        """Of the first backend, one at each of the first nodes; what they answered."""
        asking = []
        for node, weight in zip(self.nodes, weights):
            body = {"text": self.lab.node.config.shared().replace("weight = 100", f"weight = {weight}", 1), "file": "mine.toml"}
            asking.append(node.box.spawn(["curl", "-sS", "-d", json.dumps(body), "-o", str(node.folder / "answer"), "--unix-socket",
                                          str(node.config.runtime_dir / "control.sock"), "http://linimo/v1/fleet/apply"]))
        self.assertEqual([0, 0], [one.wait() for one in asking])
        return [json.loads((node.folder / "answer").read_text()) for node, _ in zip(self.nodes, weights)]

    def test_status_says_who_does_not_agree_and_in_what(self) -> None:
        """A data plane stands still, so that its node forwards by the earlier revision."""
        node, old = self.nodes[2], told(self.nodes[0])["table"]
        assert node.dataplane
        os.kill(node.dataplane.pid, signal.SIGSTOP)
        try:
            self.assertEqual(200, self.fleet.post(0, "/v1/fleet/apply", {"text": Path(self.changed()).read_text(), "file": "other.toml"}))
            wait_until(lambda: told(self.nodes[0])["table"]["revision"] > old["revision"], "the others forward by it")
            done = self.nodes[0].cli("fleet", "status", check=False)
            self.assertEqual(1, done.returncode)
            self.assertIn(f"lb3 forwards by revision {old['revision']}, state {old['state']}, digest {old['digest']}", done.stdout)
        finally:
            os.kill(node.dataplane.pid, signal.SIGCONT)
        self.change_something()
        self.fleet.wait_agreed()

    def test_a_dry_run_tells_what_a_revision_a_drain_and_a_rollback_do(self) -> None:
        """Each node tells the same slots, nothing is written, and what was foretold of the way back is what the way there moved."""
        first, config = told(self.nodes[0])["active"], self.lab.node.config
        backend = self.lab.backends[1].address()
        name = f"web/{backend}"
        config.backends[1] = 25
        changed = config.shared()
        config.backends[1] = 100
        tries = {"apply": ("config", "apply", self.fleet.file(changed)), "drain": ("backend", "drain", name), "same": ("config", "rollback", str(first))}
        moved = {what: [self.slots_moved(node, *words) for node in self.nodes] for what, words in tries.items()}
        self.assertEqual({1}, {len(set(each)) for each in moved.values()}, moved)
        self.assertEqual(0, moved["same"][0])
        self.assertGreater(moved["drain"][0], moved["apply"][0])
        self.assertGreater(moved["apply"][0], 0)
        self.assertEqual(first, told(self.nodes[0])["newest"]["revision"])
        self.refused(0, "config", "apply", self.fleet.file("[[pool]]\nname = 5\n"), "--dry-run")
        self.fleet.apply(changed)
        self.fleet.wait_agreed()
        self.assertEqual(moved["apply"][0], self.slots_moved(self.nodes[2], "config", "rollback", str(first)))
        self.nodes[1].cli("config", "rollback", str(first))
        self.nodes[0].cli("backend", "drain", name)
        self.wait_state(backend, "draining")
        self.assertEqual(1, len(self.fleet.wait_agreed()))
        self.assertEqual(moved["drain"][0], self.slots_moved(self.nodes[2], "backend", "undrain", name))
        self.nodes[0].cli("backend", "undrain", name)
        self.wait_state(backend, "up")
        leaving = self.lab.backends[2]
        leaving.ask_to_drain()
        try:
            self.wait_state(leaving.address(), "draining")
            self.assertEqual(0, self.slots_moved(self.nodes[0], "backend", "undrain", f"web/{leaving.address()}"), "it asks for it itself")
        finally:
            leaving.ask_to_drain(False)
        self.wait_state(leaving.address(), "up")
        self.fleet.wait_agreed()

    @staticmethod
    def slots_moved(node: Node, *words: str) -> int:
        [pool] = json.loads(node.cli(*words, "--dry-run", "-o", "json").stdout)["pools"]
        return pool["slots_moved"]

    def test_a_drain_is_the_fleets(self) -> None:
        address = self.lab.backends[2].address()
        self.nodes[2].cli("backend", "drain", f"web/{address}")
        self.wait_state(address, "draining")
        self.nodes[1].cli("backend", "undrain", f"web/{address}")
        self.wait_state(address, "up")
        self.assertEqual(1, len(self.fleet.wait_agreed()))

    def test_a_backends_death_is_held_by_all(self) -> None:
        backend = self.lab.backends[3]
        backend.kill_nginx()
        try:
            self.wait_state(backend.address(), "down")
            self.assertEqual(1, len(self.fleet.wait_agreed()))
        finally:
            backend.start_nginx()
        self.wait_state(backend.address(), "up")

    def test_a_backend_that_returns_starts_slowly_and_one_that_flaps_is_held_back(self) -> None:
        """On all nodes alike, though no two have checked it at the same moment: of one numbered state they have one digest, and
        all go from an eighth of its weight to the whole. One that goes a third time gets no new flows for a while."""
        backend, health = self.lab.backends[3], self.lab.node.config.health
        usual, health.more = health.more, health.more.replace('slow_start = "0s"', 'slow_start = "8s"').replace(
            'flap_half_life = "0s"', 'flap_half_life = "60s"')
        self.assertNotEqual(usual, health.more)
        self.fleet.apply()
        try:
            for death in range(3):
                self.kill_and_return(backend)
                if death == 0:
                    self.assert_starts_slowly(backend.address())
            self.wait_state(backend.address(), "held")
            for node in self.nodes:
                self.assertIn("came and went", self.held(node, backend.address())["detail"])
            self.assertEqual(1, len(self.fleet.wait_agreed()))
        finally:
            health.more = usual
            self.fleet.apply()
            self.wait_state(backend.address(), "up")
            self.fleet.wait_agreed()

    def kill_and_return(self, backend: Backend) -> None:
        """Seen by each of its checkers: what most of them see is the fleet's before the last has."""
        for change, seen in ((backend.kill_nginx, " to=down"), (backend.start_nginx, " from=down ")):
            before = [self.changes(node, backend.address(), seen) for node in self.nodes]
            change()
            for node, count in zip(self.nodes, before):
                wait_until(lambda: self.changes(node, backend.address(), seen) > count, f"{node.config.name} sees it{seen}", 15)

    @staticmethod
    def changes(node: Node, address: str, words: str) -> int:
        log = (node.folder / "linimo-controlplane.log").read_text()
        return sum("backend state changed" in line and f"backend={address} " in line and words in line for line in log.splitlines())

    def assert_starts_slowly(self, address: str) -> None:
        digests: dict[int, set[str]] = {}
        shares: list[set[int]] = [set() for _ in self.nodes]

        def all_have_the_whole() -> bool:
            for node, seen in zip(self.nodes, shares):
                table = told(node)["table"]
                digests.setdefault(table["state"], set()).add(table["digest"])
                if (held := self.held(node, address))["state"] == "up":
                    seen.add(held["start_eighths"])
            return all(8 in seen for seen in shares)

        wait_until(all_have_the_whole, "it has its whole weight", 30)
        self.say(f"seen of it: {[sorted(each) for each in shares]}")
        for seen in shares:
            self.assertLess(min(seen), 4)
            self.assertGreater(len(seen), 3)
        self.assertEqual([], [one for one in digests.values() if len(one) != 1], digests)

    @staticmethod
    def held(node: Node, address: str) -> dict[str, Any]:
        return next(one for one in node.backend_list() if one["address"] == address)

    def test_a_control_plane_that_returns_changes_nothing(self) -> None:
        """It goes by what it remembers before it has heard of the store, and nobody notices."""
        node = self.nodes[1]
        before = node.status()["generation"]
        with Load(self.lab.client, VIP[4], threads=4, rate=200).in_background() as load:
            node.stop_controlplane(signal.SIGKILL)
            node.start_controlplane()
            wait_until(lambda: told(node).get("agree"), "it agrees again", 20, alive=node.check_alive)
            self.fleet.wait_agreed()
        self.assert_served(load)
        self.assertEqual(before, node.status()["generation"])

    def test_a_node_that_returns_announces_by_no_tables_of_before(self) -> None:
        """A backend drains while its machine is off. What it took by the tables that it remembers would break at any other node."""
        node, [backend, *_] = self.nodes[2], self.lab.backends.values()
        name = f"web/{backend.address()}"
        node.stop()
        wait_until(lambda: len(told(self.nodes[0])["nodes"]) == NODES - 1, "it is no member any more", 10)
        self.nodes[0].cli("backend", "drain", name)
        log = node.folder / "linimo-controlplane.log"
        seen = len(log.read_text())
        node.start_dataplane()
        node.start_controlplane()
        self.fleet.routed.wait_announced()
        digest = told(self.nodes[0])["table"]["digest"]
        lines = log.read_text()[seen:].splitlines()
        announced = next(at for at, line in enumerate(lines) if "VIP announced" in line)
        self.assertTrue(any("generation accepted" in line and f"digest={digest}" in line for line in lines[:announced]), lines[announced])
        self.nodes[0].cli("backend", "undrain", name)
        self.fleet.wait_agreed()

    def test_1_a_node_leaves_and_returns_while_backends_drain(self) -> None:
        """Drained, stopped whole and started again, then once more with nothing that it remembered: no request fails, no kept
        connection breaks. The first of all: what begins in a slot that changed lately, only one node knows (docs/fleet.md)."""
        node = self.nodes[2]
        with self.served_meanwhile(kept=120, stays_announced=False), self.drain_in_turn_meanwhile() as drained:
            for forgets in (False, True):
                node.cli("node", "drain", "--wait")
                self.fleet.routed.wait_announced({"lb1", "lb2"})
                node.stop()
                wait_until(lambda: len(told(self.nodes[0])["nodes"]) == NODES - 1, "it is no member any more", 10)
                if forgets:
                    shutil.rmtree(node.folder / "state")
                node.start_dataplane()
                node.start_controlplane()
                wait_until(lambda: told(node).get("table", {}).get("revision"), "it forwards by the fleet's tables", 20,
                           alive=node.check_alive)
                node.cli("node", "undrain")
                self.fleet.routed.wait_announced()
        self.say(f"{len(drained)} drains meanwhile")
        self.assertGreater(len(drained), 3)
        self.fleet.wait_agreed()
