"""The lab with a routing protocol: the router learns from BIRD on the nodes which VIPs they announce.

    lab.build()
    routed = Routed(lab)
    routed.start()
"""

from __future__ import annotations

import json
from pathlib import Path

from .bird import Bird, node_config, router_config, routes
from .lab import Lab
from .node import Node
from .topology import VIP
from .wait import wait_until


class Routed:
    def __init__(self, lab: Lab, announce: str = "") -> None:
        """`announce`: further lines for the nodes' [announce] section."""
        self.lab = lab
        self.announce = announce
        self.router = Bird(lab.topology.router, lab.folder / "router")
        self.birds: list[Bird] = []

    def start(self) -> None:
        """BIRD in all boxes, then the nodes; until both VIPs are routed to every node."""
        lab = self.lab
        lab.topology.unroute_vips()
        for node in lab.nodes:
            bird = Bird(node.box, node.folder)
            self.birds.append(bird)
            node.config.announce = f'via = "bird"\nbird_socket = "{bird.socket}"\n{self.announce}'
        self.router.start(router_config(lab.topology.wires))
        for number, bird in enumerate(self.birds, 1):
            lab.start_node(number)
            bird.start(node_config(*(wire for wire in lab.topology.wires if wire.box.name == bird.box.name)))
        self.wait_announced()

    def reach(self, family: int = 4) -> set[str]:
        """The router's links to the nodes that it sends the VIP's packets to."""
        return routes(self.lab.topology.router, VIP[family])

    def way(self, client: tuple[str, int], vip: tuple[str, int]) -> str:
        """The link by which the router sends a TCP connection's packets."""
        found = self.lab.topology.router.run(["ip", "-j", "route", "get", vip[0], "from", client[0], "iif", "client", "ipproto", "tcp",
                                              "sport", str(client[1]), "dport", str(vip[1])]).stdout
        return json.loads(found)[0]["dev"]

    def wait_announced(self, links: set[str] | None = None, timeout: float = 15) -> None:
        """Until the router has routes of both families to these nodes and no others; default: to all."""
        wanted = {wire.link for wire in self.lab.topology.wires} if links is None else links
        try:
            wait_until(lambda: self.reach(4) == self.reach(6) == wanted, f"the router reaches the VIPs by {wanted or 'none'}",
                       timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: it does by {self.reach(4)}, {self.reach(6)}\n{self.logs()}") from None

    def wait_sessions(self, node: Node, up: bool = True) -> None:
        """Until the node says so of both its BGP sessions."""
        wait_until(lambda: [session["up"] for session in node.status()["announce"]["bird"]["sessions"]] == [up] * 2,
                   f"{node.config.name}'s sessions are {'up' if up else 'down'}", 15)

    def logs(self) -> str:
        files: list[Path] = [bird.folder / "bird.log" for bird in (self.router, *self.birds)]
        return "\n".join(f"--- {file}\n{file.read_text(errors='replace')[-2000:]}" for file in files if file.exists())
