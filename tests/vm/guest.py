"""A virtual machine with Debian's own kernel: programs of this machine run in it, on that kernel.

QEMU emulates the CPU: slow, and the same everywhere. The kernel comes out of Debian's package, which is unpacked and
not installed; the root file system is made here and held in the guest's memory: busybox, the wanted programs with the
libraries they are linked to, files, kernel modules. Nothing of this machine is written to, there is no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterable, Sequence

KERNEL_PACKAGE = "linux-image-cloud-amd64"
MEMORY_MB = 1536


def fetch_kernel(cache: Path) -> Path:
    """The folder into which the kernel's package is unpacked. Fetched once; a newer one when `cache` is removed."""
    folder = cache / "kernel"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=cache) as work:
        if _download(work) != 0:  # package lists that are missing, or name what is no longer there
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            if _download(work) != 0:
                raise RuntimeError(f"cannot fetch the kernel that {KERNEL_PACKAGE} depends on")
        [package] = Path(work).glob("*.deb")
        unpacked = Path(work, "unpacked")
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
        unpacked.rename(folder)
    return folder


def _download(folder: str) -> int:
    """The package itself is empty and depends on the one of the present version."""
    depends = subprocess.run(["apt-cache", "depends", KERNEL_PACKAGE], capture_output=True, text=True).stdout
    versioned = re.search(r"Depends: (linux-image-\d\S+)", depends)
    if not versioned:
        return 1
    return subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", versioned[1]],
                          cwd=folder).returncode


def module_files(kernel: Path, names: Iterable[str]) -> list[Path]:
    """The modules' files and those they need, in the order in which to load them."""
    files = {path.stem.replace("-", "_"): path for path in kernel.glob("lib/modules/*/kernel/**/*.ko")}
    wanted: list[Path] = []

    def want(name: str) -> None:
        path = files[name]
        depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in filter(None, depends[1].decode().split(",") if depends else []):
            want(other.replace("-", "_"))
        if path not in wanted:
            wanted.append(path)

    for name in names:
        want(name)
    return wanted


class Root:
    """The guest's root file system, as a folder here until it is packed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("bin", "dev", "proc", "sys", "run", "tmp", "etc"):
            (folder / name).mkdir(parents=True)

    def add(self, source: Path, inside: Path | None = None) -> None:
        """A file, at the same path as here unless another is given."""
        target = self._folder / (inside or source).relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(source, target)

    def add_text(self, text: str, inside: Path) -> None:
        target = self._folder / inside.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add_program(self, source: Path, inside: Path | None = None) -> None:
        """With every library that the loader would look for."""
        self.add(source, inside)
        listed = subprocess.run(["ldd", str(source)], capture_output=True, text=True)
        if "not found" in listed.stdout:
            raise RuntimeError(f"{source}: {listed.stdout}")
        for library in re.findall(r"(/\S+) \(0x", listed.stdout):
            self.add(Path(library))

    def pack(self, archive: Path) -> None:
        with open(archive, "wb") as file:
            names = subprocess.run(["find", ".", "-print0"], cwd=self._folder, check=True, capture_output=True).stdout
            subprocess.run(["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"], cwd=self._folder,
                           input=names, stdout=file, check=True)


def boot(kernel: Path, initramfs: Path, console: Path, output: Path, seconds: float) -> bool:
    """Run the guest until it powers off; False if it did not in time, or not by itself. What it writes to its first
    serial port is its console, what it writes to the second is `output`. A kernel that panics ends the run."""
    [image] = kernel.glob("boot/vmlinuz-*")
    qemu: Sequence[str] = [
        "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MB),
        "-kernel", str(image), "-initrd", str(initramfs), "-append", "console=ttyS0 panic=-1 oops=panic",
        "-no-reboot", "-display", "none", "-monitor", "none", "-nodefaults",
        "-serial", f"file:{console}", "-serial", f"file:{output}"]
    console.touch()
    output.touch()
    with open(console, "ab") as log:
        try:
            return subprocess.run(qemu, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            log.write(f"\nthe guest did not end within {seconds:.0f} s\n".encode())
            return False
