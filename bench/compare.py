#!/usr/bin/env python3
"""Time whole networks and layers beside ONNX Runtime, OpenVINO and Larq Compute Engine.

Usage:  compare.py [--build build/release] [--only TEXT] [--rounds N] [--quick]
                   [--resume] [--python PEER=INTERPRETER] [--no-write] [--isa LEVEL]

Needs numpy and onnx; the peers are optional (pip install onnxruntime openvino; larq-compute-engine
in an environment of its own, named by --python lce=PATH) and skipped with a line when missing.

Rounds go in turn: ours, then each peer, then ours again. One thread is timed by CPU time, more by
the wall, each thread running its own copy of the model. Ratios are taken within a round; medians
and quartiles over the rounds. Peers that run the same network must first give the same answers.

--isa holds us and OpenVINO (ONEDNN_MAX_CPU_ISA) to an instruction set below the machine's best:
what a machine without the rest would do. ONNX Runtime and Larq choose by themselves.

Writes this machine's section `networks` of docs/benchmarks.md and docs/roofline.svg, and appends to
bench/history.json; with --quick (three rounds), --only or --no-write nothing is written. A ratio
more than 10 % below its last one on the same CPU is named. --resume goes on where a run of the same
program was cut off. Exit status: 0 done, 1 when the program is missing, failed, or gives other
answers than a peer that runs the same network, 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import history
from checkpoint import Checkpoint
from comparison import (AGREEMENT, ITEMS, PEERS, SAME_NETWORK, Item, Measured, Spread,
                        row_microseconds, verdicts)
from roofline_picture import roofline_svg
from sections import cpu_name, machine_section, write_section

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench" / "peers"), str(ROOT / "bench" / "models")]

try:
    from build import NETWORKS, OUTPUT
    from check import random_inputs, run_bitmill
    from client import Peer, PeerError, start_peers
except ImportError as missing:
    sys.exit(f"error: {missing}; pip install numpy onnx")

SEED = 1
ROUNDS, QUICK_ROUNDS = 30, 3
PEER_SECONDS = 0.15  # a round
CALIBRATION_ROWS = 8
TRIES = 5
DOCS = ROOT / "docs"


# What oneDNN, inside OpenVINO, calls our levels.
ONEDNN_LEVELS = {"avx512vpopcnt": "AVX512_CORE_VNNI", "avx512": "AVX512_CORE", "avx2": "AVX2"}


def run_bench(program: Path, arguments: list[str]) -> dict:
    """Run `bitmill bench`; return its JSON."""
    command = [str(program), "bench", *arguments, "--json", "-"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def our_milliseconds(program: Path, path: Path, item: Item, isa: str) -> float:
    """Return what a batch takes us, in a process of its own."""
    arguments = [str(path), "--suite", "models", "--threads", str(item.threads), "--batch",
                 str(item.rows), "--isa", isa]
    if item.fast:
        arguments += ["--precision", "fast", "--calibration", f"{calibration_file(path)}:image"]
    # Threads side by side are timed by windows, which must be long to hold many batches.
    # On a busy machine one may pass without a batch; its figure is no number.
    for _ in range(TRIES):
        report = run_bench(program, arguments + (["--quick"] if item.threads == 1 else []))
        value = row_microseconds(report["results"], item.threads)
        if value > 0:
            return value * item.rows / 1e3
    raise RuntimeError(f"bitmill bench says {value} us a row for {item.key}")


def calibration_file(path: Path) -> Path:
    """Return random images for the network, written once beside it."""
    import numpy as np
    import onnx

    target = path.with_suffix(".images.npz")
    if not target.exists():
        np.savez(target, image=random_inputs(onnx.load(path), CALIBRATION_ROWS))
    return target


def check_agreement(program: Path, path: Path, peers: list[Peer], result: Measured,
                    isa: str) -> list[str]:
    """Compare the outputs of peers that run the same network with ours; return what differs."""
    import numpy as np
    import onnx

    findings = []
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        values = random_inputs(onnx.load(path), result.item.rows)
        np.save(inputs, values)
        np.save(outputs, run_bitmill(program, path, values, result.item.rows, isa))
        for peer in peers:
            for name, form in list(result.peers):
                if name != peer.name or (name, form) not in SAME_NETWORK:
                    continue
                correlation = peer.correlation(form, inputs, outputs)
                if not correlation >= AGREEMENT:
                    findings.append(f"{result.item.key}: {name} {form} gives other answers than "
                                    f"bitmill: correlation {correlation:.3f}")
    return findings


def measure(program: Path, item: Item, peers: list[Peer], rounds: int, isa: str) -> Measured:
    """Measure one item; the answers are compared first."""
    path = OUTPUT / f"{item.network}.onnx"
    result = Measured(item)
    for peer in peers:
        forms = item.forms.get(peer.name, [])
        for form, reason in (peer.prepare(path, item.rows, item.threads, forms).items()
                             if forms else ()):
            if reason is None:
                result.peers[peer.name, form] = []
            else:
                result.notes.append(f"{item.key}: {peer.name} {form} refused: {reason}")
    if not item.fast:
        result.notes += check_agreement(program, path, peers, result, isa)
    rounds = item.rounds(rounds)
    for turn in range(rounds):
        print(f"\r{item.key}: round {turn + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        result.ours.append(our_milliseconds(program, path, item, isa))
        for peer in peers:
            for name, form in result.peers:
                if name == peer.name:
                    result.peers[name, form].append(peer.milliseconds(form, PEER_SECONDS))
    print(f"{Spread.of(result.ours).median:.4g} ms", file=sys.stderr)
    return result


def milliseconds(spread: Spread) -> str:
    """Format a median with its quartiles."""
    return f"{spread.median:.3g} ({spread.low:.3g} to {spread.high:.3g})"


def table(results: list[Measured]) -> list[str]:
    """Return the table of all items, a line for each peer's form."""
    lines = ["| network | batch | threads | ours, ms a batch | images/s | peer | ms a batch "
             "| ratio |",
             "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |"]
    for result in results:
        item, ours = result.item, Spread.of(result.ours)
        head = (f"| {item.title} | {item.rows} | {item.threads} | {milliseconds(ours)} "
                f"| {item.rows * 1e3 / ours.median:,.0f} |")
        for peer, form in result.peers:
            ratio = result.ratio((peer, form))
            lines.append(f"{head} {peer} {form} | "
                         f"{milliseconds(Spread.of(result.peers[peer, form]))} "
                         f"| **{ratio.median:.2f}** ({ratio.low:.2f} to {ratio.high:.2f}) |")
            head = "| | | | | |"
        if not result.peers:
            lines.append(f"{head} - | - | - |")
    return lines


