"""Hugepages for data planes: reserved when there are none, put back as they were when the last lab goes.

What was there before is written down first, so that a run that crashes is put right by the next one. So is what each
data plane was promised: it takes its pages only as it starts, and labs that run side by side must not count on the same."""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

WANTED = 256  # of 2 MB
_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
_MOUNT = Path("/dev/hugepages")


def reserve(record: Path, say: Callable[[str], None], wanted: int = WANTED, user: str = "") -> None:
    """The data plane finds hugepages by itself and does without where there are none: nothing here is fatal. `user`: who
    among those of this record; asking twice is asking once."""
    if not _POOL.is_dir():
        say("no hugepages: this kernel has none of 2 MB; the data plane works without, at less than half its speed")
        return
    with _locked(record):
        state = _read_record(record)
        state["promised"][user] = wanted
        missing = state["used"] + sum(state["promised"].values()) - _read("nr_hugepages")
        state["mounted_by_us"] |= not _mounted()
        record.write_text(json.dumps(state))
        if missing <= 0 and _mounted():
            say(f"hugepages: {_read('free_hugepages')} of 2 MB are free already")
            return
        try:
            if missing > 0:
                (_POOL / "nr_hugepages").write_text(str(_read("nr_hugepages") + missing))
            if not _mounted():
                _MOUNT.mkdir(exist_ok=True)
                subprocess.run(["mount", "-t", "hugetlbfs", "nodev", str(_MOUNT)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"no hugepages: {error}; the data plane works without, at less than half its speed")
            return
        free = _read("free_hugepages")
        short = "" if free >= wanted else f" (of {wanted} wanted: the memory is too fragmented)"
        say(f"hugepages: {free} of 2 MB reserved{short}; put back to {state['reserved']} at the end")


def put_back(record: Path, say: Callable[[str], None], unless: Callable[[], bool] = lambda: False) -> None:
    """`unless`: somebody still needs them; asked while nobody else can reserve any."""
    with _locked(record):
        if not record.exists() or unless():
            return
        state = _read_record(record)
        if _read("nr_hugepages") != state["reserved"]:
            (_POOL / "nr_hugepages").write_text(str(state["reserved"]))
            say(f"hugepages: put back to {state['reserved']}")
        if state["mounted_by_us"] and _mounted():
            subprocess.run(["umount", str(_MOUNT)], check=False, capture_output=True)
        record.unlink()


def _read_record(record: Path) -> dict[str, Any]:
    """Ours, from a run that is still there or crashed, which remembers the true state; else that of now."""
    with contextlib.suppress(FileNotFoundError):
        return {"used": 0, "promised": {}, **json.loads(record.read_text())}
    reserved = _read("nr_hugepages")
    return {"reserved": reserved, "used": reserved - _read("free_hugepages"), "mounted_by_us": False, "promised": {}}


@contextlib.contextmanager
def _locked(record: Path) -> Iterator[None]:
    with open(record.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(name: str) -> int:
    return int((_POOL / name).read_text())


def _mounted() -> bool:
    return any(line.split()[2] == "hugetlbfs" for line in Path("/proc/mounts").read_text().splitlines())
