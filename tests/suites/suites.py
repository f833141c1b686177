"""The test suites. To add one: an entry in SUITES, and if it counts in a new way, a function in runs.py."""

from __future__ import annotations

from dataclasses import dataclass

from .runs import Run, campaign, coverage, demo, fresh, fuzz, meson, packets, runner, scenarios

PROGRAMS: tuple[str, ...] = ()
TESTS = ("--tests",)
SANITIZE = ("--sanitize",)
THREADS = ("--threads",)
PACKAGE = ("--package",)
COVERAGE = ("--coverage",)


CAMPAIGN_MINUTES = 20
CAMPAIGN_MORE_S = 180  # for the lab and the end


@dataclass(frozen=True)
class Suite:
    name: str
    what: str
    build: tuple[str, ...] | None  # arguments of scripts/build; None: it needs nothing built, and runs before any build
    budget_s: int  # a suite that takes longer fails: slow tests stop being run. Building is not in it
    run: Run
    alone: bool = False  # it judges times: nothing is built meanwhile
    by_default: bool = True


# Builds go on in the order in which they are first needed here, while those suites run that need little.
SUITES = [
    Suite("check", "formatting, includes, names that lead nowhere, headers by themselves", None, 150, runner("scripts/check")),
    Suite("fresh", "scripts/demo --check where nothing was ever built", None, 660, fresh),
    Suite("lab", "real programs in network namespaces", PROGRAMS, 1200, runner("tests/lab/run.py", "--only", "together")),
    Suite("demo", "scripts/demo --check, every engine, encapsulation and family", PROGRAMS, 600, demo),
    Suite("scenarios", "nodes, daemons and backends die under traffic, behind BGP and BFD", PROGRAMS, 660, scenarios,
          alone=True),
    Suite("faults", "a minute and a half of the campaign", PROGRAMS, 300, campaign, alone=True),
    Suite("lab-alone", "those of the lab that judge times or take a core", PROGRAMS, 600,
          runner("tests/lab/run.py", "--only", "alone"), alone=True),
    Suite("unit", "each part by itself", TESTS, 300, meson("build", "unit")),
    Suite("fleet", "20,000 fleets in virtual time, and that wrong rules are noticed", TESTS, 400, runner("tests/fleet/run.py"),
          alone=True),  # it wants both processors, and less than two minutes of them where they are not slow
    Suite("store", "a fleet's store in etcd, whose members die, freeze and forget", TESTS, 180, meson("build", "store")),
    Suite("packets", "every kind of packet through the real pipeline", TESTS, 400, packets),
    Suite("vm", "on Debian 12's own kernel, and on NICs, in virtual machines", TESTS, 2100,
          runner("tests/vm/run.py")),
    Suite("package", "Debian packages: installed in a clean system, started by systemd in a guest, purged", PACKAGE, 720,
          runner("tests/package/run.py")),
    Suite("sanitize", "unit and packets under AddressSanitizer and UBSan", SANITIZE, 1200,
          meson("build/sanitize", "unit", "packets")),
    Suite("threads", "the seam between control thread and workers under ThreadSanitizer", THREADS, 300,
          meson("build/threads", "seam")),
    Suite("fuzz", "frames, snapshots, the socket and the configuration, mutated; a short run", SANITIZE, 900, fuzz),
    Suite("coverage", "which lines of what decides the unit, packet and fleet tests run: a table, and 95 % at least", COVERAGE, 600, coverage,
          by_default=False),
    Suite("campaign", "random faults under load, for as many --minutes as one likes, the same again by --seed", PROGRAMS,
          CAMPAIGN_MINUTES * 60 + CAMPAIGN_MORE_S, campaign, alone=True, by_default=False),
]
