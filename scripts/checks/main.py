"""Runs the checks side by side and says what they found."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

from . import api_page, configuration, headers, includes, names, style, tidy
from .tree import ROOT

CHECKS: dict[str, Callable[[], list[str]]] = {
    "format": style.formatted,
    "shell": style.shell,
    "python": style.python,
    "includes": includes.check,
    "names": names.check,
    "configuration": configuration.check,
    "api": api_page.check,
    "headers": headers.check,
}
HOOK = '#!/bin/sh\nexec "$(git rev-parse --show-toplevel)/scripts/check"\n'


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/check", description="Looks at the sources: how they are formatted, who "
                                     "includes whom, whether what they name is there. Builds nothing, needs no root.")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; default: all")
    parser.add_argument("--tidy", action="store_true", help="clang-tidy too, of what differs from main")
    parser.add_argument("--all", action="store_true", help="with --tidy: of everything, which takes many minutes the first time")
    parser.add_argument("--install-hook", action="store_true", help="have git run this before each commit")
    parser.add_argument("--report", type=Path, help="counts as JSON, for scripts/test")
    options = parser.parse_args()
    if unknown := [name for name in options.checks if name not in CHECKS]:
        parser.error(f"no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    if options.install_hook:
        return install_hook()

    wanted = {name: check for name, check in CHECKS.items() if not options.checks or name in options.checks}
    if options.tidy:
        wanted["tidy"] = lambda: tidy.check(options.all)
    with ThreadPoolExecutor() as pool:
        found = dict(zip(wanted, pool.map(timed, wanted.values())))
    failures = []
    for name, (complaints, seconds) in found.items():
        print("\n".join(complaints + [f"{name}: {f'{len(complaints)} complaints' if complaints else 'ok'} ({seconds:.1f} s)"]))
        failures += [name] if complaints else []
    if options.report:
        options.report.write_text(json.dumps({"passed": len(found) - len(failures), "failed": len(failures), "skipped": 0,
                                              "failures": failures}))
    return 1 if failures else 0


def timed(check: Callable[[], list[str]]) -> tuple[list[str], float]:
    begun = time.monotonic()
    return check(), time.monotonic() - begun


def install_hook() -> int:
    told = subprocess.run(["git", "rev-parse", "--git-path", "hooks/pre-commit"], cwd=ROOT, capture_output=True, text=True)
    hook = ROOT / told.stdout.strip()
    if told.returncode != 0:
        print(f"scripts/check: no hook without git: {told.stderr.strip()}", file=sys.stderr)
        return 1
    if hook.exists() and hook.read_text() != HOOK:
        print(f"scripts/check: {hook} is there already; let it call scripts/check", file=sys.stderr)
        return 1
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    print(f"{hook}: runs scripts/check before each commit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
