"""Many revisions in a row, while backends fall ill and recover."""

from __future__ import annotations

import time
from collections import Counter

from documented import documented
from fleet_case import FleetCase
from lab.etcd import Etcd
from lab.fleet import NODES
from lab.wait import wait_until

SPARE = """
[[pool]]
name = "spare"
encapsulation = "ipip"
health = { type = "http", port = 80, path = "/spare", interval = "200ms", timeout = "200ms", rise = 1, fall = 2, \
slow_start = "0s", flap_half_life = "0s" }
backends = [{ address = "10.0.1.1" }, { address = "10.0.1.3" }]

[[service]]
name = "spare"
vips = ["203.0.113.10"]
protocol = "tcp"
ports = [81]
pool = "spare"
"""
CHURN_S = 16
KEPT_REVISIONS = 17  # documents of the newest and of 16 before


class FleetChurn(FleetCase):
    alone = True  # how soon they are all written is judged

    @classmethod
    def start_etcd(cls, etcd: Etcd) -> None:
        etcd.options = ["--quota-backend-bytes=16777216"]
        etcd.secure(*documented("fleet.md", "Who may use the store"))

    def test_many_revisions_in_a_row(self) -> None:
        """200 of them within 20 s, a third at each node, while a backend of another pool falls ill and recovers ten times, upon
        which its own connections would rightly break: no request fails, no connection breaks, all end with the same tables, and
        the store holds no more than before."""
        config, count = self.lab.node.config, 200
        config.more = SPARE
        self.fleet.apply()
        self.fleet.wait_agreed()
        began = time.monotonic()
        backend, kept_before, size_before = self.lab.backends[3], self.kept_in_store(), self.size_of_store()
        with self.served_meanwhile(), self.falls_ill_meanwhile(backend, "spare") as changes:
            for number in range(count):
                config.backends[1 + number % 2] = 50 if number % 4 < 2 else 100
                revision = {"text": config.shared(), "file": "churn.toml"}
                time.sleep(max(0.0, began + number * CHURN_S / count - time.monotonic()))
                wait_until(lambda: self.fleet.post(number * NODES // count, "/v1/fleet/apply", revision) == 200, "it is written", 5)
            took = time.monotonic() - began
            wait_until(lambda: len(changes) >= 20, "it has fallen ill and recovered ten times", 40)
        self.assertEqual(1, len(self.fleet.wait_agreed(60)))
        self.say(f"{count} revisions in {took:.1f} s, {len(changes)} changes of health in {changes[-1] - began:.1f} s; "
                 f"in the store: {kept_before}, then {self.kept_in_store()}; {size_before}, then {self.size_of_store()} bytes")
        self.assertLessEqual(took, 20)
        kept = {"history": KEPT_REVISIONS, "config": 4 * KEPT_REVISIONS, "now/ready": NODES * KEPT_REVISIONS}
        for prefix, keys in self.kept_in_store().items():
            self.assertLessEqual(keys, kept.get(prefix) or kept_before[prefix], prefix)
        self.assertLessEqual(self.size_of_store(), size_before + 200_000)
        config.more = ""
        config.backends.update({1: 100, 2: 100})
        self.fleet.apply()

    def kept_in_store(self) -> Counter[str]:
        """How many keys, by what they begin with."""
        return Counter("/".join(key.split("/")[:2]) if key.startswith("now/") else key.partition("/")[0] for key in self.fleet.etcd.keys())

    def size_of_store(self) -> int:
        etcd = self.fleet.etcd
        etcd.ctl("compact", str(etcd.revision()))
        etcd.ctl("defrag", check=True)
        return int(etcd.status()[0]["dbSize"])
