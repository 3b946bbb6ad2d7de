"""The forms in which ONNX Runtime runs a network: float32, int8 (static QDQ), 2-bit weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from plain import plain_model

CALIBRATION_ROWS = 4


def version() -> str:
    return onnxruntime.__version__


def load(path: Path, form: str, rows: int, threads: int) -> tuple[list[Callable], tuple[int, ...]]:
    """Return a run function for each thread and the shape of their input."""
    if form == "float32":
        model = plain_model(path, activation_sign="Sign")
    elif form == "int8":
        model = onnx.load(int8_file(path))
    elif form == "2-bit weights":
        model = two_bit_model(path)
    else:
        raise ValueError(f"{form} is not a form of ONNX Runtime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    data = model.SerializeToString()
    sessions = [onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
                for _ in range(threads)]
    name = model.graph.input[0].name
    return [lambda x, s=s: s.run(None, {name: x})[0] for s in sessions], input_shape(model, rows)


def input_shape(model: onnx.ModelProto, rows: int) -> tuple[int, ...]:
    """Return the shape of the input for so many rows."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    return (rows, *(side.dim_value for side in sides[1:]))


def int8_file(path: Path) -> Path:
    """Return the quantized twin, made beside the model when missing or older.

    ReLU stands for each sign: what precedes an int8 convolution in such a network, and what fuses.
    Batch normalizations are folded first; weights are int8 for each channel.
    """
    from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                          quantize_static)
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = path.with_suffix(".int8.onnx")
    if target.exists() and target.stat().st_mtime > path.stat().st_mtime:
        return target
    model = plain_model(path, activation_sign="Relu")
    name, shape = model.graph.input[0].name, input_shape(model, 1)

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(5)
            self._rows = iter([{name: rng.standard_normal(shape).astype(np.float32)}
                               for _ in range(CALIBRATION_ROWS)])

        def get_next(self) -> dict | None:
            return next(self._rows, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, folded = Path(folder) / "plain.onnx", Path(folder) / "folded.onnx"
        onnx.save(model, plain)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        made = Path(folder) / "int8.onnx"
        quantize_static(folded, made, Rows(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        target.write_bytes(made.read_bytes())
    return target


def two_bit_model(path: Path) -> onnx.ModelProto:
    """Return a dense layer's ternary weights as MatMulNBits with int8 arithmetic."""
    graph = plain_model(path).graph
    product = next(node for node in graph.node if node.op_type == "MatMul")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = constants[product.input[1]]
    inputs, outputs = weights.shape
    block = 128
    scale = np.abs(weights).max()
    codes = (np.rint(weights.T / scale).astype(np.int8) + 2).astype(np.uint8)
    parts = codes.reshape(outputs, inputs // block, block // 4, 4)
    packed = parts[..., 0] | parts[..., 1] << 2 | parts[..., 2] << 4 | parts[..., 3] << 6
    scales = np.full(outputs * (inputs // block), scale, np.float32)
    node = helper.make_node("MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft",
                            K=inputs, N=outputs, bits=2, block_size=block, accuracy_level=4)
    made = helper.make_graph(
        [node], "dense",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scales, "scales")])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=8)
