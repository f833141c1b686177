"""The installed programs at work in the lab: in their clean Debian, as the user and with the rights of their units."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import unittest
from pathlib import Path

from case import LAB_NAME
from lab.client import Load
from lab.lab import STATE, Lab
from lab.rights import Rights
from lab.topology import VIP
from roots import PACKAGES, bound, copy, package

PROGRAMS = {"dataplane/linimo-dataplane": "/usr/sbin", "controlplane/linimo-controlplane": "/usr/sbin",
            "controlplane/linimo": "/usr/bin", "bpf/decap/linimo-decap": "/usr/sbin"}


class FilesAlone(Rights):
    """The programs have their rights already."""

    def command(self, program: str, af_xdp: bool = False) -> list[str]:
        return []


class FromThePackage(unittest.TestCase):
    def setUp(self) -> None:
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.root = self.stack.enter_context(copy())
        self.stack.enter_context(bound(self.root))
        debs = [package("linimo"), package("linimo-decap")]
        for deb in debs:
            shutil.copy(deb, self.root / "tmp")
        self._in_root("apt-get", "install", "-y", "-qq", "--no-install-recommends", *(f"/tmp/{deb.name}" for deb in debs))
        self.user = int(self._in_root("id", "-u", "linimo"))

    def test_forwards(self) -> None:
        """Started by hand, without systemd: clients are answered by every backend, over IPv4 and IPv6."""
        lab = self.stack.enter_context(Lab(LAB_NAME, build=self._programs()))
        lab.node.config.engine = "xdp"
        lab.node.rights = FilesAlone(self.user)
        lab.build()
        lab.node.prepare()
        lab.node.give_rights()
        # The end of it in there takes off what is mounted in there alone.
        self.stack.callback(subprocess.run, ["umount", "--lazy", lab.node.config.runtime_dir / "bpf"], check=True)
        self._share(STATE)
        self.stack.callback(lab.node.stop)
        lab.start_node()
        for family in (4, 6):
            load = Load(lab.client, VIP[family])
            load.run(200)
            self.assertEqual([], load.failures[:3])
            self.assertEqual(3, len(load.served))

    def _in_root(self, *command: str) -> str:
        return subprocess.run(["chroot", self.root, *command], check=True, capture_output=True, text=True,
                              env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).stdout

    def _share(self, folder: Path) -> None:
        """It is the same in there, with all that is mounted in it."""
        inside = self.root / folder.relative_to("/")
        inside.mkdir(parents=True)
        subprocess.run(["mount", "--rbind", folder, inside], check=True)
        self.stack.callback(subprocess.run, ["umount", "--recursive", "--lazy", inside], check=True)

    def _programs(self) -> Path:
        """Looks like a build folder."""
        folder = self.root / "tmp/programs"
        rights = Rights(self.user)
        for name, place in PROGRAMS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            started = rights.command(path.name) if path.name in rights.capabilities else []
            path.write_text(f"#!/bin/sh\nexec chroot {self.root} {shlex.join([*started, f'{place}/{path.name}'])} \"$@\"\n")
            path.chmod(0o755)
        shutil.copy(PACKAGES / "linimo/obj/bpf/pass.bpf.o", folder / "bpf/pass.bpf.o")
        return folder
