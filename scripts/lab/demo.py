"""`scripts/demo`, once everything is installed and built: the lab, and either the live table or the check."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time

from .check import Check
from .client import Load
from .fleet_demo import check_fleet, run_fleet
from .judge import run_scenarios
from .lab import Lab, say_on_stderr
from .scenarios import SCENARIOS
from .table import Table, next_steps
from .topology import CLIENT, VIP
from .wait import wait_until


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Linimo forwards HTTP from a client to three nginx "
                                     "backends, all in network namespaces of this machine.")
    parser.add_argument("command", nargs="?", choices=["up", "down"], default="up",
                        help="up (default): build and run it; down: end a running demo and remove what it left")
    parser.add_argument("--engine", choices=["auto", "dpdk", "xdp"], default="auto",
                        help="what forwards the packets (default: auto)")
    parser.add_argument("--encapsulation", choices=["ipip", "gre", "gue"], default="ipip",
                        help="the tunnel to the backends (default: ipip)")
    parser.add_argument("--family", type=int, choices=[4, 6], default=4,
                        help="IP version of client, VIP and tunnels (default: 4)")
    parser.add_argument("--workers", type=int, default=1, help="cores that forward (default: 1)")
    parser.add_argument("--check", action="store_true",
                        help="no table: check that it works, print one JSON object, exit 0 only if all of it held")
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS, "all"], metavar="NAME",
                        help="with --check: something breaks under traffic, with BIRD and BGP in between; one JSON object "
                        f"each says what that cost and how long it took. NAME: {', '.join(SCENARIOS)}, all")
    parser.add_argument("--fleet", action="store_true", help="three nodes, three etcd members, four backends and a router "
                        "with BIRD between them, live: kill what you like; with --check: one JSON object says what held")
    parser.add_argument("--keep", action="store_true", help="leave it running at the end; `scripts/demo down` removes it")
    parser.add_argument("--name", default="linimo", help="prefix of all it makes, so that several fit (default: linimo)")
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.fleet and (options.scenario or options.keep):
        parser.error("--fleet has no scenarios and keeps nothing")
    if options.scenario and not options.check:
        parser.error("--scenario goes with --check")
    if options.scenario and (options.engine != "auto" or options.keep):
        parser.error("a scenario has engines of its own, and keeps nothing")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    if options.only_parse:
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored, in the background
    for sig in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: clean up, then go
        signal.signal(sig, lambda number, _: sys.exit(128 + number))
    lab = Lab(options.name, options.workers)
    if options.command == "down":
        lab.end_other_run()
        lab.close()
        return 0
    try:
        if options.scenario:
            return scenarios(options)
        with lab:
            if options.fleet:
                return fleet(lab, options)
            code = run(lab, options)
            if options.keep:
                lab.leave()
            return code
    except BlockingIOError as busy:
        say_on_stderr(f"scripts/demo: {busy}; `scripts/demo down` ends it")
        return 1
    except (RuntimeError, TimeoutError, FileNotFoundError) as error:
        say_on_stderr(f"scripts/demo: {error}")
        return 1
    except KeyboardInterrupt:
        return 130 if options.check else 0


def fleet(lab: Lab, options: argparse.Namespace) -> int:
    # Pollers of three nodes want three cores.
    engine = "xdp" if options.engine == "auto" else options.engine
    if not options.check:
        run_fleet(lab, engine)
    report = check_fleet(lab, engine)
    print(json.dumps(report), flush=True)
    for problem in report["problems"]:
        say_on_stderr(f"FAILED fleet: {problem}")
    return 1 if report["problems"] else 0


def scenarios(options: argparse.Namespace) -> int:
    """Exit code 0 only if all of them held."""
    names = list(SCENARIOS) if "all" in options.scenario else list(dict.fromkeys(options.scenario))
    held = True
    for report in run_scenarios(names, options.name, say_on_stderr):
        for problem in report["problems"]:
            held = False
            say_on_stderr(f"FAILED {report['scenario']}: {problem}")
        print(json.dumps(report), flush=True)
    return 0 if held else 1


def run(lab: Lab, options: argparse.Namespace) -> int:
    # The wrapper script's start, so that installing and building count.
    begun = float(os.environ.get("LINIMO_DEMO_BEGAN", time.time()))
    config = lab.node.config
    config.engine, config.encapsulation, config.backend_family = options.engine, options.encapsulation, options.family
    say_on_stderr("starting a client, a router, a Linimo node and three nginx backends")
    lab.build()
    lab.start_node()
    first = Load(lab.client, VIP[options.family])
    first.run(1)
    if first.failures:
        say_on_stderr(f"the first request failed: {first.failures[0].error}\n{lab.node.logs()}")
        return 1
    to_first_request = round(time.time() - begun, 2)
    say_on_stderr(f"first request answered by {next(iter(first.served))}, {to_first_request} s after the start")
    engine = lab.node.status()["engine"]
    if options.check:
        return check(lab, options, engine, begun, to_first_request)
    show(lab, options, engine)
    return 0


def check(lab: Lab, options: argparse.Namespace, engine: str, begun: float, to_first_request: float) -> int:
    checked = Check(lab, options.family, say_on_stderr)
    try:
        checked.run()
    except (RuntimeError, TimeoutError) as error:
        checked.problems.append(str(error))
    for problem in checked.problems:
        say_on_stderr(f"FAILED {problem}")
    if checked.problems:
        say_on_stderr(lab.node.logs())
    print(json.dumps({"engine": engine, "encapsulation": options.encapsulation, "family": options.family,
                      **checked.report, "problems": checked.problems,
                      "seconds": {"to_first_request": to_first_request, **checked.seconds,
                                  "total": round(time.time() - begun, 2)}}), flush=True)
    return 1 if checked.problems else 0


def show(lab: Lab, options: argparse.Namespace, engine: str) -> None:
    family = options.family
    title = (f"Linimo: {CLIENT[family]} -> {VIP[family]} -> {options.encapsulation} -> nginx, "
             f"engine {engine}, {options.workers} worker{'s' if options.workers > 1 else ''}")
    with Load(lab.client, VIP[family], threads=4, rate=100, timeout=2).in_background() as load:
        table = Table(lab, load, title)
        print(next_steps(lab, family, options.keep))
        try:
            if not sys.stdout.isatty() and options.keep:
                wait_until(lambda: load.requests >= 100, "a hundred requests", 30)
                table.draw()
                return
            while True:
                table.draw()
                time.sleep(0.5 if sys.stdout.isatty() else 5)
        except KeyboardInterrupt:
            if not options.keep:
                raise


if __name__ == "__main__":
    sys.exit(main())
