"""Builds what the suites need, one flavour after another, while tests run: most of the lab's time is waiting.

A build takes only what processor time nobody else wants (SCHED_IDLE), so that it slows no test; suites that judge times
have it stopped altogether."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Iterator, Sequence

from .process import end_group

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Build:
    """What became of `scripts/build` with these arguments."""
    arguments: tuple[str, ...]
    log: Path
    cpu_seconds: float = 0.0  # the wall's clock would tell how busy the tests were
    ok: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Builder:
    def __init__(self, wanted: Sequence[tuple[str, ...]], logs: Path) -> None:
        """In this order, each once."""
        self._builds = {arguments: Build(arguments, logs / f"build{''.join(arguments)}.log") for arguments in wanted}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._may_run = threading.Event()
        self._may_run.set()
        self._ending = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Builder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._signal(signal.SIGCONT)
        with self._lock:
            if self._process:
                end_group(self._process)
        self._thread.join()

    def wait(self, arguments: tuple[str, ...]) -> Build:
        build = self._builds[arguments]
        while not build.done.wait(0.5):  # signals are heard in between
            pass
        return build

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, sig: signal.Signals) -> None:
        with self._lock:
            self._may_run.set() if sig == signal.SIGCONT else self._may_run.clear()
            if self._process:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, sig)

    def _work(self) -> None:
        for build in self._builds.values():
            with open(build.log, "wb") as log:
                while not self._start(build, log):
                    self._may_run.wait()
                if self._process:
                    self._await(build)
            build.done.set()

    def _start(self, build: Build, log: IO[bytes]) -> bool:
        """False: not now."""
        with self._lock:
            if self._ending:
                return True
            if self._may_run.is_set():
                self._process = subprocess.Popen(["chrt", "--idle", "0", ROOT / "scripts/build", *build.arguments],
                                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            return self._process is not None

    def _await(self, build: Build) -> None:
        process = self._process
        assert process
        # Seen first and collected under the lock: nobody may signal a process that is gone.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            if process.returncode is None:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                build.cpu_seconds = usage.ru_utime + usage.ru_stime
            build.ok = process.returncode == 0
            self._process = None
