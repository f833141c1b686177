"""Which lines of what decides were run: tables by file and by folder, out of what gcov has counted."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .process import run_logged

ROOT = Path(__file__).resolve().parents[2]
# What decides: every line of it can be reached by a test. (What asks the kernel, maglev/os/, is the lab's to show.)
_DECIDING = ["maglev/(?!os/|libraries/)", "dataplane/packet/", "dataplane/flow/", "dataplane/egress/", "dataplane/forward/",
             "controlplane/(change_text|phases|config/|tables/|fleet/|announce/decision|conditions/conditions)",
             "controlplane/health/(backend_health|flap_damper|phi_detector)"]


@dataclass
class Covered:
    lines: int = 0
    run: int = 0
    branches: int = 0
    taken: int = 0

    @property
    def percent(self) -> float:
        return 100 * self.run / max(1, self.lines)


def count(folder: Path, log: Path, deadline: float) -> tuple[str, dict[str, Covered]]:
    """Of a build whose programs have run: the table of files, and the folders. Empty: gcovr has failed."""
    counted, table = folder / "lines.json", folder / "table.txt"
    wanted = [argument for one in _DECIDING for argument in ("--filter", f"{re.escape(str(ROOT))}/{one}")]
    root = ["gcovr", "--root", str(ROOT)]
    if run_logged([*root, str(folder), *wanted, "--exclude-unreachable-branches", "--exclude-throw-branches", "-j", "2",
                   "--json", str(counted)], log, deadline) != 0:
        return "", {}
    if run_logged([*root, "-a", str(counted), "--txt", str(table)], log, deadline) != 0:
        return "", {}
    folders: dict[str, Covered] = defaultdict(Covered)
    for file in json.loads(counted.read_text())["files"]:
        one = folders[str(Path(file["file"]).parent)]
        for line in file["lines"]:
            if line.get("gcovr/noncode"):
                continue
            branches = line["branches"]
            one.lines += 1
            one.run += line["count"] > 0
            one.branches += len(branches)
            one.taken += sum(branch["count"] > 0 for branch in branches)
    return table.read_text(), dict(sorted(folders.items()))


def total(folders: dict[str, Covered]) -> Covered:
    every = folders.values()
    return Covered(sum(one.lines for one in every), sum(one.run for one in every), sum(one.branches for one in every),
                   sum(one.taken for one in every))


def as_text(folders: dict[str, Covered]) -> str:
    rows = [*folders.items(), ("all of them", total(folders))]
    return "\n".join(f"{name:24} {one.run:5} of {one.lines:5} lines {one.percent:6.1f} %, {one.taken:5} of {one.branches:5} branches"
                     for name, one in rows)
