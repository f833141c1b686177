"""Thousands of TCP connections that stand, and are asked now and then whether they still live: each byte is to come back.

    with EchoServer(backend.box), ..., Standing(lab.client, "203.0.113.10", 10_000) as standing:
        ...
        self.assertEqual(0, standing.broken())

Each is a process of its own, for the sake of its descriptors."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import time
from types import TracebackType

from .netns import Namespace

PORT = 7000
BATCH = 250  # connections that are being opened at a time: less than any queue on the way
PATIENCE_S = 10.0  # for an answer


class _Process:
    def __init__(self, box: Namespace, *arguments: str) -> None:
        with box.entered():
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-c", f"import sys; sys.path[:0] = {sys.path!r}; from lab import standing; standing.main()",
                 *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def ask(self) -> int:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


class EchoServer(_Process):
    def __init__(self, box: Namespace) -> None:
        super().__init__(box, "serve")

    def __enter__(self) -> EchoServer:
        self.answer()  # it listens
        return self


class Standing(_Process):
    def __init__(self, box: Namespace, host: str, count: int) -> None:
        super().__init__(box, host, str(count))
        self.count = count

    def __enter__(self) -> Standing:
        return self

    def opened(self) -> int:
        """Awaits all; how many there are. Those of several clients are opened side by side."""
        return self.answer()

    def broken(self) -> int:
        """How many do not answer, or have said that they do not live any more."""
        return self.ask()


def serve() -> None:
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        print(0, flush=True)
        while True:
            for key, _ in selector.select():
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is listener:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            accepted, _ = listener.accept()
                            accepted.setblocking(False)
                            selector.register(accepted, selectors.EVENT_READ)
                    continue
                try:
                    got = one.recv(64)
                except OSError:
                    got = b""
                if got:
                    one.send(got)
                else:
                    selector.unregister(one)
                    one.close()


def open_all(host: str, count: int) -> list[socket.socket]:
    connections: list[socket.socket] = []
    while len(connections) < count:
        opening = [socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                   for _ in range(min(BATCH, count - len(connections)))]
        for one in opening:
            one.setblocking(False)
            one.connect_ex((host, PORT))
        for one in opening:
            one.settimeout(PATIENCE_S)
            with selectors.DefaultSelector() as selector:
                selector.register(one, selectors.EVENT_WRITE)
                selector.select(PATIENCE_S)
            one.getpeername()  # or it is not connected
        connections += opening
    return connections


def count_broken(connections: list[socket.socket]) -> int:
    broken = 0
    patience = PATIENCE_S
    for begin in range(0, len(connections), BATCH):
        batch = connections[begin:begin + BATCH]
        for one in batch:
            with contextlib.suppress(OSError):  # the answer will tell
                one.send(b"x")
        deadline = time.monotonic() + patience
        for one in batch:
            one.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                broken += one.recv(1) != b"x"
            except TimeoutError:
                broken += 1
                patience = 0.1  # of what is silent there may be thousands
            except OSError:
                broken += 1
    return broken


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
    connections = open_all(sys.argv[1], int(sys.argv[2]))
    print(len(connections), flush=True)
    for _ in sys.stdin:
        print(count_broken(connections), flush=True)
