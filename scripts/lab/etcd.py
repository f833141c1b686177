"""A fleet's store: etcd members in the router's box, which every node reaches.

    etcd = Etcd(lab, members=3)
    etcd.start()
    etcd.freeze(0); etcd.kill(1); etcd.start_member(1)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from .lab import Lab
from .wait import wait_until

ADDRESS = "10.0.1.254"  # the router's, on the fabric
CLIENT_PORT = 2379


class Etcd:
    def __init__(self, lab: Lab, members: int = 1) -> None:
        self.box = lab.topology.router
        self.folder = lab.folder / "etcd"
        self._rights = lab.node.rights
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * members

    @property
    def endpoints(self) -> list[str]:
        return [f"{ADDRESS}:{CLIENT_PORT + 2 * member}" for member in range(len(self.processes))]

    def section(self, nodes: list[str], more: str = "") -> str:
        """Lines of [fleet]; `nodes`: addresses of all."""
        quoted = ", ".join(f'"{endpoint}"' for endpoint in self.endpoints)
        peers = ", ".join(f'"{address}:7946"' for address in nodes)
        return (f'name = "lab"\nstore = "etcd"\nendpoints = [{quoted}]\npeers = [{peers}]\n'
                f'secret_file = "{self.secret()}"\nlease = "3s"\n{more}')

    def secret(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "secret"
        if not file.exists():
            file.touch(0o600)
            file.write_text("of this lab alone\n")
        if self._rights:
            self._rights.give(file)
        return file

    def start(self) -> None:
        for member in range(len(self.processes)):
            self.start_member(member)
        wait_until(lambda: self.ctl("endpoint", "health").returncode == 0, "etcd is well", 30)

    def start_member(self, member: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        initial = ",".join(f"m{i}=http://127.0.0.1:{CLIENT_PORT + 1 + 2 * i}" for i in range(len(self.processes)))
        client, peer = (f"http://{ADDRESS}:{CLIENT_PORT + 2 * member}", f"http://127.0.0.1:{CLIENT_PORT + 1 + 2 * member}")
        with open(self.folder / f"m{member}.log", "ab") as log:
            self.processes[member] = self.box.spawn(
                ["etcd", "--name", f"m{member}", "--data-dir", str(self.folder / f"m{member}"),
                 "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster", initial, "--heartbeat-interval", "100",
                 "--election-timeout", "1000", "--unsafe-no-fsync"], log)

    def kill(self, member: int) -> None:
        process = self.processes[member]
        assert process
        process.kill()
        process.wait()
        self.processes[member] = None

    def signal(self, member: int, sig: signal.Signals) -> None:
        process = self.processes[member]
        assert process
        os.kill(process.pid, sig)

    def freeze(self, member: int) -> None:
        self.signal(member, signal.SIGSTOP)

    def thaw(self, member: int) -> None:
        self.signal(member, signal.SIGCONT)

    def wipe(self, member: int) -> None:
        """What a dead member had on disk."""
        shutil.rmtree(self.folder / f"m{member}", ignore_errors=True)

    def ctl(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return self.box.run(["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={','.join(self.endpoints)}", *words], check)
