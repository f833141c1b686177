"""`scripts/bench compare BASE`: another revision's forwarding benchmark in turn with this one's, and what became of each
point. What is slow for a while is so for both, so ratios are taken of runs that follow one another. Which memory a
program's file happens to lie in makes its path up to a tenth faster or slower, the same in each of its runs: so each run
is of a new copy."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from statistics import median
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "compare"
TURNS = 9
USUAL = ["--no-latency", "--rounds", "1", "--packets", "2097152"]

Times = dict[str, float]  # ns, by point


def build(base: str, say: Callable[[str], None]) -> Path:
    """The other revision's program, built in a worktree that stays for the next time."""
    commit = subprocess.run(["git", "rev-parse", "--verify", f"{base}^{{commit}}"], cwd=ROOT, check=True, text=True,
                            capture_output=True).stdout.strip()
    tree = FOLDER / commit[:12]
    if not tree.exists():
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, check=True)
    say(f"building {base} in {tree.relative_to(ROOT)}; `git worktree remove --force` ends it")
    subprocess.run([str(tree / "scripts/build"), "--bench"], check=True)
    return tree / "build/bench/forwarding"


def measure(program: Path, arguments: list[str]) -> Times:
    file, copy = FOLDER / "turn.json", FOLDER / "forwarding"
    copy.unlink(missing_ok=True)
    shutil.copy2(program, copy)
    subprocess.run([str(copy), *USUAL, *arguments, "--json", str(file)], check=True, stdout=subprocess.DEVNULL)
    return {point["name"]: point["ns"] for point in json.loads(file.read_text())["points"]}


def table(before: list[Times], after: list[Times]) -> list[str]:
    """Of the points that both know."""
    lines = [f"{'':46}{'before':>9}{'after':>9}{'ratio':>8}   ns: medians and least; ratio: median of the turns'"]
    for name in [name for name in after[0] if name in before[0]]:
        old, new = [turn[name] for turn in before], [turn[name] for turn in after]
        ratio = median(b / a for a, b in zip(old, new))
        lines.append(f"{name:46}{median(old):9.1f}{median(new):9.1f}{ratio:8.3f}   least {min(old):.1f}, {min(new):.1f}")
    return lines


def run(base: str, arguments: list[str], say: Callable[[str], None]) -> None:
    programs = build(base, say), ROOT / "build/bench/forwarding"
    before: list[Times] = []
    after: list[Times] = []
    for turn in range(TURNS):
        say(f"turn {turn + 1} of {TURNS}")
        before.append(measure(programs[0], arguments))
        after.append(measure(programs[1], arguments))
    print("\n".join(table(before, after)))
