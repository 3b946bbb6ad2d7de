#!/usr/bin/env python3
"""Measure what headers cost the server: the same load with and without them, in pairs.

Usage:  edge.py [--build build/release] [--model NAME] [--rounds N] [--seconds S]

One server exports no spans and answers load reports that are asked for, another one exports spans
to nobody. Each round loads a server without headers and then with those of a case, in an order that
alternates, and takes the difference of the server's CPU time a request; "nothing" has none on both
sides and says what can be told apart. The difference contains what gRPC itself does to read and keep
the headers, which no server can do without; bitmill_request_cost says what our part of it is. Client
and servers share the machine.

Prints a table. Exit status: 0 when it could measure; 1 when a server or client failed; 2 for misuse.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "serving")]
from overhead import load  # noqa: E402
from sections import cpu_name  # noqa: E402
from servers import free_port, raise_priority, running, serve_command, wait_ready  # noqa: E402

PARENT = "traceparent:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
# What is sent, and whether the server exports spans.
CASES: dict[str, tuple[list[str], bool]] = {
    "nothing": ([], False),
    "one header of no meaning": (["--header", "x-request-id:7f5c2b0a8c1e4d8e"], False),
    "traceparent, not sampled": (["--header", PARENT + "0"], False),
    "traceparent, sampled": (["--header", PARENT + "1"], False),
    "traceparent, sampled, spans exported": (["--header", PARENT + "1"], True),
    "load report asked for": (["--header", "endpoint-load-metrics-format:bin"], False),
    "time of sending": (["--send-time"], False),
    "14 headers of a mesh": ([part for i in range(14) for part in
                              ("--header", f"x-mesh-{i}:7f5c2b0a-8c1e-4d8e-9a51-2f4a6b1c9d3e")],
                             False),
}


def middle(values: list[float], digits: int) -> str:
    """The median, and between what the middle half lies: single pairs on a shared machine go astray."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def measure(program: Path, model: str, rounds: int, seconds: float) -> dict[str, list[list[float]]]:
    """Return for each case the pairs of CPU microseconds a request (with, without)."""
    (ROOT / "build").mkdir(exist_ok=True)
    pairs: dict[str, list[list[float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        logs = [Path(folder) / "plain", Path(folder) / "traced"]
        ports = [free_port(), free_port()]
        commands = [serve_command(program, ROOT / "models" / "repository", port) for port in ports]
        commands[0] += ["--orca", "asked"]
        commands[1] += ["--otlp-endpoint", f"127.0.0.1:{free_port()}"]
        with running(commands[0], logs[0]) as plain, running(commands[1], logs[1]) as traced:
            servers = [plain, traced]
            for port, log in zip(ports, logs, strict=True):
                wait_ready(program, f"127.0.0.1:{port}", model, log)
            for turn in range(rounds):
                for case, (more, spans) in CASES.items():
                    pair = [0.0, 0.0]
                    for side in ((0, 1), (1, 0))[turn % 2]:
                        how = ["--concurrency", "64", *(more if side == 0 else [])]
                        result = load(program, f"127.0.0.1:{ports[spans]}", model, how, seconds,
                                      servers[spans].pid)
                        pair[side] = result["server_cpu_us"]
                    pairs[case].append(pair)
    return pairs


def main(argv: list[str]) -> int:
    """Start the servers, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--model", default="fmnist_tfc_w1a1")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a measurement")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 2 or arguments.seconds <= 0:
        parser.error("rounds are 2 or more, seconds above 0")
    program = arguments.build / "bitmill"
    if not program.exists():
        print(f"error: {program} is missing; build the target bitmill", file=sys.stderr)
        return 1
    priority = raise_priority()
    try:
        pairs = measure(program, arguments.model, arguments.rounds, arguments.seconds)
    except (RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{cpu_name()}, {priority}; {arguments.model}, 64 in flight, {arguments.rounds} pairs of "
          f"{arguments.seconds:g} s; medians, in brackets the quartiles.\n")
    print("| headers | server CPU us a request | more than without, within a pair |")
    print("| --- | ---: | ---: |")
    for case, of_case in pairs.items():
        print(f"| {case} | {middle([pair[0] for pair in of_case], 1)} "
              f"| {middle([a - b for a, b in of_case], 1)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
