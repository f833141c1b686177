"""The files that are looked at, and what a check finds."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
MADE = ("build/", ".git/")  # folders that are made, not written


def files(*suffixes: str, under: str = "") -> list[str]:
    """All that is written, below the root. Not asked of git: a tree that was copied has none."""
    return sorted(name for name in _all_files() if name.endswith(suffixes) and name.startswith(under))


def read(name: str) -> str:
    return (ROOT / name).read_text(errors="replace")


def scripts() -> list[str]:
    """Programs for the shell, whatever their names."""
    return [name for name in _all_files() if "." not in Path(name).name
            and read(name)[:40].startswith(("#!/bin/sh", "#!/usr/bin/env bash", "#!/bin/bash"))]


def complaints(argv: Sequence[str | Path], names: Iterable[str]) -> list[str]:
    """What a checking program says of these files; nothing, if it is content."""
    done = subprocess.run([*argv, *names], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return (done.stdout.splitlines() or [f"{argv[0]} ended with {done.returncode}"]) if done.returncode else []


@functools.cache
def _all_files() -> list[str]:
    names = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(MADE) and "__pycache__" not in name)
