"""The confusion matrix as a small SVG picture."""

from __future__ import annotations

from xml.sax.saxutils import escape

CELL, LEFT, TOP = 26, 150, 150
STYLE = ("text{font:11px sans-serif;fill:#222}.n{text-anchor:middle}.r{text-anchor:end}"
         ".w{fill:#fff}")


def shade(share: float, right: bool) -> str:
    """Return the colour of a cell: green on the diagonal, red beside it."""
    pale, full = ((232, 245, 233), (27, 122, 61)) if right else ((253, 236, 234), (198, 40, 40))
    return "#" + "".join(f"{round(p + (f - p) * share):02x}" for p, f in zip(pale, full))


def svg(counts: dict[str, dict[str, int]], title: str) -> str:
    """Return the picture: a row an injected cause, a column a verdict, shaded by share of the row."""
    rows = sorted(counts)
    columns = rows + sorted({v for row in counts.values() for v in row} - set(rows))
    width, height = LEFT + CELL * len(columns) + 20, TOP + CELL * len(rows) + 16
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             f'width="{width}" height="{height}" role="img"><title>{escape(title)}</title>',
             f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>',
             f'<text x="8" y="16">{escape(title)}</text>']
    for x, column in enumerate(columns):
        at = LEFT + CELL * x + CELL / 2
        parts.append(f'<text x="{at:g}" y="{TOP - 6}" transform="rotate(-55 {at:g} {TOP - 6})">'
                     f"{escape(column)}</text>")
    for y, row in enumerate(rows):
        top = TOP + CELL * y
        total = sum(counts[row].values())
        parts.append(f'<text class="r" x="{LEFT - 6}" y="{top + 17}">{escape(row)}</text>')
        for x, column in enumerate(columns):
            count = counts[row].get(column, 0)
            left = LEFT + CELL * x
            fill = shade(count / total, row == column) if count else "#f6f6f6"
            parts.append(f'<rect x="{left}" y="{top}" width="{CELL - 1}" height="{CELL - 1}" '
                         f'fill="{fill}"/>')
            if count:
                white = " w" if count / total > 0.5 else ""
                parts.append(f'<text class="n{white}" x="{left + CELL / 2:g}" y="{top + 17}">'
                             f"{count}</text>")
    return "\n".join(parts) + "\n</svg>\n"
