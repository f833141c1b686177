"""One backend: nginx in its namespace, and the XDP program that takes the tunnel off in front of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

from .topology import VIPS, Topology, backend_address
from .wait import wait_until

BIG_FILE_BYTES = 200 * 1024 * 1024

# One worker and no access log but of health checks: the machine's cores are for the packets. / answers with the backend's own address of the
# client's family. /files/ takes ?rate=BYTES_PER_SECOND. A keep-alive connection may carry any number of requests: the
# lab watches them live through reloads.
_CONFIG = """
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    log_format checks "$msec $remote_addr";
    default_type text/plain;
    sendfile on;
    keepalive_requests 1000000;
    keepalive_timeout 600;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $arg_rate $rate {{ "" 0; default $arg_rate; }}
    map $remote_addr $own_address {{ "~:" "{ipv6}"; default "{ipv4}"; }}
    server {{
        listen 80 backlog=4096;
        listen [::]:80 ipv6only=on backlog=4096;
        location = / {{ return 200 "$own_address\\n"; }}
        location = /named {{ add_header X-Backend $own_address; return 200 "welcome\\n"; }}
        location = /healthz {{
            access_log {folder}/checks.log checks;
            if (-f {folder}/leaving) {{ add_header X-Drain 1 always; return 503; }}
            return 200 "ok\\n";
        }}
        location = /spare {{
            if (-f {folder}/ill) {{ return 503; }}
            return 200 "ok\n";
        }}
        location /files/ {{ alias {files}/; add_header X-Backend $own_address; limit_rate $rate; }}
        location /upload/ {{ alias {folder}/upload/; dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


def make_files(folder: Path) -> None:
    """What every backend serves alike: `big`, sparse, so that its size costs nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "big", "wb") as big:
        big.truncate(BIG_FILE_BYTES)


class Backend:
    def __init__(self, number: int, topology: Topology, folder: Path, files: Path,
                 decap_program: Path) -> None:
        self.number = number
        self.box = topology.backends[number]
        self._router = topology.router
        self.folder = folder
        self._files = files
        self.decap_program = decap_program
        self.process: subprocess.Popen[bytes] | None = None

    def address(self, family: int = 4) -> str:
        return backend_address(self.number, family)

    def checked_by(self, since: float) -> dict[str, float]:
        """Who asked for its health since then (time.time()), and when first."""
        first: dict[str, float] = {}
        for line in (self.folder / "checks.log").read_text().splitlines():
            when, who = line.split()
            if float(when) > since:
                first.setdefault(who, float(when))
        return first

    def start(self) -> None:
        """Returns at once; wait_ready() says when it serves, so that several start side by side."""
        self.begin_tunnel()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start_nginx()

    def start_nginx(self, everywhere: bool = True) -> None:
        """Or on its own addresses alone, where no VIP is."""
        config = self.folder / "nginx.conf"
        text = _CONFIG.format(folder=self.folder, files=self._files, ipv4=self.address(4), ipv6=self.address(6))
        if not everywhere:
            text = text.replace("listen 80 ", f"listen {self.address(4)}:80 ").replace("listen [::]:80 ", f"listen [{self.address(6)}]:80 ")
        config.write_text(text)
        with open(self.folder / "nginx.log", "ab") as log:
            self.process = self.box.spawn(["nginx", "-c", str(config), "-e", str(self.folder / "error.log"),
                                            "-g", "daemon off;"], log)

    def wait_ready(self) -> None:
        wait_until(self._accepts, f"nginx of {self.box.name} listens", alive=self._check_alive)

    def kill_nginx(self) -> None:
        """As a crash would: master and worker at once, without goodbye to any connection."""
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop_nginx(self) -> None:
        """As an operator does."""
        assert self.process
        self.process.terminate()
        self.process.wait()

    def ask_to_drain(self, wish: bool = True) -> None:
        """What it answers to the health check from now on; it serves as before."""
        self._answer("leaving", wish)

    def fall_ill(self, ill: bool = True) -> None:
        """By what it answers to checks of /spare alone: it serves as before."""
        self._answer("ill", ill)

    def _answer(self, name: str, wanted: bool) -> None:
        file = self.folder / name
        file.touch() if wanted else file.unlink()

    def unplug(self) -> None:
        """Its cable leaves the fabric: it answers nothing any more. (Were nginx alone dead, its kernel would send resets;
        were the link down, the box would lose its routes.)"""
        self._router.run(["ip", "link", "set", f"b{self.number}", "nomaster"])

    def plug_in(self) -> None:
        self._router.run(["ip", "link", "set", f"b{self.number}", "master", "fabric"])

    def begin_tunnel(self) -> None:
        self.box.run([str(self.decap_program), "attach", "eth0"])

    def end_tunnel(self) -> None:
        """It does not take the tunnel off any more; on its own address it serves as before."""
        self.box.run([str(self.decap_program), "detach", "eth0"])

    def connections(self) -> int:
        """TCP connections from clients that it holds, opening ones included."""
        sockets = self.box.run(["ss", "-Htn", "state", "connected", "exclude", "time-wait", "sport", "80"]).stdout
        return sum(any(vip in line for vip in VIPS) for line in sockets.splitlines())

    def _accepts(self) -> bool:
        with self.box.entered(), socket.socket(socket.AF_INET6) as v6, socket.socket() as v4:
            return v6.connect_ex(("::1", 80)) == 0 and v4.connect_ex(("127.0.0.1", 80)) == 0

    def _check_alive(self) -> None:
        if self.process and self.process.poll() is not None:
            logs = "".join(path.read_text() for path in (self.folder / "nginx.log", self.folder / "error.log")
                           if path.exists())
            raise RuntimeError(f"nginx of {self.box.name} ended: {logs.strip()}")
