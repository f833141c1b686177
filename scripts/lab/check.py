"""What `scripts/demo --check` checks: requests are spread as configured, and a reload breaks no connection.

The verdict is one dictionary, and a list of what did not hold."""

from __future__ import annotations

import time
from typing import Any, Callable

from .client import ConnectionBroken, Download, KeepAlive, Load
from .lab import Lab
from .topology import VIP, backend_address

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
        """One backend is added and one is removed, under connections of all kinds.

        Only connections to the backend that is removed may end with it: kept ones are closed before, as their
        owner would, and a short one that was just under way to it is told by the removed backend's own sockets."""
        lab, vip = self.lab, self.vip
        lab.add_backend(NEW_BACKEND)
        kept = [KeepAlive(lab.client, vip) for _ in range(KEPT_CONNECTIONS)]
        with (Download(lab.client, vip, f"/files/big?rate={DOWNLOAD_RATE}") as download,
              Load(lab.client, vip, rate=200).in_background() as load):
            removed = next(number for number in lab.node.config.backends if self._address(number) != download.backend)
            self._say(f"reload: {self._address(NEW_BACKEND)} added, {self._address(removed)} removed, while "
                      f"{download.backend} serves a download")
            for connection in kept:
                if connection.backend == self._address(removed):
                    connection.close()
            kept = [connection for connection in kept if connection.backend != self._address(removed)]
            progress = download.received_bytes
            del lab.node.config.backends[removed]
            lab.node.config.backends[NEW_BACKEND] = 100
            lab.node.reload()
            orphans = lab.backends[removed].peer_ports()
            if not download.running:
                self.problems.append("the download was over before the reload: it shows nothing")
            download.join(60)
        broken = [f"download: {download.error}"] if not download.complete else []
        broken += [failure.error for failure in load.failures if failure.local_port not in orphans]
        for connection in kept:
            try:
                moved_to = connection.request()
                if moved_to != connection.backend:
                    broken.append(f"a connection to {connection.backend} was answered by {moved_to}")
            except ConnectionBroken as error:
                broken.append(f"kept connection to {connection.backend}: {error}")
            connection.close()
        if broken:
            self.problems.append(f"reload: {len(broken)} connections broke, first: {broken[0]}")
        self.report |= {"reload_broken_connections": len(broken), "reload_requests": load.requests,
                        "reload_kept_connections": len(kept),
                        "download": {"backend": download.backend, "bytes": download.received_bytes,
                                     "bytes_before_reload": progress, "complete": download.complete}}
        self._batch("after the reload")

    def _address(self, number: int) -> str:
        return backend_address(number, self.lab.node.config.backend_family)
