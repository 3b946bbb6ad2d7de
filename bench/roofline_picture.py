"""Draws the roofline: kernels and a network's layers under the machine's limits, as SVG.

Across: products for each byte that must be read (packed weights and packed inputs, once). Up:
products a second. Both logarithmic. A level line is what the arithmetic of a formulation allows, a
slope what reading from a level of memory allows; a point cannot be above both of its own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 50, 60
X_RANGE, Y_RANGE = (0.2, 20000.0), (1.0, 3000.0)  # products a byte, GMAC/s
COLOURS = {"1 x 1": "#1f6fb4", "ternary x 1": "#0b8f7a", "2 x 2": "#8250b0", "x int8": "#c8611a",
           "float": "#777777"}
LIMITS = (("bit_macs_per_s", "1 x 1", "1 x 1 bit"),
          ("ternary_bit_macs_per_s", "ternary x 1", "ternary x 1 bit"),
          ("two_bit_macs_per_s", "2 x 2", "2 x 2 bit"),
          ("low_bit_int8_macs_per_s", "x int8", "low bit x int8"),
          ("fp32_macs_per_s", "float", "fp32"))
LEVELS = (("l1_bytes_per_s", "L1"), ("l2_bytes_per_s", "L2"), ("l3_bytes_per_s", "L3"),
          ("dram_bytes_per_s", "memory"))
FLOAT_BITS = 32
KIND = re.compile(r"(ternary|\d+)(?: bit)? x (int8|\d+)(?: bit)? (conv|dense)")


@dataclass(frozen=True)
class Point:
    """A measurement: products a byte, GMAC/s, and the limit it belongs under."""

    label: str
    intensity: float
    rate: float
    kind: str
    layer: bool


def kernel_points(report: dict) -> list[Point]:
    """Return the points of `bitmill bench --suite kernels`, those that count products."""
    points = []
    for row in report["results"]:
        kind = KIND.fullmatch(row["kind"])
        sides = [int(side) for side in re.findall(r"\d+", row["shape"])]
        if kind is None or row["unit"] != "GMAC/s":
            continue
        weight_bits = 2 if kind[1] == "ternary" else int(kind[1])
        input_bits = 8 if kind[2] == "int8" else int(kind[2])
        if kind[3] == "conv" and len(sides) == 5:
            inputs = row["batch"] * sides[0] * sides[1] * sides[2]
            taps = sides[3] * sides[4] * sides[2]
            weights, products = taps * sides[2], inputs * taps
        elif kind[3] == "dense" and len(sides) in (2, 3):
            rows, depth, outputs = sides if len(sides) == 3 else (row["batch"], *sides)
            inputs, weights, products = rows * depth, depth * outputs, rows * depth * outputs
        else:
            continue
        read = (inputs * input_bits + weights * weight_bits) / 8
        name = "x int8" if kind[2] == "int8" else f"{kind[1]} x {kind[2]}"
        label = f"{row['name']}, {row['kind']} {row['shape']}, batch {row['batch']}"
        points.append(Point(label, products / read, row["value"], name, False))
    return points


def layer_points(report: dict, model: Path) -> list[Point]:
    """Return the convolutions and dense layers among the steps of a network of build.py."""
    import onnx
    from plain import plain_model

    graph = onnx.shape_inference.infer_shapes(plain_model(model)).graph
    shapes = {value.name: [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
              for value in [*graph.value_info, *graph.input, *graph.output]}
    shapes.update({tensor.name: list(tensor.dims) for tensor in graph.initializer})
    nodes = {node.name: node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    points = []
    for step in report["results"][0]["steps"]:
        node = nodes.get(step["name"])
        if node is None or step["us"] <= 0:
            continue
        data, weights, output = (shapes[name] for name in (*node.input[:2], node.output[0]))
        depth = math.prod(weights) // output[1]
        products = math.prod(output) * depth
        bits = 1 if step["kernel"].startswith("bconv") else FLOAT_BITS
        read = (math.prod(data) + math.prod(weights)) * bits / 8
        points.append(Point(f"{step['name']}, {step['kernel']}", products / read,
                            products / step["us"] / 1e3, "1 x 1" if bits == 1 else "float", True))
    return points


def _x(intensity: float) -> float:
    share = math.log(intensity / X_RANGE[0]) / math.log(X_RANGE[1] / X_RANGE[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(rate: float) -> float:
    share = math.log(rate / Y_RANGE[0]) / math.log(Y_RANGE[1] / Y_RANGE[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{safe}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'{more}/>')


def _axes() -> list[str]:
    parts = []
    for power in range(math.ceil(math.log10(X_RANGE[0])), math.floor(math.log10(X_RANGE[1])) + 1):
        x = _x(10.0**power)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, "#e4e4e4"))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{10.0**power:,g}", 'text-anchor="middle"'))
    for power in range(math.floor(math.log10(Y_RANGE[1])) + 1):
        y = _y(10.0**power)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#e4e4e4"))
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:,g}", 'text-anchor="end"'))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 18, "products for each byte read", 'text-anchor="middle"'))
    parts.append(_text(0, 0, "GMAC/s", f'transform="translate(20 {HEIGHT / 2}) rotate(-90)" '
                                       'text-anchor="middle"'))
    return parts


def _limits(ceilings: dict) -> list[str]:
    parts, best = [], max(ceilings[key] for key, _, _ in LIMITS if key in ceilings) / 1e9
    for key, name in LEVELS:
        rate = ceilings[key] / 1e9  # GB/s; GMAC/s at one product a byte
        start, stop = max(X_RANGE[0], Y_RANGE[0] / rate), best / rate
        parts.append(_line(_x(start), _y(rate * start), _x(stop), _y(best), "#999999",
                           'stroke-dasharray="5 4"'))
    # Names run along the slopes, each a step further down so that they stand apart.
    for index, (key, name) in enumerate(LEVELS):
        rate = ceilings[key] / 1e9
        at = max(0.3 * best / 2.2**index / rate, 1.2 * X_RANGE[0])
        angle = math.degrees(math.atan2(_y(rate * at) - _y(rate * at * 2), _x(at * 2) - _x(at)))
        label = f"{name} {rate:,.0f} GB/s"
        parts.append(_text(0, -3, label, f'transform="translate({_x(at):.1f} {_y(rate * at):.1f}) '
                                         f'rotate({-angle:.1f})" fill="#666666" font-size="11"'))
    lowest = HEIGHT
    for key, kind, name in LIMITS:
        if key not in ceilings:
            continue
        rate = ceilings[key] / 1e9
        start = max(X_RANGE[0], rate / (ceilings["l1_bytes_per_s"] / 1e9))
        parts.append(_line(_x(start), _y(rate), WIDTH - RIGHT, _y(rate), COLOURS[kind],
                           'stroke-width="1.5"'))
        y = max(_y(rate) + 4, HEIGHT - lowest)
        parts.append(_text(WIDTH - RIGHT + 8, y, f"{name}: {rate:,.0f} GMAC/s",
                           f'fill="{COLOURS[kind]}"'))
        lowest = HEIGHT - y - 15  # names below one another when lines are close
    return parts


def _mark(point: Point) -> str:
    x, y = _x(point.intensity), _y(point.rate)
    title = f"<title>{point.label}: {point.rate:,.3g} GMAC/s</title>"
    style = f'stroke="{COLOURS[point.kind]}" stroke-width="1.5"'
    if point.layer:
        return (f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="none" {style}>'
                f"{title}</rect>")
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[point.kind]}" '
            f'fill-opacity="0.55" {style}>{title}</circle>')


def roofline_svg(kernels: dict, layers: dict, model: Path, cpu: str) -> str:
    """Return the picture of both reports; `model` is the file that `layers` ran."""
    points = [point for point in kernel_points(kernels) + layer_points(layers, model)
              if point.kind in COLOURS
              and X_RANGE[0] <= point.intensity <= X_RANGE[1]
              and Y_RANGE[0] <= point.rate <= Y_RANGE[1]]
    legend_x, legend_y = WIDTH - RIGHT + 14, HEIGHT - BOTTOM - 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#222222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, f"One core of {cpu}", 'font-size="15"'),
        *_axes(), *_limits(kernels["ceilings"]), *(_mark(point) for point in points),
        f'<circle cx="{legend_x}" cy="{legend_y}" r="4" fill="#444444"/>',
        _text(legend_x + 12, legend_y + 4, "a kernel alone"),
        f'<rect x="{legend_x - 4}" y="{legend_y + 14}" width="8" height="8" fill="none" '
        'stroke="#444444" stroke-width="1.5"/>',
        _text(legend_x + 12, legend_y + 22, f"a layer of {model.stem}"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
