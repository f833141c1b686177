"""Plots of how long packets stay with a worker."""

from __future__ import annotations

import math
from typing import Any

from .svg import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, axis, legend, nice_top, page, text, y

BINS = 4  # for each time that it doubles
LEAST_NS, MOST_NS = 20, 1_000_000  # what is shown; what took longer counts as that


def draw(latency: list[dict[str, Any]]) -> dict[str, str | None]:
    loads = {"1 %": "latency_low.svg", "80 %": "latency_high.svg"}
    shown = [stays for stays in latency if stays["name"] != "floor, as slow"]
    return {file: histogram([stays for stays in shown if load in stays["load"]], load)
            for load, file in loads.items()}


def histogram(all_stays: list[dict[str, Any]], load: str) -> str | None:
    """How many of the packets stayed for how long, beside the floor at the same rate, which is dashed."""
    if not all_stays:
        return None
    lines = [(stays, shares(stays["histogram"])) for stays in all_stays]
    top = nice_top(max(max(line.values()) for _, line in lines))
    lowest, highest = bin_of(LEAST_NS), bin_of(MOST_NS)

    def x(number: float) -> float:
        return LEFT + (number - lowest) / (highest - lowest) * (WIDTH - LEFT - RIGHT)

    body = axis(top, "% of the packets, of each quarter of a doubling of the time")
    for ns, words in ((100, "100 ns"), (1000, "1 µs"), (10_000, "10 µs"), (100_000, "100 µs"), (1_000_000, "1 ms")):
        at = x(math.log2(ns) * BINS)
        body += (f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(0, top):.1f}" y2="{y(top, top):.1f}" stroke="#eee"/>'
                 + text(at, HEIGHT - BOTTOM + 20, words, "middle"))
    body += text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "from its arrival until it is sent (logarithmic)", "middle")
    for number, (stays, line) in enumerate(lines):
        is_floor = stays["name"] == "floor"
        colour = COLOURS[number // 2]  # each with its floor
        path = " ".join(f"{x(at + 0.5):.1f},{y(line.get(at, 0), top):.1f}" for at in range(lowest, highest + 1))
        body += (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{1 if is_floor else 2}"'
                 f'{" stroke-dasharray=" + chr(34) + "4 3" + chr(34) if is_floor else ""}/>')
        name = "its floor (dashed)" if is_floor else "full" if stays["name"] == "base" else "adaptive"
        body += legend(2 * number, colour, f"{name}, {stays['mpps']:.2f} Mpps")
        body += text(WIDTH - RIGHT + 28, 50 + 22 * (2 * number + 1) + 6,
                     f"p50 {time(stays['p50_ns'])}, p99.9 {time(stays['p99.9_ns'])}")
    return page(f"How long a packet stays, at {load} of what the worker can do (arrivals by chance)", body)


def time(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.3g} µs"


def bin_of(ns: float) -> int:
    return math.floor(math.log2(min(max(ns, LEAST_NS), MOST_NS)) * BINS)


def shares(histogram_ns: list[list[float]]) -> dict[int, float]:
    """Per cent of the packets in each bin."""
    total = sum(count for _, count in histogram_ns)
    line: dict[int, float] = {}
    for ns, count in histogram_ns:
        line[bin_of(ns)] = line.get(bin_of(ns), 0) + 100 * count / total
    return line
