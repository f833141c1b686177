"""Plots as SVG, written by hand: a few lines and bars need no library."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 50, 60
COLOURS = ["#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#c53030", "#4a5568"]


def y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def nice_top(value: float) -> float:
    """Not below the value, and a fifth of it is a round number."""
    fifth = value / 5
    step = 10 ** math.floor(math.log10(fifth))
    return 5 * step * next(factor for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if factor * step >= fifth * 0.9999)


def axis(top: float, label: str) -> str:
    parts = text(LEFT, TOP - 12, label)
    for fifth in range(6):
        value = top * fifth / 5
        parts += (f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value, top):.1f}" y2="{y(value, top):.1f}" '
                  'stroke="#ddd"/>') + text(LEFT - 8, y(value, top) + 4, f"{value:,.10g}", "end")
    return parts


def legend(number: int, colour: str, name: str) -> str:
    at = TOP + number * 22
    return (f'<rect x="{WIDTH - RIGHT + 10}" y="{at}" width="12" height="12" fill="{colour}"/>'
            + text(WIDTH - RIGHT + 28, at + 11, name))


def text(x: float, at: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{at:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def page(title: str, body: str) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="22" font-size="15">'
            f'{escape(title)}</text>{body}</svg>\n')
