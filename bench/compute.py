#!/usr/bin/env python3
"""Measure kernels and whole models with `bitmill bench` and write docs/benchmarks.md.

Usage:  compute.py [--build build/release] [--output docs/benchmarks.md] [--quick]

Writes the sections `kernels` and `models` of the output file. Exit status: 0 done, 1 when the
program is missing or failed, 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from sections import cpu_name, write_section

ROOT = Path(__file__).resolve().parents[1]


def run_suite(program: Path, suite: str, quick: bool) -> dict:
    """Run one suite; return its JSON."""
    command = [str(program), "bench", "--suite", suite, "--json", "-"]
    done = subprocess.run(command + (["--quick"] if quick else []), cwd=ROOT, text=True,
                          stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(f"'{' '.join(command)}' failed with {done.returncode}")
    return json.loads(done.stdout)


def number(value: float | None) -> str:
    """Format with the digits that mean something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """Format a share."""
    return "-" if share is None else f"{100 * share:.0f} %"


def heading(report: dict, what: str) -> list[str]:
    """Return the lines that say where the figures are from."""
    machine, limits = report["machine"], report["ceilings"]
    return [
        f"Made by `bench/compute.py` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
        f"{machine['isa']}, one thread, CPU time. {what}",
        "",
        f"One core can do: 1 x 1 bit {limits['bit_macs_per_s'] / 1e9:,.0f} GMAC/s "
        f"({limits['bit_form']}), low-bit x int8 {limits['low_bit_int8_macs_per_s'] / 1e9:,.0f}, "
        f"fp32 {limits['fp32_macs_per_s'] / 1e9:,.0f}; reads {limits['l1_bytes_per_s'] / 1e9:,.0f} "
        f"GB/s from L1, {limits['l2_bytes_per_s'] / 1e9:,.0f} from L2, "
        f"{limits['l3_bytes_per_s'] / 1e9:,.0f} from L3, "
        f"{limits['dram_bytes_per_s'] / 1e9:,.0f} from memory.",
        "",
    ]


def kernels_section(report: dict) -> str:
    """Return the table of kernels."""
    lines = heading(report, "Share: of the lower of the arithmetic and the reading limit, the median "
                            "of ratios of neighbouring milliseconds.")
    lines += ["| work | shape | batch | kernel | reached | limit | unit | share |",
              "| --- | --- | ---: | --- | ---: | ---: | --- | ---: |"]
    for row in report["results"]:
        lines.append(f"| {row['kind']} | {row['shape']} | {row['batch']} | {row['name']} "
                     f"| {number(row['value'])} | {number(row['ceiling'])} | {row['unit']} "
                     f"| {percent(row['share'])} |")
    return "\n".join(lines)


def models_section(report: dict) -> str:
    """Return the table of models."""
    lines = heading(report, "Limit: the sum over the layers of their products at the rates below.")
    lines += ["| model | input | batch | us a row | limit | share | spread |",
              "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for row in report["results"]:
        lines.append(f"| {row['name']} | {row['shape']} | {row['batch']} | {number(row['value'])} "
                     f"| {number(row['ceiling'])} | {percent(row['share'])} "
                     f"| {percent(row['spread'])} |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Measure both suites and write their sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, and of the trust")
    arguments = parser.parse_args(argv)
    program = (arguments.build / "bitmill").resolve()
    if not program.exists():
        print(f"error: {program} is missing; build the target bitmill", file=sys.stderr)
        return 1
    try:
        kernels = run_suite(program, "kernels", arguments.quick)
        models = run_suite(program, "models", arguments.quick)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_section(arguments.output, "kernels", kernels_section(kernels))
    write_section(arguments.output, "models", models_section(models))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
