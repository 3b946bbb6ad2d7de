"""The forms in which OpenVINO runs a network: float32, int8 (static QDQ), BinaryConvolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
from openvino import opset1, opset13
from plain import plain_model

# FakeQuantize rounds between its limits, half to even: a shifted middle sends zero up.
MIDDLE = -(2.0**-20)


def version() -> str:
    return openvino.__version__.split("-")[0]


def load(path: Path, form: str, rows: int, threads: int) -> tuple[list[Callable], tuple[int, ...]]:
    """Return a run function for each thread and the shape of their input."""
    core = openvino.Core()
    if form == "int8":
        from onnxruntime_forms import int8_file

        model = core.read_model(int8_file(path).read_bytes())
    elif form in ("float32", "binary"):
        model = core.read_model(plain_model(path, activation_sign="Sign").SerializeToString())
    else:
        raise ValueError(f"{form} is not a form of OpenVINO")
    shape = (rows, *(side.get_length() for side in list(model.input(0).partial_shape)[1:]))
    model.reshape(list(shape))
    if form == "binary" and use_binary_convolutions(model) == 0:
        raise ValueError("no binary convolution in this network")
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    requests = [core.compile_model(model, "CPU", settings).create_infer_request()
                for _ in range(threads)]
    return [lambda x, r=r: r.infer({0: x}, share_inputs=True)[0] for r in requests], shape


def use_binary_convolutions(model: openvino.Model) -> int:
    """Replace each convolution of signs with 1-bit weights; return how many there were."""
    count = 0
    for conv in model.get_ordered_ops():
        if conv.get_type_name() != "Convolution":
            continue
        weights = constant_of(conv.input_value(1))
        if weights is None:
            continue
        scale = np.abs(weights).reshape(len(weights), -1)
        if not np.all(scale == scale[:, :1]) or not np.all(scale > 0):
            continue
        source = conv.input_value(0).get_node()
        pads = [conv.get_attributes()[name] for name in ("pads_begin", "pads_end")]
        pad_value = 0.0
        if source.get_type_name() == "Pad":
            pads = [constant_of(source.input_value(i))[2:].tolist() for i in (1, 2)]
            pad_value = float(constant_of(source.input_value(3)))
            source = source.input_value(0).get_node()
        if source.get_type_name() != "Sign":
            continue
        attributes = conv.get_attributes()
        made = binary_convolution(source.input_value(0), weights > 0, attributes["strides"], pads,
                                  attributes["dilations"], pad_value)
        if not np.all(scale == 1):
            made = opset13.multiply(made, opset13.constant(
                scale[:, 0].reshape(1, -1, 1, 1).astype(np.float32)))
        for target in conv.output(0).get_target_inputs():
            target.replace_source_output(made.output(0))
        count += 1
    model.validate_nodes_and_infer_types()
    return count


def binary_convolution(x: openvino.Output, positive: np.ndarray, strides: list, pads: list,
                       dilations: list, pad_value: float) -> openvino.Node:
    """Return sign and convolution as OpenVINO's CPU plugin wants them."""
    def one(value: float) -> openvino.Node:
        return opset13.constant(np.full((1, 1, 1, 1), value, np.float32))

    signs = opset13.fake_quantize(x, one(MIDDLE - 1), one(MIDDLE + 1), one(-1), one(1), 2)
    # A tensor over an array borrows it; one that owns its memory outlives this function.
    bits = openvino.Tensor(openvino.Type.u1, openvino.Shape(list(positive.shape)))
    bits.data.reshape(-1)[:] = np.packbits(positive.reshape(-1), bitorder="little")
    constant = opset13.constant(bits)
    return opset1.binary_convolution(signs, constant, list(strides), list(pads[0]), list(pads[1]),
                                     list(dilations), "xnor-popcount", pad_value)


def constant_of(value: openvino.Output) -> np.ndarray | None:
    """Return a constant's numbers, also behind a conversion; None when it is computed."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data if node.get_type_name() == "Constant" else None
