#!/usr/bin/env python3
"""Measure the warnings: how long before saturation, how often for nothing, how soon after a step.

Usage:  warning.py [--build build/release] [--quick] [--json FILE]
        warning.py --live [--apart] [--build build/release] [--quick] [--json FILE] [--model NAME]

Without --live, runs the simulation (bench/analysis/warning_simulation.cc; built when it is missing)
and prints one table of Bitmill's warnings beside three that are usual: an instance busy for more
than 0.9 of the time, p99 above half the objective, and PromQL's predict_linear of p99. --quick
takes 4 seeds in place of 12.

With --live, serves a model on loopback, measures what it can serve, states an objective of 1.5
times the p99 at that load, and drives it with `bitmill load`: a steady load, ramps, a step. The
warnings are read from the report on the metrics port. Client and server share the machine's CPUs;
with --apart the server has one half of them, and the client and all else the other. The ramp has
saturated the server with the first of three steps on end, 2 s each, whose p99 at the client is above
the objective: a stall shows in one step, while it stays in a window of the report for 5 s. As in
the simulation, an alarm of the steady load is false in seconds that met the objective: where the
machine itself becomes slower, and p99 misses it, it is right.

The bars: median lead of at least 20 s at a horizon of 30 s, at most 1 % of the quiet seconds with a
false alarm, no missed ramp, steps within 2 s, the fitted capacity within 5 s of a throttle, p99
predicted within 15 % below 90 % load. Standard library only. Exit status: 0 when all hold, 1 when
one does not or something failed, 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
from servers import free_port, program_of, running, set_apart, wait_ready  # noqa: E402

PROGRAM = "bitmill_warning_simulation"
SEEDS, QUICK_SEEDS = 12, 4
LEAST_LEAD, MOST_FALSE, MOST_STEP, MOST_FOLLOW, MOST_P99_ERROR = 20.0, 0.01, 2.0, 5.0, 0.15
OURS = "Bitmill"

MODEL, MAX_BATCH = "fmnist_wide_fp32", 32
RAMPS, QUICK_RAMPS = 3, 1
STEP_SECONDS = 2  # of the ramp, at one rate
HORIZON = 30  # seconds, of the server's forecast
ALARMS = ("saturation_ahead", "overloaded")


@dataclass
class Verdict:
    """A bar: what was measured, and whether it holds."""

    name: str
    value: float
    bar: float
    holds: bool


@dataclass
class Watch:
    """The reports of one load, oldest first, when it began, by the server's clock, and what the
    client saw at each rate."""

    begin_ms: int = 0
    reports: list[dict] = field(default_factory=list)
    results: list[dict] = field(default_factory=list)


def run_simulation(build: Path, seeds: int) -> dict:
    """Build the simulation where it is missing, run it, return its JSON."""
    subprocess.run(["cmake", "--build", str(build), "--target", PROGRAM], check=True,
                   stdout=subprocess.DEVNULL)
    program = build / "bench" / "analysis" / PROGRAM
    done = subprocess.run([str(program), "--seeds", str(seeds)], check=True, text=True,
                          capture_output=True)
    return json.loads(done.stdout)


def number(value: float | None, form: str) -> str:
    """Format a figure; what did not happen in every run is infinite, which JSON writes as null."""
    return "never" if value is None or value >= 1e8 else form.format(value)


def table(result: dict) -> str:
    """Return the comparison as a table of Markdown."""
    lines = ["| signal | median lead (s) | p10 lead (s) | lead of the alarm that stays (s) | missed "
             "| false-alarm seconds | step seen after (s): median, worst |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in result["signals"]:
        lines.append(
            f"| {row['signal']} | {row['median_lead_seconds']:.1f} | {row['p10_lead_seconds']:.1f} "
            f"| {row['median_steady_lead_seconds']:.1f} | {row['missed']}/{row['ramps']} "
            f"| {100 * row['false_alarm_share']:.2f} % "
            f"| {number(row['median_step_seconds'], '{:.1f}')}, "
            f"{number(row['worst_step_seconds'], '{:.1f}')} |")
    return "\n".join(lines)


def follow_table(result: dict) -> str:
    """Return how soon a lost capacity is known."""
    lines = ["| the machine | capacity within 15 % after (s): median, worst "
             "| `capacity_lost` told after (s): median, worst |", "| --- | --- | --- |"]
    names = {"slower": "at half its speed", "quota": "held back for 50 ms of each 100 ms"}
    for key, name in names.items():
        row = result[key]
        figures = [number(row[f"{which}_{what}_seconds"], "{:.1f}")
                   for what in ("follow", "told") for which in ("median", "worst")]
        lines.append(f"| {name} | {figures[0]}, {figures[1]} | {figures[2]}, {figures[3]} |")
    return "\n".join(lines)


def latency_table(rows: list[dict]) -> str:
    """Return the predicted p99 beside the simulated one."""
    lines = ["| instances | a of S(max) | load | predicted p99 (ms) | simulated p99 (ms) | worst error "
             "|", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        lines.append(f"| {row['instances']} | {row['share_a']:.2f} | {row['load']:.2f} "
                     f"| {row['predicted_ms']:.1f} | {row['simulated_ms']:.1f} "
                     f"| {100 * row['worst_error']:+.1f} % |")
    return "\n".join(lines)


def at_most(name: str, value: float | None, bar: float) -> Verdict:
    """Return the verdict on a figure that must not be above `bar`."""
    value = 1e9 if value is None else value
    return Verdict(name, value, bar, value <= bar)


def simulation_verdicts(result: dict) -> list[Verdict]:
    """Return which bars hold in simulation."""
    ours = next(row for row in result["signals"] if row["signal"] == OURS)
    lead = ours["median_lead_seconds"]
    error = max(abs(row["worst_error"]) for row in result["p99_prediction"])
    return [
        Verdict("median lead (s), at least", lead, LEAST_LEAD, lead >= LEAST_LEAD),
        at_most("missed ramps", ours["missed"], 0),
        at_most("share of quiet seconds with a false alarm", ours["false_alarm_share"], MOST_FALSE),
        at_most("median step seen after (s)", ours["median_step_seconds"], MOST_STEP),
        at_most("worst step seen after (s)", ours["worst_step_seconds"], MOST_STEP),
        at_most("slower machine followed after (s), worst",
                result["slower"]["worst_follow_seconds"], MOST_FOLLOW),
        at_most("quota followed after (s), worst",
                result["quota"]["worst_follow_seconds"], MOST_FOLLOW),
        at_most("p99 prediction, worst error", error, MOST_P99_ERROR),
    ]


def write_repository(folder: Path, model: str, p99_ms: float) -> None:
    """Put one model into a repository, with its batch bound and its objective (0: none)."""
    target = folder / model
    target.mkdir(parents=True, exist_ok=True)
    version = target / "1"
    if not version.exists():
        # A link would lead out of the repository, which the server refuses.
        shutil.copytree(ROOT / "models" / "repository" / model / "1", version)
    objective = f"slo {{ p99_ms: {p99_ms:.3f} }}\n" if p99_ms > 0 else ""
    (target / "config.pbtxt").write_text(
        f'name: "{model}"\nmax_batch_size: {MAX_BATCH}\n{objective}')


def serve_command(program: Path, repository: Path, port: int, metrics_port: int) -> list[str]:
    """Return the command that serves a repository on loopback, with its report on a port."""
    return [str(program), "serve", "--model-repository", str(repository), "--host", "127.0.0.1",
            "--grpc-port", str(port), "--metrics-port", str(metrics_port)]


def load_command(program: Path, port: int, model: str, *options: str) -> list[str]:
    """Return a command that loads the model and writes JSON to its standard output."""
    return [str(program), "load", f"127.0.0.1:{port}", "--model", model, "--allow-errors", "--json",
            "-", *options]


def get_report(metrics_port: int) -> dict:
    """Return the newest report."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/api/report", timeout=5) as answer:
        return json.load(answer)


