"""A node dies in the middle of a rolling restart of all backends: what it carried goes on over the others, of both engines,
because nodes tell each other of the flows that a stranger would get wrong. Beside it the same without a word between them."""

from __future__ import annotations

import contextlib
import signal
from typing import Callable, ClassVar, Iterator

from lab.backend import Backend
from lab.traffic import Kept
from lab.wait import wait_until
from test_fleet import FleetCase

KEPT = 120  # connections that are there before, and that begin while a backend drains


class FleetRollout(FleetCase):
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
        self.wait_state(backend.address(), "draining" if wanted else "up")

    def heard(self) -> int:
        """Flows that the nodes which live have heard of from others."""
        ask = ["curl", "-sS", "http://linimo/metrics", "--unix-socket"]
        lines = [line for node in self.nodes if node.controlplane
                 for line in node.box.run([*ask, str(node.config.runtime_dir / "control.sock")]).stdout.splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("linimo_fleet_flows_heard_total"))

    def roll_out(self, lose: Callable[[], None]) -> tuple[int, int]:
        """Connections that broke when a node was lost, and how many there were."""
        backends = list(self.lab.backends.values())
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(Kept(self.lab, KEPT))]
            for backend in backends[:2]:
                self.drained(backend, True)
                kept.append(stack.enter_context(Kept(self.lab, KEPT)))
                if backend is not backends[1]:
                    self.drained(backend, False)
            asked = [one.requests for one in kept]
            wait_until(lambda: all(one.requests >= before + 2 * KEPT for one, before in zip(kept, asked)), "all go on")
            self.assertEqual({}, {index: why for one in kept for index, why in one.broken.items()}, "before the node dies")
            lose()
            self.fleet.routed.wait_announced({wire.link for wire in self.lab.topology.wires[:2]})
            asked = [one.requests for one in kept]
            wait_until(lambda: all(one.requests + 2 * len(one.broken) >= before + 2 * KEPT
                                   for one, before in zip(kept, asked)), "all were asked since", 20)
            broken = sum(len(one.broken) for one in kept)
            for one in kept:
                one.close(set(range(KEPT)))
        return broken, len(kept) * KEPT

    def kill_node(self) -> None:
        """All that runs there."""
        node = self.nodes[2]
        self.fleet.routed.birds[2].kill()
        node.stop_controlplane(signal.SIGKILL)
        node.stop_dataplane(signal.SIGKILL)

    def test_a_node_is_killed_amid_a_rollout(self) -> None:
        bird = self.fleet.routed.birds[2]
        with self.without_words():
            broken, all_of_them = self.roll_out(bird.kill)
            self.say(f"without sharing {broken} of {all_of_them} connections broke")
            self.assertGreater(broken, all_of_them // 100, "the test shows nothing")
            self.assertEqual(0, self.heard())
        self.drained(list(self.lab.backends.values())[1], False)
        bird.again()
        self.fleet.routed.wait_announced()
        broken, all_of_them = self.roll_out(self.kill_node)
        self.say(f"with sharing {broken} of {all_of_them} connections broke; nodes heard of {self.heard()} flows")
        self.assertLessEqual(broken, all_of_them // 1000)
