"""Which plots there are, and those of what a packet costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from . import fleet_plots, latency_plots
from .svg import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, WIDTH, axis, legend, nice_top, page, text, y


def draw(parts: dict[str, Any], folder: Path) -> list[Path]:
    """Draws what the parts allow; returns the files."""
    drawings: dict[str, str | None] = {}
    if "forwarding" in parts:
        points = parts["forwarding"]["points"]
        drawings |= {"cost_over_flows.svg": cost_over_flows(points),
                     "cost_by_stage.svg": cost_by_stage(points, parts.get("micro"))}
        drawings |= latency_plots.draw(parts["forwarding"]["latency"])
    if "fleet" in parts:
        drawings |= fleet_plots.draw(parts["fleet"])
    files = []
    for name, svg in drawings.items():
        if svg is not None:
            (folder / name).write_text(svg)
            files.append(folder / name)
    return files


def cost_over_flows(points: list[dict[str, Any]]) -> str | None:
    """A line for each distribution and way of tracking: ns a packet over the number of flows, quartiles as bars."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        if point["axis"].startswith("flows, "):
            lines.setdefault(point["axis"].removeprefix("flows, "), []).append(point)
    if not lines:
        return None
    floor = next(point for point in points if point["name"] == "floor")["ns"]
    every = [point for line in lines.values() for point in line]
    top = nice_top(max(point["quartiles_ns"][1] for point in every))
    low = math.log10(min(point["flows"] for point in every))
    high = math.log10(max(point["flows"] for point in every))

    def x(flows: float) -> float:
        return LEFT + (math.log10(flows) - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT)

    body = axis(top, "CPU time of a packet, ns")
    for flows in sorted({point["flows"] for point in every}):
        body += text(x(flows), HEIGHT - BOTTOM + 20, f"{flows:,}", "middle")
    body += text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "flows", "middle")
    body += (f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(floor, top):.1f}" y2="{y(floor, top):.1f}" stroke="#888" '
             'stroke-dasharray="5 4"/>') + text(WIDTH - RIGHT + 8, y(floor, top) + 4, "floor: MAC swap")
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        line.sort(key=lambda point: point["flows"])
        path = " ".join(f"{x(point['flows']):.1f},{y(point['ns'], top):.1f}" for point in line)
        body += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for point in line:
            least, most = point["quartiles_ns"]
            body += (f'<line x1="{x(point["flows"]):.1f}" x2="{x(point["flows"]):.1f}" y1="{y(least, top):.1f}" '
                     f'y2="{y(most, top):.1f}" stroke="{colour}"/><circle cx="{x(point["flows"]):.1f}" '
                     f'cy="{y(point["ns"], top):.1f}" r="3" fill="{colour}"/>')
        body += legend(number, colour, name)
    return page("Forwarding one packet on one core, by the number of flows", body)


def cost_by_stage(points: list[dict[str, Any]], micro: dict[str, Any] | None) -> str | None:
    """Stacked up: what each stage adds. What bench/micro measures alone, in a warm cache, is taken out of the rest."""
    by_name = {point["name"]: point for point in points}
    untracked = by_name.get("1 M flows uniform, off")
    if untracked is None:
        return None
    alone, floor = by_name["supply alone"]["ns"], by_name["floor"]["ns"]
    parts = [(words, ns) for words, name in (("hash the flow *", "hash/v4"),
                                             ("write the outer header *", "encapsulate/ipip_v4"))
             if (ns := micro_ns(micro, name)) is not None]
    rest = untracked["ns"] - floor - sum(ns for _, ns in parts)
    stages = [("mbufs in, out (supply)", alone), ("look at the frame (floor)", floor - alone), *parts,
              ("recognize, choose, count", rest), ("track the flow (full)", by_name["base"]["ns"] - untracked["ns"])]
    top = nice_top(sum(max(cost, 0) for _, cost in stages))
    body = axis(top, "CPU time of a packet, ns")
    begin = 0.0
    width = (WIDTH - LEFT - RIGHT) / len(stages)
    for number, (name, cost) in enumerate(stages):
        end = begin + max(cost, 0)
        colour = COLOURS[number % len(COLOURS)]
        left = LEFT + number * width
        body += (f'<rect x="{left + 6:.1f}" y="{y(end, top):.1f}" width="{width - 12:.1f}" '
                 f'height="{y(begin, top) - y(end, top):.1f}" fill="{colour}"/>')
        body += text(left + width / 2, y(end, top) - 6, f"{cost:.1f}", "middle") + legend(number, colour, name)
        begin = end
    if parts:
        body += text(LEFT, HEIGHT - BOTTOM + 20, "* measured alone, in a warm cache; the others are differences")
    return page("Forwarding one packet of a million tracked flows, stage by stage", body)


def micro_ns(micro: dict[str, Any] | None, name: str) -> float | None:
    for run in micro["benchmarks"] if micro else []:
        if run.get("run_name") == name and run.get("aggregate_name") == "median":
            return run["cpu_time"]
    return None
