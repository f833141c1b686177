"""Plots of the simulated fleet."""

from __future__ import annotations

import math
from typing import Any

from .svg import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axis, legend, nice_top, page, text, y

PLOT = WIDTH - LEFT - RIGHT


def draw(fleet: dict[str, Any]) -> dict[str, str | None]:
    """File names and what goes into them; None where the run left that part out."""
    return {"fleet_broken.svg": broken(fleet), "fleet_entries.svg": entries(fleet),
            "table_evenness.svg": evenness(fleet["evenness"]), "table_disruption.svg": disruption(fleet["disruption"])}


def broken(fleet: dict[str, Any]) -> str | None:
    """A group of bars for each scenario, on a logarithmic scale: no bar is no break."""
    scenarios = fleet["scenarios"]
    if not scenarios:
        return None
    modes = fleet["modes"]
    most = max(max(scenario["modes"][mode]["broken_ppm"] for mode in modes) for scenario in scenarios)
    least_exponent = -1
    exponents = max(math.ceil(math.log10(most)) - least_exponent, 1) if most > 0 else 1

    def height(ppm: float) -> float:
        return 0 if ppm <= 0 else max(math.log10(ppm) - least_exponent, 0.02) / exponents

    body = text(LEFT, TOP - 12, "connections broken, per million of those whose backend lives")
    for step in range(exponents + 1):
        at = y(step / exponents, 1)
        body += (f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
                 + text(LEFT - 8, at + 4, f"{10.0 ** (step + least_exponent):,g}", "end"))
    width = PLOT / len(scenarios)
    for group, scenario in enumerate(scenarios):
        left = LEFT + group * width
        for number, mode in enumerate(modes):
            top = y(height(scenario["modes"][mode]["broken_ppm"]), 1)
            body += (f'<rect x="{left + width * (0.14 + 0.18 * number):.1f}" y="{top:.1f}" width="{width * 0.18:.1f}" '
                     f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{COLOURS[number]}"/>')
        # One after the other in three rows, since they are wider than their groups.
        body += text(left + width / 2, HEIGHT - BOTTOM + 14 + 14 * (group % 3), scenario["name"], "middle")
    for number, mode in enumerate(modes):
        body += legend(number, COLOURS[number], mode)
    return page(f"{fleet['nodes']} nodes, {fleet['backends']} backends: what each way of tracking breaks", body)


def entries(fleet: dict[str, Any]) -> str | None:
    """Over time, for the scenarios in which something happens to backends alone."""
    chosen = [scenario for scenario in fleet["scenarios"] if scenario["name"] in ("restart", "weights", "drains")]
    if not chosen:
        return None
    modes = fleet["modes"]
    lines = [(f"{scenario['name']}, {mode}", [(sample["at_s"] / 60, sample["entries"][modes.index(mode)])
                                              for sample in scenario["samples"]])
             for mode in modes if mode != "off" for scenario in chosen]
    return line_plot("Entries in the connection tables of all nodes", "entries", "minutes", lines)


def disruption(measured: list[dict[str, Any]]) -> str | None:
    """What changes though its backend lives; rendezvous and ring hashing have nothing of that."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in measured:
        name = f"{point['hashing']}, {point['slots']:,}" if point["hashing"] == "Maglev" else "ring, rendezvous"
        line = lines.setdefault(name, [])
        if (100 * point["failures"], 100 * point["needless"]) not in line:
            line.append((100 * point["failures"], 100 * point["needless"]))
    if not lines:
        return None
    return line_plot("Slots that change though their backend lives", "% of all slots",
                     "backends that fail at once, % of 1000", list(lines.items()))


def evenness(measured: list[dict[str, Any]]) -> str | None:
    """For each way of hashing and size: from the backend with fewest slots to the one with most."""
    if not measured:
        return None
    top = nice_top(max(point["most"] for point in measured))
    body = axis(top, "slots of a backend over the average: fewest to most")
    width = PLOT / len(measured)
    names = list(dict.fromkeys(point["hashing"] for point in measured))
    for number, point in enumerate(measured):
        middle = LEFT + (number + 0.5) * width
        colour = COLOURS[names.index(point["hashing"])]
        high, low = y(point["most"], top), y(point["least"], top)
        body += (f'<rect x="{middle - width / 4:.1f}" y="{high:.1f}" width="{width / 2:.1f}" '
                 f'height="{max(low - high, 2):.1f}" fill="{colour}"/>')
        body += text(middle, high - 6, f"{point['most']:.3f}", "middle") + text(middle, low + 16,
                                                                               f"{point['least']:.3f}", "middle")
        body += text(middle, HEIGHT - BOTTOM + 20, f"{point['slots']:,}", "middle")
    body += text(LEFT + PLOT / 2, HEIGHT - 12, "slots of the table", "middle")
    for number, name in enumerate(names):
        body += legend(number, COLOURS[number], name)
    return page("How even a table of 1000 backends is", body)


def line_plot(title: str, label: str, across: str, lines: list[tuple[str, list[tuple[float, float]]]]) -> str:
    top = nice_top(max(value for _, line in lines for _, value in line) or 1)
    last = max(at for _, line in lines for at, _ in line) or 1
    body = axis(top, label)
    step = nice_top(5 * last / 6) / 5
    for tick in range(int(last / step + 0.1) + 1):
        body += text(LEFT + PLOT * tick * step / last, HEIGHT - BOTTOM + 20, f"{tick * step:g}", "middle")
    body += text(LEFT + PLOT / 2, HEIGHT - 12, across, "middle")
    for number, (name, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{LEFT + PLOT * at / last:.1f},{y(value, top):.1f}" for at, value in sorted(line))
        body += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        body += legend(number, colour, name)
    return page(title, body)
