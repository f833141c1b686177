"""Files through the VIP arrive whole, in every encapsulation and combination of families, in both directions.

Only the client's packets pass the node: an upload is what fills the tunnels with full-size packets."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import ClassVar

from case import LabCase
from lab.client import Download, Load, upload
from lab.topology import VIP

SIZE = 16 * 1024 * 1024


class _Transfer(LabCase):
    engine: ClassVar[str]
    content: ClassVar[bytes]

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.content = os.urandom(SIZE)  # nothing of it repeats: a lost or doubled piece cannot go unseen
        (cls.lab.files / "random").write_bytes(cls.content)

    def test_every_encapsulation_and_family(self) -> None:
        lab = self.lab
        for encapsulation in ("ipip", "gre", "gue"):
            for backend_family in (4, 6):
                lab.node.config.encapsulation = encapsulation
                lab.node.config.backend_family = backend_family
                lab.node.reload_if_changed()
                for family in (4, 6):
                    with self.subTest(encapsulation=encapsulation, inner=family, outer=backend_family):
                        self._download(family)
                        self._upload(family, f"{encapsulation}-{family}-{backend_family}")
                        load = Load(lab.client, VIP[family])
                        load.run(100)
                        self.assert_served(load, {backend.address(family) for backend in lab.backends.values()})

    def _download(self, family: int) -> None:
        with Download(self.lab.client, VIP[family], "/files/random") as download:
            download.join(30)
        self.assertTrue(download.complete, download.error)
        self.assertEqual(hashlib.blake2b(self.content).hexdigest(), download.digest.hexdigest())

    def _upload(self, family: int, name: str) -> None:
        self.assertEqual("201", upload(self.lab.client, VIP[family], self.lab.files / "random", name))
        stored = [path for backend in self.lab.backends.values()
                  if (path := Path(backend.folder, "upload", name)).exists()]
        self.assertEqual(1, len(stored), "exactly one backend was given the file")
        self.assertTrue(stored[0].read_bytes() == self.content, "the file that arrived is not the one that was sent")
        stored[0].unlink()


class JumboTransfer(_Transfer):
    """The client's packets are 9000 bytes long: frames that lie in several buffers of the kernel's, as its driver lays them
    out, and in generic mode."""
    engine = "xdp"
    ways = (("ipip", 4, (4, 6)), ("gre", 6, (6,)), ("gue", 6, (4, 6)))

    @classmethod
    def configure(cls) -> None:
        super().configure()
        cls.lab.topology.widen(9000)

    def test_every_encapsulation_and_family(self) -> None:
        self.assertNotIn("generic mode", self._log())
        self._transfer_all()

    def test_generic_mode(self) -> None:
        node, render = self.lab.node, self.lab.node.config.render
        node.stop()
        node.detach()
        self.addCleanup(setattr, node.config, "render", render)
        setattr(node.config, "render", lambda: render().replace("workers =", 'xdp_mode = "generic"\nworkers =', 1))
        node.start()
        self.assertRegex(self.lab.topology.node.run(["ip", "link", "show", "eth0"]).stdout, "xdpgeneric")
        self._transfer_all()

    def test_too_big_is_told(self) -> None:
        """A way that takes less: of a frame in several buffers the end is cut off for the answer that quotes it."""
        node = self.lab.node
        node.config.encapsulation, node.config.backend_family = "ipip", 4
        node.reload_if_changed()
        route = ["10.0.1.0/24", "via", "10.0.0.1", "dev", "eth0", "mtu", "8000"]
        node.box.run(["ip", "route", "add", *route])
        self.addCleanup(node.box.run, ["ip", "route", "del", *route])
        before = node.outcomes()["too_big_reply"]
        for family in (4, 6):
            self._upload(family, f"told-{family}")
            self.lab.client.run(["ip", f"-{family}", "route", "flush", "cache"])
        self.assertGreater(node.outcomes()["too_big_reply"], before + 1)

    def test_z_between_interfaces(self) -> None:
        """In by one and out by another, whose driver says that it sends such frames."""
        node, topology = self.lab.node, self.lab.topology
        node.stop()
        node.detach()
        wire = topology.add_uplink()
        for box, link in ((topology.router, wire.link), (node.box, "eth1")):
            box.run(["ip", "link", "set", link, "mtu", "9100"])
        self.lab.let_pass("1b")
        node.box.run(["ip", "route", "add", "10.0.1.0/24", "via", wire.router[4], "dev", "eth1"])
        node.config.more_interfaces = ("eth1",)
        node.config.encapsulation, node.config.backend_family = "ipip", 4
        node.start()
        before = node.outcomes()["fragmented_frame"]
        self._upload(4, "between")
        self.assertEqual(0, node.outcomes()["fragmented_frame"] - before)

    def _transfer_all(self) -> None:
        lab = self.lab
        for encapsulation, backend_family, families in self.ways:
            lab.node.config.encapsulation, lab.node.config.backend_family = encapsulation, backend_family
            lab.node.reload_if_changed()
            for family in families:
                with self.subTest(encapsulation=encapsulation, inner=family, outer=backend_family):
                    before = lab.node.service("web")
                    self._upload(family, f"{encapsulation}-{family}-{backend_family}")
                    packets, size = (lab.node.service("web")[what] - before[what] for what in ("packets", "bytes"))
                    self.assertGreater(size / packets, 4096, "most are longer than a page")
                    self._download(family)

    def _log(self) -> str:
        return (self.lab.node.folder / "linimo-dataplane.log").read_text()


class TransferInDpdk(_Transfer):
    engine = "dpdk"


class TransferInXdp(_Transfer):
    engine = "xdp"


del _Transfer  # its tests are for an engine
