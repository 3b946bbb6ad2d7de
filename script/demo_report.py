#!/usr/bin/env python3
"""demo_report.py FOLDER MODEL...: the table at the end of script/demo.

FOLDER holds, for each model, MODEL.answers (`bitmill infer --json` on labelled images) and MODEL.load
(`bitmill load --json`), and the server's metrics page in `metrics`.
"""
from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def metric(page: str, name: str, model: str) -> float:
    """The value of name{model=...} on a Prometheus page."""
    found = re.search(rf'^{name}\{{[^}}]*model="{re.escape(model)}"[^}}]*\}} (\S+)$', page, re.M)
    if not found:
        raise SystemExit(f"the metrics page has no {name} of {model}")
    return float(found[1])


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, models = Path(argv[1]), argv[2:]
    page = (folder / "metrics").read_text()
    rows: list[tuple[str, list[str]]] = [(name, []) for name in (
        "accuracy, 1,000 images", "requests/s", "p50 latency, us", "p99 latency, us",
        "server CPU us a request", "packed weight bytes")]
    rss = 0
    for model in models:
        answers = json.loads((folder / f"{model}.answers").read_text())
        load = json.loads((folder / f"{model}.load").read_text())["results"][0]
        rss = max(rss, load["server_rss_bytes"])
        cells = (f"{100 * answers['accuracy']:.1f} %", f"{load['requests_per_second']:,.0f}",
                 f"{load['latency_us']['p50']:,.0f}", f"{load['latency_us']['p99']:,.0f}",
                 f"{load['server_cpu_us']:.0f}", f"{metric(page, 'bitmill_model_weight_bytes', model):,.0f}")
        for (_, row), cell in zip(rows, cells):
            row.append(cell)
    first = max(len(name) for name, _ in rows)
    widths = [max(len(model), *(len(row[i]) for _, row in rows)) for i, model in enumerate(models)]
    print(" " * first, *(f"{m:>{w}}" for m, w in zip(models, widths)), sep="  ")
    for name, row in rows:
        print(f"{name:<{first}}", *(f"{cell:>{w}}" for cell, w in zip(row, widths)), sep="  ")
    print(f"\nserver memory (RSS): {rss / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
