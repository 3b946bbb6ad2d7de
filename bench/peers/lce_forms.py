"""Larq Compute Engine with the networks of Larq Zoo, random weights.

Needs Python 3.11 and an environment of its own: tensorflow-cpu 2.15.1, larq 0.13.3,
larq-compute-engine 0.16.0, larq-zoo. Its indirect kernels are its fastest on x86.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import larq_compute_engine  # noqa: E402
import larq_zoo  # noqa: E402
from larq_compute_engine.tflite.python.interpreter import Interpreter  # noqa: E402

NETWORKS = {
    "birealnet18": larq_zoo.literature.BiRealNet,
    "quicknet": larq_zoo.sota.QuickNet,
    "quicknet_small": larq_zoo.sota.QuickNetSmall,
}
_converted: dict[str, bytes] = {}


def version() -> str:
    return metadata.version("larq-compute-engine")


def load(path: Path, form: str, rows: int, threads: int) -> tuple[list[Callable], tuple[int, ...]]:
    """Return a run function for each thread; the interpreter takes its rows one by one."""
    if form != "binary" or path.stem not in NETWORKS:
        raise ValueError(f"{path.stem} in {form} is not in Larq Zoo")
    if path.stem not in _converted:
        network = NETWORKS[path.stem](weights=None)
        _converted[path.stem] = larq_compute_engine.convert_keras_model(network)
    interpreters = [Interpreter(_converted[path.stem], num_threads=1, use_indirect_bgemm=True)
                    for _ in range(threads)]
    return [i.predict for i in interpreters], (rows, 224, 224, 3)
