"""clang-tidy, by the checks in .clang-tidy. It takes seconds a file, so what a file's verdict was is kept for as long as
neither the file, nor what it includes of this project, nor how it is compiled, nor the checks change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .tree import ROOT, read

_KEPT = ROOT / "build/tidy"
_TOOL = "clang-tidy-14"
_OTHERS = "--extra-arg=-Wno-unknown-warning-option"  # options that g++ alone has
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+/[^"]+)"', re.MULTILINE)


def check(everything: bool) -> list[str]:
    """Of the sources that differ from what is on main, or of all."""
    try:
        commands = json.loads((ROOT / "build/compile_commands.json").read_text())
    except FileNotFoundError:
        return ["clang-tidy needs build/compile_commands.json: run scripts/build --tests"]
    compiled: dict[str, str] = {}
    for entry in commands:
        name = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
        if name.endswith(".cc") and not name.startswith(("build/", "..")):
            compiled.setdefault(name, entry["command"])
    if not everything:
        told = subprocess.run(["git", "diff", "--name-only", "main", "--"], cwd=ROOT, capture_output=True, text=True)
        changed = set(told.stdout.splitlines())
        compiled = {name: how for name, how in compiled.items() if changed & {name, *_included(name)}}
    _KEPT.mkdir(exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return sorted({line for lines in pool.map(lambda item: _verdict(*item), sorted(compiled.items())) for line in lines})


def _verdict(name: str, command: str) -> list[str]:
    about = [read(".clang-tidy"), command] + [read(one) for one in sorted({name, *_included(name)})]
    kept = _KEPT / hashlib.sha256("\0".join(about).encode()).hexdigest()
    if kept.exists():
        return kept.read_text().splitlines()
    done = subprocess.run([_TOOL, "-p", "build", "--quiet", "--warnings-as-errors=*", _OTHERS, name], cwd=ROOT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = [re.sub(r"^(?:.*/)?\.\./", "", line.replace(f"{ROOT}/", "")) for line in done.stdout.splitlines() if ": error: " in line]
    if done.returncode != 0 and not said:
        return [f"{name}: {_TOOL} ended with {done.returncode}: {done.stderr.strip()[-300:]}"]
    complaints = [line for line in said if not line.startswith("build/")]  # what bpftool has made
    temporary = kept.with_suffix(f".{os.getpid()}")
    temporary.write_text("".join(f"{line}\n" for line in complaints))
    temporary.rename(kept)
    return complaints


def _included(name: str) -> set[str]:
    """What a source includes of this project, at any depth. What is generated is not among it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for include in _INCLUDE.findall(read(waiting.pop())):
            if include not in found and Path(ROOT, include).exists():
                found.add(include)
                waiting.append(include)
    return found
