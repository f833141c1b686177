"""A clean Debian 12, made by debootstrap once and kept in build/package/clean, and copies of it to install packages in:
what is written to one stays in memory and goes with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build/package"
CLEAN = PACKAGES / "clean"
# Besides the essential ones. Python runs the tests in the guest.
_INCLUDED = ("systemd", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "procps", "python3")
_DRIVERS = ("librte-net-e1000-23",)  # what is recommended, of which the guest has a NIC
_BOUND = ("proc", "sys", "dev")


def package(name: str) -> Path:
    [found] = PACKAGES.glob(f"{name}_*.deb")
    return found


def depends(*names: str) -> list[str]:
    """What the packages need, without versions."""
    listed = [subprocess.run(["dpkg-deb", "-f", package(name), field], check=True, capture_output=True, text=True).stdout
              for name in names for field in ("Depends", "Pre-Depends")]
    alternatives = {part.split("|")[0].split("(")[0].strip() for part in ",".join(listed).replace("\n", "").split(",")}
    return sorted(alternatives - {""} - {f"lib{name}" for name in names})


def prepare() -> Path:
    """The clean system with all that the packages need and not the packages; made anew when they need something else."""
    wanted = [*depends("linimo", "linimo-decap"), *_DRIVERS]
    mark = hashlib.sha256(" ".join((*_INCLUDED, *wanted)).encode()).hexdigest()[:16]
    root = CLEAN / mark
    if root.exists():
        return root
    archives = PACKAGES / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    CLEAN.mkdir(parents=True, exist_ok=True)
    for old in CLEAN.iterdir():
        shutil.rmtree(old)
    making = CLEAN / "making"
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(_INCLUDED)}", f"--cache-dir={archives}",
                    "bookworm", making, _mirror()], check=True, stdout=subprocess.DEVNULL)
    for name in ("etc/resolv.conf", "etc/apt/apt.conf.d/99proxy"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(Path("/", name), making / name)
    (making / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (making / "usr/sbin/policy-rc.d").chmod(0o755)
    with bound(making):
        subprocess.run(["chroot", making, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o",
                        "Dpkg::Use-Pty=0", *wanted], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        subprocess.run(["chroot", making, "apt-get", "clean"], check=True)
    making.rename(root)
    return root


def _mirror() -> str:
    """Where this machine's own apt takes Debian from."""
    told = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Codename: bookworm", "Created-By: Packages"],
                          capture_output=True, text=True).stdout.split()
    return next((site for site in told if site.endswith("/debian")), "http://deb.debian.org/debian")


@contextlib.contextmanager
def bound(root: Path) -> Iterator[None]:
    """The kernel's file systems are there meanwhile."""
    for name in _BOUND:
        subprocess.run(["mount", "--bind", f"/{name}", root / name], check=True)
    try:
        yield
    finally:
        for name in reversed(_BOUND):
            subprocess.run(["umount", "--lazy", root / name], check=True)


@contextlib.contextmanager
def copy() -> Iterator[Path]:
    """A clean system of one's own. Mounted where nothing else would see it, if that is forgotten."""
    clean = prepare()
    with tempfile.TemporaryDirectory(prefix="linimo-package-") as work:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", work], check=True)
        try:
            for name in ("upper", "work", "root"):
                Path(work, name).mkdir()
            root = Path(work, "root")
            subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={clean},upperdir={work}/upper,workdir={work}/work",
                            "overlay", root], check=True)
            try:
                yield root
            finally:
                subprocess.run(["umount", "--lazy", root], check=True)
        finally:
            subprocess.run(["umount", "--lazy", work], check=True)


def newer(deb: Path, folder: Path) -> Path:
    """The same package as a later version."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        subprocess.run(["dpkg-deb", "-R", deb, work], check=True)
        control = Path(work, "DEBIAN/control")
        lines = control.read_text().splitlines()
        control.write_text("\n".join(f"{line}+next" if line.startswith("Version:") else line for line in lines) + "\n")
        made = folder / f"{deb.name.split('_')[0]}-next.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", work, made], check=True, stdout=subprocess.DEVNULL)
    return made
