"""The lab's clients: threads in the client's namespace that speak HTTP over real TCP connections.

    load = Load(lab.client, "203.0.113.10"); load.run(3000); print(load.served, load.failures)
    with KeepAlive(lab.client, "203.0.113.10") as connection: connection.request()
    with Download(lab.client, "203.0.113.10", "/files/big") as download: ...
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from .netns import Namespace

# What a broken connection looks like from here: refused, reset, timed out, cut short, or not HTTP any more.
ConnectionBroken = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Failure:
    began: float  # time.monotonic()
    error: str


def fetch(host: str, path: str = "/", timeout: float = 5.0, port: int = 80) -> str:
    """One request over a connection of its own, made in the calling thread's namespace."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode()
        if response.status != 200:
            raise http.client.HTTPException(f"HTTP {response.status}")
        return body.strip()
    finally:
        connection.close()


def upload(box: Namespace, host: str, file: Path, name: str, timeout_s: int = 30) -> str:
    """Puts a file where the backends keep uploads; the answer's status."""
    url = f"http://[{host}]/upload/{name}" if ":" in host else f"http://{host}/upload/{name}"
    return box.run(["curl", "-sS", "--fail", "--max-time", str(timeout_s), "-o", "/dev/null", "-w", "%{http_code}",
                    "-T", str(file), url]).stdout


class Load:
    """Requests, each over a new connection, by a few threads; either so many, or until stopped."""

    def __init__(self, box: Namespace, host: str, threads: int = 8, rate: float | None = None,
                 timeout: float = 5.0) -> None:
        self._box = box
        self._host = host
        self._threads = threads
        self._pause = threads / rate if rate else 0.0
        self._timeout = timeout
        self._lock = threading.Lock()
        self._left: float = 0
        self._running: list[threading.Thread] = []
        self.served: Counter[str] = Counter()  # backend's address -> requests
        self.failures: list[Failure] = []
        self.latencies_s: list[float] = []  # of the requests that were answered

    @property
    def requests(self) -> int:
        return self.served.total() + len(self.failures)

    @property
    def slowest_s(self) -> float:
        return max(self.latencies_s, default=0.0)

    def run(self, requests: int) -> None:
        self.start(requests)
        self.join()

    def start(self, requests: float = float("inf")) -> None:
        self._left = requests
        self._running = [threading.Thread(target=self._work, daemon=True) for _ in range(self._threads)]
        for thread in self._running:
            thread.start()

    def stop(self) -> None:
        with self._lock:
            self._left = 0
        self.join()

    def join(self) -> None:
        for thread in self._running:
            thread.join()

    @contextlib.contextmanager
    def in_background(self) -> Iterator[Load]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def _take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _work(self) -> None:
        with self._box.entered():
            while self._take():
                begun = time.monotonic()
                try:
                    body, error = fetch(self._host, timeout=self._timeout), None
                except ConnectionBroken as broken:
                    body, error = "", f"{type(broken).__name__}: {broken}"
                ended = time.monotonic()
                with self._lock:
                    if error is None:
                        self.served[body] += 1
                        self.latencies_s.append(ended - begun)
                    else:
                        self.failures.append(Failure(begun, error))
                if self._pause:
                    time.sleep(max(0.0, self._pause - (ended - begun)))


class KeepAlive:
    """One long-lived connection, asked again and again."""

    def __init__(self, box: Namespace, host: str, timeout: float = 5.0) -> None:
        self._connection = http.client.HTTPConnection(host, 80, timeout=timeout)
        self._connection.auto_open = 0  # a connection that broke must not be replaced unseen
        with box.entered():
            self._connection.connect()
        self.backend = self.request()

    def request(self) -> str:
        self._connection.request("GET", "/")
        return self._connection.getresponse().read().decode().strip()

    @property
    def ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Addresses and ports, of the client and of the VIP."""
        assert self._connection.sock
        return self._connection.sock.getsockname()[:2], self._connection.sock.getpeername()[:2]

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> KeepAlive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Download:
    """A file over one connection, in a thread; its progress can be watched, its end awaited."""

    def __init__(self, box: Namespace, host: str, path: str, timeout: float = 10.0) -> None:
        self._box, self._host, self._path, self._timeout = box, host, path, timeout
        self._headers_read = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._socket: socket.socket | None = None
        self.backend = ""
        self.expected_bytes = 0
        self.received_bytes = 0
        self.digest = hashlib.blake2b()
        self.error: str | None = None
        self._thread.start()
        if not self._headers_read.wait(timeout):
            raise TimeoutError(f"no answer to the download of {path} within {timeout:g} s")

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def complete(self) -> bool:
        return not self.running and self.error is None and self.received_bytes == self.expected_bytes > 0

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)
        if self.running:
            self.error = f"not done after another {timeout:g} s"

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._host, 80, timeout=self._timeout)
        try:
            with self._box.entered():
                connection.connect()
            self._socket = connection.sock
            connection.request("GET", self._path)
            response = connection.getresponse()
            if response.status != 200:
                raise http.client.HTTPException(f"HTTP {response.status}")
            self.backend = response.headers["X-Backend"]
            self.expected_bytes = int(response.headers["Content-Length"])
            self._headers_read.set()
            while chunk := response.read1(1 << 20):
                self.received_bytes += len(chunk)
                self.digest.update(chunk)
            if self.received_bytes < self.expected_bytes:
                raise http.client.HTTPException(f"cut short after {self.received_bytes} of {self.expected_bytes} bytes")
        except ConnectionBroken as broken:
            self.error = f"{type(broken).__name__}: {broken}"
        finally:
            self._headers_read.set()
            connection.close()
