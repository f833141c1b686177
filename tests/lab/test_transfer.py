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


class TransferInDpdk(_Transfer):
    engine = "dpdk"


class TransferInXdp(_Transfer):
    engine = "xdp"


del _Transfer  # its tests are for an engine
