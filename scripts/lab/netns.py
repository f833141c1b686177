"""A network namespace: entering it from a thread, running programs in it, and ending whatever lives in it.

A socket belongs for ever to the namespace in which it was made, so a client of the lab needs no process of its own:

    with Namespace("linimo-client").entered():
        sock = socket.create_connection(("203.0.113.10", 80))
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path
from typing import IO, Iterator, Sequence

from .wait import wait_until

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip_batch(lines: Sequence[str], netns: str | None = None) -> subprocess.Popen[str]:
    """Start one `ip` process for many commands. finish() awaits it; several namespaces are set up side by side."""
    argv = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):  # it has ended already; finish() says why
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
    return process


def finish(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    output = process.stdout.read()
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(process.args)}: {output.strip()}")  # type: ignore[arg-type]


def namespaces_with_prefix(prefix: str) -> list[str]:
    if not NETNS_DIR.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIR.iterdir() if entry.name.startswith(prefix))


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name
        self.path = NETNS_DIR / name

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and it alone, is in this namespace until the block ends."""
        with open("/proc/thread-self/ns/net") as home, open(self.path) as there:
            _set_namespace(there)
            try:
                yield
            finally:
                _set_namespace(home)

    def sysctl(self, settings: dict[str, str | int]) -> None:
        with self.entered():
            for key, value in settings.items():
                Path("/proc/sys", key.replace(".", "/")).write_text(str(value))

    def run(self, argv: Sequence[str], check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        with self.entered():
            done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"in {self.name}: {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
        return done

    def spawn(self, argv: Sequence[str], log: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program that may outlive us. `ip netns exec` also gives it the /sys of this namespace, which
        programs that look up devices need. A session of its own keeps the terminal's Ctrl-C away from it."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *argv], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def spawn_sharing_mounts(self, argv: Sequence[str], log: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """The same for a program whose mounts are to outlive it, as a data plane's pinned maps are: `ip netns exec` gives
        a program mounts of its own, which go with it."""
        return subprocess.Popen(["nsenter", f"--net={self.path}", "--", *argv], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def pids(self) -> list[int]:
        """Every process in this namespace but ourselves. No list of recorded pids can be this right after a crash."""
        try:
            wanted = self.path.stat()
        except FileNotFoundError:
            return []
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                theirs = os.stat(f"/proc/{entry.name}/ns/net")
                if (theirs.st_dev, theirs.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
        return found

    def kill_all(self) -> None:
        for sig, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.pids(), f"{self.name} is empty", patience)
                return


def _set_namespace(file: IO[str]) -> None:
    if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), file.name)
