"""DPDK's own test program as a measure of the floor: MAC addresses swapped between null ports, on one core."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess

_SECONDS = 8


def macswap_mpps() -> float | None:
    """Million packets a second, the median of a second's figures; None without the program or enough cores."""
    program = shutil.which("dpdk-testpmd")
    cpus = sorted(os.sched_getaffinity(0))
    if program is None or len(cpus) < 2:
        return None
    arguments = [program, f"--lcores=0@{cpus[0]},1@{cpus[-1]}", "--in-memory", "--no-pci", "--iova-mode=va",
                 "--no-telemetry", "--vdev=net_null0,size=60,copy=1", "--vdev=net_null1,size=60,copy=1", "--",
                 "--forward-mode=macswap", "--nb-cores=1", "--total-num-mbufs=32768", "--stats-period=1", "--tx-first"]
    try:
        output = subprocess.run(["timeout", "--signal=INT", str(_SECONDS), *arguments], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=_SECONDS + 10, check=False).stdout
    except subprocess.TimeoutExpired:
        return None
    by_port = re.findall(r"Rx-pps:\s+(\d+)", output)
    seconds = [int(first) + int(second) for first, second in zip(by_port[::2], by_port[1::2])]
    return statistics.median(seconds[2:]) / 1e6 if len(seconds) > 4 else None
