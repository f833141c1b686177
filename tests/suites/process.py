"""Running a suite's program with its output in a log and its time limited."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Sequence


class TookTooLong(Exception):
    pass


def run_logged(argv: Sequence[str], log: Path, deadline: float, stdout: Path | None = None) -> int:
    """Append everything the program says to `log` (its standard output to a file of its own, if wanted). Past the
    deadline (time.monotonic()) the program and its children are asked to end, then made to."""
    with contextlib.ExitStack() as files:
        output = files.enter_context(open(log, "ab"))
        own = files.enter_context(open(stdout, "wb")) if stdout else output
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=own, stderr=output, start_new_session=True)
        try:
            return process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"{argv[0]} did not end in time") from None
        finally:  # also when we are interrupted ourselves
            end_group(process)


def end_group(process: subprocess.Popen[bytes], patience: float = 40) -> None:
    """Ask the process and its children to end, then make them. `patience`: what they may need to clean up."""
    for sig, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
