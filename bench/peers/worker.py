#!/usr/bin/env python3
"""Time one peer library: reads orders from standard input, answers on standard output, JSON lines.

Usage:  worker.py onnxruntime|openvino|lce       (started by compare.py, one process for each peer)

First line out: {"version": ...}, or {"missing": ...} when the package is not there. Then an order
a line:

    {"do": "prepare", "model": FILE, "rows": N, "threads": T, "forms": [...]}
        -> {"forms": {FORM: null or why not}}           loads the model in each form
    {"do": "agree", "form": FORM, "inputs": FILE.npy, "outputs": FILE.npy}
        -> {"correlation": ...}                         of its outputs with these, the lowest row's
    {"do": "time", "form": FORM, "seconds": S}
        -> {"ms": ...}                                  of a batch, median

One thread is timed by the CPU time of the process. T threads run a copy of the model each, side by
side, by the wall: milliseconds over the batches that all of them finished.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

MODULES = {"onnxruntime": "onnxruntime_forms", "openvino": "openvino_forms", "lce": "lce_forms"}
SAMPLE_MS = 1.0  # calls are bundled until reading the clock does not count
MIN_SAMPLES = 3

Run = Callable[[np.ndarray], np.ndarray]


class Prepared:
    """One form of one model: a copy for each thread and the rows to run."""

    def __init__(self, runs: list[Run], shape: tuple[int, ...]):
        self.runs = runs
        values = np.random.default_rng(3).standard_normal(shape)
        self.inputs = values.astype(np.float32)
        for run in runs:
            run(self.inputs)

    def time(self, seconds: float) -> float:
        """Return the milliseconds of a batch."""
        return self._time_one(seconds) if len(self.runs) == 1 else self._time_many(seconds)

    def _time_one(self, seconds: float) -> float:
        run, calls = self.runs[0], 1
        while True:
            start = time.process_time()
            for _ in range(calls):
                run(self.inputs)
            once = (time.process_time() - start) * 1e3
            if once >= SAMPLE_MS:
                break
            calls *= 2
        samples = [once]
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(samples) < MIN_SAMPLES:
            start = time.process_time()
            for _ in range(calls):
                run(self.inputs)
            samples.append((time.process_time() - start) * 1e3)
        return statistics.median(samples) / calls

    def _time_many(self, seconds: float) -> float:
        done = [0] * len(self.runs)
        start = time.perf_counter()

        def work(index: int) -> None:
            while time.perf_counter() < start + seconds:
                self.runs[index](self.inputs)
                done[index] += 1

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(self.runs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - start) * 1e3 / sum(done)


def agreement(run: Run, inputs: np.ndarray, outputs: np.ndarray) -> float:
    """Return the lowest correlation of a row's outputs with the wanted ones."""
    got = run(inputs).reshape(len(outputs), -1)
    wanted = outputs.reshape(len(outputs), -1)
    return min(float(np.corrcoef(a, b)[0, 1]) for a, b in zip(got, wanted, strict=True))


def serve(module) -> None:
    """Answer orders until standard input ends."""
    prepared: dict[str, Prepared] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "prepare":
            prepared.clear()
            reasons = {}
            for form in order["forms"]:
                try:
                    runs, shape = module.load(Path(order["model"]), form, order["rows"],
                                              order["threads"])
                    prepared[form] = Prepared(runs, shape)
                    reasons[form] = None
                except Exception as error:  # a peer may refuse in any way it likes
                    reasons[form] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            answer: dict = {"forms": reasons}
        elif order["do"] == "agree":
            run = prepared[order["form"]].runs[0]
            answer = {"correlation": agreement(run, np.load(order["inputs"]),
                                               np.load(order["outputs"]))}
        else:
            answer = {"ms": prepared[order["form"]].time(order["seconds"])}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    # Libraries print to standard output when they feel like it; answers keep it for themselves.
    ANSWERS, sys.stdout = sys.stdout, sys.stderr
    try:
        forms = importlib.import_module(MODULES[sys.argv[1]])
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=ANSWERS, flush=True)
        sys.exit(0)
    print(json.dumps({"version": forms.version()}), file=ANSWERS, flush=True)
    serve(forms)