def section(machine: dict, rounds: int, peers: list[Peer], results: list[Measured],
            best: bool) -> str:
    """Return the section of docs/benchmarks.md; the picture shows the `best` instruction set."""
    picture = ["", "![Roofline](roofline.svg)"] if best else []
    versions = ", ".join(f"{peer.name} {peer.version}" for peer in peers) or "no peers installed"
    return "\n".join([
        f"Made by `bench/compare.py` on {time.strftime('%Y-%m-%d')}: {cpu_name()}, "
        f"{machine['isa']}; {versions}; {rounds} rounds (a third where no bar is set), "
        "ours and the peers in turn.",
        "Medians, in brackets the quartiles; ratio: the peer's time over ours within a round. One "
        "thread: CPU time. Two: wall, a copy of the model on each.",
        "Random weights (`bench/models/build.py`). int8: static QDQ of the twin with ReLU in place "
        "of the sign. fast: float layers in int8 (`--precision fast`). binary: "
        "BinaryConvolution, or Larq Zoo's network with indirect kernels.",
        "", *table(results), "", *verdicts(results), *picture,
    ])


def parse_pythons(pairs: list[str]) -> dict[str, str]:
    """Return the interpreters by peer; ValueError for anything but PEER=PATH."""
    pythons = {}
    for pair in pairs:
        name, equals, python = pair.partition("=")
        if not equals or name not in PEERS:
            raise ValueError(f"--python {pair}: wanted PEER=INTERPRETER, a PEER of {PEERS}")
        pythons[name] = python
    return pythons