def watch(metrics_port: int, command: list[str]) -> Watch:
    """Run a load to its end; return the reports made meanwhile."""
    result = Watch(begin_ms=int(get_report(metrics_port)["unix_millis"]))
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(0.2):
            report = get_report(metrics_port)
            if not result.reports or report["unix_millis"] != result.reports[-1]["unix_millis"]:
                result.reports.append(report)

    poller = threading.Thread(target=poll)
    begin = time.time_ns() // 1_000_000
    poller.start()
    try:
        done = subprocess.run(command, check=True, text=True, capture_output=True)
    finally:
        stop.set()
        poller.join()
    result.results = json.loads(done.stdout)["results"]
    result.begin_ms = max(result.begin_ms, begin)  # the same machine, the same clock
    return result


def alarm_ms(report: dict, model: str) -> int | None:
    """Return when the alarm that holds in this report was raised."""
    raised = [int(warning["raised_unix_ms"]) for warning in report.get("warnings", [])
              if warning["model"] == model and warning["reason"] in ALARMS]
    return min(raised, default=None)


def saturated_ms(result: Watch, objective_ms: float) -> int | None:
    """Return when the first of three steps on end began whose p99 was above the objective."""
    begin, missed = float(result.begin_ms), []
    for step in result.results:
        missed = [*missed, begin] if step["latency_us"]["p99"] > 1e3 * objective_ms else []
        if len(missed) == 3:
            return int(missed[0])
        begin += 1e3 * step["seconds"]
    return None


