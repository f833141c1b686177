"""Whatever a controller hands over, a snapshot that is not sound is refused with a reason, the connection stays usable,
and the tables that are live go on serving."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
from typing import ClassVar, Iterator

from case import LabCase
from lab.client import Load
from lab.topology import VIP
from lab.wait import wait_until
from seam import ALL_SEALS, BACKENDS, HEADER_SIZE, POOLS, RULES, SEALS, SERVICES, SLOTS, SOURCES, UNSETTLED, VIPS
from seam import Accepted, Controller, Refused, Snapshot, Welcome, memfd

TABLE_SIZE = 251  # a snapshot of about a kilobyte, so that every length and every byte can be tried
SECTIONS = (VIPS, RULES, SERVICES, SOURCES, POOLS, BACKENDS, UNSETTLED, SLOTS)
MOST_BYTES = 4 << 30  # the most that a snapshot may have

# Fields by their offset in a record of maglev/abi.h, each with values that no sound snapshot has there.
U64 = (1, 0xFFFF, 1 << 32, (1 << 64) - 1)
U32 = (0xFFFF, 1 << 20, (1 << 32) - 2, (1 << 32) - 1)
U8 = (2, 255)
BAD_FIELDS = [
    (VIPS, "prefix_length", 16, "=I", (129, *U32)),
    (VIPS, "rule_first", 20, "=I", (1, *U32)),
    (VIPS, "rule_count", 24, "=I", (5000, *U32)),
    (RULES, "port_first", 0, "=H", (65535,)),
    (RULES, "protocol", 4, "=H", (0, 7, 65535)),
    (RULES, "service", 6, "=H", (1, 65535)),
    (SERVICES, "name", 0, "=64s", (b"x" * 64,)),  # without its end
    (SERVICES, "id", 64, "=I", (4096, *U32)),
    (SERVICES, "pool", 68, "=I", (1, *U32)),
    (SERVICES, "source_first", 72, "=I", U32),
    (SERVICES, "source_count", 76, "=I", U32),
    (SERVICES, "idle_timeout_s", 80, "=I", (0, 3601, *U32)),
    (SERVICES, "protocol", 84, "=B", (1, 255)),
    (SERVICES, "tracking", 85, "=B", (7, 255)),
    (SERVICES, "no_backend", 86, "=B", U8),
    (SERVICES, "scheduler", 87, "=B", (5, 255)),
    (SERVICES, "quic", 88, "=B", U8),
    (SERVICES, "server_id_offset", 89, "=B", (21, 255)),
    (POOLS, "name", 0, "=64s", (b"x" * 64,)),
    (POOLS, "slot_first", 64, "=Q", U64),
    (POOLS, "table_size", 72, "=I", (0, TABLE_SIZE + 1, *U32)),
    (POOLS, "backend_first", 76, "=I", (1, 3, *U32)),
    (POOLS, "backend_count", 80, "=I", (0, 1, 2, 4, *U32)),
    (POOLS, "encapsulation", 84, "=B", U8),
    (POOLS, "server_id_length", 85, "=B", (1, 9, 255)),
    (POOLS, "unsettled_first", 104, "=I", (1, *U32)),
    (POOLS, "unsettled_count", 108, "=I", (1, *U32)),
    (POOLS, "gue_port", 86, "=H", (1, 6080, 65535)),
    (BACKENDS, "id", 16, "=I", (262144, *U32[2:])),
    (BACKENDS, "state", 24, "=I", (3, *U32)),
    (BACKENDS, "server_id", 32, "=Q", U64),
    (SLOTS, "slot", 0, "=H", (3, 250, 65534)),
]


class HostileSnapshots(LabCase):
    sound: ClassVar[Snapshot]  # that of the real control plane

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.table_size = TABLE_SIZE

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.lab.node.stop_controlplane()
        with cls._connect() as controller:
            cls.sound = Snapshot(cls._greeted(controller).snapshot)

    def setUp(self) -> None:
        """A controller that has just published a sound snapshot."""
        self.assertLess(len(self.sound.bytes), 4096)
        self.controller = self._connect()
        self.addCleanup(self.controller.socket.close)
        self.live = self._greeted(self.controller).generation
        self._publish_sound()

    @classmethod
    def _connect(cls) -> Controller:
        return Controller.connect(cls.lab.node.config.runtime_dir / "dataplane.sock")

    @staticmethod
    def _greeted(controller: Controller) -> Welcome:
        welcome = controller.hello()
        assert isinstance(welcome, Welcome), welcome
        return welcome

    def test_cut_short_at_every_length(self) -> None:
        """Also with a checksum that is right for what is left."""
        whole = self.sound.numbered(self.live + 1)
        with self._unharmed():
            for length in range(len(whole)):
                self._assert_refused(whole[:length], f"cut to {length} bytes")
            for length in range(HEADER_SIZE, len(whole)):
                self._assert_refused(Snapshot(whole[:length]).with_bytes(0, b"").bytes, f"cut to {length} bytes")

    def test_every_byte_changed(self) -> None:
        whole = self.sound.numbered(self.live + 1)
        with self._unharmed():
            for at, byte in enumerate(whole):
                for changed in (byte ^ 0xFF, byte ^ 1):
                    self._assert_refused(whole[:at] + bytes([changed]) + whole[at + 1:], f"byte {at} changed")

    def test_every_byte_changed_with_its_checksum_right(self) -> None:
        """Some are snapshots then, of another name or VIP, and taken. Whatever was, the data plane lives, and forwards
        again by the sound one."""
        accepted = refused = 0
        for at, byte in enumerate(self.sound.bytes):
            for changed in (byte ^ 0xFF, byte ^ 1):
                self.live += 1
                answer = self.controller.publish(
                    self.live, Snapshot(self.sound.numbered(self.live)).with_bytes(at, bytes([changed])).bytes)
                self.assertEqual(self.live, answer.generation, f"byte {at}")
                accepted += isinstance(answer, Accepted)
                refused += isinstance(answer, Refused)
        self.assertGreater(accepted, 300)
        self.assertGreater(refused, 300)
        self._publish_sound()
        self._assert_forwards()

    def test_fields_out_of_range(self) -> None:
        """Indices, counts, lengths and kinds, the checksum right: the first and the last record of each array."""
        with self._unharmed():
            for section, name, field, form, values in BAD_FIELDS:
                records = self.sound.section(section)[1]
                for index in {0, records - 1}:
                    for value in values:
                        at, content = self.sound.at(section, index, field), struct.pack(form, value)
                        if self.sound.bytes[at:at + len(content)] == content:
                            continue
                        self._assert_refused(self._with(at, content),
                                             f"section {section}, record {index}, {name} = {value}")

    def test_sections_out_of_bounds(self) -> None:
        with self._unharmed():
            for section in SECTIONS:
                at = Snapshot.extent(section)
                offset, records, size = self.sound.section(section)
                for bad in ((offset + 1, records, size), (0, records, size), (1 << 63, records, size),
                            ((1 << 64) - 8, records, size), (len(self.sound.bytes) + 8, records, size),
                            (offset, (1 << 32) - 1, size), (offset, records, size + 1), (offset, records, 0)):
                    self._assert_refused(self._with(at, struct.pack("=QII", *bad)), f"section {section} at {bad}")

    def test_backend_ids_that_are_no_pools(self) -> None:
        """A backend outside of every pool has an id too: a wild one must not be used as an index."""
        slots = self.sound.section(SLOTS)
        for wild in (262144, (1 << 32) - 2, (1 << 32) - 1):
            orphaned = self.sound.with_bytes(self.sound.at(POOLS, 0, 80), struct.pack("=I", 2))
            orphaned = orphaned.with_bytes(slots[0], bytes(slots[1] * slots[2]))  # all to the first
            orphaned = orphaned.with_bytes(orphaned.at(BACKENDS, 2, 16), struct.pack("=I", wild))
            with self._unharmed():
                self._assert_refused(orphaned.numbered(self.live + 1), f"id {wild:#x} in no pool")

    def test_descriptors_that_may_change(self) -> None:
        """Each seal is wanted; nothing that can still grow, shrink, be written or unsealed is read."""
        sound = self.sound.numbered(self.live + 1)
        with self._unharmed():
            for seals in (0, *SEALS, *(ALL_SEALS & ~seal for seal in SEALS)):
                with memfd(sound, seals) as descriptor:
                    self._assert_no([descriptor], "sealed", f"seals {seals:#x}")

    def test_descriptors_that_are_no_snapshots(self) -> None:
        sound = self.sound.numbered(self.live + 1)
        ends = os.pipe()
        closing = [*ends, os.open("/", os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY), os.open("/", os.O_PATH)]
        with contextlib.ExitStack() as stack:
            for descriptor in closing:
                stack.callback(os.close, descriptor)
            regular = stack.enter_context(tempfile.TemporaryFile())
            regular.write(sound)
            regular.flush()
            one, two = stack.enter_context(memfd(sound)), stack.enter_context(memfd(sound))
            write_only = os.open(f"/proc/self/fd/{stack.enter_context(memfd(sound))}", os.O_WRONLY)
            stack.callback(os.close, write_only)
            with self._unharmed():
                for descriptor in (*closing, regular.fileno(), self.controller.socket.fileno(), write_only):
                    self._assert_no([descriptor], "", os.readlink(f"/proc/self/fd/{descriptor}"))
                self._assert_no([], "descriptor", "none")
                self._assert_no([one, two], "descriptor", "two")
                self._assert_no([one] * 100, "descriptor", "a hundred")

    def test_holes_are_not_filled(self) -> None:
        """A sealed file of four gigabytes costs its sender nothing; it must not cost the data plane four gigabytes."""
        descriptor = os.memfd_create("holes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.addCleanup(os.close, descriptor)
        os.ftruncate(descriptor, MOST_BYTES)
        os.pwrite(descriptor, self.sound.numbered(self.live + 1), 0)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, ALL_SEALS)
        with self._unharmed():
            self._assert_no([descriptor], "", "four gigabytes of holes")
        self.assertLess(os.fstat(descriptor).st_blocks * 512, 1 << 20)

    def test_generations_never_go_back(self) -> None:
        """Nor so far ahead that there would be no way on."""
        with self._unharmed():
            for generation in ((1 << 64) - 1, 1 << 63, self.live + 1 + (1 << 32)):
                answer = self.controller.publish(generation, self.sound.numbered(generation))
                self.assertEqual(Refused(generation, f"generation {generation} is too far ahead"), answer)
            for generation in range(max(1, self.live - 1), self.live + 1):
                answer = self.controller.publish(generation, self.sound.numbered(generation))
                self.assertIsInstance(answer, Refused)
            answer = self.controller.publish(self.live + 2, self.sound.numbered(self.live + 1))
            self.assertIsInstance(answer, Refused, "the message names another generation than the snapshot")

    def _with(self, at: int, content: bytes) -> bytes:
        return Snapshot(self.sound.numbered(self.live + 1)).with_bytes(at, content).bytes

    def _assert_refused(self, snapshot: bytes, what: str) -> None:
        with memfd(snapshot) as descriptor:
            self._assert_no([descriptor], "", what)

    def _assert_no(self, descriptors: list[int], reason: str, what: str) -> None:
        """Refused, for a reason that has that word; the connection stays."""
        answer = self.controller.publish_descriptors(self.live + 1, descriptors)
        self.assertIsInstance(answer, Refused, what)
        assert isinstance(answer, Refused)
        self.assertEqual(self.live + 1, answer.generation, what)
        self.assertTrue(answer.reason, what)
        self.assertIn(reason, answer.reason, what)

    @contextlib.contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Requests succeed all the while, what is live stays live, and a sound snapshot is taken afterwards, over the
        same connection."""
        load = Load(self.lab.client, VIP[4], threads=2, rate=100)
        with load.in_background():
            wait_until(lambda: load.requests > 10, "requests are on their way")
            yield
        self.assert_served(load)
        self._publish_sound()
        self._assert_forwards()

    def _publish_sound(self) -> None:
        self.live += 1
        self.assertEqual(Accepted(self.live), self.controller.publish(self.live, self.sound.numbered(self.live)))

    def _assert_forwards(self) -> None:
        self.lab.node.check_alive()
        load = Load(self.lab.client, VIP[4], threads=2)
        load.run(60)
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})