def main(argv: list[str]) -> int:
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--only", default="", metavar="TEXT", help="items with this in their name")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}")
    parser.add_argument("--quick", action="store_true",
                        help=f"{QUICK_ROUNDS} rounds, writes nothing")
    parser.add_argument("--resume", action="store_true", help="keep what a run left in build/")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=INTERPRETER")
    parser.add_argument("--isa", default="auto", choices=["auto", *ONEDNN_LEVELS])
    arguments = parser.parse_args(argv)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    items = [item for item in ITEMS if arguments.only in item.key]
    try:
        pythons = parse_pythons(arguments.python)
    except ValueError as error:
        parser.error(str(error))
    if not items or rounds < 1:
        parser.error(f"no item has '{arguments.only}' in its name" if not items else "no rounds")
    program = (arguments.build / "bitmill").resolve()
    if not program.exists():
        print(f"error: {program} is missing; build the target bitmill", file=sys.stderr)
        return 1
    for network in dict.fromkeys(item.network for item in items):
        if not (OUTPUT / f"{network}.onnx").exists():
            NETWORKS[network](OUTPUT / f"{network}.onnx", SEED)
    if arguments.isa in ONEDNN_LEVELS:
        os.environ["ONEDNN_MAX_CPU_ISA"] = ONEDNN_LEVELS[arguments.isa]
    peers = start_peers(PEERS, pythons)
    # A copy, so that a build meanwhile does not mix two programs in one table.
    with tempfile.TemporaryDirectory() as folder:
        program = Path(shutil.copy2(program, folder))
        try:
            # A run of some items, or on another level, leaves that of all alone.
            parts = ["compare", *[arguments.isa] * (arguments.isa != "auto"),
                     *["some"] * bool(arguments.only)]
            done = Checkpoint(OUTPUT / f"{'_'.join(parts)}.json", program, rounds,
                              arguments.resume)
            return compare(program, items, peers, rounds, arguments.isa, done,
                           write=not (arguments.quick or arguments.no_write or arguments.only))
        except (RuntimeError, PeerError) as error:
            print(f"\nerror: {error}", file=sys.stderr)
            return 1
        finally:
            for peer in peers:
                peer.__exit__()


def compare(program: Path, items: list[Item], peers: list[Peer], rounds: int, isa: str,
            done: Checkpoint, write: bool) -> int:
    """Measure what is not done, print, and write when asked to; return the exit status."""
    results = []
    for item in items:
        result = done.find(item) or measure(program, item, peers, rounds, isa)
        done.add(result)
        results.append(result)
    machine = run_bench(program, ["--suite", "roofline", "--quick", "--isa", isa])["machine"]
    text = section(machine, rounds, peers, results, isa == "auto")
    print(text)
    notes = [note for result in results for note in result.notes]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    path = ROOT / "bench" / "history.json"
    record = history.record_of(machine, cpu_name(), {peer.name: peer.version for peer in peers},
                               results)
    for line in history.slow_downs(history.read(path), record):
        print(line, file=sys.stderr)
    if write and isa != "auto":
        name, title = machine_section("Networks")
        write_section(DOCS / "benchmarks.md", f"{name} {isa}", text, f"{title}, {isa} at most")
    elif write:
        kernels = run_bench(program, ["--suite", "kernels"])
        layers = run_bench(program, [str(OUTPUT / "birealnet18.onnx"), "--suite", "models",
                                     "--batch", "1"])
        (DOCS / "roofline.svg").write_text(
            roofline_svg(kernels, layers, OUTPUT / "birealnet18.onnx", cpu_name()))
        name, title = machine_section("Networks")
        write_section(DOCS / "benchmarks.md", name, text, title)
        history.append(path, record)
    return 1 if any("other answers" in note for note in notes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
