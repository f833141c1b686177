"""A test class with a lab of its own: a client, a router, a node with both daemons, three backends."""

from __future__ import annotations

import os
import unittest
from contextlib import ExitStack
from typing import ClassVar

from lab.client import Load
from lab.lab import Lab

LAB_NAME = os.environ.get("LINIMO_LAB", "linimo-test")  # two checkouts on one machine want two names


class LabCase(unittest.TestCase):
    """One lab serves all tests of the class; each leaves it as it found it."""

    workers: ClassVar[int] = 1
    daemons: ClassVar[bool] = True  # False: boxes and backends alone
    alone: ClassVar[bool] = False  # True: no other class runs meanwhile, for it judges times or changes the machine
    lab: ClassVar[Lab]
    open_labs: ClassVar[ExitStack] = ExitStack()  # what the runner closes when it is interrupted

    @classmethod
    def configure(cls) -> None:
        """What the class wants other than usual in lab.node.config, before the daemons start."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.addClassCleanup(LabCase.open_labs.close)
        cls.lab = LabCase.open_labs.enter_context(Lab(LAB_NAME, cls.workers))
        cls.lab.build()
        cls.configure()
        if cls.daemons:
            cls.lab.start_node()

    def assert_served(self, load: Load, backends: set[str] | None = None) -> None:
        """Every request was answered, and by these backends, each of them."""
        self.assertEqual([], load.failures[:3], f"{len(load.failures)} of {load.requests} requests failed")
        if backends is not None:
            self.assertEqual(backends, set(load.served))
