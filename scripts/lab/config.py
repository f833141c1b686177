"""The node's configuration, as the lab changes it: backends come and go, the rest is chosen once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .topology import NODE, VIP, backend_address


@dataclass
class Health:
    """Quick, so that a lab run is; the pauses are still long against a scheduler's on a busy machine."""
    interval_ms: int = 500
    timeout_ms: int = 500
    rise: int = 1
    fall: int = 2
    # As if nothing had been: a backend that returns has its whole share at once, however often it went.
    more: str = 'slow_start = "0s", flap_half_life = "0s"'

    @property
    def detection_bound_s(self) -> float:
        """By when new connections must go elsewhere: the checks that have to fail, 10 % jitter, the last one's
        timeout, and 500 ms for the new table."""
        return (self.interval_ms * 1.1 * self.fall + self.timeout_ms + 500) / 1000


@dataclass
class NodeConfig:
    runtime_dir: Path
    name: str = "lb1"
    addresses: dict[int, str] = field(default_factory=lambda: dict(NODE))
    engine: str = "dpdk"
    interface: str = "eth0"
    more_interfaces: tuple[str, ...] = ()
    workers: int = 1
    encapsulation: str = "ipip"
    backend_family: int = 4
    backends: dict[int, int] = field(default_factory=dict)  # number -> weight
    health: Health = field(default_factory=Health)
    scheduler: str = "maglev"
    tracking: str = "full"
    idle_timeout: str = ""  # "": the usual one
    table_size: int | None = None
    flows_per_worker: int | None = None
    announce: str = ""  # lines of [announce]; "": no such section
    more: str = ""  # further pools and services, verbatim
    fleet: str = ""  # lines of [fleet], which then has the pools and services; "": no such section
    seed_file: Path = Path()  # nodes of one fleet share it
    idle: str = ""  # "": the usual way
    lanes: str = field(default_factory=lambda: os.environ.get("LINIMO_LAB_LANES", ""))  # "": as the node likes

    def __post_init__(self) -> None:
        if self.seed_file == Path():
            self.seed_file = self.runtime_dir / "seed"

    @property
    def takes_netdev(self) -> bool:
        """Engine dpdk puts a TAP in the place of eth0. A veth being a virtual NIC, auto is xdp."""
        return self.engine == "dpdk"

    def healthy_states(self) -> dict[str, str]:
        """What `linimo backend list` says of each backend when all is well. Weight 0 drains one."""
        return {backend_address(number, self.backend_family): "up" if weight else "draining"
                for number, weight in self.backends.items()}

    def render(self) -> str:
        return self.own() + (f"[fleet]\n{self.fleet}\n" if self.fleet else self.shared())

    def shared(self) -> str:
        """Pools and services: what a fleet's nodes have from its store."""
        backends = "".join(
            f'  {{ address = "{backend_address(number, self.backend_family)}", weight = {weight} }},\n'
            for number, weight in self.backends.items())
        health = self.health
        idle_timeout = f'idle_timeout = "{self.idle_timeout}"\n' if self.idle_timeout else ""
        table_size = f"table_size = {self.table_size}\n" if self.table_size else ""
        return f'''[[pool]]
name = "web"
encapsulation = "{self.encapsulation}"
{table_size}health = {{ type = "http", port = 80, path = "/healthz", interval = "{health.interval_ms}ms", \
timeout = "{health.timeout_ms}ms", rise = {health.rise}, fall = {health.fall}, \
{health.more} }}
backends = [
{backends}]

[[service]]
name = "web"
vips = ["{VIP[4]}", "{VIP[6]}"]
protocol = "tcp"
ports = [80]
pool = "web"
scheduler = "{self.scheduler}"
tracking = "{self.tracking}"
{idle_timeout}{self.more}'''

    def own(self) -> str:
        """What belongs to this node alone."""
        flows = f"flows_per_worker = {self.flows_per_worker}\n" if self.flows_per_worker else ""
        idle = f'idle = "{self.idle}"\n' if self.idle else ""
        lanes = f'lanes = "{self.lanes}"\n' if self.lanes else ""
        announce = f"[announce]\n{self.announce}\n\n" if self.announce else ""
        return f'''# Written by the lab. Change it while the lab runs: the control plane reloads it.
[node]
name = "{self.name}"
interfaces = [{", ".join(f'"{name}"' for name in (self.interface, *self.more_interfaces))}]
engine = "{self.engine}"
workers = {self.workers}
{flows}{idle}{lanes}encap_source = ["{self.addresses[4]}", "{self.addresses[6]}"]
hash_seed_file = "{self.seed_file}"
runtime_dir = "{self.runtime_dir}"
state_dir = "{self.runtime_dir.parent}/state"

{announce}'''
