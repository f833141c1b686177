"""The packages in a virtual machine with Debian's kernel and systemd as its first process. What is tested there is
in_guest.py."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from guest import Machine, Wire, boot, fetch_kernel, more_modules
from roots import PACKAGES, ROOT, copy, newer, package

SECONDS = 840
MACHINE = Machine(wires=(Wire("e1000e"),), processors=2, iommu=True, hugepages=128, memory_mb=1536)
MODULES = ("virtio_net", "e1000e", "veth", "tun", "vfio-pci", "vfio_iommu_type1")
# What nothing here needs, and an emulated CPU takes long for.
SPARED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
          "getty.target", "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-random-seed.service",
          "systemd-hwdb-update.service", "systemd-machine-id-commit.service", "systemd-binfmt.service")
# Run when the system is up; then it is switched off.
UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /shared && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 shared /shared'
ExecStart=/usr/bin/python3 -B /shared/tests/in_guest.py
ExecStopPost=/usr/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=default.target
"""


class InAGuest(unittest.TestCase):
    def test_all(self) -> None:
        """Every test of in_guest.py."""
        kernel = fetch_kernel(self._cache())
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(copy())
            shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linimo-shared-")))
            self._fill(shared, kernel)
            (root / "usr/sbin/policy-rc.d").unlink()
            for unit in SPARED:
                (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
            (root / "etc/systemd/system/tests.service").write_text(UNIT)
            wants = root / "etc/systemd/system/default.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / "tests.service").symlink_to("/etc/systemd/system/tests.service")
            # Through 9p each file that is opened would cost an emulated CPU dearly.
            disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linimo-disk-")), "image")
            subprocess.run(["mkfs.ext4", "-q", "-d", root, disk, "1G"], check=True)
            machine = Machine(**{**vars(MACHINE), "disk": disk, "system": "/sbin/init"})
            console = shared / "console"
            ended = boot(kernel, machine, (), shared, console, SECONDS)
            said = console.read_text(errors="replace").replace("\r", "") if console.exists() else ""
            print(said, file=sys.stderr, flush=True)
            report = shared / "report.json"
            self.assertTrue(report.exists(), f"no report; the guest {'ended' if ended else 'did not end'}")
            verdicts = json.loads(report.read_text())
        self.assertGreater(len(verdicts), 5)
        self.assertEqual([], [name for name, verdict in verdicts.items() if verdict != "passed"])

    @staticmethod
    def _cache() -> Path:
        """The kernel is the vm suite's too."""
        cache = ROOT / "build/vm"
        cache.mkdir(parents=True, exist_ok=True)
        return cache

    @staticmethod
    def _fill(shared: Path, kernel: Path) -> None:
        (shared / "ko").mkdir()
        for number, module in enumerate(more_modules(kernel, MODULES)):
            shutil.copy(module, shared / "ko" / f"{number:02}-{module.name}")
        tests = shared / "tests"
        tests.mkdir()
        for name in ("package/in_guest.py", "vm/frames.py", "vm/bench.py", "lab/result.py"):
            shutil.copy(ROOT / "tests" / name, tests)
        shutil.copytree(ROOT / "scripts/lab", tests / "lab", ignore=shutil.ignore_patterns("__pycache__"))
        (shared / "now").mkdir()
        (shared / "next").mkdir()
        for name in ("linimo", "linimo-decap"):
            shutil.copy(package(name), shared / f"now/{name}.deb")
        shutil.move(newer(PACKAGES / package("linimo").name, shared / "next"), shared / "next/linimo.deb")
