"""Nodes that have their configuration from etcd, behind a router with BIRD and ECMP. In a lab that is built:

    fleet = Fleet(lab, members=3)
    fleet.start()
    lab.node.config.backends[1] = 50
    fleet.apply()
    fleet.wait_agreed()
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any, Callable

from .bird import Bird, node_config, router_config
from .etcd import Etcd
from .lab import Lab
from .node import Node
from .routed import Routed
from .wait import wait_until

NODES = 3


class Fleet:
    def __init__(self, lab: Lab, members: int = 1, nodes: int = NODES, lease_s: int = 3,
                 start_etcd: Callable[[Etcd], None] = Etcd.start) -> None:
        """`members`: of etcd."""
        lab.node.config.tracking = "adaptive"
        while len(lab.nodes) < nodes:
            lab.add_node()
        self.lab, self.nodes = lab, lab.nodes
        self.etcd = Etcd(lab, members)
        start_etcd(self.etcd)
        for node in self.nodes:
            node.config.fleet = self.etcd.section([one.config.addresses[4] for one in self.nodes], lease_s)
            node.folder.mkdir(exist_ok=True)
        self.routed = Routed(lab, 'drain_wait = "1s"')
        lab.topology.unroute_vips()

    def start(self) -> None:
        """Nodes that know nothing, and a fleet without a revision; then one is applied at the first."""
        self.start_nodes()
        self.wait_members()
        self.apply()
        self.wait_agreed()
        self.routed.wait_announced()

    def start_nodes(self) -> None:
        """All that runs there, by the nodes' own files."""
        lab, routed = self.lab, self.routed
        for node in self.nodes:
            bird = Bird(node.box, node.folder)
            routed.birds.append(bird)
            node.config.announce = f'via = "bird"\nbird_socket = "{bird.socket}"\n{routed.announce}'
        routed.router.start(router_config(lab.topology.wires))
        for number, (node, bird) in enumerate(zip(self.nodes, routed.birds), 1):
            lab.prepare_for(number)
            node.prepare()
            node.start_dataplane()
            node.start_controlplane()
            bird.start(node_config(*(wire for wire in lab.topology.wires if wire.box.name == bird.box.name)))

    def wait_members(self) -> None:
        for node in self.nodes:
            wait_until(lambda: len(told(node).get("nodes", [])) == len(self.nodes), "all nodes are members", 15, alive=node.check_alive)

    def file(self, text: str | None = None) -> str:
        """Pools and services as the lab's configuration has them now, to be applied."""
        file = self.lab.folder / "applied.toml"
        file.write_text(self.lab.node.config.shared() if text is None else text)
        return str(file)

    def apply(self, text: str | None = None, node: int = 0, *more: str) -> str:
        return self.nodes[node].cli("config", "apply", self.file(text), *more).stdout

    def post(self, node: int, path: str, body: dict[str, Any]) -> int:
        """The API's status. What is applied this way is written when it returns, and not yet in force."""
        with contextlib.closing(http.client.HTTPConnection("linimo")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.nodes[node].config.runtime_dir / "control.sock"))
            connection.request("POST", path, json.dumps(body))
            return connection.getresponse().status

    def wait_agreed(self, timeout: float = 15.0) -> set[str]:
        """All nodes say that all agree; their digests."""
        for node in self.nodes:
            wait_until(lambda: told(node).get("agree"), f"{node.config.name} says that all agree", timeout,
                       alive=node.check_alive)
            wait_until(lambda: not told(node)["fragments"]["move"], f"{node.config.name} knows who handles fragments", timeout,
                       alive=node.check_alive)
        return {node.status()["digest"] for node in self.nodes}


def told(node: Node) -> dict[str, Any]:
    """What a node says of its fleet; nothing while it does not answer."""
    done = node.cli("fleet", "status", "-o", "json", check=False)
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}
