"""A whole lab under one name: built, run, and removed without a trace, also after a run that crashed.

Everything a lab makes carries its name (namespaces `NAME-*`, the folder /run/linimo-lab/NAME, connection tables named after
that folder), so that several fit on one machine and what an earlier run left can be told from everything else."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Callable

from . import hugepages
from .backend import Backend, make_files
from .node import Node, kept_tables
from .rights import Rights
from .topology import Topology
from .wait import wait_until

STATE = Path("/run/linimo-lab")
BUILD = Path(os.environ.get("LINIMO_BUILD", Path(__file__).resolve().parents[2] / "build"))


def say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Lab:
    def __init__(self, name: str, workers: int = 1, build: Path = BUILD,
                 say: Callable[[str], None] = say_on_stderr) -> None:
        self.name = name
        self.folder = STATE / name
        self.topology = Topology(name, node_queues=workers)
        self.client = self.topology.client
        self.backends: dict[int, Backend] = {}
        self.node = Node(self.topology.node, self.folder / "node", build)
        self.node.config.workers = workers
        self.node.rights = Rights() if os.environ.get("LINIMO_LAB_RIGHTS") == "least" else None
        self.nodes = [self.node]
        self._build = build
        self._decap_program = build / "bpf/decap/linimo-decap"
        self.pass_program = build / "bpf/pass.bpf.o"
        self.files = self.folder / "files"
        self._say = say
        self._lock: int | None = None

    def __enter__(self) -> Lab:
        self._take_lock()
        self.remove()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def build(self, backends: int = 3) -> None:
        """Boxes and backends; the node's daemons are started by start_node()."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.node.folder.mkdir(exist_ok=True)
        make_files(self.files)
        self.topology.build(backends)
        for number in self.topology.backends:
            self._start_backend(number)
        for backend in self.backends.values():
            backend.wait_ready()
        self.node.config.backends = {number: 100 for number in self.backends}

    def start_node(self, number: int = 1) -> None:
        node = self.nodes[number - 1]
        self.prepare_for(number)
        node.start()

    def prepare_for(self, number: int) -> None:
        """What its engine needs of the machine and of the wire."""
        if self.nodes[number - 1].config.takes_netdev:
            hugepages.reserve(self._hugepages_record(), self._say, user=f"{self.name} {number}")
        else:
            self.let_pass(number)

    def let_pass(self, number: int | str) -> None:
        """See there: a veth takes what XDP on its other end sends back only if it has a program itself."""
        self.topology.router.run(["ip", "link", "set", "dev", f"lb{number}", "xdpdrv", "obj", str(self.pass_program),
                                  "sec", "xdp.frags"])

    def add_node(self) -> Node:
        """Another box for a node, configured as the first; start_node(2) starts its daemons."""
        wire = self.topology.add_node()
        node = Node(wire.box, self.folder / wire.link, self._build)
        node.folder.mkdir(exist_ok=True)
        node.config = dataclasses.replace(self.node.config, runtime_dir=node.config.runtime_dir, name=wire.link,
                                          addresses=wire.node)
        node.rights = self.node.rights
        self.nodes.append(node)
        return node

    def add_backend(self, number: int) -> Backend:
        """A box and its nginx; it gets no traffic before the configuration names it."""
        self.topology.add_backend(number)
        backend = self._start_backend(number)
        backend.wait_ready()
        return backend

    def close(self) -> None:
        """Not to be interrupted: a second Ctrl-C would leave half of it behind. Nothing, after leave()."""
        if self._lock is None:
            return
        before = {sig: signal.signal(sig, signal.SIG_IGN) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                for node in self.nodes:
                    node.stop()
            finally:
                self.remove()
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)
            self.leave()

    def leave(self) -> None:
        """Go away and leave it running, to be removed later."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Whatever stands under this name, from whichever run."""
        existed = self.folder.exists()
        for node in self.nodes:
            if (node.folder / "run/bpf").is_mount():  # an xdp data plane of a run that crashed
                node.detach()
        del self.nodes[1:]
        self.topology.remove()
        for runtime_dir in self.folder.glob("*/run"):
            shutil.rmtree(kept_tables(runtime_dir), ignore_errors=True)
        self.backends.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if existed:
            hugepages.put_back(self._hugepages_record(), self._say,
                               unless=lambda: any(path.is_dir() for path in STATE.iterdir()))

    def end_other_run(self) -> None:
        """If a run of this name lives, ask it to end and wait until it has cleaned up."""
        with contextlib.suppress(BlockingIOError):
            self._take_lock()
            return
        pid = int(self._lock_file().read_text() or 0)
        self._say(f"asking the running lab (process {pid}) to end")
        os.kill(pid, signal.SIGTERM)
        wait_until(self._try_lock, f"process {pid} has cleaned up", 30)

    def _start_backend(self, number: int) -> Backend:
        backend = Backend(number, self.topology, self.folder / f"b{number}", self.files, self._decap_program)
        self.backends[number] = backend
        backend.start()
        return backend

    def _hugepages_record(self) -> Path:
        return STATE / "hugepages.json"

    def _lock_file(self) -> Path:
        return STATE / f"{self.name}.lock"

    def _try_lock(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self._take_lock()
            return True
        return False

    def _take_lock(self) -> None:
        """The kernel lets go of it however this process ends; the daemons do not inherit it."""
        if self._lock is not None:
            return
        STATE.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._lock_file(), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BlockingIOError(f"a lab named {self.name} is running "
                                  f"(process {self._lock_file().read_text()})") from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock
