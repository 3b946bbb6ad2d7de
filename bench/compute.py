#!/usr/bin/env python3
"""Measure kernels and whole models with `bitmill bench` and write docs/benchmarks.md.

Usage:  compute.py [--build build/release] [--output docs/benchmarks.md] [--quick]

Writes this machine's sections `kernels` and `models` of the output file; those of other machines
stay. Exit status: 0 done, 1 when the program is missing or failed, 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from sections import cpu_name, machine_section, write_section

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("amx", "avx512vpopcnt", "avx512", "avxvnni", "avx2", "neon")  # the reference is not timed


def run_suite(program: Path, suite: str, quick: bool, options: tuple[str, ...] = ()) -> dict:
    """Run one suite; return its JSON."""
    command = [str(program), "bench", "--suite", suite, "--json", "-", *options]
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
    """Return the line that says where the figures are from."""
    return [f"Made by `bench/compute.py` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
            f"{report['machine']['isa']}, one thread, CPU time. {what}", ""]


def limits_table(reports: dict[str, dict]) -> list[str]:
    """Return what one core can do, a line an instruction set."""
    lines = ["| one core can do | 1 x 1 bit | by | 2 x 2 bit | low-bit x int8 | fp32 | L1 | L2 | L3 "
             "| memory |", "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for isa, report in reports.items():
        limits = report["ceilings"]
        macs = [f"{limits[key] / 1e9:,.0f} GMAC/s" for key in
                ("bit_macs_per_s", "two_bit_macs_per_s", "low_bit_int8_macs_per_s",
                 "fp32_macs_per_s")]
        reads = [f"{limits[f'{level}_bytes_per_s'] / 1e9:,.0f} GB/s" for level in
                 ("l1", "l2", "l3", "dram")]
        cells = [isa, macs[0], limits["bit_form"], *macs[1:], *reads]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def kernels_section(report: dict, limits: dict[str, dict]) -> str:
    """Return the table of kernels, a column an instruction set."""
    lines = heading(report, "Reached, and the share of the lower of the arithmetic and the reading "
                            "limit of that instruction set: the median of ratios of neighbouring "
                            "milliseconds. A dash: the set has no kernel of its own.")
    lines += limits_table(limits)
    levels = list(limits)
    lines += [f"| work | shape | batch | unit | {' | '.join(levels)} |",
              f"| --- | --- | ---: | --- | {' | '.join(['---:'] * len(levels))} |"]
    rows: dict[tuple, dict[str, str]] = {}
    for row in report["results"]:
        key = (row["kind"], row["shape"], row["batch"], row["unit"])
        rows.setdefault(key, {})[row["isa"]] = f"{number(row['value'])} ({percent(row['share'])})"
    for key, cells in rows.items():
        shown = " | ".join(cells.get(level, "-") for level in levels)
        lines.append(f"| {' | '.join(str(part) for part in key)} | {shown} |")
    return "\n".join(lines)


def models_section(report: dict, limits: dict[str, dict]) -> str:
    """Return the table of models."""
    lines = heading(report, "Limit: the sum over the layers of their products at the rates above.")
    isa = report["machine"]["isa"]
    lines += limits_table({isa: limits[isa]}) if isa in limits else []
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
        # A run for each level, with what it would choose: `--all` would time the reference too,
        # which takes half an hour.
        best = run_suite(program, "roofline", arguments.quick)["machine"]["isa"]
        levels = LEVELS[LEVELS.index(best):] if best != "neon" else ("neon",)
        # AVX-VNNI came after AVX-512: processors with tiles have it, others with AVX-512 may not.
        apart = {"neon": (), "avxvnni": ("amx",)}
        levels = [level for level in levels if level == best or best in apart.get(level, (best,))]
        runs = {isa: run_suite(program, "kernels", arguments.quick, ("--isa", isa))
                for isa in levels}
        kernels = {**runs[best], "results": [row for run in runs.values() for row in run["results"]]}
        limits = {isa: run_suite(program, "roofline", arguments.quick, ("--isa", isa))
                  for isa in levels}
        models = run_suite(program, "models", arguments.quick)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for what, text in (("Kernels", kernels_section(kernels, limits)),
                       ("Models", models_section(models, limits))):
        name, title = machine_section(what)
        write_section(arguments.output, name, text, title)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
