"""Turns a QONNX network into operators that every ONNX runtime has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from netlib import QONNX


def plain_model(path: Path, *, activation_sign: str = "Where") -> onnx.ModelProto:
    """Return the network without QONNX operators and with its weights as float constants.

    BipolarQuant becomes a comparison and Where, or the operator that `activation_sign` names: Sign
    differs at exactly zero, Relu is another network that costs the same around it. Quant becomes
    Div, Clip, Round and Mul. Raises ValueError for a quantizer in another form than build.py's.
    """
    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if all(name in constants for name in node.input):
            constants[node.output[0]] = _fold(node, constants)
        elif node.domain != QONNX:
            nodes.append(node)
        elif node.op_type == "BipolarQuant":
            nodes += _bipolar(node, constants, activation_sign)
        elif node.op_type == "Quant":
            nodes += _quant(node, constants)
        else:
            raise ValueError(f"{node.name}: {node.op_type} is not known here")
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:], model.opset_import[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, order="C"), name)
        for name, values in constants.items() if name in used)
    model.opset_import.append(helper.make_opsetid("", 17))
    onnx.checker.check_model(model)
    return model


def _fold(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> np.ndarray:
    """Compute what weight quantizers are made of."""
    first = constants[node.input[0]]
    if node.op_type == "Cast":
        return first.astype(np.float32)
    if node.op_type == "Mul":
        return first * constants[node.input[1]]
    if node.op_type == "BipolarQuant":
        scale = constants[node.input[1]]
        return np.where(first >= 0, scale, -scale).astype(np.float32)
    if node.op_type == "Transpose":
        return first.transpose(node.attribute[0].ints)
    raise ValueError(f"{node.name}: {node.op_type} of constants is not known here")


def _bipolar(node: onnx.NodeProto, constants: dict[str, np.ndarray],
             form: str) -> list[onnx.NodeProto]:
    x, scale, y = node.input[0], constants[node.input[1]], node.output[0]
    if not np.all(scale == 1):
        raise ValueError(f"{node.name}: the scale is not 1")
    if form != "Where":
        return [helper.make_node(form, [x], [y], name=y)]
    for name, value in (("zero", 0), ("one", 1), ("minus_one", -1)):
        constants[name] = np.array(value, np.float32)
    positive = f"{y}/positive"
    return [helper.make_node("GreaterOrEqual", [x, "zero"], [positive], name=positive),
            helper.make_node("Where", [positive, "one", "minus_one"], [y], name=y)]


def _quant(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    x, scale, y = node.input[0], node.input[1], node.output[0]
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    bits = int(constants[node.input[3]])
    if constants[node.input[2]] != 0 or not attributes["signed"] or not attributes["narrow"]:
        raise ValueError(f"{node.name}: only signed narrow codes around zero are known here")
    limit = 2.0 ** (bits - 1) - 1
    low, high = f"code_{bits}_low", f"code_{bits}_high"
    constants[low], constants[high] = np.array(-limit, np.float32), np.array(limit, np.float32)
    return [helper.make_node("Div", [x, scale], [f"{y}/scaled"], name=f"{y}/scaled"),
            helper.make_node("Clip", [f"{y}/scaled", low, high], [f"{y}/clamped"],
                             name=f"{y}/clamped"),
            helper.make_node("Round", [f"{y}/clamped"], [f"{y}/rounded"], name=f"{y}/rounded"),
            helper.make_node("Mul", [f"{y}/rounded", scale], [y], name=y)]
