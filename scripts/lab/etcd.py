"""A fleet's store: etcd members in the router's box, which every node reaches.

    etcd = Etcd(lab, members=3)
    etcd.start()
    etcd.freeze(0); etcd.kill(1); etcd.start_member(1)
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

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
        self.address = ADDRESS
        self.options: list[str] = []  # of each member, from its next start on
        self.scheme = "http"
        self.access: dict[str, str] = {}  # the environment of etcdctl
        self.more = ""  # lines of [fleet]

    @property
    def endpoints(self) -> list[str]:
        return [f"{ADDRESS}:{CLIENT_PORT + 2 * member}" for member in range(len(self.processes))]

    def section(self, nodes: list[str], lease_s: int) -> str:
        """Lines of [fleet]; `nodes`: addresses of all."""
        quoted = ", ".join(f'"{endpoint}"' for endpoint in self.endpoints)
        peers = ", ".join(f'"{address}:7946"' for address in nodes)
        return (f'name = "lab"\nstore = "etcd"\nendpoints = [{quoted}]\npeers = [{peers}]\n'
                f'secret_file = "{self.secret()}"\nlease = "{lease_s}s"\n{self.more}')

    def secret(self) -> Path:
        return self.private("secret", "of this lab alone\n")

    def private(self, name: str, text: str) -> Path:
        """A file that its owner alone may read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / name
        if not file.exists():
            file.touch(0o600)
            file.write_text(text)
        self._give(file)
        return file

    def _give(self, file: Path) -> None:
        """To the user that the nodes run as."""
        if self._rights:
            self._rights.give(file)

    def secure(self, certificates: str, users: str) -> None:
        """From nothing on: members let in only who has a certificate of ours and, with tokens that live for two seconds, users.
        By the handbook's commands."""
        self.private("root-password", "of-the-operators\n")
        self.private("etcd-password", "of-the-nodes\n")
        self.sh(certificates, ETCD_ADDRESS=ADDRESS)
        self._give(self.folder / "linimo.key")
        self.sh("openssl genrsa -out token.key 2048; openssl rsa -in token.key -pubout -out token.pub")
        at = self.folder
        self.scheme = "https"
        self.options += [f"--cert-file={at}/etcd.pem", f"--key-file={at}/etcd.key", f"--trusted-ca-file={at}/etcd-ca.pem",
                         "--client-cert-auth", f"--auth-token=jwt,pub-key={at}/token.pub,priv-key={at}/token.key,sign-method=RS256,ttl=2s"]
        self.access = {"ETCDCTL_CACERT": "etcd-ca.pem", "ETCDCTL_CERT": "linimo.pem", "ETCDCTL_KEY": "linimo.key"}
        self.more = (f'ca_file = "{at}/etcd-ca.pem"\ncert_file = "{at}/linimo.pem"\nkey_file = "{at}/linimo.key"\n'
                     f'user = "linimo"\npassword_file = "{at}/etcd-password"\n')
        self.start()
        self.sh(users)
        self.access["ETCDCTL_USER"] = "root:" + (at / "root-password").read_text().strip()

    def start(self) -> None:
        for member in range(len(self.processes)):
            self.start_member(member)
        self.wait_well()

    def wait_well(self) -> None:
        wait_until(lambda: self.ctl("endpoint", "health").returncode == 0, "etcd is well", 30)

    def start_member(self, member: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        client = f"{self.scheme}://{self.endpoints[member]}"
        with open(self.folder / f"m{member}.log", "ab") as log:
            self.processes[member] = self.box.spawn(
                # By the folder, as an argument, others find the process; etcd takes no setting twice.
                ["env", *(f"{name}={value}" for name, value in self.environment(member).items() if name != "ETCD_DATA_DIR"), "etcd",
                 "--data-dir", str(self.folder / f"m{member}"),
                 "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", self._peer(member),
                 "--heartbeat-interval", "100", "--election-timeout", "1000", "--unsafe-no-fsync", *self.options], log)

    def environment(self, member: int) -> dict[str, str]:
        """What /etc/default/etcd has on its machine."""
        return {"ETCD_NAME": f"m{member}", "ETCD_DATA_DIR": str(self.folder / f"m{member}"),
                "ETCD_INITIAL_CLUSTER": ",".join(f"m{i}={self._peer(i)}" for i in range(len(self.processes))),
                "ETCD_INITIAL_ADVERTISE_PEER_URLS": self._peer(member)}

    @staticmethod
    def _peer(member: int) -> str:
        return f"http://127.0.0.1:{CLIENT_PORT + 1 + 2 * member}"

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
        return self.sh('exec etcdctl "$@"', *words, check=check)

    def sh(self, commands: str, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Commands for a shell, such as the handbook has, where etcdctl knows the way."""
        endpoints = ",".join(f"{self.scheme}://{endpoint}" for endpoint in self.endpoints)
        environment = {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": endpoints, **self.access, **variables}
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.box.run(["env", "-C", str(self.folder), *(f"{name}={value}" for name, value in environment.items()),
                             "sh", "-euc", commands, "sh", *words], check)

    def status(self) -> list[dict[str, Any]]:
        """Of each member that answers."""
        return [one["Status"] for one in json.loads(self.ctl("endpoint", "status", "-w", "json").stdout or "[]")]

    def revision(self) -> int:
        """The store's own, which every write raises."""
        return max(int(status["header"]["revision"]) for status in self.status())

    def written(self, key: str) -> int:
        """At which revision of the store one of the fleet's keys was written last; 0: it is not there."""
        found = json.loads(self.ctl("get", f"/linimo/v1/lab/{key}", "-w", "json", check=True).stdout)
        return max((int(one["mod_revision"]) for one in found.get("kvs", [])), default=0)

    def transactions(self, member: int) -> int:
        """That this member was asked for since it started, refused ones too."""
        return self.metric(member, "grpc_server_handled_total", 'grpc_method="Txn"')

    def metric(self, member: int, name: str, label: str = "") -> int:
        said = self.box.run(["curl", "-sS", f"{self.scheme}://{self.endpoints[member]}/metrics"]).stdout
        return sum(int(float(line.split()[-1])) for line in said.splitlines() if line.startswith(name) and label in line)

    def fill(self, key: str, value: str, enough: Callable[[], bool]) -> None:
        """Writes it again and again, each time as a change of its own, over one connection."""
        body = json.dumps({name: base64.b64encode(text.encode()).decode() for name, text in (("key", key), ("value", value))})
        with self.box.entered():
            connection = http.client.HTTPConnection(self.endpoints[0], timeout=10)
            connection.connect()
        with contextlib.closing(connection):
            for number in range(1, 10_000):
                connection.request("POST", "/v3/kv/put", body)
                connection.getresponse().read()
                if number % 100 == 0 and enough():
                    return
        raise TimeoutError(f"{number} writes are not enough")

    def keys(self, prefix: str = "/linimo/v1/lab/") -> Iterator[str]:
        """Without what all of them begin with."""
        for key in self.ctl("get", "--prefix", "--keys-only", prefix, check=True).stdout.split():
            yield key.removeprefix("/linimo/v1/lab/")
