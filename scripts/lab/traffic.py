"""The traffic under which a scenario breaks things: connections that stay open, and requests over new ones, half of
each over IPv4 and half over IPv6."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

from .client import ConnectionBroken, Failure, KeepAlive, Load
from .lab import Lab
from .topology import VIP
from .wait import wait_until

KEPT_CONNECTIONS = 200
KEPT_PAUSE_S = 0.3  # between two requests over a connection that stays open
REQUEST_RATE = 100  # a second, each over a new connection


class Kept:
    """Connections that stay open, each asked again and again."""

    def __init__(self, lab: Lab, count: int = KEPT_CONNECTIONS, threads: int = 4) -> None:
        self.connections = [KeepAlive(lab.client, VIP[6 if number % 2 else 4]) for number in range(count)]
        self.broken: dict[int, str] = {}  # by index
        self.requests = 0
        self._closed: set[int] = set()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(range(first, count, threads),), daemon=True)
                         for first in range(threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        """All of them are asked once more: a connection that broke late has broken too. Not if all is over anyway."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            self._round(range(len(self.connections)))
        for connection in self.connections:
            connection.close()

    def of(self, backend: set[str]) -> set[int]:
        """Those that one backend has, known by its addresses."""
        return {index for index, connection in enumerate(self.connections) if connection.backend in backend}

    @property
    def open(self) -> int:
        return len(self.connections) - len(self._closed | set(self.broken))

    def ends(self) -> dict[int, tuple[tuple[str, int], tuple[str, int]]]:
        """Of those that are open: client and VIP."""
        return {index: connection.ends for index, connection in enumerate(self.connections)
                if index not in self._closed and index not in self.broken}

    def close(self, which: set[int]) -> None:
        """Their owner has what it wanted."""
        self._closed |= which
        for index in which:
            self.connections[index].close()

    def _work(self, mine: range) -> None:
        while not self._ending.is_set():
            self._round(mine, self._ending)
            self._ending.wait(KEPT_PAUSE_S)

    def _round(self, mine: range, ending: threading.Event | None = None) -> None:
        for index in mine:
            if ending and ending.is_set():
                return
            connection = self.connections[index]
            if index in self.broken or index in self._closed:
                continue
            try:
                answered_by = connection.request()
                self.requests += 1
                if answered_by != connection.backend:
                    self.broken[index] = f"{connection.backend}'s was answered by {answered_by}"
            except ConnectionBroken as error:
                if index not in self._closed:
                    self.broken[index] = f"{connection.backend}: {type(error).__name__}: {error}"


class Traffic:
    """Both kinds. `timeout`: less than a second, and a request whose first packet is lost has failed (TCP sends that
    packet again only then); it takes more threads, so that those that wait leave the rate as it is."""

    def __init__(self, lab: Lab, kept: Kept, timeout: float, threads: int) -> None:
        self.kept = kept
        self._loads = [Load(lab.client, vip, threads, REQUEST_RATE / len(VIP), timeout) for vip in VIP.values()]

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        with contextlib.ExitStack() as running:
            for load in self._loads:
                running.enter_context(load.in_background())
            wait_until(lambda: all(load.requests >= 10 for load in self._loads), "traffic flows")
            yield

    @property
    def requests(self) -> int:
        return sum(load.requests for load in self._loads)

    @property
    def served(self) -> dict[str, int]:
        """By the backends' addresses."""
        return {backend: count for load in self._loads for backend, count in load.served.items()}

    @property
    def failures(self) -> list[Failure]:
        return sorted((failure for load in self._loads for failure in load.failures), key=lambda of: of.began)

    @property
    def errors(self) -> list[str]:
        return [failure.error for failure in self.failures] + list(self.kept.broken.values())


@contextlib.contextmanager
def traffic(lab: Lab, timeout: float = 5.0, threads: int = 2, kept: int = KEPT_CONNECTIONS) -> Iterator[Traffic]:
    """All of it runs when the block begins. At the block's end all connections are asked once more."""
    with Kept(lab, kept) as connections:
        both = Traffic(lab, connections, timeout, threads)
        with both.flowing():
            yield both
