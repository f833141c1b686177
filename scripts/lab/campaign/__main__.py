"""Plans the events, lets them happen, and judges what was seen."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from ..client import Load
from ..lab import Lab
from ..routed import Routed
from ..topology import VIP
from ..traffic import traffic
from ..wait import wait_until
from .events import KINDS, Stage, set_queues
from .table import Row, markdown, row
from .timeline import Violation
from .watch import LIMIT_S, SAMPLE_S, STATUS_S, Probes, Watch

ENGINES = ("dpdk", "xdp")  # of the nodes: behind the same routes, and doing the same
BACKENDS = 4
KEPT = 40  # connections that stay open
RECOVERY_S = 20.0  # until all is as at the start, once nothing happens any more
TABLE_S = 8.0  # each event lasts so long where the time until it has consequences is measured
WHAT_FAILS = (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError, AssertionError)


@dataclass(frozen=True)
class Event:
    at: float  # seconds from the beginning
    kind: str
    node: int
    lasts: float

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  lb{self.node} ({ENGINES[self.node - 1]})  {self.kind}, for {self.lasts:.1f} s"


def plan(seed: int, seconds: float, kinds: Sequence[str]) -> list[Event]:
    """One after another, each kind once before any comes again."""
    chance = random.Random(seed)
    events: list[Event] = []
    at = 2.0
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            node = chance.choice([number for number, engine in enumerate(ENGINES, 1) if engine in KINDS[kind].engines])
            lasts = chance.uniform(1.0, LIMIT_S + 2)  # some are over before anybody may notice, some are not
            if at + lasts > seconds:
                return events
            events.append(Event(round(at, 1), kind, node, round(lasts, 1)))
            at += lasts + chance.uniform(1.0, 4.0)


def each_alone(kinds: Sequence[str]) -> list[Event]:
    """Each kind on a node of each engine that knows it."""
    return [Event(0.0, kind, number, TABLE_S) for kind in kinds for number, engine in enumerate(ENGINES, 1)
            if engine in KINDS[kind].engines]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab.campaign", description="Random faults under load; what must hold "
                                     "is judged of ten samples a second.")
    parser.add_argument("words", nargs="*", metavar="KIND", help=f"only kinds with these words, of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=1, help="the same events again (default: 1)")
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--one-by-one", action="store_true", help="wait after each event until all is as at the start")
    parser.add_argument("--table", type=Path, metavar="FILE",
                        help="instead of a random order: each kind by itself on each engine, and how soon what followed")
    parser.add_argument("--name", default="linimo-campaign")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    kinds = [name for name in KINDS if not options.words or any(word in name for word in options.words)]
    if not kinds:
        parser.error("no such kind of event")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    events = each_alone(kinds) if options.table else plan(options.seed, options.minutes * 60, kinds)
    print(f"{len(events)} events: " + ("each alone" if options.table else f"seed {options.seed}, {options.minutes:g} minutes")
          + f", {', '.join(kinds)}", flush=True)
    with Lab(options.name) as lab:
        campaign = Campaign(lab)
        try:
            campaign.start()
            campaign.run(events, options.one_by_one or options.table is not None, SAMPLE_S if options.table else STATUS_S)
        except WHAT_FAILS as error:
            campaign.failures.append(f"the campaign itself: {type(error).__name__}: {error}")
        if campaign.failures:
            print("\n".join(node.logs() for node in lab.nodes), campaign.routed.logs(), sep="\n", file=sys.stderr)
    if options.table:
        options.table.write_text(markdown(campaign.rows))
    for failure in campaign.failures:
        print(f"FAILED {failure}")
    if options.report:
        options.report.write_text(json.dumps({"passed": campaign.passed, "failed": len(campaign.failures), "skipped": 0,
                                              "failures": campaign.failures}))
    return 1 if campaign.failures else 0


class Campaign:
    """Passed is an event after which nothing was violated until the next one, and the end as it should be."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failures: list[str] = []
        self.passed = 0
        self.rows: list[Row] = []
        self.routed = Routed(lab, 'drain_wait = "1s"')

    def start(self) -> None:
        lab = self.lab
        lab.topology.node_queues = 2
        lab.build(BACKENDS)
        lab.node.config.tracking = "adaptive"
        for engine in ENGINES[1:]:
            lab.add_node().config.engine = engine
        lab.node.config.engine = ENGINES[0]
        for wire in lab.topology.wires:  # the second queue is for those that change it
            set_queues(lab, wire, 1)
        # As hosts that keep their configuration do: an address outlives its link's being down.
        for box in (lab.topology.router, *(wire.box for wire in lab.topology.wires)):
            box.sysctl({"net.ipv6.conf.all.keep_addr_on_down": 1})
        self.routed.start()
        self.probes = Probes(lab)

    def run(self, events: list[Event], one_by_one: bool, status_s: float) -> None:
        with Watch(self.lab, status_s) as watch, traffic(self.lab, timeout=2, threads=8, kept=KEPT) as load:
            self.all_is_well()
            began = time.monotonic()
            happened: list[tuple[float, Event]] = []
            for event in events:
                if not one_by_one:
                    time.sleep(max(0.0, began + event.at - time.monotonic()))
                print(event, flush=True)
                begun = time.monotonic()
                happened.append((begun, event))
                with self.happening(event):
                    time.sleep(event.lasts)
                    ended = time.monotonic()
                if one_by_one:
                    self.recovers(event)
                    time.sleep(1.0)  # the next event begins where nothing has just changed
                    self.rows.append(self.what_followed(event, watch, begun, ended))
            if not one_by_one:
                self.recovers(None)
            time.sleep(1.0)  # of quiet, to be judged too
            print(f"{load.requests} requests, {len(load.failures)} failed; of {KEPT} kept connections "
                  f"{len(load.kept.broken)} broke; {watch.asked} probes", flush=True)
            violations = watch.violations()
        self.judge(happened, violations, began)

    def what_followed(self, event: Event, watch: Watch, begun: float, ended: float) -> Row:
        link = self.lab.topology.wires[event.node - 1].link
        return row(event.kind, ENGINES[event.node - 1], begun, ended, time.monotonic(), list(watch.told[link]),
                   [list(watch.routed[link, family]) for family in VIP],
                   [list(watch.answered[link, family]) for family in VIP])

    def judge(self, happened: list[tuple[float, Event]], violations: list[Violation], began: float) -> None:
        blamed = set()
        for violation in violations:
            before = [event for when, event in happened if when <= violation.ended]
            cause = before[-1] if before else None
            blamed.add(cause)
            self.failures.append(f"{cause.kind if cause else 'before anything happened'}: {violation.what}, "
                                 f"{violation.began - began:.1f} to {violation.ended - began:.1f} s")
        self.passed += len([event for _, event in happened if event not in blamed])

    @contextlib.contextmanager
    def happening(self, event: Event) -> Iterator[None]:
        stage = Stage(self.lab, self.routed, self.probes, event.node, random.Random(event.at))
        undo = KINDS[event.kind].do(stage)
        try:
            yield
        finally:
            if undo:
                undo()

    def recovers(self, event: Event | None) -> None:
        """All is as at the start, of itself; if it is not, the node is started anew, for the next event."""
        what = event.kind if event else "the end"
        try:
            self.all_is_well()
            self.passed += 0 if event else 1
        except WHAT_FAILS as error:
            self.failures.append(f"{what}: not as at the start after {RECOVERY_S:.0f} s: {str(error).splitlines()[0]}")
            if event:
                self.start_again(event.node)

    def all_is_well(self) -> None:
        end = time.monotonic() + RECOVERY_S
        left = lambda: max(0.5, end - time.monotonic())  # noqa: E731
        for node in self.lab.nodes:
            node.wait_settled(timeout=left())
        self.routed.wait_announced(timeout=left())
        wait_until(lambda: len({node.status()["digest"] for node in self.lab.nodes}) == 1, "all nodes have the same table",
                   left())
        for vip in VIP.values():
            load = Load(self.lab.client, vip, timeout=2)
            load.run(50)
            if load.failures:
                raise RuntimeError(f"{len(load.failures)} of 50 requests failed: {load.failures[0].error}")

    def start_again(self, number: int) -> None:
        node, wire = self.lab.nodes[number - 1], self.lab.topology.wires[number - 1]
        node.stop()
        self.lab.topology.router.run(["ip", "link", "del", wire.link], check=False)
        self.lab.topology.connect(wire)
        set_queues(self.lab, wire, 1)
        self.lab.start_node(number)
        self.probes.route(wire)
        self.routed.wait_announced(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
