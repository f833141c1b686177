"""The demo's live table: who gets how much, and whether all is well; and the screen that it is drawn on."""

from __future__ import annotations

import shutil
import sys
import time

from .client import Load
from .lab import Lab
from .topology import VIP

HEADER = f"{'backend':<20}{'health':<10}{'weight':>7}{'share':>9}{'requests':>11}{'of all':>9}{'packets':>13}"


class Screen:
    def __init__(self) -> None:
        self._lines_drawn = 0

    def draw(self, lines: list[str]) -> None:
        """Over what was drawn last, where there is a terminal; else below it."""
        if sys.stdout.isatty():
            width, height = shutil.get_terminal_size()
            lines = lines[:height - 1]  # what has scrolled away cannot be drawn over
            back = f"\033[{self._lines_drawn}A" if self._lines_drawn else ""
            print(back + "".join(f"{line[:width]}\033[K\n" for line in lines) + "\033[J", end="", flush=True)
            self._lines_drawn = len(lines)
        else:
            print("\n".join(lines), flush=True)


class Rate:
    """What a growing number grows by in a second."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None

    def of(self, number: int) -> float:
        now, before = time.monotonic(), self._before
        self._before = (now, number)
        # A process that starts anew counts from zero.
        return max(0, number - before[1]) / max(now - before[0], 1e-3) if before else 0.0


class Table:
    def __init__(self, lab: Lab, load: Load, title: str) -> None:
        self._lab, self._load, self._title = lab, load, title
        self._rate = Rate()
        self._screen = Screen()

    def draw(self) -> None:
        self._screen.draw(self._lines())

    def _lines(self) -> list[str]:
        node, load = self._lab.node, self._load
        status, backends = node.status(), node.backend_list()
        requests = load.requests
        rate = self._rate.of(requests)
        dropped = {name: count for name, count in status["outcomes"].items() if count and name != "forwarded"}
        lines = [
            self._title,
            f"generation {status['generation']}, table {status['digest']}, data plane "
            + (f"process {status['dataplane']['pid']}" if status["dataplane"]["connected"] else "NOT CONNECTED"),
            f"{requests} requests, {rate:.0f} a second, {len(load.failures)} failed"
            + (f" (last: {load.failures[-1].error})" if load.failures else ""),
            "", HEADER,
        ]
        for backend in backends:
            served = load.served[backend["address"]]
            lines.append(f"{backend['address']:<20}{backend['state']:<10}{backend['weight']:>7}"
                         f"{backend['share']:>9.1%}{served:>11}{served / max(requests, 1):>9.1%}"
                         f"{backend['packets']:>13}")
        lines += ["", "packets: " + ", ".join([f"{status['outcomes'].get('forwarded', 0)} forwarded",
                                               *(f"{count} {name}" for name, count in dropped.items())])]
        return lines


def next_steps(lab: Lab, family: int, kept: bool) -> str:
    node = lab.node
    vip = VIP[family] if family == 4 else f"[{VIP[family]}]"
    first = next(iter(lab.backends.values()))
    cli = f"{node.cli_program} --socket {node.config.runtime_dir}/control.sock"
    return "\n".join([
        "What to try next, in another terminal, as root:",
        f"  ip netns exec {lab.client.name} curl http://{vip}/",
        f"  {cli} status",
        f"  {cli} backend list",
        f"  $EDITOR {node.config_file}    # say, another weight: it is reloaded as you save it",
        f"  kill $(cat {first.folder}/nginx.pid)    # a backend dies; its share goes to the others",
        f"  ip netns exec {node.box.name} tcpdump -ni linimo0    # what the node leaves to the kernel",
        "  scripts/demo down    # ends it and removes every trace" if kept else "Ctrl-C ends it and removes every trace.",
        "",
    ])
