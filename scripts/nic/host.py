"""The machine: files below a root, and commands. Everything that is read of it or done to it goes through here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class Host:
    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """"" for what cannot be read: the kernel may have no such thing, or it went meanwhile."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def number(self, name: str) -> int:
        text = self.read(name)
        return int(text) if re.fullmatch(r"-?\d+", text) else 0

    def names(self, name: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path(name)))
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def link(self, name: str) -> str:
        """The last part of what a symbolic link points to; "": it is none."""
        try:
            return os.path.basename(os.readlink(self.path(name)))
        except OSError:
            return ""

    def run(self, *command: str) -> str | None:
        """What it says; None: it failed, or this is not the machine that runs us."""
        if self.root != Path("/"):
            return None
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                                  env={**os.environ, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def ask(self, *command: str) -> list[dict[str, Any]]:
        """Of a command that answers with a JSON list."""
        with contextlib.suppress(ValueError):
            answer = json.loads(self.run(*command) or "[]")
            return [each for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []
        return []

    def text(self, name: str) -> str | None:
        """A file that somebody wrote, whatever bytes it has; None: there is none."""
        path = self.path(name)
        return path.read_text(errors="surrogateescape") if path.exists() else None

    def write(self, name: str, text: str) -> None:
        """To a file of the kernel's."""
        with open(self.path(name), "w") as file:
            file.write(text)

    def replace(self, name: str, text: str | None) -> None:
        """A file on disk, whole or not at all; None: away with it."""
        path = self.path(name)
        if path.is_symlink():  # others keep it elsewhere
            path = path.resolve()
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat() if path.exists() else None
        with tempfile.NamedTemporaryFile("w", errors="surrogateescape", dir=path.parent, prefix=f".{path.name}.",
                                         delete=False) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), before.st_mode & 0o777 if before else 0o644)
                if before:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.rename(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
