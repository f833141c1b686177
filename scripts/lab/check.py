"""What `scripts/demo --check` checks: requests are spread as configured, and a reload breaks no connection.

The verdict is one dictionary, and a list of what did not hold."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable

from .client import ConnectionBroken, Download, KeepAlive, Load
from .lab import Lab
from .topology import VIP, backend_address
from .wait import wait_until

REQUESTS = 3000
TOLERANCE = 0.15  # of a backend's share; chance alone exceeds it once in 10^8 runs
KEPT_CONNECTIONS = 30
DOWNLOAD_RATE = 40_000_000  # bytes per second: some five seconds, in which the reload happens
NEW_BACKEND = 4


class Check:
    def __init__(self, lab: Lab, family: int, say: Callable[[str], None]) -> None:
        self.lab = lab
        self.family = family
        self.vip = VIP[family]
        self.problems: list[str] = []
        self.report: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self._say = say

    def run(self) -> None:
        begun = time.monotonic()
        self._spread()
        self.seconds["requests"] = round(time.monotonic() - begun, 2)
        begun = time.monotonic()
        self._reload()
        self.seconds["reload"] = round(time.monotonic() - begun, 2)
        status = self.lab.node.status()
        self.report |= {"generation": status["generation"], "outcomes": status["outcomes"]}

    def _spread(self) -> None:
        load = self._batch("before the reload")
        self.report |= {"requests": load.requests, "failed": len(load.failures),
                        "slowest_ms": round(load.slowest_s * 1000), "backends": dict(sorted(load.served.items()))}

    def _batch(self, when: str) -> Load:
        """So many requests, and each backend that is configured, and no other, has its share of them."""
        self._say(f"{REQUESTS} requests {when}, each over a new connection")
        load = Load(self.lab.client, self.vip)
        load.run(REQUESTS)
        if load.failures:
            self.problems.append(f"{when}: {len(load.failures)} requests failed, first: {load.failures[0].error}")
        weights = {self._address(number): weight for number, weight in self.lab.node.config.backends.items()}
        for address in load.served.keys() | weights.keys():
            wanted = load.requests * weights.get(address, 0) / sum(weights.values())
            if abs(load.served[address] - wanted) > TOLERANCE * wanted:
                self.problems.append(f"{when}: {address} served {load.served[address]} requests, not about {wanted:.0f}")
        return load

    def _reload(self) -> None:
        """One backend is added and one is drained and removed, as an operator would, under connections of all kinds.
        No connection may break. Those kept to the drained backend live on until their owner closes them."""
        lab, vip = self.lab, self.vip
        weights = lab.node.config.backends
        lab.add_backend(NEW_BACKEND)
        with (contextlib.ExitStack() as open_connections,
              Download(lab.client, vip, f"/files/big?rate={DOWNLOAD_RATE}") as download,
              Load(lab.client, vip, rate=200).in_background() as load):
            kept = [open_connections.enter_context(KeepAlive(lab.client, vip)) for _ in range(KEPT_CONNECTIONS)]
            removed = next(number for number in weights if self._address(number) != download.backend)
            self._say(f"reload: {self._address(NEW_BACKEND)} added, {self._address(removed)} drained and removed, while "
                      f"{download.backend} serves a download")
            weights |= {NEW_BACKEND: 100, removed: 0}
            lab.node.reload()
            broken = [error for connection in kept if (error := _ask(connection))]
            for connection in kept:
                if connection.backend == self._address(removed):
                    connection.close()
            kept = [connection for connection in kept if connection.backend != self._address(removed)]
            wait_until(lambda: lab.backends[removed].connections() == 0, f"{self._address(removed)} is drained")
            del weights[removed]
            lab.node.reload()
            at_reload = download.received_bytes
            if not download.running:
                self.problems.append("the download was over before the reload: it shows nothing")
            download.join(60)
            broken += [error for connection in kept if (error := _ask(connection))]
        broken += [failure.error for failure in load.failures]
        if not download.complete:
            broken.append(f"download: {download.error}")
        if broken:
            self.problems.append(f"reload: {len(broken)} connections broke, first: {broken[0]}")
        self.report |= {"reload_broken_connections": len(broken), "reload_requests": load.requests,
                        "reload_kept_connections": KEPT_CONNECTIONS,
                        "download": {"backend": download.backend, "bytes": download.received_bytes,
                                     "bytes_at_reload": at_reload, "complete": download.complete}}
        self._batch("after the reload")

    def _address(self, number: int) -> str:
        return backend_address(number, self.lab.node.config.backend_family)


def _ask(connection: KeepAlive) -> str | None:
    """What is wrong with a kept connection, if anything is."""
    try:
        answered_by = connection.request()
    except ConnectionBroken as error:
        return f"kept connection to {connection.backend}: {error}"
    return None if answered_by == connection.backend else f"{connection.backend}'s was answered by {answered_by}"
