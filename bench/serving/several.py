#!/usr/bin/env python3
"""Measure several models of one server at once: does any of the machine get lost between them?

Usage:  several.py [--build build/release] [--rounds N] [--seconds S] [--no-write]

Each round loads every model alone and then all of them together, with as many requests in flight
each as there are CPUs. A model's share is its rate together over its rate alone; where workers are
neither idle nor in each other's way, the shares add up to 1. Then the server is left alone: its CPU
time is what idle threads burn. Client and server share the machine.

Writes this machine's section `several models` of docs/benchmarks.md. Needs numpy and onnx where the
networks are not built yet. Exit status: 0 when it could measure; 1 when a server or client failed;
2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "models")]
from sections import cpu_name, machine_section, write_section  # noqa: E402
from servers import (free_port, raise_priority, running, serve_command, wait_ready)  # noqa: E402

NETWORKS = ["birealnet18", "cnv_w1a1", "ternary_mixer"]
LEAST_SHARES = 0.95
IDLE_SECONDS, MOST_IDLE_SHARE = 5.0, 0.005


def make_repository(folder: Path) -> None:
    """Link the networks into a repository, building those that are missing."""
    models = ROOT / "build" / "bench_models"
    for name in NETWORKS:
        model = models / f"{name}.onnx"
        if not model.exists():
            from build import NETWORKS as builders
            builders[name](model, 1)
        version = folder / name / "1"
        version.mkdir(parents=True)
        os.link(model, version / "model.onnx")


def start_load(program: Path, address: str, model: str, seconds: float) -> subprocess.Popen:
    """Start a closed loop on one model."""
    return subprocess.Popen(
        [str(program), "load", address, "--model", model, "--concurrency", str(os.cpu_count()),
         "--duration", str(seconds), "--warmup", "0.3", "--json", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rates(loads: dict[str, subprocess.Popen]) -> dict[str, dict]:
    """Wait for the loads; return the result of each model."""
    results = {}
    for model, load in loads.items():
        out, err = load.communicate()
        if load.returncode != 0:
            raise RuntimeError(f"{model}: {err or out}")
        results[model] = json.loads(out)["results"][0]
    return results


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(values: list[float], digits: int = 0) -> str:
    """Format the median with the lowest and highest value."""
    return (f"{statistics.median(values):,.{digits}f} "
            f"({min(values):,.{digits}f} to {max(values):,.{digits}f})")


def table(alone: list[dict], together: list[dict]) -> list[str]:
    """Return a line for each model."""
    lines = ["| model | alone, infer/s | p99 us | together, infer/s | p99 us | share |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name in NETWORKS:
        def of(rounds: list[dict], figure) -> list[float]:
            return [figure(results[name]) for results in rounds]
        rate, tail = (lambda r: r["requests_per_second"]), (lambda r: r["latency_us"]["p99"])
        share = [b / a for a, b in zip(of(alone, rate), of(together, rate), strict=True)]
        lines.append(f"| {name} | {median(of(alone, rate))} | {median(of(alone, tail))} "
                     f"| {median(of(together, rate))} | {median(of(together, tail))} "
                     f"| {median(share, 2)} |")
    return lines


def main(argv: list[str]) -> int:
    """Start the server, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measurement")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("rounds and seconds are above 0")
    program = arguments.build / "bitmill"
    if not program.exists():
        print(f"error: {program} is missing; build the target bitmill", file=sys.stderr)
        return 1
    priority = raise_priority()
    models = ROOT / "build"
    models.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models) as folder:
        repository, log, port = Path(folder) / "repository", Path(folder) / "log", free_port()
        make_repository(repository)
        address = f"127.0.0.1:{port}"
        try:
            with running(serve_command(program, repository, port), log) as server:
                for name in NETWORKS:
                    wait_ready(program, address, name, log)
                alone, together = [], []
                for _ in range(arguments.rounds):
                    alone.append({})
                    for name in NETWORKS:
                        alone[-1] |= rates({name: start_load(program, address, name,
                                                             arguments.seconds)})
                    together.append(rates({name: start_load(program, address, name,
                                                            arguments.seconds)
                                           for name in NETWORKS}))
                time.sleep(0.5)
                before = cpu_seconds(server.pid)
                time.sleep(IDLE_SECONDS)
                idle = (cpu_seconds(server.pid) - before) / IDLE_SECONDS
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    sums = [sum(b[name]["requests_per_second"] / a[name]["requests_per_second"]
                for name in NETWORKS) for a, b in zip(alone, together, strict=True)]
    total = statistics.median(sums)
    text = "\n".join([
        f"Made by `bench/serving/several.py` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
        f"{os.cpu_count()} CPUs, {priority}; {arguments.rounds} rounds of {arguments.seconds:g} s, "
        f"{os.cpu_count()} requests in flight a model; medians, in brackets lowest and highest.",
        "", *table(alone, together), "",
        f"- {'met' if total >= LEAST_SHARES else 'NOT MET'}: the shares add up to "
        f"{median(sums, 2)} (at least {LEAST_SHARES})",
        f"- {'met' if idle <= MOST_IDLE_SHARE else 'NOT MET'}: CPU of the idle server: "
        f"{100 * idle:.1f} % of one (at most {100 * MOST_IDLE_SHARE:g} %)",
    ]) + "\n"
    print(text, end="")
    if not arguments.no_write:
        name, title = machine_section("Several models")
        write_section(ROOT / "docs" / "benchmarks.md", name, text, title)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
