"""Prometheus and its own checker of metrics pages, out of Debian's package, which is unpacked and not installed: it would
start a server."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from lab.lab import BUILD


def promtool() -> Path:
    return _program("promtool")


def prometheus() -> Path:
    return _program("prometheus")


def _program(name: str) -> Path:
    """Fetched once into the build folder."""
    program = BUILD / name
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(dir=BUILD) as work:
        if _download(work) != 0:  # package lists that are missing, or name what is no longer there
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            if _download(work) != 0:
                raise RuntimeError("cannot fetch the package prometheus")
        [package] = Path(work).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), work], check=True)
        Path(work, "usr/bin", name).rename(program)
    return program


def _download(folder: str) -> int:
    return subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"],
                          cwd=folder).returncode


def check_metrics(page: str) -> str:
    """What promtool has to say against a page; empty: nothing."""
    done = subprocess.run([str(promtool()), "check", "metrics"], input=page, capture_output=True, text=True)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")
