#!/usr/bin/env python3
"""Write the identity model that measures what serving costs without a model.

Usage:  make_identity.py [--elements N]     (needs the onnx package)

Writes identity_fp32_N/1/model.onnx beside this script: one Identity node, FP32 [batch, N] in
INPUT0 and out of OUTPUT0. The file for N = 1024 is in the repository; the same version of onnx
writes the same bytes again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onnx import TensorProto, checker, helper


def make_model(elements: int) -> bytes:
    """Return the serialized model for rows of `elements` floats."""
    shape = ["batch", elements]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"], name="copy")],
        "identity",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(
        graph, producer_name="bitmill", opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 7
    checker.check_model(model)
    return model.SerializeToString()


def main(argv: list[str]) -> int:
    """Parse the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=1024, help="floats of a row")
    arguments = parser.parse_args(argv)
    if arguments.elements < 1:
        parser.error("--elements must be at least 1")
    name = f"identity_fp32_{arguments.elements}"
    path = Path(__file__).parent / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_model(arguments.elements))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
