#!/usr/bin/env python3
"""Measure what a request costs: a bare gRPC echo, an identity model, a real 1-bit MLP.

Usage:  measure.py --build build/release [--rounds N] [--seconds S] [--levels 1,4,16,64]
                   [--output docs/benchmarks.md] [--json FILE]

All three answer over loopback on this machine, driven by `bitmill load` from the same machine. Each
round measures every (level, target) pair once, one right after the other, so that a change of
the machine's mood meets all of them; medians and spreads are over rounds, ratios are taken within
a round. The CPU time of a request is user and system time of the whole server process.

Writes this machine's section `serving` of the output file. Exit status: 0 when it could measure,
whatever the verdicts; 1 when a server or client failed; 2 for misuse.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from sections import cpu_name, machine_section, write_section  # noqa: E402
from servers import (free_port, raise_priority, running, serve_command, wait_for,  # noqa: E402
                     wait_ready)

IDENTITY, MLP = "identity_fp32_1024", "fmnist_tfc_w1a1"
TARGETS = {"echo": "bare gRPC echo", "callback": "the same, callback API", "identity": "identity FP32 [1,1024]", "mlp": f"{MLP}"}

# The bars: most CPU us of identity by requests in flight, most times the echo's CPU, least infer/s
# of the MLP, most times the identity's CPU.
MOST_CPU_US = {1: 60.0, 16: 25.0, 64: 25.0}
MOST_TIMES_ECHO = 1.6
MLP_LEVEL, LEAST_MLP_RATE, MOST_TIMES_IDENTITY = 64, 25_000.0, 1.5


@dataclass
class Series:
    """One figure per round for each quantity of a (target, level) pair."""

    rate: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)

    def add(self, result: dict) -> None:
        """Append one result of `bitmill load --json`."""
        self.rate.append(result["requests_per_second"])
        self.cpu_us.append(result["server_cpu_us"])
        self.client_us.append(result["client_cpu_us"])
        self.p50_us.append(result["latency_us"]["p50"])
        self.p99_us.append(result["latency_us"]["p99"])


Results = dict[tuple[str, int], Series]


def make_repository(folder: Path) -> None:
    """Copy the two models that are measured into a repository of their own."""
    shutil.copytree(ROOT / "bench" / "models" / IDENTITY, folder / IDENTITY)
    shutil.copytree(ROOT / "models" / "repository" / MLP, folder / MLP)


def load(program: Path, target: str, address: str, level: int, seconds: float) -> dict:
    """Measure one point; return the result of `bitmill load`."""
    command = [str(program), "load", address, "--concurrency", str(level), "--duration",
               str(seconds), "--warmup", "0.3", "--json", "-", "--model",
               MLP if target == "mlp" else IDENTITY]
    if target == "mlp":
        command += ["--input", f"{ROOT}/models/data/fashion_mnist_test_1000.npz:images"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr or done.stdout}")
    result = json.loads(done.stdout)["results"][0]
    if result["server_cpu_us"] is None:
        raise RuntimeError("the server's CPU time could not be read; run as the user of the server")
    return result


def measure(program: Path, addresses: dict[str, str], arguments: argparse.Namespace) -> Results:
    """Run all rounds; show progress on a terminal."""
    results: Results = {}
    total = arguments.rounds * len(arguments.levels) * len(TARGETS)
    done = 0
    for _ in range(arguments.rounds):
        for level in arguments.levels:
            for target in TARGETS:
                result = load(program, target, addresses[target], level, arguments.seconds)
                results.setdefault((target, level), Series()).add(result)
                done += 1
                if sys.stderr.isatty():
                    print(f"\r{done}/{total} measurements", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return results


def spread(values: list[float], digits: int = 0) -> str:
    """Format the median with the lowest and highest value."""
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def ratio(above: list[float], below: list[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(above, below)]


def table(results: Results, levels: list[int]) -> list[str]:
    """Return the Markdown table of all figures."""
    lines = ["| in flight | server | CPU us a request | times echo | infer/s | p50 us | p99 us "
             "| client CPU us |", "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for level in levels:
        echo = results[("echo", level)]
        for target, name in TARGETS.items():
            series = results[(target, level)]
            times = statistics.median(ratio(series.cpu_us, echo.cpu_us))
            lines.append(f"| {level} | {name} | {spread(series.cpu_us, 1)} | {times:.2f} "
                         f"| {spread(series.rate)} | {statistics.median(series.p50_us):,.0f} "
                         f"| {statistics.median(series.p99_us):,.0f} "
                         f"| {statistics.median(series.client_us):.1f} |")
    return lines


def verdicts(results: Results, levels: list[int]) -> list[str]:
    """Return one line a bar: met or not, the figure, the bar."""
    lines = []

    def judge(what: str, value: float, bar: float, at_most: bool, note: str = "") -> None:
        met = value <= bar if at_most else value >= bar
        sign = "at most" if at_most else "at least"
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        lines.append(f"- {'met' if met else 'NOT MET'}: {what}: {shown} ({sign} {bar:,g}){note}")

    for level in levels:
        identity, echo = results[("identity", level)], results[("echo", level)]
        floor = statistics.median(echo.cpu_us)
        if level in MOST_CPU_US:
            bar = MOST_CPU_US[level]
            note = f"; the bare echo alone costs {floor:.1f} here" if floor > bar else ""
            judge(f"identity at {level} in flight, CPU us a request",
                  statistics.median(identity.cpu_us), bar, True, note)
        judge(f"identity at {level} in flight, times the echo's CPU",
              statistics.median(ratio(identity.cpu_us, echo.cpu_us)), MOST_TIMES_ECHO, True)
    if MLP_LEVEL in levels:
        mlp, identity = results[("mlp", MLP_LEVEL)], results[("identity", MLP_LEVEL)]
        judge(f"{MLP} at {MLP_LEVEL} in flight, infer/s", statistics.median(mlp.rate),
              LEAST_MLP_RATE, False)
        judge(f"{MLP} at {MLP_LEVEL} in flight, times the identity's CPU",
              statistics.median(ratio(mlp.cpu_us, identity.cpu_us)), MOST_TIMES_IDENTITY, True)
    return lines


def section(results: Results, arguments: argparse.Namespace, priority: str) -> str:
    """Return the text of the section."""
    lines = [
        f"Made by `bench/serving.sh` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, {priority}.",
        f"Client and servers share the machine; {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s a point, targets in turn; medians, in brackets lowest and "
        "highest; ratios within a round.",
        "",
        *table(results, arguments.levels),
        "",
        *verdicts(results, arguments.levels),
    ]
    return "\n".join(lines) + "\n"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release",
                        help="build folder with the program and the echo server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a measurement")
    parser.add_argument("--levels", default="1,4,16,64", help="requests in flight")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md",
                        help="file whose section is replaced")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--json", type=Path, help="write all rounds here too")
    arguments = parser.parse_args(argv)
    try:
        arguments.levels = [int(level) for level in arguments.levels.split(",")]
    except ValueError:
        parser.error("--levels is a list of numbers, as in 1,16,64")
    if min(arguments.levels) < 1 or arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("levels, rounds and seconds are above 0")
    return arguments


def main(argv: list[str]) -> int:
    """Start the servers, measure, print and write."""
    arguments = parse_arguments(argv)
    program = arguments.build / "bitmill"
    echo_server = arguments.build / "bench" / "bitmill_echo_server"
    for path in (program, echo_server):
        if not path.exists():
            print(f"error: {path} is missing; run bench/serving.sh, which builds it",
                  file=sys.stderr)
            return 1
    priority, load_before = raise_priority(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        make_repository(work / "repository")
        port = free_port()
        try:
            addresses = {}
            for target, api in (("echo", "async"), ("callback", "callback")):
                log = work / f"{target}.log"
                echo = stack.enter_context(running([str(echo_server), "--api", api], log))
                text = wait_for(log, "listening on", echo)
                addresses[target] = text.split("listening on ")[1].split()[0]
            stack.enter_context(running(serve_command(program, work / "repository", port),
                                        work / "serve.log"))
            server = f"127.0.0.1:{port}"
            addresses |= {"identity": server, "mlp": server}
            wait_ready(program, server, MLP, work / "serve.log")
            results = measure(program, addresses, arguments)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    text = section(results, arguments, f"{priority}, load average before {load_before:.1f}")
    print(text, end="")
    if arguments.json:
        rows = [{"target": target, "in_flight": level, **vars(series)}
                for (target, level), series in results.items()]
        arguments.json.write_text(json.dumps({"cpu": cpu_name(), "results": rows}, indent=2) + "\n")
    if not arguments.no_write:
        name, title = machine_section("Serving")
        write_section(arguments.output, name, text, title)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
