#!/usr/bin/env python3
"""Measure the diagnosis: inject causes into a server on loopback and see whether it names them.

Usage:  diagnosis.py [--quick] [--json FILE] [--svg FILE] [--only CAUSE[,CAUSE...]] [--seeds N]
                     [--first-seed N] [--program PATH] [--faulty PATH] [--models DIR] [--nice N]

Each case starts a server, gives it a usual load, brings about one cause (bench/diagnosis/cases.py)
and reads the reports of the metrics port once a second; its verdict is what most of the last three
say. Beside it stands the rule that is usual, queue time against compute time. An injection that
does not make clients wait longer (p99 less than 1.4 times the control's, or less than 0.2 ms more;
of two causes at once, less than 1.1 times what it is with either alone) is counted as not felt and not
scored; one that this machine does not permit is skipped by name. A case in which the hypervisor took
more than 1 % of a CPU is run again, and not scored after the third.
Thresholds may be looked at on even seeds; the scores are those of odd ones.

--quick: one intensity, two seeds, one round of pairs, about 30 minutes. Else three intensities
and five seeds, about 4 hours. --nice N (root) puts the programs of the measurement ahead of others.
Needs: taskset; cnv_w1a1.onnx and ternary_dense_4096.onnx of bench/models/build.py in --models; the
targets bitmill and bitmill_faulty_server. Standard library only. Exit status: 0 when all bars hold,
1 when one does not or something failed, 2 for misuse.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "diagnosis"))

import cases  # noqa: E402
import picture  # noqa: E402
import scoring  # noqa: E402
from cases import Injected, Injection, Situation  # noqa: E402
from injections import new_group  # noqa: E402
from scoring import Outcome  # noqa: E402
from stand import (  # noqa: E402
    NotPermitted, Server, Setting, Stand, base_rate, stolen_seconds, watching)

FULL_SEEDS, QUICK_SEEDS = 5, 2
MOST_TRIES = 3  # of a case that the hypervisor disturbs
CONTROL_SECONDS, CASE_SECONDS = 6.0, 10.0
COLD_SECONDS = 10.0  # JudgeThresholds::cold_seconds


@dataclass(frozen=True)
class Case:
    """One cause, or two as "a+b", on one model."""

    cause: str
    model: str
    intensity: int
    seed: int


@dataclass
class Control:
    """What the usual load is like without the injection."""

    rate: float
    p99_ms: float
    cpu_cores: float


def parts_of(cause: str) -> list[Injection]:
    """Return the injections of a case."""
    return [cases.INJECTIONS[name] for name in cause.split("+")]


def usual(case: Case) -> Setting:
    """Return the setting of the control."""
    setting = Setting(case.model)
    for injection in parts_of(case.cause):
        setting = injection.base(setting, case.intensity)
    return setting


def changed(setting: Setting, case: Case) -> Setting:
    """Return the setting with what is wrong from the start."""
    for injection in parts_of(case.cause):
        if injection.change is not None:
            setting = injection.change(setting, case.intensity)
    return setting


def run_control(case: Case, at: Situation) -> Control:
    """Give the server its usual load for a while."""
    with contextlib.ExitStack() as stack:
        for injection in parts_of(case.cause):
            if injection.control is not None:
                stack.enter_context(injection.control(at, case.intensity))
        before = at.server.cpu_seconds()
        point = at.stand.steady(at.setting, at.server.port, at.rate, CONTROL_SECONDS, case.seed)
        return Control(at.rate, point["latency_us"]["p99"] / 1e3,
                       (at.server.cpu_seconds() - before) / CONTROL_SECONDS)


def load_injected(case: Case, situation: Situation) -> float:
    """Inject what comes while the server runs, and load it; return the clients' p99 in ms."""
    with contextlib.ExitStack() as stack:
        port, rate = situation.server.port, situation.rate
        for injection in parts_of(case.cause):
            if injection.start is None:
                continue
            injected: Injected = stack.enter_context(injection.start(situation, case.intensity))
            port, rate = injected.port or port, injected.rate or rate
        point = situation.stand.steady(situation.setting, port, rate, CASE_SECONDS, case.seed + 100)
        time.sleep(0.3)  # the report on the last second
    return point["latency_us"]["p99"] / 1e3


def measure(case: Case, situation: Situation, control: Control) -> Outcome:
    """Inject what comes while the server runs, load it, and judge the reports."""
    outcome = Outcome(**asdict(case), control_p99_ms=control.p99_ms)
    server = situation.server
    with watching(server, situation.setting.model) as watch:
        outcome.p99_ms = load_injected(case, situation)
    if server.process.poll() is not None:
        raise NotPermitted("the server was ended, for want of memory most likely")
    # Afterwards the load's end is part of the window.
    seen = [(at, r) for at, r in zip(watch.times, watch.reports) if at <= CASE_SECONDS + 0.5]
    times, reports = [at for at, _ in seen], [report for _, report in seen]
    outcome.verdict = scoring.verdict_of(reports)
    if reports:
        outcome.findings = scoring.findings_of(reports[-1])
        outcome.baseline = scoring.baseline_of(reports[-1], control.p99_ms, outcome.p99_ms)
        diagnosis = reports[-1].get("diagnosis", {})
        outcome.evidence = " | ".join(
            f"{scoring.cause_of(f)} {f.get('recoverable_p99_ms', 0):.2f} ms: {f['evidence']}"
            for f in diagnosis.get("findings", []))
    outcome.named_after = scoring.first_named(case.cause.split("+")[0], times, reports)
    return outcome


def run_case(stand: Stand, case: Case) -> Outcome:
    """Run a case; what this machine does not permit comes back as skipped."""
    plain = usual(case)
    wrong = changed(plain, case)
    missing = [m for m in (plain.model, wrong.model) if m not in stand.models]
    if missing:
        return Outcome(**asdict(case), skipped=f"{missing[0]} is not built")
    try:
        with contextlib.ExitStack() as stack:
            group = None
            if plain.memory_group:
                group = stack.enter_context(new_group("memory"))[0]
                stand.make_mapped(plain)
            rate = 0.0
            if wrong != plain and not stand.known(wrong):
                with stand.serve(wrong) as server:
                    stand.capacity(wrong, server)
            with stand.serve(plain, group) as server:
                rate = base_rate(plain, stand.capacity(plain, server))
                if wrong != plain:
                    rate = min(rate, base_rate(wrong, stand.capacity(wrong, server)))
                most = stand.capacity(plain, server).most
                situation = Situation(stand, server, plain, rate, most, 0.0)
                control = run_control(case, situation)
                if wrong == plain:
                    return measure(case, replace(situation, cpu_cores=control.cpu_cores), control)
            with stand.serve(wrong, group) as server:
                time.sleep(COLD_SECONDS)  # a load just before would be a cause of its own
                situation = Situation(stand, server, wrong, rate,
                                      stand.capacity(wrong, server).most, control.cpu_cores)
                if "+" not in case.cause:
                    return measure(case, situation, control)
                # What the first cause alone does, and what the server uses then.
                first = run_control(case, situation)
                outcome = measure(case, replace(situation, cpu_cores=first.cpu_cores), control)
                outcome.first_p99_ms = first.p99_ms
            with stand.serve(plain, group) as server:
                time.sleep(COLD_SECONDS)
                outcome.second_p99_ms = load_injected(
                    case, Situation(stand, server, plain, rate, most, first.cpu_cores))
            return outcome
    except NotPermitted as reason:
        return Outcome(**asdict(case), skipped=str(reason))


def run_undisturbed(stand: Stand, case: Case) -> Outcome:
    """Run a case until the hypervisor lets it be, a few times at most."""
    outcome = Outcome(**asdict(case))
    for _ in range(MOST_TRIES):
        begin, before = time.monotonic(), stolen_seconds()
        try:
            outcome = run_case(stand, case)
        except (OSError, RuntimeError) as error:
            return Outcome(**asdict(case), skipped=f"it failed: {error}")
        most = max((after - before[cpu] for cpu, after in stolen_seconds().items()), default=0.0)
        outcome.stolen = most / (time.monotonic() - begin)
        if outcome.skipped or not outcome.disturbed:
            break
    return outcome


def plan(only: set[str], seeds: range, quick: bool) -> list[Case]:
    """Return the cases of a run, each cause once before any twice."""
    intensities = [1] if quick else list(range(cases.INTENSITIES))
    planned = []
    for seed in seeds:
        for cause, injection in cases.INJECTIONS.items():
            for intensity in intensities:
                planned += [Case(cause, model, intensity, seed) for model in injection.models]
        for pair in cases.PAIRS:
            planned += [Case(pair, cases.MILLI, intensity, seed) for intensity in intensities]
    return [case for case in planned if not only or case.cause in only]


