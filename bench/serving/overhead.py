#!/usr/bin/env python3
"""Measure what the performance analysis costs: the same server with it and without, in pairs.

Usage:  overhead.py [--build build/release] [--model NAME] [--rounds N] [--seconds S] [--no-write]

Two servers run side by side, one with --analysis false; each round loads one and then the other, in
an order that alternates, and takes the ratio of their rates and the difference of their CPU time a
request. Then the same on one CPU, the client on the others, at half of what that serves: what the
analysis does at its ticks is there in the way of requests, and p99 shows it. An idle server's CPU
time is measured too. Client and servers share the machine.

Writes this machine's section `analysis overhead` of docs/benchmarks.md. Exit status: 0 when it could
measure; 1 when a server or client failed; 2 for misuse.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "serving")]
from sections import cpu_name, machine_section, write_section  # noqa: E402
from servers import free_port, raise_priority, running, serve_command, wait_ready  # noqa: E402
from several import cpu_seconds, median  # noqa: E402

LEVELS = [1, 64]  # requests in flight
MOST_LOSS, MOST_MICROS, MOST_IDLE_SHARE = 0.01, 1.0, 0.01
IDLE_SECONDS = 5.0
SHARE_OF_CAPACITY, LEAST_SECONDS = 0.5, 3.0  # of a measurement of p99: some ticks


def load(program: Path, address: str, model: str, how: list[str], seconds: float, pid: int) -> dict:
    """Run a load; return its result."""
    done = subprocess.run(
        [str(program), "load", address, "--model", model, *how,
         "--duration", str(seconds), "--warmup", "0.3", "--server-pid", str(pid), "--json", "-"],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr or done.stdout)
    return json.loads(done.stdout)["results"][0]


def idle_share(pid: int) -> float:
    """Return the share of a CPU that a process uses that nobody asks anything."""
    time.sleep(0.5)
    before = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(pid) - before) / IDLE_SECONDS


@contextlib.contextmanager
def servers(program: Path, model: str, folder: Path) -> Iterator[list[tuple[str, int]]]:
    """Run a server with the analysis and one without; give their addresses and process ids."""
    with contextlib.ExitStack() as stack:
        started = []
        for name, options in (("with", []), ("without", ["--analysis", "false"])):
            port, log = free_port(), folder / name
            command = serve_command(program, ROOT / "models" / "repository", port) + options
            process = stack.enter_context(running(command, log))
            wait_ready(program, f"127.0.0.1:{port}", model, log)
            started.append((f"127.0.0.1:{port}", process.pid))
        yield started


def in_turns(program: Path, model: str, both: list[tuple[str, int]], turn: int, how: list[str],
             seconds: float) -> list[dict]:
    """Load both servers, in an order that alternates; return the results (with, without)."""
    pair: list[dict] = [{}, {}]
    for side in ((0, 1), (1, 0))[turn % 2]:
        address, pid = both[side]
        pair[side] = load(program, address, model, how, seconds, pid)
    return pair


def measure_latency(program: Path, model: str, rounds: int, seconds: float, folder: Path) -> dict:
    """Return the pairs on one CPU, the client on the others, and the rate."""
    cpus = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cpus[:1])  # what is started inherits it
        with servers(program, model, folder) as both:
            os.sched_setaffinity(0, cpus[1:] or cpus)
            most = load(program, both[1][0], model, ["--concurrency", "64"], seconds, both[1][1])
            rate = SHARE_OF_CAPACITY * most["requests_per_second"]
            how = ["--rate", f"{rate:.0f}"]
            pairs = [in_turns(program, model, both, turn, how, max(seconds, LEAST_SECONDS))
                     for turn in range(rounds)]
    finally:
        os.sched_setaffinity(0, cpus)
    return {"rate": rate, "pairs": pairs}


def measure(program: Path, model: str, rounds: int, seconds: float) -> dict:
    """Return per level the pairs (with, without), those at a rate, and the idle shares."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        with servers(program, model, Path(folder)) as both:
            pairs: dict[int, list[list[dict]]] = {level: [] for level in LEVELS}
            for turn in range(rounds):
                for level in LEVELS:
                    pairs[level].append(in_turns(program, model, both, turn,
                                                 ["--concurrency", str(level)], seconds))
            idle = [idle_share(pid) for _, pid in both]
        return {"pairs": pairs, "idle": idle,
                "latency": measure_latency(program, model, rounds, seconds, Path(folder))}


def latency_lines(measured: dict) -> list[str]:
    """Return what is said of p99 at a rate, on one CPU."""
    p99 = [[result["latency_us"]["p99"] for result in side]
           for side in zip(*measured["pairs"], strict=True)]
    ratios = [a / b for a, b in zip(*p99, strict=True)]
    return [f"- on one CPU at {measured['rate']:,.0f} requests/s, {SHARE_OF_CAPACITY:g} of what it "
            f"serves: p99 {median(p99[0])} us with, {median(p99[1])} without, "
            f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"]


def section(model: str, rounds: int, seconds: float, measured: dict, priority: str) -> str:
    """Return the table and the verdicts."""
    lines = [f"Made by `bench/serving/overhead.py` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
             f"{priority}; {model}, {rounds} pairs of {seconds:g} s; medians, in brackets lowest "
             "and highest; loss and difference within a pair.", "",
             "| in flight | infer/s with | without | loss | server CPU us a request with | without "
             "| difference |", "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    verdicts = []
    for level, pairs in measured["pairs"].items():
        rate = [[result["requests_per_second"] for result in side]
                for side in zip(*pairs, strict=True)]
        cpu = [[result["server_cpu_us"] for result in side]
               for side in zip(*pairs, strict=True)]
        loss = [1 - a / b for a, b in zip(*rate, strict=True)]
        extra = [a - b for a, b in zip(*cpu, strict=True)]
        percent = (f"{100 * statistics.median(loss):.1f} % ({100 * min(loss):.1f} to "
                   f"{100 * max(loss):.1f})")
        lines.append(f"| {level} | {median(rate[0])} | {median(rate[1])} | {percent} "
                     f"| {median(cpu[0], 1)} | {median(cpu[1], 1)} | {median(extra, 2)} |")
        if level == max(LEVELS):
            for what, value, most in (("throughput lost", statistics.median(loss), MOST_LOSS),
                                      ("us a request", statistics.median(extra), MOST_MICROS)):
                state = "met" if value <= most else "NOT MET"
                verdicts.append(f"- {state}: {level} in flight, {what}: {value:.3g} (at most "
                                f"{most:g})")
    with_it, without = measured["idle"]
    state = "met" if with_it <= MOST_IDLE_SHARE else "NOT MET"
    verdicts.append(f"- {state}: CPU of the idle server: {100 * with_it:.2f} % of one, "
                    f"{100 * without:.2f} % without (at most {100 * MOST_IDLE_SHARE:g} %)")
    return "\n".join([*lines, "", *verdicts, *latency_lines(measured["latency"])])


def main(argv: list[str]) -> int:
    """Start the servers, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--model", default="fmnist_tfc_w1a1")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a measurement")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("rounds and seconds are above 0")
    program = arguments.build / "bitmill"
    if not program.exists():
        print(f"error: {program} is missing; build the target bitmill", file=sys.stderr)
        return 1
    priority = raise_priority()
    try:
        measured = measure(program, arguments.model, arguments.rounds, arguments.seconds)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = section(arguments.model, arguments.rounds, arguments.seconds, measured, priority)
    print(text)
    if not arguments.no_write:
        name, title = machine_section("Analysis overhead")
        write_section(ROOT / "docs" / "benchmarks.md", name, text, title)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