def first_alarm_ms(result: Watch, model: str) -> int | None:
    """Return when the first alarm of this load was raised."""
    alarms = (alarm_ms(report, model) for report in result.reports)
    return next((at for at in alarms if at is not None), None)


def p99_of(report: dict, model: str) -> float:
    """Return the p99 of a model in a report, in ms; 0 where it is not in it."""
    return next((m["latency"]["p99_ms"] for m in report["models"] if m["name"] == model), 0.0)


def false_alarm_share(steady: Watch, model: str, objective_ms: float) -> float | None:
    """Return the share of the reports that met the objective with an alarm; None where none did."""
    alarms = [alarm_ms(report, model) is not None for report in steady.reports
              if p99_of(report, model) <= objective_ms]
    return sum(alarms) / len(alarms) if alarms else None


def early_alarms(steady: Watch, model: str, objective_ms: float) -> tuple[int, int]:
    """Return how many reports that met the objective have an alarm, and how many of those were
    followed by one that missed it within the horizon: these alarms were early, not wrong."""
    missed = [int(report["unix_millis"]) for report in steady.reports
              if p99_of(report, model) > objective_ms]
    alarms = [int(report["unix_millis"]) for report in steady.reports
              if p99_of(report, model) <= objective_ms and alarm_ms(report, model) is not None]
    early = [at for at in alarms if any(0 < miss - at <= 1e3 * HORIZON for miss in missed)]
    return len(alarms), len(early)


def lead_seconds(ramp: Watch, model: str, objective_ms: float) -> float | None:
    """Return from the first alarm to saturation; None where one of them did not come."""
    saturated, alarm = saturated_ms(ramp, objective_ms), first_alarm_ms(ramp, model)
    return (saturated - alarm) / 1e3 if saturated is not None and alarm is not None else None


