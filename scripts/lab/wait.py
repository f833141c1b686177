"""Waiting for conditions. Nothing in the lab sleeps for a fixed time and hopes."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

T = TypeVar("T")

# On a CPU that is emulated all takes so many times as long.
PATIENCE = float(os.environ.get("LINIMO_PATIENCE", "1"))


def wait_until(condition: Callable[[], T], what: str, timeout: float = 10.0, poll: float = 0.02,
               alive: Callable[[], None] | None = None) -> T:
    """Return the first true value of `condition`; raise TimeoutError that says `what` did not happen.

    `alive` is asked between polls and raises when waiting on is pointless (say, the daemon has died)."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if alive:
            alive()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(poll)
