#!/usr/bin/env python3
"""Measure what the performance analysis costs: the same server with it and without, in pairs.

Usage:  overhead.py [--build build/release] [--model NAME] [--rounds N] [--seconds S] [--no-write]

Two servers run side by side, one with --analysis false; each round loads one and then the other, in
an order that alternates, and takes the ratio of their rates and the difference of their CPU time a
request. An idle server's CPU time is measured too. Client and servers share the machine.

Writes this machine's section `analysis overhead` of docs/benchmarks.md. Exit status: 0 when it could
measure; 1 when a server or client failed; 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "serving")]
from sections import cpu_name, machine_section, write_section  # noqa: E402
from servers import free_port, raise_priority, running, serve_command, wait_ready  # noqa: E402
from several import cpu_seconds, median  # noqa: E402

LEVELS = [1, 64]  # requests in flight
MOST_LOSS, MOST_MICROS, MOST_IDLE_SHARE = 0.01, 1.0, 0.01
IDLE_SECONDS = 5.0


def load(program: Path, address: str, model: str, in_flight: int, seconds: float, pid: int) -> dict:
    """Run a closed loop; return its result."""
    done = subprocess.run(
        [str(program), "load", address, "--model", model, "--concurrency", str(in_flight),
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


def measure(program: Path, model: str, rounds: int, seconds: float) -> dict:
    """Return per level the pairs (with, without), and the idle shares."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        logs = [Path(folder) / "with", Path(folder) / "without"]
        ports = [free_port(), free_port()]
        repository = ROOT / "models" / "repository"
        commands = [serve_command(program, repository, port) for port in ports]
        commands[1] += ["--analysis", "false"]
        with running(commands[0], logs[0]) as first, running(commands[1], logs[1]) as second:
            servers = [first, second]
            addresses = [f"127.0.0.1:{port}" for port in ports]
            for address, log in zip(addresses, logs, strict=True):
                wait_ready(program, address, model, log)
            pairs: dict[int, list[list[dict]]] = {level: [] for level in LEVELS}
            for turn in range(rounds):
                for level in LEVELS:
                    pair: list[dict] = [{}, {}]
                    for side in ((0, 1), (1, 0))[turn % 2]:
                        pair[side] = load(program, addresses[side], model, level, seconds,
                                          servers[side].pid)
                    pairs[level].append(pair)
            return {"pairs": pairs, "idle": [idle_share(server.pid) for server in servers]}


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
    return "\n".join([*lines, "", *verdicts])


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
