"""A control plane in a few lines of Python, well-behaved or not: it speaks maglev/protocol.h over the real socket and
knows as much of maglev/abi.h as it takes to change a snapshot's fields and put its checksum right again.

    with Controller.connect(folder / "dataplane.sock") as controller:
        welcome = controller.hello()
        answer = controller.publish(7, Snapshot(welcome.snapshot).numbered(7))
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import xxhash

ABI = Path(__file__).resolve().parents[2] / "maglev/abi.h"
[ABI_VERSION] = [int(number) for number in re.findall(r"define LINIMO_ABI_VERSION (\d+)", ABI.read_text())]
HELLO, WELCOME, PUBLISH, ACCEPTED, REFUSED = range(1, 6)
MAX_MESSAGE = 256

SEALS = (fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE)
ALL_SEALS = sum(SEALS)

VIPS, RULES, SERVICES, SOURCES, POOLS, BACKENDS, UNSETTLED, SLOTS = range(8)  # sections
_GENERATION, _CHECKSUM, _EXTENTS = 24, 40, 120  # offsets in the header
HEADER_SIZE = _EXTENTS + 16 * 8
_POOL_SLOTS, _POOL_CHECKSUM, _POOL_SIZE = 64, 96, 112  # offsets in a pool's record, and its size


@dataclass(frozen=True)
class Welcome:
    generation: int
    pid: int
    restored: bool
    snapshot: bytes  # what is live; empty when nothing is


@dataclass(frozen=True)
class Accepted:
    generation: int


@dataclass(frozen=True)
class Refused:
    generation: int  # 0: the connection was refused
    reason: str


class Closed(Exception):
    """The data plane has closed the connection."""


class Controller:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @classmethod
    def connect(cls, path: Path, timeout: float = 5.0) -> Controller:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hello(self, oldest: int = ABI_VERSION, newest: int = ABI_VERSION) -> Welcome | Refused:
        self.send(struct.pack("=IIII", HELLO, oldest, newest, 0))
        answer = self.receive()
        assert not isinstance(answer, Accepted)
        return answer

    def publish(self, generation: int, snapshot: bytes) -> Accepted | Refused:
        with memfd(snapshot) as descriptor:
            return self.publish_descriptors(generation, [descriptor])

    def publish_descriptors(self, generation: int, descriptors: Sequence[int]) -> Accepted | Refused:
        self.send(struct.pack("=IIQ", PUBLISH, 0, generation), descriptors)
        answer = self.receive()
        assert not isinstance(answer, Welcome)
        return answer

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self.socket.sendmsg([message], rights)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self) -> Welcome | Accepted | Refused:
        try:
            message, descriptors = socket.recv_fds(self.socket, MAX_MESSAGE, 4)[:2]
        except ConnectionResetError:
            raise Closed from None
        try:
            return _decoded(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _decoded(message: bytes, descriptors: list[int]) -> Welcome | Accepted | Refused:
    if not message:
        raise Closed
    kind, generation = struct.unpack_from("=I4xQ", message)
    if kind == WELCOME:
        pid, _, restored = struct.unpack_from("=III", message, 16)
        live = os.pread(descriptors[1], os.fstat(descriptors[1]).st_size, 0) if generation else b""
        return Welcome(generation, pid, bool(restored), live)
    if kind == ACCEPTED:
        return Accepted(generation)
    assert kind == REFUSED, f"an answer of type {kind}"
    return Refused(generation, message[16:].rstrip(b"\0").decode())


@contextlib.contextmanager
def memfd(content: bytes, seals: int = ALL_SEALS) -> Iterator[int]:
    descriptor = os.memfd_create("snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, content)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)


class Snapshot:
    """A snapshot's bytes, to be changed in copies whose checksum is right."""

    def __init__(self, content: bytes) -> None:
        self.bytes = bytes(content)

    def numbered(self, generation: int) -> bytes:
        return self.with_bytes(_GENERATION, struct.pack("=Q", generation)).bytes

    def section(self, section: int) -> tuple[int, int, int]:
        """Offset, number of records, size of one."""
        return struct.unpack_from("=QII", self.bytes, self.extent(section))

    @staticmethod
    def extent(section: int) -> int:
        """Where the header says where the section is."""
        return _EXTENTS + 16 * section

    def at(self, section: int, index: int, field: int) -> int:
        offset, _, size = self.section(section)
        return offset + index * size + field

    def with_bytes(self, offset: int, content: bytes) -> Snapshot:
        return Snapshot(with_checksum(self.bytes[:offset] + content + self.bytes[offset + len(content):]))


def with_checksum(content: bytes) -> bytes:
    """Each pool has the checksum of its slots, the header that of all before the slots; as far as there are such."""
    whole = bytearray(content)
    slots, _, _ = struct.unpack_from("=QII", content, Snapshot.extent(SLOTS))
    pools, count, size = struct.unpack_from("=QII", content, Snapshot.extent(POOLS))
    for record in range(pools, min(pools + count * size, len(content) - _POOL_SIZE + 1), max(size, _POOL_SIZE)):
        first, table_size = struct.unpack_from("=QI", content, record + _POOL_SLOTS)
        table = content[slots + 2 * first:slots + 2 * (first + table_size)]
        struct.pack_into("=Q", whole, record + _POOL_CHECKSUM, xxhash.xxh3_64_intdigest(table))
    struct.pack_into("=Q", whole, _CHECKSUM, 0)
    struct.pack_into("=Q", whole, _CHECKSUM, xxhash.xxh3_64_intdigest(bytes(whole[:slots])))
    return bytes(whole)
