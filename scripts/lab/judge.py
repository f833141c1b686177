"""Runs scenarios and judges what was seen of them.

    for report in run_scenarios(["node-killed"], "linimo", say): assert not report["problems"]"""

from __future__ import annotations

import statistics
import subprocess
from typing import Any, Callable, Iterator, Sequence

from .lab import Lab
from .scenarios import SCENARIOS
from .traffic import KEPT_CONNECTIONS
from .world import Round, Scenario, World


def run_scenarios(names: Sequence[str], lab_name: str, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    for name in names:
        engines = {}
        for scenario in SCENARIOS[name]:
            setup = scenario.setup
            say(f"{name}: engine {setup.engine}, {setup.nodes} node{'s' if setup.nodes > 1 else ''}, "
                f"{setup.backends} backends, BIRD, {scenario.rounds} round{'s' if scenario.rounds > 1 else ''}")
            with Lab(lab_name, say=say) as lab:
                engines[setup.engine] = run_one(scenario, lab, say)
        yield {"scenario": name, "engines": engines,
               "problems": [f"{engine}: {problem}" for engine, of in engines.items() for problem in of["problems"]]}


def run_one(scenario: Scenario, lab: Lab, say: Callable[[str], None]) -> dict[str, Any]:
    rounds: list[Round] = []
    problems: list[str] = []
    step = "the lab"
    try:
        world = World(lab, scenario.setup)
        for number in range(1, scenario.rounds + 1):
            step = f"round {number}"
            world.begin_round(number)
            scenario.act(world)
            rounds.append(world.round)
            say(f"{step}: {world.round}")
    except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        problems.append(f"{step}: {type(error).__name__}: {error}")
        say("\n".join(node.logs() for node in lab.nodes))
    setup = scenario.setup
    return {"nodes": setup.nodes, "backends": setup.backends, **judge(rounds, scenario.milliseconds, problems)}


def judge(rounds: list[Round], limits: dict[str, float], problems: list[str]) -> dict[str, Any]:
    median = {step: statistics.median(of.milliseconds[step] for of in rounds)
              for step in (rounds[0].milliseconds if rounds else ())}
    for step, limit in limits.items():
        if median.get(step, 0) > limit:
            problems.append(f"{step} took {median[step]} ms, at most {limit:g} are allowed")
    for number, of in enumerate(rounds, 1):
        for what, broken, of_all, limit in (("kept connections", of.kept_broken, KEPT_CONNECTIONS, of.kept_may_break),
                                            ("requests", of.requests_failed, of.requests, of.requests_may_fail)):
            if broken > limit * of_all:
                problems.append(f"round {number}: {broken} of {of_all} {what} broke, first: {of.first_error}")
    return {"milliseconds": median, "rounds": [vars(of) for of in rounds],
            "kept_connections": KEPT_CONNECTIONS,
            "kept_broken": max((of.kept_broken for of in rounds), default=0),
            "requests_failed": max((of.requests_failed for of in rounds), default=0), "problems": problems}
