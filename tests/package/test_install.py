"""The packages in a clean Debian: installed, upgraded, removed, purged."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from roots import ROOT, bound, copy, newer, package

UNITS = ("linimo-dataplane.service", "linimo-controlplane.service")
SOCKET, HELPER = "linimo-checks.socket", "linimo-checks.service"
MOST_EXPOSED = 3.0
# What dpkg and apt themselves keep of a package that was there, and what is made anew from what is installed.
_NOT_COMPARED = re.compile(r"^(proc|sys|dev|tmp|var/lib/(dpkg|apt)|var/log|var/cache|etc/ld\.so\.cache|"
                           r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-|etc/\.pwd\.lock|run/lock)")


def everything(root: Path) -> set[str]:
    listed = subprocess.run(["find", ".", "-xdev", "-printf", "%P %M %U %G\n"], cwd=root, check=True, capture_output=True,
                            text=True).stdout.splitlines()
    accounts = {f"{name}: {line}" for name in ("passwd", "group") for line in (root / "etc" / name).read_text().splitlines()}
    return {line for line in listed if not _NOT_COMPARED.match(line)} | accounts


class InstallCase(unittest.TestCase):
    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.root = stack.enter_context(copy())
        stack.enter_context(bound(self.root))
        (self.root / "packages").mkdir()
        self.before = everything(self.root)

    def run_in(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(["chroot", self.root, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check:
            self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def install(self, *debs: Path) -> str:
        for deb in debs:
            shutil.copy(deb, self.root / "packages")
        said = self.run_in("apt-get", "install", "-y", "-q", "--no-install-recommends", *(f"/packages/{deb.name}" for deb in debs))
        for deb in debs:
            (self.root / "packages" / deb.name).unlink()
        return said

    def configure(self) -> None:
        shutil.copy(self.root / "usr/share/doc/linimo/examples/single-node.toml", self.root / "etc/linimo/linimo.toml")
        (self.root / "etc/linimo/seed").write_text("0123456789abcdef\n")


class Install(InstallCase):
    def test_nothing_is_left_after_purge(self) -> None:
        """Installed, configured, upgraded and purged: every file, folder and account is as it was."""
        debs = [package("linimo"), package("linimo-decap")]
        self.install(*debs)
        self.assertNotEqual(self.before, everything(self.root))
        self.configure()
        (self.root / "var/lib/linimo/drains.json").write_text("{}")
        with tempfile.TemporaryDirectory() as folder:
            self.install(*(newer(deb, Path(folder)) for deb in debs))
        self.assertIn("+next", self.run_in("dpkg-query", "-W", "-f", "${Version}", "linimo"))
        self.assertTrue((self.root / "etc/linimo/linimo.toml").exists())
        self.run_in("apt-get", "purge", "-y", "-q", "linimo", "linimo-decap")
        after = everything(self.root)
        self.assertEqual((set(), set()), (after - self.before, self.before - after))

    def test_removed_it_keeps_configuration_and_state(self) -> None:
        """`apt remove` is for those who come back."""
        self.install(package("linimo"))
        self.configure()
        (self.root / "var/lib/linimo/drains.json").write_text("{}")
        self.run_in("apt-get", "remove", "-y", "-q", "linimo")
        for name in ("etc/linimo/linimo.toml", "etc/linimo/seed", "var/lib/linimo/drains.json"):
            self.assertTrue((self.root / name).exists(), name)
        self.assertFalse((self.root / "usr/sbin/linimo-dataplane").exists())
        self.install(package("linimo"))

    def test_what_is_installed(self) -> None:
        """User, folders, programs, units, manual, examples, completion."""
        self.install(package("linimo"), package("linimo-decap"))
        for folder, mode in (("run/linimo", 755), ("var/lib/linimo", 750)):
            self.run_in("systemd-tmpfiles", "--create", "linimo.conf")
            self.assertEqual(f"linimo linimo {mode}\n", self.run_in("stat", "-c", "%U %G %a", f"/{folder}"))
        for program in ("linimo", "linimo-checks", "linimo-controlplane", "linimo-dataplane", "linimo-decap"):
            self.assertEqual("0.1.0", self.run_in(program, "--version").strip(), program)
        self.assertIn("no PCI device 0000:7f:00.0", self.run_in("linimo-setup-nic", "check", "7f:00.0", check=False))
        for unit in (*UNITS, SOCKET):
            self.assertEqual("enabled\n", self.run_in("systemctl", "is-enabled", unit))
        for page in ("man1/linimo.1.gz", "man5/linimo.toml.5.gz", "man8/linimo-checks.8.gz", "man8/linimo-controlplane.8.gz",
                     "man8/linimo-dataplane.8.gz", "man8/linimo-decap.8.gz", "man8/linimo-setup-nic.8.gz"):
            self.assertTrue((self.root / "usr/share/man" / page).exists(), page)
        examples = sorted((self.root / "usr/share/doc/linimo/examples").glob("*.toml"))
        self.assertEqual(["announced.toml", "fleet.toml", "l2.toml", "single-node.toml"], [path.name for path in examples])
        for path in examples:
            self.assertIn("is valid", self.run_in("linimo", "config", "check", f"/{path.relative_to(self.root)}"))
        self.assertIn("proto linimo", self.run_in("sh", "-c", "unshare --net sh -c 'ip link set lo up; "
                                                  "ip route add 203.0.113.10/32 dev lo table 77 proto 77; ip route show table 77'"))
        completed = self.run_in("bash", "-c", "_init_completion() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}; "
                                "words=(\"${COMP_WORDS[@]}\") cword=$COMP_CWORD; }; . /usr/share/bash-completion/completions/linimo; "
                                "COMP_WORDS=(linimo no) COMP_CWORD=1; _linimo; echo \"${COMPREPLY[*]}\"")
        self.assertEqual("node\n", completed)

    def test_units(self) -> None:
        """systemd finds nothing wrong with them, and little that they leave open."""
        self.install(package("linimo"), package("linimo-decap"))
        said = self.run_in("systemd-analyze", "verify", "--man=no", *UNITS, SOCKET, HELPER, "run-linimo-bpf.mount", "linimo-decap@eth0.service")
        self.assertEqual("", "\n".join(line for line in said.splitlines() if "linimo" in line))
        for unit in (*UNITS, HELPER):
            told = self.run_in("systemd-analyze", "security", "--offline=true", f"/lib/systemd/system/{unit}")
            [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)
            print(f"    {unit}: exposure {exposure}", flush=True)
            self.assertLessEqual(float(exposure), MOST_EXPOSED, told)


class Sources(unittest.TestCase):
    def test_lintian_is_content(self) -> None:
        """No errors, no warnings."""
        [changes] = (ROOT / "build/package").glob("linimo_*.changes")
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", changes], capture_output=True, text=True)
        self.assertEqual((0, ""), (done.returncode, done.stdout))
