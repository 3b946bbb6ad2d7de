#!/usr/bin/env python3
"""Compare networks of build.py as bitmill runs them with what ONNX Runtime makes of the same file.

Usage:  check.py [NAME ...] [--build build/release] [--models DIR] [--samples N] [--isa NAME]
                                                       (needs numpy, onnx and onnxruntime)

Each network runs on random images in batches of 1 and of all samples. Logits must agree within
1e-4 of the largest logit, and so must the arg-max: the parameters of build.py make all sums in
front of a sign exact, so no sign may differ. Two of the deeper networks outgrow the 24 bits of a
float in their last layers (quicknet, reactnet); there a sample in four may have signs that fell
the other way, if its logits still correlate by 0.98 or more.

Also says how many channels in front of the signs are alive (take both values in an image), in the
layer where they are fewest. Exit status: 0 all agree, 1 when one does not or bitmill refuses it, 2
for misuse.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from build import NETWORKS, OUTPUT, ROOT
from plain import plain_model

TOLERANCE = 1e-4
INEXACT = {"quicknet", "quicknet_small", "reactnet"}
SAMPLES_ALLOWED_TO_DIFFER = 0.25
CORRELATION = 0.98


def random_inputs(model: onnx.ModelProto, samples: int) -> np.ndarray:
    """Return images of deviation 1 of odd multiples of 1/4: coarse, so that sums stay exact."""
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    values = np.random.default_rng(7).standard_normal((samples, *shape))
    return ((np.floor(values * 2) + 0.5) / 2).astype(np.float32)


def run_bitmill(program: Path, model: Path, inputs: np.ndarray, batch: int, isa: str) -> np.ndarray:
    """Return the logits; raises RuntimeError with the program's words when it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "inputs.npz"
        np.savez(data, image=inputs)
        command = [str(program), "infer", str(model), "--input", f"{data}:image", "--batch",
                   str(batch), "--isa", isa, "--json"]
        done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    return outputs_of(json.loads(done.stdout)).reshape(len(inputs), -1)


def outputs_of(answer: dict) -> np.ndarray:
    """Return the first output's numbers."""
    return np.array(answer["outputs"][0]["data"], np.float32)


def run_onnxruntime(model: onnx.ModelProto, inputs: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the logits and the smallest share over the sign layers of channels that are alive."""
    import onnxruntime

    signs = [node.output[0] for node in model.graph.node if node.op_type == "Where"]
    for name in signs:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    logits, alive = [], []
    for row in inputs:
        got = session.run(None, {model.graph.input[0].name: row[None]})
        logits.append(got[0][0].reshape(-1))
        alive.append([_alive(values) for values in got[1:]])
    share = min((min(layers) for layers in alive if layers), default=1.0)
    return np.array(logits), share


def _alive(signs: np.ndarray) -> float:
    """Return the share of channels with both signs; of the values that are -1 without an image."""
    if signs.ndim == 2 or signs.shape[2] * signs.shape[3] == 1:
        return 2 * min(np.mean(signs < 0), np.mean(signs > 0))
    positive = np.mean(signs > 0, axis=(0, 2, 3))
    return float(np.mean((positive > 0) & (positive < 1)))


def differences(name: str, got: np.ndarray, wanted: np.ndarray) -> list[str]:
    """Return what is wrong."""
    gap = np.abs(got - wanted).max(axis=1) / np.abs(wanted).max(axis=1)
    same_class = got.argmax(axis=1) == wanted.argmax(axis=1)
    off = ~(same_class & (gap <= TOLERANCE))
    if not off.any():
        return []
    correlation = min(np.corrcoef(a, b)[0, 1] for a, b in zip(got[off], wanted[off], strict=True))
    if name in INEXACT and off.mean() <= SAMPLES_ALLOWED_TO_DIFFER and correlation >= CORRELATION:
        return []
    return [f"samples {np.flatnonzero(off).tolist()} differ by up to {gap.max():.2g} of the "
            f"largest logit, correlation {correlation:.4f}"]


def check(program: Path, models: Path, name: str, samples: int, isa: str) -> list[str]:
    """Check one network; print a line; return the findings."""
    path = models / f"{name}.onnx"
    if not path.exists():
        NETWORKS[name](path, 1)
    model = plain_model(path)
    inputs = random_inputs(model, samples)
    wanted, alive = run_onnxruntime(model, inputs)
    findings, gaps = [], []
    for batch in (1, samples):
        try:
            got = run_bitmill(program, path, inputs, batch, isa)
        except RuntimeError as error:
            findings.append(f"{name}, batch {batch}: refused: {error}")
            continue
        gaps.append(np.abs(got - wanted).max(axis=1) / np.abs(wanted).max(axis=1))
        findings += [f"{name}, batch {batch}: {text}" for text in differences(name, got, wanted)]
    gap = max((float(values.max()) for values in gaps), default=float("nan"))
    print(f"{name:18} largest gap {gap:.1e}, channels alive {100 * alive:.0f} % or more: "
          f"{'differs' if findings else 'agrees'}")
    return findings


def main(argv: list[str]) -> int:
    """Check the networks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--models", type=Path, default=OUTPUT, help="folder of build.py")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--isa", default="auto")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in NETWORKS]
    if unknown or arguments.samples < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--samples is below 1")
    program = (arguments.build / "bitmill").resolve()
    if not program.exists():
        parser.error(f"{program} is missing; build the target bitmill")
    findings: list[str] = []
    for name in arguments.names or NETWORKS:
        findings += check(program, arguments.models, name, arguments.samples, arguments.isa)
    for finding in findings:
        print(f"error: {finding}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
