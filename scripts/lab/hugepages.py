"""Hugepages for the data plane: reserved when there are none, put back as they were when the last lab goes.

What was there before is written down first, so that a run that crashes is put right by the next one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Callable

WANTED = 256  # of 2 MB
_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
_MOUNT = Path("/dev/hugepages")


def reserve(record: Path, say: Callable[[str], None], wanted: int = WANTED) -> None:
    """The data plane finds hugepages by itself and does without where there are none: nothing here is fatal."""
    if not _POOL.is_dir():
        say("no hugepages: this kernel has none of 2 MB; the data plane works without, at less than half its speed")
        return
    before = {"reserved": _read("nr_hugepages"), "mounted_by_us": False}
    missing = wanted - _read("free_hugepages")
    if missing <= 0 and _mounted():
        say(f"hugepages: {_read('free_hugepages')} of 2 MB are free already")
        return
    if record.exists():  # ours, from a run that is still there or crashed: that remembers the true state
        before = json.loads(record.read_text())
    if not _mounted():
        before["mounted_by_us"] = True
    record.write_text(json.dumps(before))
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
    say(f"hugepages: {free} of 2 MB reserved{short}; put back to {before['reserved']} at the end")


def put_back(record: Path, say: Callable[[str], None]) -> None:
    if not record.exists():
        return
    before = json.loads(record.read_text())
    (_POOL / "nr_hugepages").write_text(str(before["reserved"]))
    if before["mounted_by_us"] and _mounted():
        subprocess.run(["umount", str(_MOUNT)], check=False, capture_output=True)
    record.unlink()
    say(f"hugepages: put back to {before['reserved']}")


def _read(name: str) -> int:
    return int((_POOL / name).read_text())


def _mounted() -> bool:
    return any(line.split()[2] == "hugetlbfs" for line in Path("/proc/mounts").read_text().splitlines())