def run_live(program: Path, model: str, *, quick: bool, apart: bool) -> tuple[dict, list[Verdict]]:
    """Drive a served model with a steady load, ramps and a step; return figures and verdicts."""
    prefix = set_apart() if apart else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "server.log"
        repository = folder / "models"
        port, metrics_port = free_port(), free_port()
        command = [*prefix, *serve_command(program, repository, port, metrics_port)]

        write_repository(repository, model, 0)
        with running(command, log):
            wait_ready(program, f"127.0.0.1:{port}", model, log)
            measured = subprocess.run(
                load_command(program, port, model, "--concurrency", str(2 * MAX_BATCH), "--duration",
                             "5", "--warmup", "1"), check=True, text=True, capture_output=True)
        point = json.loads(measured.stdout)["results"][0]
        capacity = point["requests_per_second"]
        objective_ms = 1.5 * point["latency_us"]["p99"] / 1e3

        write_repository(repository, model, objective_ms)
        with running(command, log):
            wait_ready(program, f"127.0.0.1:{port}", model, log)

            def drive(shares: list[float], seconds: float) -> Watch:
                rates = ",".join(f"{share * capacity:.1f}" for share in shares)
                return watch(metrics_port, load_command(
                    program, port, model, "--rate", rates, "--duration", str(seconds), "--warmup",
                    "0"))

            drive([0.5], 20)  # what the model takes is learned
            steady = drive([0.6], 30 if quick else 120)
            steps = 30 if quick else 60
            leads = []
            for _ in range(QUICK_RAMPS if quick else RAMPS):
                ramp = drive([0.4 + 0.9 * i / steps for i in range(steps)], STEP_SECONDS)
                leads.append(lead_seconds(ramp, model, objective_ms))
                drive([0.3], 30)  # the warnings of the ramp are cleared
            step = drive([1.5], 10)

    false_share = false_alarm_share(steady, model, objective_ms)
    alarms, early = early_alarms(steady, model, objective_ms)
    lead = statistics.median(-1.0 if lead is None else lead for lead in leads)
    step_alarm = first_alarm_ms(step, model)
    detected = (step_alarm - step.begin_ms) / 1e3 if step_alarm is not None else None
    figures = {"model": model, "apart": apart, "capacity_requests_per_second": capacity,
               "objective_p99_ms": objective_ms, "leads_seconds": leads,
               "median_lead_seconds": lead, "false_alarm_share": false_share, "alarms_within_objective": alarms,
               "of_which_missed_within_horizon": early, "step_seconds": detected}
    least = LEAST_LEAD if not quick else 10.0
    return figures, [
        Verdict("median lead on the ramps (s), at least", lead, least, lead >= least),
        at_most("ramps without a lead", sum(one is None or one < 0 for one in leads), 0),
        at_most("share of steady seconds with a false alarm", false_share, MOST_FALSE),
        at_most("step seen after (s)", detected, MOST_STEP),
    ]


def main(argv: list[str]) -> int:
    """Run what was asked for; see the module's text."""
    parser = argparse.ArgumentParser(description="Measure the warnings.")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--quick", action="store_true", help="fewer seeds, shorter loads")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--live", action="store_true", help="drive a real server on loopback")
    parser.add_argument("--apart", action="store_true",
                        help="with --live: the server has half of the CPUs, its client the others")
    parser.add_argument("--model", default=MODEL, help="of models/repository, with --live")
    options = parser.parse_args(argv)
    try:
        if options.live:
            result, verdicts = run_live(program_of(options.build), options.model,
                                        quick=options.quick, apart=options.apart)
            print(json.dumps(result, indent=2))
        else:
            result = run_simulation(options.build, QUICK_SEEDS if options.quick else SEEDS)
            verdicts = simulation_verdicts(result)
            print(table(result), follow_table(result), latency_table(result["p99_prediction"]),
                  latency_table(result["p99_prediction_stalls"]), sep="\n\n")
            print(f"\n90 % interval of the demand 30 s ahead holds "
                  f"{100 * result['interval_coverage_stationary']:.0f} % (stationary), "
                  f"{100 * result['interval_coverage_ramp']:.0f} % (ramps), "
                  f"{100 * result['interval_coverage_tides']:.0f} % (forty minutes of ramps)")
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print()
    for verdict in verdicts:
        print(f"{'pass' if verdict.holds else 'MISS'}  {verdict.name}: {verdict.value:.3g} "
              f"(bar {verdict.bar:g})")
    if options.json:
        result["verdicts"] = [asdict(verdict) for verdict in verdicts]
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
