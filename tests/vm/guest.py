"""A virtual machine with Debian's own kernel: programs of this machine run in it, on that kernel.

QEMU emulates the CPU: slow, and the same everywhere. The kernel comes out of Debian's package, which is unpacked and
not installed. The guest sees this machine's files, and what it writes to them stays in its memory; one folder is
shared. Each of its NICs is wired to another of its own, so there is no network but itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

KERNEL_PACKAGE = "linux-image-amd64"
HERE = Path(__file__).resolve().parent

# What brings the guest to this machine's files, and so cannot come from there.
_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_WIRE_MTU = 9216  # of one that a bridge is; QEMU's own take anything
_DISK_MODULES = ("virtio_blk", "ext4", "crc32c_generic")


@dataclass(frozen=True)
class Wire:
    """Two NICs of the guest's and a wire between them: the node's, and one for whatever is to be at its other end.
    Wire N (from 1) joins the NICs with the MAC addresses 02:00:00:00:0N:01 and :02; `set_link nicN off` at the
    monitor is a cable that was pulled."""
    device: str = "virtio-net-pci"  # the node's NIC, with QEMU's options for it
    queues: int = 1


@dataclass(frozen=True)
class Machine:
    wires: tuple[Wire, ...] = ()
    processors: int = 1
    iommu: bool = False
    hugepages: int = 0  # of 2 MB
    memory_mb: int = 1536
    disk: Path | None = None  # an ext4 whose files the guest sees instead of this machine's
    system: str = ""  # the guest's own first process there; "": it runs orders


def fetch_kernel(cache: Path) -> Path:
    """The folder into which the kernel's package is unpacked. Fetched once; a newer one when `cache` is removed."""
    folder = cache / KERNEL_PACKAGE
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
        path = files[name.replace("-", "_")]
        depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in filter(None, depends[1].decode().split(",") if depends else []):
            want(other)
        if path not in wanted:
            wanted.append(path)

    for name in names:
        want(name)
    return wanted


def more_modules(kernel: Path, names: Iterable[str]) -> list[Path]:
    """Those that the guest has to load itself."""
    there = module_files(kernel, _FIRST_MODULES)
    return [path for path in module_files(kernel, names) if path not in there]


def boot(kernel: Path, machine: Machine, modules: Iterable[str], shared: Path, console: Path, seconds: float) -> bool:
    """Run the guest until it powers off; False if it did not in time, or not by itself. Its first process runs what
    `shared`/orders says, a line each. Its first serial port is its console, its second QEMU's monitor: so the guest
    may pull its own cables. A kernel that panics ends the run."""
    wanted = more_modules(kernel, modules)
    (shared / "modules").write_text("".join(f"{path}\n" for path in wanted))
    with tempfile.TemporaryDirectory(prefix="linimo-guest-") as work, open(console, "ab") as log:
        qemu = _qemu(kernel, machine, Path(work), shared, console)
        try:
            # In a network namespace of its own, which goes with it.
            return subprocess.run(["unshare", "--net", "sh", "-c", _taps(machine) + 'exec "$@"', "sh", *qemu],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            log.write(f"\nthe guest did not end within {seconds:.0f} s\n".encode())
            return False


def _qemu(kernel: Path, machine: Machine, work: Path, shared: Path, console: Path) -> list[str]:
    [image] = kernel.glob("boot/vmlinuz-*")
    _pack_initramfs(kernel, work / "initramfs", (*_FIRST_MODULES, *(_DISK_MODULES if machine.disk else ())))
    kernel_options = ["console=ttyS0", "quiet", "mitigations=off", "panic=-1", "oops=panic", f"TESTS={HERE}",
                      *([f"hugepages={machine.hugepages}"] if machine.hugepages else []),
                      *(["intel_iommu=on", "iommu=pt"] if machine.iommu else []),
                      *([f"SYSTEM={machine.system}"] if machine.system else []), *(["DISK=/dev/vda"] if machine.disk else [])]
    options = [
        "qemu-system-x86_64", "-cpu", "max", "-machine",
        "q35,accel=tcg" + (",kernel-irqchip=split" if machine.iommu else ""),
        *(["-device", "intel-iommu,intremap=on"] if machine.iommu else []),
        "-smp", str(machine.processors), "-m", str(machine.memory_mb),
        "-kernel", str(image), "-initrd", str(work / "initramfs"), "-append", " ".join(kernel_options),
        "-no-reboot", "-display", "none", "-nodefaults",
        *(["-drive", f"file={machine.disk},format=raw,if=virtio,readonly=on"] if machine.disk else
          ["-virtfs", "local,path=/,mount_tag=here,security_model=none,readonly=on,multidevs=remap"]),
        "-virtfs", f"local,path={shared},mount_tag=shared,security_model=none",
        "-chardev", f"socket,id=monitor,path={work}/monitor,server=on,wait=off", "-mon", "chardev=monitor,mode=readline",
        "-chardev", f"socket,id=tty,path={work}/monitor",
        "-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console", "-serial", "chardev:tty"]
    for number, wire in enumerate(machine.wires, 1):
        for end, device, queues in ((1, wire.device, wire.queues), (2, "virtio-net-pci", 1)):
            name = f"{'nic' if end == 1 else 'peer'}{number}"
            many = f",mq=on,vectors={2 * queues + 2}" if queues > 1 else ""
            # A hub has one queue a port.
            back = (f"tap,ifname={name},script=no,downscript=no,vhost=off" + (f",queues={queues}" if queues > 1 else "")
                    if wire.queues > 1 else f"hubport,hubid={number}")
            options += ["-netdev", f"{back},id={name}",
                        "-device", f"{device}{many},netdev={name},mac=02:00:00:00:{number:02x}:{end:02x}"]
    return options


def _taps(machine: Machine) -> str:
    """Commands that make what NICs with several queues are wired by."""
    lines = ["set -e", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"]
    for number in (number for number, wire in enumerate(machine.wires, 1) if wire.queues > 1):
        lines += [f"ip link add wire{number} type bridge mcast_snooping 0", f"ip link set wire{number} mtu {_WIRE_MTU} up"]
        for name, many in ((f"nic{number}", "multi_queue"), (f"peer{number}", "")):
            lines += [f"ip tuntap add {name} mode tap vnet_hdr {many}", f"ip link set {name} master wire{number} mtu {_WIRE_MTU} up"]
    return "\n".join(lines) + "\n"


def _pack_initramfs(kernel: Path, archive: Path, names: tuple[str, ...]) -> None:
    """busybox, `init`, and the first modules."""
    root = archive.with_suffix(".d")
    for name in ("bin", "dev", "proc", "sys", "lower", "upper", "root", "modules.d"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    shutil.copy(HERE / "init", root / "init")
    modules = module_files(kernel, names)
    for module in modules:
        shutil.copy(module, root / "modules.d")
    (root / "modules").write_text("".join(f"/modules.d/{module.name}\n" for module in modules))
    with open(archive, "wb") as file:
        names = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "--null", "--create", "--format=newc", "--owner=0:0", "--quiet"], cwd=root, input=names,
                       stdout=file, check=True)
