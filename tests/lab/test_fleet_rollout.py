"""A node dies in the middle of a rolling restart of all backends: what it carried goes on over the others, of both engines,
because nodes tell each other of the flows that a stranger would get wrong. Beside it the same without a word between them."""

from __future__ import annotations

import contextlib
import signal
from typing import ClassVar, Iterator

from fleet_case import FleetCase
from lab.backend import Backend
from lab.node import Node
from lab.topology import VIP
from lab.traffic import Kept
from lab.wait import wait_until

KEPT = 120  # connections that are there before, and that begin while a backend drains


class FleetRollout(FleetCase):
    alone = True  # BFD gives up after 150 ms without a word: a busy machine moves flows to other nodes, which is not what is judged
    engines: ClassVar[tuple[str, ...]] = ("dpdk", "xdp", "xdp")

    @contextlib.contextmanager
    def without_words(self) -> Iterator[None]:
        """Nothing that nodes say to each other past the store leaves any of them."""
        rule = ["ipproto", "udp", "dport", "7946", "priority", "5", "blackhole"]
        for node in self.nodes:
            node.box.run(["ip", "rule", "add", *rule])
        try:
            yield
        finally:
            for node in self.nodes:
                node.box.run(["ip", "rule", "del", *rule])

    def drained(self, backend: Backend, wanted: bool) -> None:
        self.nodes[0].cli("backend", "drain" if wanted else "undrain", f"web/{backend.address()}")

    def heard(self, by: list[Node] | None = None) -> int:
        """Flows that these nodes, or all that live, have heard of from others."""
        ask = ["curl", "-sS", "http://linimo/metrics", "--unix-socket"]
        lines = [line for node in by or self.living()
                 for line in node.box.run([*ask, str(node.config.runtime_dir / "control.sock")]).stdout.splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("linimo_fleet_flows_heard_total"))

    def roll_out(self) -> tuple[int, int]:
        """All backends are restarted, one after the other, and amid it a node dies. How many connections it carried then, and
        how many of those broke."""
        kept: list[Kept] = []
        carried: list[set[int]] = []
        with contextlib.ExitStack() as stack:
            kept.append(stack.enter_context(Kept(self.lab, KEPT)))
            for number, backend in self.lab.backends.items():
                self.drained(backend, True)
                self.wait_state(backend.address(), "draining")
                kept.append(stack.enter_context(Kept(self.lab, KEPT)))
                for one in kept:  # who has a connection to it is done by now
                    one.close(one.of({backend.address(family) for family in VIP}))
                if number == 2:
                    self.all_go_on(kept)
                    self.assertEqual({}, {index: why for one in kept for index, why in one.broken.items()}, "before the node dies")
                    carried = [self.carried_by(self.nodes[2], one) for one in kept]
                    self.kill_node()
                    self.all_go_on(kept)
                self.restart(backend)
            self.all_go_on(kept)
            broken = sum(len(set(one.broken) & mine) for one, mine in zip(kept, carried))
            for one in kept:
                one.close(set(range(KEPT)))
        return sum(map(len, carried)), broken

    def all_go_on(self, kept: list[Kept]) -> None:
        """Until each was asked once more, or has broken."""
        asked = [one.requests for one in kept]
        wait_until(lambda: all(one.requests - before >= 2 * one.open for one, before in zip(kept, asked)), "all were asked since", 20)

    def carried_by(self, node: Node, kept: Kept) -> set[int]:
        """Which connections come by this node, by the router's own choice."""
        link = next(wire.link for wire in self.lab.topology.wires if wire.box is node.box)
        return {index for index, ends in kept.ends().items() if self.fleet.routed.way(*ends) == link}

    def restart(self, backend: Backend) -> None:
        backend.stop_nginx()
        backend.start_nginx()
        backend.wait_ready()
        self.drained(backend, False)
        for node in self.living():
            wait_until(lambda: node.backend_states()[backend.address()] == "up" and node.up_to_date(), "it is used again", 15)

    def living(self) -> list[Node]:
        return [node for node in self.nodes if node.controlplane]

    def wait_state(self, address: str, state: str, timeout: float = 15.0) -> None:
        for node in self.living():
            wait_until(lambda: node.backend_states().get(address) == state and node.up_to_date(),
                       f"{node.config.name} holds {address} {state}", timeout, alive=node.check_alive)

    def kill_node(self) -> None:
        """All that runs there."""
        node = self.nodes[2]
        self.fleet.routed.birds[2].kill()
        node.stop_controlplane(signal.SIGKILL)
        node.stop_dataplane(signal.SIGKILL)
        self.fleet.routed.wait_announced({wire.link for wire in self.lab.topology.wires[:2]})

    def revive_node(self) -> None:
        node = self.nodes[2]
        node.start_dataplane()
        node.start_controlplane()
        self.fleet.routed.birds[2].again()
        self.fleet.wait_agreed(30)
        self.fleet.routed.wait_announced()

    def test_a_newcomer_knows_what_was_told(self) -> None:
        """A machine that starts anew is told by a peer what a stranger would get wrong, long before who told it first says it
        again. Then all connections come to it, and none breaks."""
        backend, newcomer, birds = self.lab.backends[1], self.nodes[2], self.fleet.routed.birds
        with Kept(self.lab, KEPT) as before:
            self.drained(backend, True)
            self.wait_state(backend.address(), "draining")
            with Kept(self.lab, KEPT) as since:
                kept = [before, since]
                self.all_go_on(kept)
                birds[2].kill()
                newcomer.stop()
                self.fleet.routed.wait_announced({wire.link for wire in self.lab.topology.wires[:2]})
                self.all_go_on(kept)
                newcomer.start_dataplane()
                newcomer.start_controlplane()
                self.fleet.wait_agreed(30)
                wait_until(lambda: self.heard([newcomer]), "it has heard of flows", 5)
                birds[2].again()
                self.fleet.routed.wait_announced()
                for bird in birds[:2]:
                    bird.kill()
                self.fleet.routed.wait_announced({self.lab.topology.wires[2].link})
                self.all_go_on(kept)
                self.assertEqual([{}, {}], [one.broken for one in kept])
                self.say(f"a node that started was told of {self.heard([newcomer])} flows")
        for bird in birds[:2]:
            bird.again()
        self.drained(backend, False)
        self.fleet.wait_agreed(30)
        self.fleet.routed.wait_announced()

    def test_a_node_is_killed_amid_a_rollout(self) -> None:
        before = self.heard(self.nodes[:2])
        with self.without_words():
            carried, broken = self.roll_out()
            self.say(f"without sharing {broken} of {carried} connections broke that the node had carried")
            self.assertGreater(broken, carried // 50, "the test shows nothing")
            self.assertEqual(before, self.heard())
        self.revive_node()
        carried, broken = self.roll_out()
        self.say(f"with sharing {broken} of {carried} connections broke that the node had carried; nodes heard of {self.heard()} flows")
        self.assertGreaterEqual(carried, 50)
        self.assertLessEqual(broken, carried // 1000)
