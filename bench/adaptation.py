#!/usr/bin/env python3
"""How much is answered in time when the server's settings follow an objective.

Usage:  adaptation.py [--quick] [--seeds N] [--json FILE] [--build build/release] [--live [--apart]]

Without --live: simulated servers (bench/analysis), deterministic, some minutes of one core; --quick
takes one model and fewer loads, some seconds. Each scenario is served by the adaptation, by
settings as they are usually fixed, by AIMD (a row more after a run in time, a tenth fewer after a
late one) and by the oracle: the best fixed setting of a grid, found on the very same arrivals. All
of it N times with other draws of the arrivals and of the executions' luck (--seeds, 1): the table
shows means and the worst share of the oracle; the verdicts are of the worst of all.

With --live: `bitmill serve` and `bitmill load` on loopback, the same model with `adapt` off and on
at 0.5, 1 and 2 times what it serves at most; --quick takes 2 times alone. Client and server share
the machine's CPUs: only large differences mean something. With --apart the server has one half of
them and the client the other.

Prints one table and the verdicts. Exit status: 0 when all bars are met, 1 when one is missed or a
program failed, 2 for misuse.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
from servers import (  # noqa: E402
    free_port, program_of, running, serve_command, set_apart, wait_ready)

# The bars.
LEAST_OF_ORACLE = 0.95       # every scenario
LEAST_OF_PEAK = 0.90         # at twice the capacity, of the most at any load
MOST_CHANGES_IN_10_S = 1     # under a steady load, after the first 15 s
MOST_RECOVERY_S = 3.0        # after a step, until 0.9 of what the oracle answers
LIVE_LEAST_OF_FIXED = 0.95   # of the better fixed setting
LIVE_LEAST_OF_PEAK = 0.90

LIVE_MODEL = "fmnist_wide_fp32"
LIVE_OBJECTIVE_MS = 30.0
LIVE_SETTINGS = {
    "8, 1 ms": "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 1000 }\n",
    "64, no delay": "max_batch_size: 64\n",
    "adapted": ("max_batch_size: 64\nparameters { key: \"adapt\" value { string_value: \"on\" } }\n"
                f"slo {{ p99_ms: {LIVE_OBJECTIVE_MS:g} }}\n"),
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with columns padded to their widest cell."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |"
    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, rows)])


def verdict(name: str, value: float, bar: float, at_least: bool) -> dict:
    """Return a verdict; `value` meets the bar when it is at least, or at most, `bar`."""
    return {"name": name, "value": value, "bar": bar, "at_least": at_least,
            "met": value >= bar if at_least else value <= bar}


def simulate(build: Path, quick: bool, seed: int) -> list[dict]:
    """Run all scenarios with one draw; return what each gave."""
    program = build / "bench" / "analysis" / "bitmill_adaptation_simulation"
    command = [str(program), "--seed", str(seed)] + (["--quick"] if quick else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    scenarios = json.loads(done.stdout)["scenarios"]
    for scenario in scenarios:
        scenario["seed"] = seed
        scenario["of_oracle"] = scenario["adapted_per_s"] / max(scenario["oracle_per_s"], 1e-9)
    return scenarios


def simulated_table(by_name: dict[str, list[dict]]) -> str:
    """Return the table of scenarios: means over the draws, and the worst share of the oracle."""
    rows = []
    for name, draws in by_name.items():
        mean = lambda key, draws=draws: sum(d[key] for d in draws) / len(draws)
        usual = {u["name"]: sum(other["good_per_s"] for d in draws for other in d["usual"]
                                if other["name"] == u["name"]) / len(draws)
                 for u in draws[0]["usual"]}
        best = max(usual, key=lambda setting, usual=usual: usual[setting])
        rows.append([name, f"{mean('offered_per_s'):,.0f}", f"{mean('adapted_per_s'):,.0f}",
                     f"{mean('oracle_per_s'):,.0f}", f"{100 * mean('of_oracle'):.1f} %",
                     f"{100 * min(d['of_oracle'] for d in draws):.1f} %",
                     f"{usual[best]:,.0f} ({best})", f"{min(usual.values()):,.0f}",
                     f"{mean('aimd_per_s'):,.0f}", str(max(d["changes"] for d in draws))])
    return table(["scenario", "offered/s", "adapted", "oracle", "of oracle", "worst",
                  "best usual setting", "worst usual", "AIMD", "most changes"], rows)


def simulated(build: Path, quick: bool, seeds: int) -> tuple[str, dict]:
    """Run the simulation; return the table and the results with verdicts."""
    scenarios = [s for seed in range(seeds) for s in simulate(build, quick, seed)]
    by_name: dict[str, list[dict]] = {}
    for s in scenarios:
        by_name.setdefault(s["name"], []).append(s)
    verdicts = [verdict("least share of the oracle", min(s["of_oracle"] for s in scenarios),
                        LEAST_OF_ORACLE, True)]
    steady = [s for s in scenarios if s["steady_load"] >= 0]
    for model in sorted({s["model"] for s in steady if s["steady_load"] >= 2}):
        shares = []
        for seed in range(seeds):
            mine = [s for s in steady if s["model"] == model and s["seed"] == seed]
            peak = max(s["adapted_per_s"] for s in mine)
            shares.append(next(s["adapted_per_s"] for s in mine if s["steady_load"] >= 2) / peak)
        verdicts.append(verdict(f"{model}: share of its peak at twice the capacity", min(shares),
                                LEAST_OF_PEAK, True))
    verdicts.append(verdict("most changes within 10 s of a steady load",
                            max(s["most_changes_in_10_s"] for s in steady),
                            MOST_CHANGES_IN_10_S, False))
    verdicts.append(verdict("longest recovery after a step, s",
                            max(s["recovery_s"] for s in scenarios), MOST_RECOVERY_S, False))
    return simulated_table(by_name), {"scenarios": scenarios, "verdicts": verdicts}


def load(program: Path, address: str, arguments: list[str]) -> dict:
    """Run `bitmill load`; return its only result."""
    command = [str(program), "load", address, "--model", LIVE_MODEL, "--allow-errors", "--json",
               "-", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)["results"][0]


def live(build: Path, *, quick: bool, apart: bool) -> tuple[str, dict]:
    """Measure the settings on loopback; return the table and the results with verdicts."""
    program = program_of(build)
    prefix = set_apart() if apart else []
    results = []
    capacity = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in LIVE_SETTINGS.items():
            repository = Path(scratch) / name.replace(" ", "_").replace(",", "")
            shutil.copytree(ROOT / "models" / "repository" / LIVE_MODEL, repository / LIVE_MODEL)
            (repository / LIVE_MODEL / "config.pbtxt").write_text(config)
            port, log = free_port(), Path(scratch) / "serve.log"
            with running([*prefix, *serve_command(program, repository, port)], log):
                address = f"127.0.0.1:{port}"
                wait_ready(program, address, LIVE_MODEL, log)
                if capacity == 0:
                    capacity = load(program, address, ["-c", "64", "--warmup", "1", "--duration",
                                                       "4"])["requests_per_second"]
                for share in [2.0] if quick else [0.5, 1.0, 2.0]:
                    one = load(program, address,
                               ["--rate", f"{capacity * share:.0f}", "--max-in-flight", "4096",
                                "--connections", "4", "--warmup", "8", "--duration", "10",
                                "--objective", f"{LIVE_OBJECTIVE_MS:g}"])
                    results.append({"setting": name, "load": share,
                                    "in_time_per_s": one["in_time"] / one["seconds"],
                                    "p99_ms": one["latency_us"]["p99"] / 1e3,
                                    "errors": one["errors"]})
    rows = [[f"{r['load']:.1f}", r["setting"], f"{r['in_time_per_s']:,.0f}", f"{r['p99_ms']:.1f}",
             f"{sum(r['errors'].values()):,}"] for r in results]
    text = (f"{LIVE_MODEL}, objective {LIVE_OBJECTIVE_MS:g} ms, capacity {capacity:,.0f}/s\n\n" +
            table(["load", "setting", "in time/s", "p99 ms", "errors"], rows))
    verdicts = []
    for share in sorted({r["load"] for r in results}):
        mine = {r["setting"]: r["in_time_per_s"] for r in results if r["load"] == share}
        fixed = max(v for k, v in mine.items() if k != "adapted")
        verdicts.append(verdict(f"load {share:.1f}: of the better fixed setting",
                                mine["adapted"] / max(fixed, 1e-9), LIVE_LEAST_OF_FIXED, True))
    adapted = {r["load"]: r["in_time_per_s"] for r in results if r["setting"] == "adapted"}
    verdicts.append(verdict("share of its peak at twice the capacity",
                            adapted[2.0] / max(*adapted.values(), 1e-9), LIVE_LEAST_OF_PEAK, True))
    return text, {"capacity_per_s": capacity, "results": results, "verdicts": verdicts}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one model, fewer loads")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="draws of the simulation (%(default)s)")
    parser.add_argument("--live", action="store_true", help="servers on loopback, not simulated")
    parser.add_argument("--apart", action="store_true",
                        help="with --live: the server has half of the CPUs, its client the others")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    options = parser.parse_args(argv)
    try:
        if options.live:
            text, results = live(options.build, quick=options.quick, apart=options.apart)
        else:
            text, results = simulated(options.build, options.quick, max(options.seeds, 1))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"adaptation.py: {error}", file=sys.stderr)
        return 1
    print(text + "\n")
    for v in results["verdicts"]:
        print(f"{'met   ' if v['met'] else 'MISSED'} {v['name']}: {v['value']:.3g} "
              f"({'at least' if v['at_least'] else 'at most'} {v['bar']:g})")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(v["met"] for v in results["verdicts"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
