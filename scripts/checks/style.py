"""Programs that know how a source should look: clang-format, shellcheck, pyflakes; clang-tidy if it is asked for."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from .tree import ROOT, complaints, files, scripts


def formatted() -> list[str]:
    return complaints(["clang-format-14", "--dry-run", "-Werror"], files(".h", ".cc", ".c"))


def shell() -> list[str]:
    return complaints(["shellcheck", "--severity", "warning"], scripts())


def python() -> list[str]:
    return complaints(["pyflakes3"], files(".py"))


def tidy(everything: bool) -> list[str]:
    """Sources that differ from what is committed on main, or all: those take a minute for each ten."""
    if not (ROOT / "build/compile_commands.json").exists():
        return ["clang-tidy needs build/compile_commands.json: run scripts/build --tests"]
    wanted = files(".cc")
    if not everything:
        changed = subprocess.run(["git", "diff", "--name-only", "main", "--"], cwd=ROOT, capture_output=True, text=True)
        wanted = [name for name in wanted if name in changed.stdout.splitlines()]

    def one(name: str) -> list[str]:
        return complaints(["clang-tidy-14", "-p", "build", "--quiet", "--warnings-as-errors=*"], [name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for lines in pool.map(one, wanted) for line in lines if "error:" in line]
