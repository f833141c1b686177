"""A control plane alone in a network namespace, with thousands of backends to check: every address of 10.64.0.0/12 is this
host's, and one nginx answers on all of them. No data plane: what is tried here is the checking."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

from .certificate import make_certificate
from .netns import Namespace, finish, ip_batch
from .usage import cpu_seconds
from .wait import wait_until

NETWORK = "10.64.0.0/12"
PORTS = {"tcp": 80, "http": 80, "https": 443}
NGINX = """
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; multi_accept on; }}
http {{
    access_log off; keepalive_timeout 0; ssl_session_tickets on;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 80 backlog=65535; listen 443 ssl backlog=65535;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
        location / {{ return 200 "ok"; }}
        location = /connections {{ stub_status; }}
    }}
}}
"""


def backend_address(number: int) -> str:
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class ManyBackends:
    """`cpus`: of the control plane and of the server, if each is to have its own."""

    def __init__(self, name: str, build: Path, cpus: tuple[int, int] | None = None,
                 program: Path | None = None) -> None:
        self.box = Namespace(name)
        self.build = build
        self.program = program or build / "controlplane/linimo-controlplane"
        self.cpus = cpus
        self.folder = Path()
        self.server: subprocess.Popen[bytes] | None = None
        self.controlplane: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def made(self) -> Iterator[ManyBackends]:
        """Everything in it ends with the block."""
        with tempfile.TemporaryDirectory(prefix="linimo-many-") as folder:
            self.folder = Path(folder)
            finish(ip_batch([f"netns add {self.box.name}"]))
            try:
                finish(ip_batch(["link set lo up", f"route add local {NETWORK} dev lo"], self.box.name))
                self.box.sysctl({"net.core.somaxconn": 65535, "net.ipv4.tcp_max_syn_backlog": 65535})
                self._start_server()
                yield self
            finally:
                self.box.kill_all()
                finish(ip_batch([f"netns delete {self.box.name}"]))

    def _pinned(self, which: int, argv: list[str]) -> list[str]:
        return ["taskset", "-c", str(self.cpus[which]), *argv] if self.cpus else argv

    def _start_server(self) -> None:
        make_certificate(self.folder, "server", "backend.example.org")
        (self.folder / "nginx.conf").write_text(NGINX.format(folder=self.folder))
        self.server = self.box.spawn(self._pinned(1, ["nginx", "-c", f"{self.folder}/nginx.conf", "-e",
                                                      f"{self.folder}/error.log", "-g", "daemon off;"]))
        wait_until(lambda: self.box.run(["curl", "-sS", "http://10.64.0.1/"], check=False).stdout == "ok", "nginx answers")

    def start(self, kind: str, count: int, health: str, through: tuple[str, ...] = (), services: int = 0,
              interface: str = "eth0") -> None:
        """A control plane that checks so many, in pools of at most 2,000; started by the command `through`, if any.
        `services`: so many more than one of each pool."""
        config = (f'[node]\nname = "many"\nengine = "dpdk"\ninterfaces = ["{interface}"]\nencap_source = ["10.0.0.11"]\n'
                  f'hash_seed_file = "{self.folder}/seed"\nruntime_dir = "{self.folder}/run"\n')
        (self.folder / "seed").write_text("0123456789abcdef")
        (self.folder / "seed").chmod(0o600)
        for first in range(0, count, 2000):
            backends = ", ".join(f'{{ address = "{backend_address(number)}" }}'
                                 for number in range(first + 1, min(first + 2000, count) + 1))
            config += (f'[[pool]]\nname = "pool{first // 2000}"\ntable_size = 65537\n'
                       f'health = {{ type = "{kind}", port = {PORTS[kind]}, {health} }}\nbackends = [{backends}]\n'
                       f'[[service]]\nname = "service{first // 2000}"\nvips = ["203.0.113.{first // 2000 + 1}"]\n'
                       f'protocol = "tcp"\nports = [80]\npool = "pool{first // 2000}"\n')
        pools = (count + 1999) // 2000
        for number in range(services):
            config += (f'[[service]]\nname = "more{number}"\nvips = ["203.0.113.{number % pools + 1}"]\n'
                       f'protocol = "udp"\nports = [{1000 + number}]\npool = "pool{number % pools}"\n')
        (self.folder / "linimo.toml").write_text(config)
        with open(self.log, "wb") as log:
            self.controlplane = self.box.spawn(
                self._pinned(0, [*through, str(self.program), "--config", f"{self.folder}/linimo.toml"]), log)

    def start_dataplane(self) -> None:
        """Beside the control plane. It ends with the block."""
        with open(self.folder / "dataplane.log", "wb") as log:
            self.box.spawn([str(self.build / "dataplane/linimo-dataplane"), "--config", f"{self.folder}/linimo.toml"], log)

    @property
    def log(self) -> Path:
        return self.folder / "controlplane.log"

    def check_alive(self) -> None:
        if self.controlplane is None or self.controlplane.poll() is not None:
            raise RuntimeError(self.log.read_text(errors="replace")[-3000:])

    def signal(self, sig: signal.Signals) -> None:
        assert self.controlplane
        os.kill(self.controlplane.pid, sig)  # `ip netns exec` and taskset become what they run

    def stop(self) -> float:
        """Asked to end, it did; after how many seconds."""
        assert self.controlplane
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        self.controlplane.wait(30)
        return time.monotonic() - began

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.box.run([str(self.build / "controlplane/linimo"), "--socket", f"{self.folder}/run/control.sock", *words],
                            check=check)

    def status(self) -> dict[str, Any] | None:
        """None while it does not answer yet."""
        done = self.cli("status", "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def await_health_known(self, timeout: float) -> None:
        wait_until(lambda: b"health known" in self.log.read_bytes(), "health is known", timeout, alive=self.check_alive)

    def changes_to(self, state: str) -> int:
        """Said of one backend a line, and of many at once in a line with their number."""
        log = self.log.read_text(errors="replace")
        many = re.findall(rf'msg="more backends changed".* count=(\d+) .*to={state}\b', log)
        return len(re.findall(rf'msg="backend state changed".* to={state}\b', log)) + sum(map(int, many))

    def connections(self) -> int:
        """That the server has had so far: one for each check. So nobody asks the control plane while it is measured."""
        page = self.box.run(["curl", "-sS", "http://10.64.0.1/connections"]).stdout
        return int(page.split()[7])

    def condition(self, name: str) -> dict[str, Any]:
        status = self.status()
        return next((one for one in status["conditions"] if one["name"] == name), {}) if status else {}

    def cpu_seconds(self) -> float:
        assert self.controlplane
        return cpu_seconds(self.controlplane.pid)

    def memory_mb(self) -> float:
        """The most that it had of its own in memory."""
        assert self.controlplane
        status = Path(f"/proc/{self.controlplane.pid}/status").read_text()
        said = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(said[1]) / 1024 if said else 0.0
