"""Each kind of health check against a real server: the backend is up while the server is well; when it is not, the backend
is down and the reason says why; when it is well again, so is the backend.

All servers are in one namespace, with the control plane; there is no data plane, whose absence is no reason not to check."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Iterator

from case import LAB_NAME
from lab.certificate import make_certificate
from lab.lab import BUILD
from lab.netns import Namespace, finish, ip_batch
from lab.wait import wait_until

PYTHON = "/usr/bin/python3"
CHECKS = Path("/etc/linimo/checks.d")
PROGRAM = f"{LAB_NAME}-check"
ADDRESS = {4: "10.9.0.1", 6: "2001:db8:9::1"}
TIMES = 'interval = "200ms", timeout = "200ms", rise = 1, fall = 2, flap_half_life = "0s"'
# A query for www.example.org, type A; the expected bytes are the address in its answer. So DNS serves a udp check too.
DNS_QUERY = "123401000001000000000000" + "0377777707657861" "6d706c65036f7267" "00" + "00010001"

NGINX = """
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{ listen 80; listen [::]:80; location = /healthz {{ return {status} "{body}"; }} }}
    server {{
        listen 443 ssl default_server; server_name _;
        ssl_certificate {folder}/other.pem; ssl_certificate_key {folder}/other.key;
        return 421;
    }}
    server {{
        listen 443 ssl; server_name www.example.org;
        ssl_certificate {folder}/www.pem; ssl_certificate_key {folder}/www.key;
        location = /healthz {{ return {status} "{body}"; }}
    }}
}}
"""


class HealthChecks(unittest.TestCase):
    pools = {
        "tcp": 'type = "tcp", port = 80',
        "http": 'type = "http", port = 80, path = "/healthz", status = "200,204", body = "all is well"',
        "tls": 'type = "tls", port = 443',
        "https": 'type = "https", port = 443, path = "/healthz", host = "www.example.org", verify = true, '
                 'ca_file = "{folder}/www.pem"',
        "https-unverified": 'type = "https", port = 443, path = "/healthz", host = "www.example.org"',
        "https-wrong-name": 'type = "https", port = 443, path = "/healthz", host = "other.example.org"',
        "https-wrong-certificate": 'type = "https", port = 443, host = "www.example.org", verify = true, '
                                   'ca_file = "{folder}/other.pem"',
        "grpc": 'type = "grpc", port = 50051, service = "a.Web"',
        "grpc-unknown": 'type = "grpc", port = 50051, service = "a.Nothing"',
        "udp": f'type = "udp", port = 53, send_hex = "{DNS_QUERY}", expect_hex = "c0000207"',
        "dns": 'type = "dns", query = "www.example.org", expect = "192.0.2.7"',
        "dns-unknown": 'type = "dns", query = "nothing.example.net"',
        "icmp": 'type = "icmp"',
        "exec": f'type = "exec", program = "{PROGRAM}"',
    }

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="linimo-checks-")))
        cls.box = cls.enterClassContext(namespace(f"{LAB_NAME}-checks"))
        cls.make_certificates()
        cls.enterClassContext(program(f"#!/bin/sh\ntest -e {cls.folder}/well || {{ echo no $1; exit 1; }}\n"))
        cls.folder.chmod(0o755)
        (cls.folder / "well").touch()
        (cls.folder / "grpc").write_text("1")
        cls.processes: dict[str, subprocess.Popen[bytes]] = {}
        cls.write_nginx()
        for start in (cls.start_nginx, cls.start_dnsmasq, cls.start_grpc, cls.start_controlplane):
            start()

    @classmethod
    def make_certificates(cls) -> None:
        for name in ("www", "other"):
            make_certificate(cls.folder, name, f"{name}.example.org", f"subjectAltName=DNS:{name}.example.org")

    @classmethod
    def write_nginx(cls, status: int = 200, body: str = "all is well") -> None:
        (cls.folder / "nginx.conf").write_text(NGINX.format(folder=cls.folder, status=status, body=body))

    @classmethod
    def start(cls, name: str, argv: list[str]) -> None:
        with open(cls.folder / f"{name}.log", "ab") as log:
            cls.processes[name] = cls.box.spawn(argv, log)

    @classmethod
    def start_nginx(cls) -> None:
        cls.start("nginx", ["nginx", "-c", f"{cls.folder}/nginx.conf", "-e", f"{cls.folder}/error.log", "-g", "daemon off;"])

    @classmethod
    def start_dnsmasq(cls, address: str = "192.0.2.7") -> None:
        cls.start("dnsmasq", ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                              "--pid-file=", "--user=root", f"--address=/www.example.org/{address}"])

    @classmethod
    def start_grpc(cls) -> None:
        cls.start("grpc", [PYTHON, "-B", str(Path(__file__).with_name("grpc_server.py")), f"{ADDRESS[4]}:50051",
                           f"{cls.folder}/grpc"])

    @classmethod
    def start_controlplane(cls) -> None:
        (cls.folder / "seed").write_text("0123456789abcdef")
        (cls.folder / "seed").chmod(0o600)
        config = (f'[node]\nname = "lb1"\ninterfaces = ["eth0"]\nencap_source = ["10.0.0.11", "2001:db8::11"]\n'
                  f'hash_seed_file = "{cls.folder}/seed"\nruntime_dir = "{cls.folder}/run"\n')
        for name, check in cls.pools.items():
            backends = ", ".join(f'{{ address = "{address}" }}' for family, address in ADDRESS.items()
                                 if family == 4 or name in ("tcp", "http", "icmp"))
            config += (f'[[pool]]\nname = "{name}"\ntable_size = 251\nhealth = {{ {check.replace("{folder}", str(cls.folder))}, '
                       f'{TIMES} }}\nbackends = [{backends}]\n')
        (cls.folder / "linimo.toml").write_text(config)
        cls.start("controlplane", [str(BUILD / "controlplane/linimo-controlplane"), "--config", f"{cls.folder}/linimo.toml"])

    @classmethod
    def end(cls, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        os.killpg(cls.processes[name].pid, sig)
        cls.processes[name].wait()

    def states(self) -> dict[str, tuple[set[str], set[str]]]:
        """By pool: the states of its backends and their details."""
        done = self.box.run([str(BUILD / "controlplane/linimo"), "--socket", f"{self.folder}/run/control.sock",
                             "backend", "list", "-o", "json"], check=False)
        result: dict[str, tuple[set[str], set[str]]] = {}
        for backend in json.loads(done.stdout) if done.returncode == 0 else []:
            states, details = result.setdefault(backend["pool"], (set(), set()))
            states.add(backend["state"])
            details.add(backend["detail"])
        return result

    def await_up(self, *pools: str) -> None:
        try:
            wait_until(lambda: all(self.states().get(pool, [None])[0] == {"up"} for pool in pools), f"{pools} are up",
                       alive=self.check_alive)
        except TimeoutError:
            self.fail(f"{({pool: self.states().get(pool) for pool in pools})}")

    def await_down(self, pool: str, detail: str) -> None:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.states().get(pool) == ({"down"}, {detail}), "down", 5, alive=self.check_alive)
        self.assertEqual(({"down"}, {detail}), self.states().get(pool), pool)

    def check_alive(self) -> None:
        if self.processes["controlplane"].poll() is not None:
            raise RuntimeError((self.folder / "controlplane.log").read_text())

    def test_all_that_are_well_are_up(self) -> None:
        self.await_up("tcp", "http", "tls", "https", "https-unverified", "grpc", "udp", "dns", "icmp", "exec")

    def test_wrong_names_are_down(self) -> None:
        self.await_down("https-wrong-name", "http: status 421")  # the default server: by SNI and Host
        self.await_down("https-wrong-certificate", "tls: SSL certificate problem: self-signed certificate")
        self.await_down("grpc-unknown", "grpc: status 5")
        self.await_down("dns-unknown", "dns: DNS server refused query")

    def test_answers_that_are_not_as_wanted(self) -> None:
        self.await_up("http", "https", "grpc", "dns", "udp", "exec")
        self.write_nginx(body="all is ill")
        self.end("nginx")
        self.start_nginx()
        self.await_down("http", "http: the body is not as expected")
        self.await_up("https")
        self.write_nginx(status=500)
        self.end("nginx")
        self.start_nginx()
        self.await_down("http", "http: status 500")
        self.await_down("https", "http: status 500")
        self.write_nginx()
        self.end("nginx")
        self.start_nginx()
        (self.folder / "grpc").write_text("2")
        self.await_down("grpc", "grpc: serving status 2")
        (self.folder / "grpc").write_text("1")
        self.end("dnsmasq")
        self.start_dnsmasq("192.0.2.8")
        self.await_down("dns", "dns: the expected address is not in the answer")
        self.await_down("udp", "udp: the answer is not as expected")
        self.end("dnsmasq")
        self.start_dnsmasq()
        (self.folder / "well").unlink()
        self.await_down("exec", f"exec: exit code 1: no {ADDRESS[4]}")
        (self.folder / "well").touch()
        self.await_up("http", "https", "grpc", "dns", "udp", "exec")

    def test_servers_that_are_gone(self) -> None:
        self.await_up("tcp", "http", "tls", "https", "grpc", "udp", "dns", "icmp")
        for name in ("nginx", "dnsmasq", "grpc"):
            self.end(name)
        self.box.sysctl({"net.ipv4.icmp_echo_ignore_all": 1, "net.ipv6.icmp.echo_ignore_all": 1})
        for pool in ("tcp", "http", "tls", "https", "grpc"):
            self.await_down(pool, "connect: Connection refused")
        self.await_down("udp", "udp: Connection refused")
        self.await_down("dns", "dns: Could not contact DNS servers")
        self.await_down("icmp", "icmp: no reply within 200 ms")
        self.box.sysctl({"net.ipv4.icmp_echo_ignore_all": 0, "net.ipv6.icmp.echo_ignore_all": 0})
        for start in (self.start_nginx, self.start_dnsmasq, self.start_grpc):
            start()
        self.await_up("tcp", "http", "tls", "https", "grpc", "udp", "dns", "icmp")

    def test_servers_that_hang(self) -> None:
        self.await_up("tcp", "http", "tls", "https", "grpc", "udp", "dns")
        stopped = [process for name in ("nginx", "dnsmasq", "grpc") for process in [self.processes[name]]]
        for process in stopped:
            os.killpg(process.pid, signal.SIGSTOP)
        try:
            self.await_down("http", "http: no whole answer within 200 ms")
            self.await_down("tls", "tls: no handshake within 200 ms")
            self.await_down("grpc", "grpc: no whole answer within 200 ms")
            self.await_down("udp", "udp: no answer within 200 ms")
            self.await_down("dns", "dns: no answer within 200 ms")
            self.await_up("tcp")  # the kernel still accepts: this check says no more than it asks
        finally:
            for process in stopped:
                os.killpg(process.pid, signal.SIGCONT)
        self.await_up("http", "tls", "https", "grpc", "udp", "dns")


@contextlib.contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    box = Namespace(name)
    finish(ip_batch([f"netns add {name}"]))
    try:
        finish(ip_batch(["link set lo up", f"addr add {ADDRESS[4]}/32 dev lo", f"addr add {ADDRESS[6]}/128 dev lo nodad"], name))
        yield box
    finally:
        box.kill_all()
        finish(ip_batch([f"netns delete {name}"]))


@contextlib.contextmanager
def program(text: str) -> Iterator[None]:
    """In the one folder from which checks may run programs, which is there only while it is needed."""
    made = [folder for folder in (CHECKS, *CHECKS.parents) if not folder.exists()]
    CHECKS.mkdir(parents=True, exist_ok=True)
    file = CHECKS / PROGRAM
    file.write_text(text)
    file.chmod(0o755)
    try:
        yield
    finally:
        file.unlink()
        for folder in made:
            with contextlib.suppress(OSError):  # someone else has put something there
                folder.rmdir()
