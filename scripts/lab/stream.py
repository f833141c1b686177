"""Datagrams one after the other from the client to a VIP, and which of them came: not one need be lost where nothing is asked twice.

    with Stream(lab, 7100) as stream:
        ...
    stream.lost(), stream.longest_silence()
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from .lab import Lab
from .topology import VIP
from .wait import wait_until

UDP_PORT = 7100
DATAGRAMS = f'''
[[service]]
name = "datagrams"
vips = ["{VIP[4]}"]
protocol = "udp"
ports = [{UDP_PORT}]
pool = "web"
'''
PAUSE_S = 0.001  # between two
FLOWS = 8
_SO_RCVBUFFORCE = 33  # <asm/socket.h>
_ENOUGH = 200  # before anything may happen


class Stream:
    """Over IPv4, of several flows in turn, to whichever backend."""

    def __init__(self, lab: Lab, port: int) -> None:
        self.sent = 0
        self._came: dict[int, float] = {}  # when
        self._ending = threading.Event()
        self._servers, self._clients = [], []
        for backend in lab.backends.values():
            with backend.box.entered():
                self._servers.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                self._servers[-1].setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)  # for a receiver that waits for a CPU
                self._servers[-1].bind(("", port))
        for _ in range(FLOWS):
            with lab.client.entered():
                self._clients.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                self._clients[-1].connect((VIP[4], port))
        self._receivers = [threading.Thread(target=self._receive, args=[server], daemon=True) for server in self._servers]
        self._sender = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Stream:
        for thread in (*self._receivers, self._sender):
            thread.start()
        self._await_more()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        """What is on its way arrives."""
        with contextlib.suppress(TimeoutError):
            if error is None:
                self._await_more()
        self._ending.set()
        self._sender.join()
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.lost(), "all came", 1)
        for thread in self._receivers:
            thread.join()
        for sock in (*self._clients, *self._servers):
            sock.close()

    @property
    def came(self) -> int:
        return len(self._came)

    def lost(self) -> list[int]:
        return [number for number in range(self.sent) if number not in self._came]

    def longest_silence(self) -> float:
        times = sorted(self._came.values())
        return max((later - earlier for earlier, later in zip(times, times[1:])), default=0.0)

    def _await_more(self) -> None:
        enough = len(self._came) + _ENOUGH
        wait_until(lambda: len(self._came) >= enough, "datagrams come")

    def _send(self) -> None:
        while not self._ending.wait(PAUSE_S):
            with contextlib.suppress(OSError):  # an ICMP error to one before
                self._clients[self.sent % FLOWS].send(str(self.sent).encode())
            self.sent += 1

    def _receive(self, server: socket.socket) -> None:
        server.settimeout(0.2)
        while not self._ending.is_set() or self._sender.is_alive():
            with contextlib.suppress(TimeoutError):
                while True:
                    self._came[int(server.recv(64))] = time.monotonic()
