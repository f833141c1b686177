"""Runs in the guest, by systemd: the package is installed, started by its units, reloaded, hurt, upgraded and purged,
with a NIC that has the world at the other end of its wire. One test follows from the other."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Iterator

os.environ.setdefault("LINIMO_BUILD", "/nonexistent")  # bench.py wants one
from bench import Wiretap  # noqa: E402
from frames import ACK, SYN, tcp  # noqa: E402
from lab.netns import Namespace  # noqa: E402
from lab.wait import wait_until  # noqa: E402
from result import Result  # noqa: E402

SHARED = Path("/shared")
NODE, PEER, VIP, BACKENDS = "10.0.0.11", "10.0.0.1", "203.0.113.10", ("10.0.1.1", "10.0.1.2")
MACS = SimpleNamespace(mac="02:00:00:00:01:01", peer_mac="02:00:00:00:01:02")
DATAPLANE, CONTROLPLANE = "linimo-dataplane.service", "linimo-controlplane.service"
EXAMPLES = Path("/usr/share/doc/linimo/examples")
CONFIG = Path("/etc/linimo/linimo.toml")
SEED = Path("/etc/linimo/seed")
PATIENCE_S = 60  # two emulated CPUs, on a machine that builds something else meanwhile


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
    return done.stdout


def shown(unit: str, what: str) -> str:
    return run("systemctl", "show", "--value", "-p", what, unit).strip()


def listed() -> set[str]:
    """Files that outlive the package, were they left."""
    found = run("find", "/etc", "/usr", "/lib", "/var/lib/linimo", "/run/linimo", "/var/lib/systemd", "-xdev", check=False)
    return {line for line in found.splitlines() if not re.search(r"/etc/(passwd|group|shadow|gshadow)-$|ld.so.cache|random-seed|/timesync|/catalog", line)
            and "No such file" not in line}


def accounts() -> str:
    return Path("/etc/passwd").read_text() + Path("/etc/group").read_text()


class Guest(unittest.TestCase):
    peer = Namespace("peer")

    @classmethod
    def setUpClass(cls) -> None:
        for module in sorted((SHARED / "ko").iterdir()):
            run("insmod", str(module))
        links = {link["address"]: link["ifname"] for link in json.loads(run("ip", "-j", "link"))}
        run("ip", "netns", "add", cls.peer.name)
        run("ip", "link", "set", links[MACS.mac], "down")
        run("ip", "link", "set", links[MACS.mac], "name", "eth0", "up")
        run("ip", "link", "set", links[MACS.peer_mac], "netns", cls.peer.name)
        run("ip", "-n", cls.peer.name, "link", "set", links[MACS.peer_mac], "name", "eth0", "up")
        run("ip", "-n", cls.peer.name, "addr", "add", f"{PEER}/24", "dev", "eth0")
        cls.address("eth0")
        cls.before, cls.accounts = listed(), accounts()

    @staticmethod
    def address(link: str) -> None:
        run("ip", "addr", "replace", f"{NODE}/24", "dev", link)
        run("ip", "route", "replace", "default", "via", PEER, "dev", link)

    # What is looked at again and again

    def configure(self, backends: tuple[str, ...], interface: str = "eth0", engine: str = "xdp", health: str = "") -> None:
        fresh = CONFIG.with_suffix(".new")
        fresh.write_text(f"""[node]
name = "lb1"
interfaces = ["{interface}"]
engine = "{engine}"
flows_per_worker = 65536
encap_source = ["{NODE}"]

[[pool]]
name = "web"
table_size = 1021
{health}backends = [{", ".join(f'{{ address = "{address}" }}' for address in backends)}]

