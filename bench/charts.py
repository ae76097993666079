"""Bar charts as SVG, without a library: one bar for each row, on a logarithmic axis, with a line from min to max."""

from __future__ import annotations

import html
import math

WIDTH, LEFT, RIGHT, BAR, TOP = 860, 330, 90, 20, 46
OURS, THEIRS, TEXT, GRID = "#2563ab", "#9aa5b1", "#24292f", "#d8dee4"


def whole(text):
    """A time of an axis, without the decimals that are zero."""
    number, unit = text.split()
    return f"{float(number):g} {unit}"


def bars(title, rows, unit_of):
    """An SVG of rows {name: (median, min, max)}, in seconds. `unit_of` writes a time."""
    least = 10 ** math.floor(math.log10(min(low for _, low, _ in rows.values())))
    most = 10 ** math.ceil(math.log10(max(high for _, _, high in rows.values())))
    most = max(most, least * 10)

    def x(value):
        share = (math.log10(value) - math.log10(least)) / (math.log10(most) - math.log10(least))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    height = TOP + BAR * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold" fill="{TEXT}">{html.escape(title)}</text>',
    ]
    power = round(math.log10(least))
    while 10.0**power <= most * 1.001:
        at, bottom = x(10.0**power), TOP + BAR * len(rows)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{bottom}" stroke="{GRID}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle" fill="{TEXT}">{whole(unit_of(10.0**power))}</text>')
        power += 1
    for n, (name, (median, low, high)) in enumerate(rows.items()):
        y = TOP + BAR * n
        middle = y + BAR / 2 - 2
        colour = OURS if "coframe" in name else THEIRS
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="{TEXT}">{html.escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(1, x(median) - LEFT):.1f}" height="{BAR - 4}" fill="{colour}"/>',
            f'<line x1="{x(low):.1f}" y1="{middle}" x2="{x(high):.1f}" y2="{middle}" stroke="{TEXT}"/>',
            f'<text x="{max(x(high), x(median)) + 6:.1f}" y="{y + 12}" fill="{TEXT}">{unit_of(median)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