def show(outcome: Outcome) -> None:
    """Print what became of a case."""
    head = f"{outcome.cause:30} {outcome.model:20} {outcome.intensity} seed {outcome.seed}"
    if outcome.skipped:
        print(f"{head}  skipped: {outcome.skipped}", flush=True)
        return
    right = "ok  " if outcome.verdict == outcome.cause else "DIFF"
    if outcome.pair:
        right = "ok  " if set(outcome.top2) == set(outcome.cause.split("+")) else "DIFF"
    if not outcome.felt:
        right = "none"
    if outcome.disturbed:
        right = f"host took {outcome.stolen:.1%}"
    named = scoring.number(outcome.named_after, "{:.1f}")
    print(f"{head}  {right} {outcome.verdict:20} after {named} s, p99 {outcome.control_p99_ms:.2f} "
          f"-> {outcome.p99_ms:.2f} ms  [{outcome.evidence}]", flush=True)


def result_of(outcomes: list[Outcome]) -> dict:
    """Return the scores as JSON has them."""
    seen, unseen = scoring.halves(outcomes)
    result = scoring.summarize(unseen)
    return {**{key: result[key] for key in ("top1", "macro_f1", "healthy_recall",
                                            "seconds_to_name", "matrix")},
            "scored_half": result, "looked_at_half": scoring.summarize(seen),
            "all": scoring.summarize(outcomes),
            "apart_from_neighbours": scoring.summarize(
                [o for o in outcomes if o.cause != scoring.NEIGHBOUR], "apart"),
            "baseline": scoring.summarize(unseen, "baseline"),
            "not_felt": sum(not o.skipped and not o.disturbed and not o.felt for o in outcomes),
            "disturbed": sum(o.disturbed for o in outcomes),
            "skipped": scoring.skipped_lines(outcomes), "outcomes": [asdict(o) for o in outcomes]}


def report(outcomes: list[Outcome], result: dict) -> None:
    """Print the scores and the matrix."""
    columns = {"looked at": result["looked_at_half"], "scored": result["scored_half"],
               "both": result["all"], "both, but for neighbours": result["apart_from_neighbours"],
               "queue against compute": result["baseline"]}
    print("\n" + scoring.score_table(columns) + "\n\n" +
          scoring.matrix_table(result["all"]["matrix"]) + "\n")
    print(f"not felt by clients, so not scored: {result['not_felt']}; "
          f"disturbed by the hypervisor, likewise: {result['disturbed']}")
    for line in result["skipped"] + [f"skipped {cause}: {why}" for cause, why in
                                     cases.NOT_HERE.items()]:
        print(line)


def set_priority(nice: int) -> None:
    """Run this program and what it starts at a nice level, in a scheduling group of its own."""
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def run(options: argparse.Namespace, planned: list[Case]) -> list[Outcome]:
    """Run the cases; what a single one fails of is told and counted as skipped."""
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stand = Stand(options.program, options.faulty, cases.find_models(options.models, folder),
                      folder)
        # What reads the reports is not to take the server's CPUs.
        os.sched_setaffinity(0, stand.client_cpus)
        for case in planned:
            outcome = run_undisturbed(stand, case)
            outcomes.append(outcome)
            show(outcome)
    return outcomes


def main(argv: list[str]) -> int:
    """Run what was asked for; see the module's text."""
    parser = argparse.ArgumentParser(description="Measure the diagnosis.")
    build = ROOT / "build" / "release"
    parser.add_argument("--quick", action="store_true", help="one intensity, two seeds")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--svg", type=Path, help="file for the matrix as a picture")
    parser.add_argument("--only", default="", help="causes, separated by commas")
    parser.add_argument("--seeds", type=int, default=0, help="of each case")
    parser.add_argument("--first-seed", type=int, default=0, help="odd ones are scored")
    parser.add_argument("--program", type=Path, default=build / "bitmill")
    parser.add_argument("--faulty", type=Path,
                        default=build / "bench" / "analysis" / "bitmill_faulty_server")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "bench_models",
                        help="folder of bench/models/build.py's files")
    parser.add_argument("--nice", type=int, default=0, help="level of all programs; below 0: root")
    options = parser.parse_args(argv)
    only = set(filter(None, options.only.split(",")))
    unknown = only - set(cases.INJECTIONS) - set(cases.PAIRS)
    if unknown:
        parser.error(f"no such cause: {', '.join(sorted(unknown))}")
    if options.nice:
        set_priority(options.nice)
    # So that what was injected is undone when this program is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    seeds = options.seeds or (QUICK_SEEDS if options.quick else FULL_SEEDS)
    first = options.first_seed
    outcomes = run(options, plan(only, range(first, first + seeds), options.quick))
    result = result_of(outcomes)
    report(outcomes, result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(picture.svg(result["all"]["matrix"], "injected cause and verdict"))
    missed = scoring.missed_bars(result["scored_half"])
    for line in missed:
        print(f"MISSED {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