[[service]]
name = "web"
vips = ["{VIP}"]
protocol = "tcp"
ports = [80]
pool = "web"
""")
        fresh.rename(CONFIG)

    def start(self) -> None:
        begun = time.monotonic()
        run("systemctl", "start", DATAPLANE, CONTROLPLANE)
        print(f"    started within {time.monotonic() - begun:.1f} s", flush=True)
        for unit in (DATAPLANE, CONTROLPLANE):
            self.assertEqual("active", shown(unit, "ActiveState"))

    @contextlib.contextmanager
    def wire(self) -> Iterator[Wiretap]:
        import socket
        with self.peer.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
            sock.bind(("eth0", 0))
            sock.setsockopt(263, 8, 1)  # PACKET_AUXDATA
            yield Wiretap(sock, MACS)  # type: ignore[arg-type]

    def chosen(self, first_port: int, flows: int = 20, flags: int = SYN) -> dict[int, str]:
        """The backend of each flow."""
        with self.wire() as wire:
            for port in range(first_port, first_port + flows):
                wire.send(tcp(PEER, VIP, port, 80, flags))
            return {int.from_bytes(tunnel.inner[20:22], "big"): tunnel.destination for tunnel in wire.tunnels(flows, 20)}

    def wait_forwarding(self) -> None:
        wait_until(lambda: len(self.chosen(10000, 5)) == 5, "it forwards", PATIENCE_S)

    def wait_said(self, unit: str, pattern: str) -> None:
        """In the journal, which hears of it a moment later."""
        wait_until(lambda: re.search(pattern, run("journalctl", "--no-pager", "-q", "-u", unit, "-n", "300")),
                   f"{unit} says {pattern}", PATIENCE_S, poll=0.5)

    def wait_status(self, unit: str, pattern: str) -> None:
        wait_until(lambda: re.match(pattern, shown(unit, "StatusText")), f"{unit} has the status {pattern}", PATIENCE_S, poll=0.5)

    def wait_another(self, pid: str) -> None:
        wait_until(lambda: shown(DATAPLANE, "MainPID") not in (pid, "0") and shown(DATAPLANE, "ActiveState") == "active",
                   "it runs again", PATIENCE_S, poll=0.5)

    # The tests

    def test_1_installed_it_waits_for_a_configuration(self) -> None:
        run("dpkg", "-i", "/shared/now/linimo.deb")
        for unit in (DATAPLANE, CONTROLPLANE):
            self.assertEqual(("enabled", "inactive"), (shown(unit, "UnitFileState"), shown(unit, "ActiveState")))
        run("systemctl", "start", DATAPLANE)
        self.assertEqual("inactive", shown(DATAPLANE, "ActiveState"))

    def test_2_started_by_its_units_it_forwards(self) -> None:
        """As user linimo, and says how it is."""
        self.configure(BACKENDS)
        SEED.write_text("0123456789abcdef\n")
        SEED.chmod(0o600)
        run("chown", "linimo:linimo", str(SEED))
        self.start()
        self.wait_forwarding()
        self.assertEqual(set(BACKENDS), set(self.chosen(11000).values()))
        for unit in (DATAPLANE, CONTROLPLANE):
            pid = shown(unit, "MainPID")
            self.assertEqual("linimo", run("ps", "-o", "user=", "-p", pid).strip())
        self.wait_status(DATAPLANE, r"^forwards by generation \d+$")
        self.wait_status(CONTROLPLANE, r"generation \d+, serves")

    def test_3_reload(self) -> None:
        """A good configuration is in force when `systemctl reload` returns; a bad one fails it, and changes nothing."""
        pid = shown(CONTROLPLANE, "MainPID")
        self.configure(BACKENDS[:1])
        run("systemctl", "reload", CONTROLPLANE)
        self.assertEqual({BACKENDS[0]}, set(self.chosen(12000).values()))
        self.rights_of_a_check()
        good = CONFIG.read_text()
        CONFIG.write_text("[node]\nname = 5\n")
        with self.assertRaises(RuntimeError):
            run("systemctl", "reload", CONTROLPLANE)
        self.assertEqual({BACKENDS[0]}, set(self.chosen(12100).values()))
        CONFIG.write_text(good)
        self.assertEqual(pid, shown(CONTROLPLANE, "MainPID"))

    def rights_of_a_check(self) -> None:
        """A program that checks backends is not user linimo, nor of that group, whose members may drain the node; it has no capabilities."""
        program = Path("/etc/linimo/checks.d/rights")
        self.addCleanup(program.unlink)
        program.write_text("#!/bin/sh\necho \"user $(id -u) groups $(id -G) $(grep CapEff /proc/self/status)\"; exit 7\n")
        program.chmod(0o755)
        self.configure(BACKENDS[:1], health='health = { type = "exec", program = "rights", interval = "5s", timeout = "4s", rise = 1, fall = 1 }\n')
        run("systemctl", "reload", CONTROLPLANE)
        said = wait_until(lambda: re.search(r"user (\d+) groups ([\d ]+) CapEff:.([0-9a-f]+)", run("linimo", "backend", "list", "-o", "json")),
                          "the program was run", PATIENCE_S)
        print(f"    a check is run by {said[0]}", flush=True)
        own = run("id", "-u", "linimo").strip(), run("id", "-g", "linimo").strip()
        self.assertNotIn(said[1], ("0", own[0]))
        self.assertNotIn(own[1], said[2].split())
        self.assertEqual(0, int(said[3], 16))
        self.configure(BACKENDS[:1])
        run("systemctl", "reload", CONTROLPLANE)
        self.wait_forwarding()

    def test_4_restarted_it_keeps_flows(self) -> None:
        """Both daemons, while packets come: none is lost, and each flow stays with its backend."""
        self.configure(BACKENDS)
        run("systemctl", "reload", CONTROLPLANE)
        flows = self.chosen(13000, 40)
        with self.packets_meanwhile() as lost:
            run("systemctl", "restart", DATAPLANE, CONTROLPLANE)
        self.assertEqual([], lost)
        self.assertEqual(flows, self.chosen(13000, 40, ACK))
        self.wait_said(DATAPLANE, "taken over as it was")

    def test_5_an_upgrade_restarts_nothing(self) -> None:
        pids = {unit: shown(unit, "MainPID") for unit in (DATAPLANE, CONTROLPLANE)}
        with self.packets_meanwhile() as lost:
            said = run("dpkg", "-i", "/shared/next/linimo.deb")
        self.assertEqual([], lost)
        self.assertIn("linimo dataplane upgrade", said)
        self.assertEqual(pids, {unit: shown(unit, "MainPID") for unit in pids})
        self.assertIn("+next", run("dpkg-query", "-W", "linimo"))

    def test_6_handed_over_under_its_unit(self) -> None:
        """Another process is the unit's, not started by it; no packet is lost, each flow stays with its backend."""
        flows = self.chosen(14000, 40)
        with self.packets_meanwhile() as lost:
            self.hand_over()
        self.assertEqual([], lost)
        self.assertEqual(flows, self.chosen(14000, 40, ACK))

    def hand_over(self) -> None:
        """On an emulated CPU the new process may take longer than it may. Then the one before goes on, and it is tried again."""
        pid, restarts = shown(DATAPLANE, "MainPID"), shown(DATAPLANE, "NRestarts")
        for _ in range(3):
            said = run("linimo", "dataplane", "upgrade", check=False).strip()
            print(f"    {said}", flush=True)
            if "did not forward within" not in said:
                break
            # It starts anew, and what systemd was told before stands until then.
            wait_until(Path("/run/linimo/dataplane.sock").is_socket, "the data plane before listens again", PATIENCE_S, poll=0.5)
            self.wait_status(DATAPLANE, r"^forwards by generation \d+$")
        self.assertIn("handed over to pid", said)
        self.wait_another(pid)
        wait_until(lambda: not Path("/proc", pid).exists(), "the process before has ended", PATIENCE_S)
        self.assertEqual((restarts, "running"), (shown(DATAPLANE, "NRestarts"), shown(DATAPLANE, "SubState")))
        self.wait_status(DATAPLANE, r"^forwards by generation \d+$")

    def test_7_the_watchdog_bites(self) -> None:
        """A data plane that stands still is ended and started anew; what its program forwards goes on."""
        pid = shown(DATAPLANE, "MainPID")
        os.kill(int(pid), signal.SIGSTOP)
        self.wait_another(pid)
        self.wait_said(DATAPLANE, "(?i)watchdog timeout")
        self.wait_forwarding()

    def test_8_one_worker_of_dpdk(self) -> None:
        """A NIC of vfio-pci's, which is the user's by the udev rule, its addresses systemd-networkd's: handed over; one worker that stands still is
        enough."""
        run("systemctl", "stop", DATAPLANE, CONTROLPLANE)
        self.assertEqual("", run("pgrep", "-l", "linimo", check=False))
        run("linimo", "dataplane", "detach")
        device = Path("/sys/class/net/eth0/device").resolve()
        (device / "driver_override").write_text("vfio-pci\n")
        (device / "driver/unbind").write_text(device.name)
        Path("/sys/bus/pci/drivers_probe").write_text(device.name)
        wait_until(lambda: (device / "driver").exists(), "vfio-pci has it", PATIENCE_S)
        self.configure(BACKENDS, device.name, "dpdk")
        for example, place in (("linimo0.network", "network/50-linimo0.network"), ("networkd.conf", "networkd.conf.d/linimo.conf")):
            file = Path("/etc/systemd", place)
            if not file.parent.exists():
                file.parent.mkdir()
                self.addCleanup(file.parent.rmdir)
            file.write_text((EXAMPLES / example).read_text())
            self.addCleanup(file.unlink)
        run("systemctl", "start", "systemd-networkd")
        self.addCleanup(run, "systemctl", "stop", "systemd-networkd.service", "systemd-networkd.socket")
        self.start()
        self.wait_forwarding()
        flows = self.chosen(15000)
        self.hand_over()
        self.assertEqual(flows, self.chosen(15000, flags=ACK))
        pid = int(shown(DATAPLANE, "MainPID"))
        [worker] = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
                    if (task / "comm").read_text().strip() == "rte-worker-1"]
        begun = time.monotonic()
        killed_within(worker, PATIENCE_S)
        print(f"    bitten after {time.monotonic() - begun:.1f} s", flush=True)
        self.wait_another(str(pid))
        self.wait_said(DATAPLANE, r"[1-9]\d* tracked flows taken over")
        self.wait_forwarding()

    def test_9_purged_nothing_is_left(self) -> None:
        """Also where the configuration went first, and where a device has the backends' program."""
        CONFIG.unlink()
        run("dpkg", "-i", "/shared/now/linimo-decap.deb")
        run("systemctl", "enable", "linimo-decap@lo.service")
        run("linimo-decap", "attach", "lo")
        self.assertIn("prog/xdp", run("ip", "link", "show", "lo"))
        run("dpkg", "--purge", "linimo", "linimo-decap")
        self.assertNotIn("prog/xdp", run("ip", "link"))
        self.assertEqual("", run("pgrep", "-l", "linimo", check=False))
        self.assertNotIn("/run/linimo", Path("/proc/mounts").read_text())
        self.assertEqual([], list(Path("/dev/hugepages").iterdir()))
        self.assertNotIn("linimo", run("ip", "link"))
        self.assertEqual("", run("ip", "route", "show", "table", "77", check=False).replace("Error: ipv4: FIB table does not exist.\nDump terminated\n", ""))
        after = listed()
        self.assertEqual((set(), set()), (after - self.before, self.before - after))
        self.assertEqual(self.accounts, accounts())

    @contextlib.contextmanager
    def packets_meanwhile(self) -> Iterator[list[int]]:
        """One flow's packets, ten a second; the numbers of those that did not come out."""
        lost: list[int] = []
        over = threading.Event()

        def send() -> None:
            number = 0
            with self.wire() as wire:
                while not over.is_set():
                    wire.send(tcp(PEER, VIP, 9000, 80, ACK, number.to_bytes(4, "big")))
                    if not wire.tunnels(1, 10):
                        lost.append(number)
                    number += 1
                    over.wait(0.1)
            print(f"    {number} packets meanwhile", flush=True)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            over.set()
            thread.join()


def killed_within(thread: int, seconds: int) -> None:
    """Stops one thread as a debugger does (ptrace(2)), until somebody kills it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    attach, wall = 16, 0x40000000
    if libc.ptrace(attach, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"thread {thread}")
    os.waitpid(thread, wall)
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(thread, wall | os.WNOHANG)
        if ended and not os.WIFSTOPPED(status):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody killed thread {thread} within {seconds} s")
        time.sleep(0.1)


def main() -> None:
    print(f"guest: systemd is up after {Path('/proc/uptime').read_text().split()[0]} s", flush=True)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Guest)
    result = Result([test.id() for test in suite])
    suite.run(result)
    if "failed" in result.verdicts.values():
        print(run("journalctl", "--no-pager", "-q", "-u", "linimo*", "-n", "80"), flush=True)
        print(run("systemctl", "status", "--no-pager", "linimo*", check=False), flush=True)
    (SHARED / "report.json").write_text(json.dumps(result.verdicts))
    print(f"guest: done after {Path('/proc/uptime').read_text().split()[0]} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
