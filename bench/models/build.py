#!/usr/bin/env python3
"""Write networks for benchmarks: known architectures with fixed random weights, as QONNX files.

Usage:  build.py [NAME ...] [--output DIR] [--seed N] [--list]      (needs numpy and onnx)

Writes DIR/NAME.onnx for each name, for all of them when none is given. The same seed writes the
same bytes. Exit status: 0 done, 2 for a name that is not known.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from birealnet import birealnet18
from densenet import binarydensenet28
from finn import cnv_w1a1, lfc_w1a1
from layers import binary_conv_56x56x64, ternary_dense_1024, ternary_dense_4096
from mixer import ternary_mixer
from quicknet import quicknet, quicknet_small
from reactnet import reactnet

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "bench_models"

NETWORKS: dict[str, Callable[[Path, int], None]] = {
    "birealnet18": birealnet18,
    "quicknet": quicknet,
    "quicknet_small": quicknet_small,
    "reactnet": reactnet,
    "binarydensenet28": binarydensenet28,
    "cnv_w1a1": cnv_w1a1,
    "lfc_w1a1": lfc_w1a1,
    "ternary_mixer": ternary_mixer,
    "binary_conv_56x56x64": binary_conv_56x56x64,
    "ternary_dense_1024": ternary_dense_1024,
    "ternary_dense_4096": ternary_dense_4096,
}


def main(argv: list[str]) -> int:
    """Parse the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; all when left out")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the files")
    parser.add_argument("--seed", type=int, default=1, help="seed of the weights")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print("\n".join(NETWORKS))
        return 0
    unknown = [name for name in arguments.names if name not in NETWORKS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; --list prints the names")
    for name in arguments.names or NETWORKS:
        path = arguments.output / f"{name}.onnx"
        NETWORKS[name](path, arguments.seed)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
