"""Who connects to the data plane and is not its control plane, or does not behave as one, disturbs neither forwarding nor
the control plane."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import resource
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator

from case import LabCase
from lab.client import Load
from lab.meanwhile import meanwhile
from lab.topology import VIP
from lab.wait import wait_until
from seam import ABI_VERSION, HELLO, PUBLISH, Closed, Controller, Refused, Welcome

CUT_OFF_S = 2.0  # who says nothing for that long
LOOKED_AT_S = 0.5  # so often
SLACK_S = 1.0  # of a busy machine
NOBODY = 65534

# As another user would write it: it says hello, and prints what it is told.
STRANGER = """
import socket, struct, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.settimeout(5)
try:
    sock.connect(sys.argv[1])
    sock.send(struct.pack("=IIII", 1, 1, 1, 0))
except BrokenPipeError:
    pass
except PermissionError:
    sys.exit("may not connect")
print(sock.recv(256)[16:].rstrip(b"\\0").decode())
"""
LOOKS_S = 2.2  # in which the data plane looks at its interfaces twice


class HostileController(LabCase):
    engine = "dpdk"

    @classmethod
    def configure(cls) -> None:
        cls.lab.node.config.engine = cls.engine
        cls.lab.node.rights = None  # root's: a machine's root may not limit another user's process

    def setUp(self) -> None:
        self.socket = self.lab.node.config.runtime_dir / "dataplane.sock"
        if not self.lab.node.controlplane:
            self.lab.node.start_controlplane()
            self.lab.node.wait_settled()

    def test_second_controller_is_told_of_the_first(self) -> None:
        assert self.lab.node.controlplane
        with self._undisturbed(), self._connect() as second:
            answer = second.hello()
            self.assertIsInstance(answer, Refused)
            assert isinstance(answer, Refused)
            self.assertEqual([self.lab.node.controlplane.pid], [int(n) for n in re.findall(r"\d+", answer.reason)])
            self.assertEqual(0, answer.generation)
            self.assertRaises(Closed, second.receive)

    def test_other_user_is_refused(self) -> None:
        """By the socket's permissions, and if somebody has opened those, by who they are."""
        with self._undisturbed():
            self.assertEqual(0o600, self.socket.stat().st_mode & 0o777)
            self.assertEqual(0o755, self.socket.parent.stat().st_mode & 0o777)  # others read by the control plane's socket
            self.assertIn("may not connect", self._stranger().stderr)
            with self._mode(self.socket, 0o666):
                told = self._stranger()
            self.assertIn(f"user {NOBODY} may not control", told.stdout, told.stderr)

    def test_silence_is_cut_off(self) -> None:
        """After two seconds, and until then the real control plane comes in beside it."""
        self._stop_controlplane()
        with self._forwarding():
            begun = time.monotonic()
            with self._connect() as silent:
                self._start_controlplane(CUT_OFF_S - (time.monotonic() - begun))
                self.assertRaises(Closed, silent.receive)
                lasted = time.monotonic() - begun
        print(f"    silent controller: cut off after {lasted:.2f} s", file=sys.stderr)
        self.assertGreaterEqual(lasted, CUT_OFF_S)
        self.assertLess(lasted, CUT_OFF_S + LOOKED_AT_S + SLACK_S)

    def test_silent_crowd_gives_way(self) -> None:
        """As many as there may be, and ever more: the real control plane comes in beside them at once."""
        self._stop_controlplane()

        def press(ended: threading.Event) -> None:
            with contextlib.ExitStack() as crowd:
                for number in itertools.count():
                    with contextlib.suppress(BlockingIOError):
                        crowd.enter_context(self._connect(timeout=0))
                    if number > 30 and ended.wait(0.02):
                        return

        with self._forwarding(), meanwhile(press):
            wait_until(lambda: "gave way" in self._dataplane_log(), "the crowd is as large as may be")
            lost = self._times_lost()
            self._start_controlplane(CUT_OFF_S)
            self.assertEqual(lost, self._times_lost(), "the control plane was kept out at first")

    def test_descriptors_of_an_empty_message_are_closed(self) -> None:
        with self._undisturbed():
            before = self._descriptors()
            for _ in range(20):
                with self._connect() as other:
                    other.send(b"", [0] * 4)
                    self.assertRaises(Closed, other.receive)
            wait_until(lambda: len(self._descriptors()) <= len(before), "the data plane has closed what it got")

    def test_no_descriptor_left(self) -> None:
        """Who connects then waits; the data plane does not burn its time over it, takes no interface that it looks at meanwhile
        for one that has gone, and serves them when there is a descriptor again."""
        assert self.lab.node.dataplane
        pid = self.lab.node.dataplane.pid
        try:
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        except PermissionError:
            self.skipTest("this machine's root may not limit another user's process")
        taken = self._descriptors()
        free = next(number for number in itertools.count() if number not in taken)
        with self._undisturbed():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                with self._connect() as waits:
                    begun = self._control_thread_s()
                    time.sleep(LOOKS_S)
                    burnt = self._control_thread_s() - begun
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                    self.assertIsInstance(waits.hello(), Refused)
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertLess(burnt, 0.2 * LOOKS_S)
        self.assertNotRegex(self.lab.node.logs(1000), "there is no interface|somebody deleted|put back: device")

    def _descriptors(self) -> set[int]:
        assert self.lab.node.dataplane
        return {int(name) for name in os.listdir(f"/proc/{self.lab.node.dataplane.pid}/fd")}

    def _control_thread_s(self) -> float:
        """The CPU time of the data plane's first thread, which serves the socket."""
        assert self.lab.node.dataplane
        pid = self.lab.node.dataplane.pid
        fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_other_versions_are_refused(self) -> None:
        self._stop_controlplane()
        with self._forwarding():
            for oldest, newest in ((ABI_VERSION + 1, ABI_VERSION + 9), (0, ABI_VERSION - 1), (ABI_VERSION + 1, 0)):
                with self._connect() as other:
                    answer = other.hello(oldest, newest)
                    self.assertIsInstance(answer, Refused)
                    assert isinstance(answer, Refused)
                    self.assertIn("ABI", answer.reason)
                    self.assertRaises(Closed, other.receive)
            with self._connect() as wide:
                self.assertIsInstance(wide.hello(0, 9), Welcome)

    def test_flood_of_connections(self) -> None:
        """Thousands come, say something senseless, or nothing, and go; the control plane's own connection lives."""
        assert self.lab.node.controlplane
        lost = self._times_lost()
        with self._undisturbed():
            refused = sum(self._come_and_go(number) for number in range(4000))
        print(f"    flood of connections: {refused} of 4000 were told why not", file=sys.stderr)
        self.assertEqual(lost, self._times_lost(), "the control plane lost its connection")
        self.assertGreater(refused, 1000, "hardly any of them was heard")

    def test_flood_of_messages(self) -> None:
        """From a controller that was let in: what makes no sense ends its connection, publications of nothing are
        refused for ever, and a reader that never reads is cut off. Then the real one comes back."""
        self._stop_controlplane()
        with self._forwarding():
            answered = ended = 0
            for number in range(200):
                with self._connect() as controller:
                    self.assertIsInstance(controller.hello(), Welcome)
                    controller.send(_garbage(number))
                    with contextlib.suppress(Closed):
                        while isinstance(controller.receive(), Refused):
                            answered += 1
                    ended += 1
            self.assertEqual((200, 200), (answered, ended))
            with self._connect() as controller:
                welcome = controller.hello()
                assert isinstance(welcome, Welcome)
                for number in range(5000):
                    answer = controller.publish_descriptors(welcome.generation + 1 + number, [])
                    self.assertIsInstance(answer, Refused)
            wait_until(lambda: self._refusals_told() >= 5000, "the log accounts for all that was refused", 3.0)
            with self._connect() as deaf:
                self.assertIsInstance(deaf.hello(), Welcome)
                with self.assertRaises(Closed):
                    for _ in range(20000):
                        deaf.send(struct.pack("=IIQ", PUBLISH, 0, 1 << 40))
        self._start_controlplane(2.0 + SLACK_S)
        self.lab.node.wait_settled()

    def _come_and_go(self, number: int) -> bool:
        """One of the flood: was it told something?"""
        with contextlib.suppress(OSError, Closed), self._connect(timeout=0.2) as controller:
            if number % 3 == 0:
                return False
            controller.send(_garbage(number))
            return isinstance(controller.receive(), Refused)
        return False

    def _connect(self, timeout: float = 5.0) -> Controller:
        return Controller.connect(self.socket, timeout)

    def _stranger(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-I", "-c", STRANGER, str(self.socket)], user=NOBODY, group=NOBODY,
                              extra_groups=[], cwd="/", capture_output=True, text=True, timeout=10)

    @staticmethod
    @contextlib.contextmanager
    def _mode(path: os.PathLike[str], mode: int) -> Iterator[None]:
        before = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        try:
            yield
        finally:
            os.chmod(path, before)

    def _stop_controlplane(self) -> None:
        self.lab.node.stop_controlplane()
        wait_until(self._is_free, "the data plane sees its control plane gone")

    def _is_free(self) -> bool:
        with self._connect() as controller:
            return isinstance(controller.hello(), Welcome)

    def _start_controlplane(self, within: float) -> None:
        self.lab.node.start_controlplane()
        wait_until(self._connected, "the control plane is let in", within)

    def _connected(self) -> bool:
        with contextlib.suppress(RuntimeError):  # its own socket is not there yet
            return bool(self.lab.node.status()["dataplane"]["connected"])
        return False

    def _dataplane_log(self) -> str:
        return (self.lab.node.folder / "linimo-dataplane.log").read_text()

    def _refusals_told(self) -> int:
        """By the log, which has a line a second and says how many it stands for."""
        lines = [line for line in self._dataplane_log().splitlines() if "refused" in line and "link: " in line]
        self.assertLess(len(lines), 100)
        return len([line for line in lines if ": generation " in line]) + sum(
            int(count) for line in lines for count in re.findall(r"(\d+) more (?:like it|generations)", line))

    def _times_lost(self) -> int:
        log = self.lab.node.folder / "linimo-controlplane.log"
        return log.read_text().count("no data plane, trying again")

    @contextlib.contextmanager
    def _forwarding(self) -> Iterator[None]:
        """Requests succeed all the while, before and after too, and the data plane lives."""
        load = Load(self.lab.client, VIP[4], threads=2, rate=100)
        with load.in_background():
            wait_until(lambda: load.requests > 10, "requests are on their way")
            yield
            served = load.requests
            wait_until(lambda: load.requests > served + 20, "requests are answered afterwards")
        self.assert_served(load, {backend.address() for backend in self.lab.backends.values()})
        self.lab.node.check_alive()

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Nor does the control plane notice anything."""
        before = self.lab.node.status()["generation"]
        with self._forwarding():
            yield
        status = self.lab.node.status()
        self.assertTrue(status["dataplane"]["connected"])
        self.assertEqual(before, status["generation"])


class HostileControllerXdp(HostileController):
    engine = "xdp"


def _garbage(number: int) -> bytes:
    """Too short, too long, of no type, a hello that is cut, an empty one's neighbour, an answer instead of a question."""
    kinds = [b"x", b"\xff" * 300, struct.pack("=IIQ", 99, 0, 1), struct.pack("=II", HELLO, 1),
             struct.pack("=IIQ", 0, 0, 0), struct.pack("=IIQ", 4, 0, 1), os.urandom(16), struct.pack("=IIQQ", PUBLISH, 0, 1, 1)]
    return kinds[number % len(kinds)]
