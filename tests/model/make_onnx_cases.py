"""Writes data/onnx_cases.npz: small ONNX models with inputs and the outputs of other evaluators.

Each case holds `NAME/model` (the file's bytes), `NAME/in0..`, `NAME/out0..` and `NAME/tol` (absolute and
relative tolerance; both 0: equal). Outputs come from onnxruntime, from onnx's reference evaluator where
onnxruntime lacks the operator or saturates its 16-bit sums (8-bit products without VNNI), and from the qonnx package for its operators.

Needs: numpy onnx onnxruntime qonnx (pip). Deterministic: run it again and nothing changes.
"""

import argparse
import importlib.util
import pathlib
import sys
import zlib

import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
QONNX = "qonnx.custom_op.general"
LAST = "qonnx.custom_op.channels_last"


class Suite:
    """Collects cases; `add` builds the model, asks the oracle and stores both."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.names: list[str] = []

    def add(self, name, nodes, inputs, params=None, opset=13, oracle="ort", tol=(1e-6, 1e-5), outputs=("y",)):
        """nodes: list of NodeProto; inputs, params: name -> array; oracle: ort, onnx or a function of inputs."""
        params = params or {}
        model = make_model(nodes, inputs, params, opset, outputs)
        if oracle == "ort":
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(model.SerializeToString(), options)
            results = session.run(list(outputs), inputs)
        elif oracle == "onnx":
            results = onnx.reference.ReferenceEvaluator(model).run(list(outputs), inputs)
        else:
            results = oracle(**inputs)
            results = results if isinstance(results, (list, tuple)) else [results]
        assert name not in self.names, name
        self.names.append(name)
        self.arrays[f"{name}/model"] = np.frombuffer(model.SerializeToString(), np.uint8)
        for i, value in enumerate(inputs.values()):
            self.arrays[f"{name}/in{i}"] = np.asarray(value, order="C")
        for i, value in enumerate(results):
            assert np.all(np.isfinite(np.asarray(value, np.float64))), name
            self.arrays[f"{name}/out{i}"] = np.asarray(value, order="C")
        self.arrays[f"{name}/tol"] = np.array(tol, np.float64)

    def first_of_each_operator(self) -> list[str]:
        firsts = {}
        for name in self.names:
            firsts.setdefault(name.split("_")[0], name)
        return list(firsts.values())


def make_model(nodes, inputs, params, opset, outputs):
    """A model with fixed shapes; the outputs' types are left out, as the reader infers them."""

    def info(name, array):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    graph = helper.make_graph(
        nodes,
        "case",
        [info(k, v) for k, v in inputs.items()],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
        [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in params.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, 1) for d in sorted({n.domain for n in nodes if n.domain})]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8 if opset < 21 else 10
    model.producer_name = ""
    return model


def rng_of(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def floats(name, *shape, low=-2.0, high=2.0):
    """Values on a grid of 1/64: they pack well and are far from rounding ties of most operators."""
    return (rng_of(name).integers(int(low * 64), int(high * 64) + 1, shape) / 64).astype(np.float32)


def ints(name, dtype, low, high, *shape):
    return rng_of(name).integers(low, high + 1, shape).astype(dtype)


def node(op, inputs, outputs=("y",), domain="", **attributes):
    return helper.make_node(op, list(inputs), list(outputs), name=f"the_{op}", domain=domain, **attributes)


def elementwise(s: Suite) -> None:
    x = floats("x", 2, 3, 4)
    for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Floor", "Ceil", "Sign", "Identity"):
        s.add(op, [node(op, ["x"])], {"x": x})
    s.add("Round_ties", [node("Round", ["x"])], {"x": np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.3]], np.float32)})
    for op in ("Sqrt", "Log", "Reciprocal"):
        s.add(op, [node(op, ["x"])], {"x": np.abs(x) + np.float32(0.25)})
    s.add("Sign_zero", [node("Sign", ["x"])], {"x": np.array([[-1, 0, 2]], np.float32)}, tol=(0, 0))
    for dtype in (np.int8, np.int32, np.int64):
        s.add(f"Abs_{np.dtype(dtype)}", [node("Abs", ["x"])], {"x": ints("ai", dtype, -100, 100, 2, 5)})
        s.add(f"Neg_{np.dtype(dtype)}", [node("Neg", ["x"])], {"x": ints("ni", dtype, -100, 100, 2, 5)})
    s.add("Sign_int64", [node("Sign", ["x"])], {"x": np.array([[-5, 0, 7]], np.int64)})
    s.add("LeakyRelu", [node("LeakyRelu", ["x"], alpha=0.3)], {"x": x})
    s.add("LeakyRelu_default", [node("LeakyRelu", ["x"])], {"x": x})
    s.add("HardSigmoid", [node("HardSigmoid", ["x"], alpha=0.3, beta=0.4)], {"x": x})
    s.add("PRelu_channel", [node("PRelu", ["x", "s"])], {"x": x}, {"s": floats("s", 3, 1)})
    s.add("PRelu_one", [node("PRelu", ["x", "s"])], {"x": x}, {"s": floats("s", 1)})
    s.add("Clip_attributes", [node("Clip", ["x"], min=-0.5, max=1.0)], {"x": x}, opset=7)
    s.add("Clip_attribute_max", [node("Clip", ["x"], max=0.5)], {"x": x}, opset=10)
    s.add("Clip_inputs", [node("Clip", ["x", "lo", "hi"])], {"x": x}, {"lo": np.float32(-0.5), "hi": np.float32(1)}, opset=11)
    s.add("Clip_max_only", [node("Clip", ["x", "", "hi"])], {"x": x}, {"hi": np.float32(1)})
    s.add(
        "Clip_int8",
        [node("Clip", ["x", "lo", "hi"])],
        {"x": ints("ci", np.int8, -128, 127, 3, 7)},
        {"lo": np.int8(-7), "hi": np.int8(100)},
    )
    s.add("HardTanh_as_Clip", [node("Clip", ["x", "lo", "hi"])], {"x": x}, {"lo": np.float32(-1), "hi": np.float32(1)})
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        b = floats("b" + op, 3, 1, low=0.25)
        s.add(f"{op}_broadcast", [node(op, ["x", "b"])], {"x": x}, {"b": b})
        s.add(f"{op}_both_ways", [node(op, ["x", "b"])], {"x": floats("u", 2, 1, 4), "b": floats("v" + op, 3, 1, low=0.5)})
    s.add("Add_opset7", [node("Add", ["x", "b"])], {"x": x}, {"b": floats("b7", 1)}, opset=7)
    s.add("Add_int64", [node("Add", ["x", "b"])], {"x": ints("i", np.int64, -9, 9, 2, 3)}, {"b": np.array([5], np.int64)})
    s.add("Div_int32", [node("Div", ["x", "b"])], {"x": ints("i", np.int32, -9, 9, 2, 3)}, {"b": np.array([4], np.int32)})
    s.add("Mul_double", [node("Mul", ["x", "b"])], {"x": x.astype(np.float64)}, {"b": np.array([0.1])}, tol=(1e-15, 1e-15))
    s.add("Max_three", [node("Max", ["x", "b", "c"])], {"x": x}, {"b": floats("b3", 3, 1), "c": np.float32([0.1])})
    s.add("Min_one", [node("Min", ["x"])], {"x": x})
    s.add("Pow_square", [node("Pow", ["x", "p"])], {"x": x}, {"p": np.float32([2])})
    s.add("Pow_int_exponent", [node("Pow", ["x", "p"])], {"x": x}, {"p": np.array([3], np.int64)})
    s.add("Pow_broadcast", [node("Pow", ["x", "p"])], {"x": np.abs(x) + np.float32(0.1)}, {"p": floats("p", 3, 1, low=0)})
    for op in ("Equal", "Greater", "Less"):
        s.add(op, [node(op, ["x", "b"])], {"x": ints("q", np.int64, 0, 3, 2, 5)}, {"b": np.array([2], np.int64)})
    s.add(
        "Where",
        [node("Where", ["c", "x", "b"])],
        {"x": floats("w", 2, 1, 4)},
        {"c": np.array([[True], [False], [True]]), "b": np.float32([7])},
    )
    for to in ("FLOAT", "DOUBLE", "INT8", "UINT8", "INT32", "INT64", "BOOL"):
        source = floats("cast", 2, 6, low=0, high=90)
        s.add(f"Cast_to_{to}", [node("Cast", ["x"], to=getattr(TensorProto, to))], {"x": source})
    s.add("Cast_int8_to_float", [node("Cast", ["x"], to=TensorProto.FLOAT)], {"x": ints("c8", np.int8, -128, 127, 2, 9)})
    s.add(
        "Float16_graph",
        [node("Add", ["x", "b"])],
        {"x": floats("h", 2, 3).astype(np.float16)},
        {"b": floats("hb", 3).astype(np.float16)},
        oracle=lambda x: x.astype(np.float32) + floats("hb", 3),
        opset=14,
    )


def convolutions(s: Suite) -> None:
    def conv(name, x, w, bias=False, tol=(1e-5, 1e-5), **attributes):
        params = {"w": floats(name + "w", *w)}
        if bias:
            params["b"] = floats(name + "b", w[0])
        opset = attributes.pop("opset", 13)
        s.add(name, [node("Conv", ["x"] + list(params), **attributes)], {"x": floats(name + "x", *x)}, params, opset, tol=tol)

    conv("Conv_1x1", (1, 5, 3, 3), (4, 5, 1, 1))
    conv("Conv_3x3_bias", (2, 3, 6, 5), (4, 3, 3, 3), True)
    conv("Conv_stride_pads", (1, 3, 7, 8), (2, 3, 3, 3), True, strides=[2, 3], pads=[1, 0, 2, 1])
    conv("Conv_dilation", (1, 2, 9, 9), (3, 2, 3, 2), dilations=[2, 3], pads=[2, 1, 0, 3])
    conv("Conv_groups", (1, 6, 5, 5), (4, 3, 3, 3), True, group=2, pads=[1, 1, 1, 1])
    conv("Conv_depthwise", (1, 4, 5, 5), (8, 1, 3, 3), group=4, pads=[1, 1, 1, 1], strides=[2, 2])
    conv("Conv_same_upper", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    conv("Conv_same_lower", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    conv("Conv_valid", (1, 2, 7, 6), (3, 2, 4, 3), auto_pad="VALID", opset=7)
    conv("Conv_1d", (1, 3, 12), (4, 3, 5), True, strides=[2], pads=[2, 1], dilations=[2])
    conv("Conv_1d_groups", (2, 4, 9), (4, 2, 3), group=2)
    conv("Conv_kernel_shape", (1, 2, 5, 5), (3, 2, 3, 3), kernel_shape=[3, 3], pads=[3, 3, 3, 3])

    def nhwc(name, x, w, **attributes):
        data, weights = floats(name + "x", *x), floats(name + "w", *w)
        inner = make_model([node("Conv", ["x", "w"], **attributes)], {"x": data.transpose(0, 3, 1, 2)}, {"w": weights}, 13, ["y"])
        session = onnxruntime.InferenceSession(inner.SerializeToString())

        def oracle(x):
            return session.run(None, {"x": x.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)

        s.add(
            name,
            [node("Conv", ["x", "w"], domain=LAST, **attributes)],
            {"x": data},
            {"w": weights},
            oracle=oracle,
            tol=(1e-5, 1e-5),
        )

    nhwc("Conv_channels_last", (1, 6, 5, 4), (3, 4, 3, 3), kernel_shape=[3, 3], pads=[1, 0, 1, 2], strides=[1, 2])
    nhwc("Conv_channels_last_groups", (2, 5, 5, 4), (6, 2, 2, 3), kernel_shape=[2, 3], group=2)

    for x_type, w_type in ((np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)):
        lo, hi = np.iinfo(x_type).min, np.iinfo(x_type).max
        name = f"{np.dtype(x_type)}_{np.dtype(w_type)}"
        x = ints(name, x_type, lo, hi, 1, 3, 5, 6)
        w = ints(name + "w", w_type, np.iinfo(w_type).min, np.iinfo(w_type).max, 4, 3, 3, 3)
        xz, wz = x_type(lo // 2 + 40), w_type(3)
        s.add(
            f"ConvInteger_{name}",
            [node("ConvInteger", ["x", "w", "xz", "wz"], pads=[1, 1, 0, 0])],
            {"x": x},
            {"w": w, "xz": xz, "wz": wz},
            oracle="onnx",
            tol=(0, 0),
        )
        scale = floats(name + "s", 4, low=0.5, high=1.5) / 64
        zeros = np.zeros(4, w_type) if w_type == np.int8 else np.full(4, 128, w_type)
        s.add(
            f"QLinearConv_{name}",
            [node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], strides=[2, 1])],
            {"x": x},
            {
                "xs": np.float32(0.03125),
                "xz": xz,
                "w": w,
                "ws": scale.astype(np.float32),
                "wz": zeros,
                "ys": np.float32(0.75),
                "yz": x_type(hi // 2),
                "b": ints(name + "b", np.int32, -900, 900, 4),
            },
            oracle="onnx",
            tol=(1, 0),
        )


def products(s: Suite) -> None:
    s.add("Gemm_plain", [node("Gemm", ["a", "b"])], {"a": floats("ga", 3, 4)}, {"b": floats("gb", 4, 5)})
    s.add(
        "Gemm_all",
        [node("Gemm", ["a", "b", "c"], alpha=0.5, beta=2.0, transA=1, transB=1)],
        {"a": floats("ga", 4, 3)},
        {"b": floats("gb", 5, 4), "c": floats("gc", 5)},
    )
    s.add(
        "Gemm_c_column",
        [node("Gemm", ["a", "b", "c"], transB=1)],
        {"a": floats("ga", 3, 4)},
        {"b": floats("gb", 5, 4), "c": floats("gc", 3, 1)},
        opset=7,
    )
    s.add(
        "Gemm_c_scalar",
        [node("Gemm", ["a", "b", "c"])],
        {"a": floats("ga", 3, 4)},
        {"b": floats("gb", 4, 5), "c": np.float32([0.25])},
        opset=11,
    )
    for name, a, b in (
        ("2d", (3, 4), (4, 5)),
        ("3d_2d", (2, 3, 4), (4, 5)),
        ("batch", (2, 3, 4), (2, 4, 5)),
        ("broadcast", (2, 1, 3, 4), (3, 4, 2)),
        ("vector_right", (3, 4), (4,)),
        ("vector_left", (4,), (2, 4, 3)),
    ):
        s.add(f"MatMul_{name}", [node("MatMul", ["a", "b"])], {"a": floats("ma" + name, *a)}, {"b": floats("mb" + name, *b)})
    a, b = ints("ia", np.uint8, 0, 255, 3, 6), ints("ib", np.int8, -128, 127, 6, 4)
    s.add(
        "MatMulInteger",
        [node("MatMulInteger", ["a", "b", "az", "bz"])],
        {"a": a},
        {"b": b, "az": np.uint8(100), "bz": np.int8([1, -2, 0, 5])},
        oracle="onnx",
        tol=(0, 0),
    )
    s.add("MatMulInteger_no_zero_points", [node("MatMulInteger", ["a", "b"])], {"a": a}, {"b": b}, oracle="onnx", tol=(0, 0))
    s.add(
        "QLinearMatMul",
        [node("QLinearMatMul", ["a", "as", "az", "b", "bs", "bz", "ys", "yz"])],
        {"a": a},
        {
            "as": np.float32(0.02),
            "az": np.uint8(120),
            "b": b,
            "bs": np.float32(0.05),
            "bz": np.int8(-3),
            "ys": np.float32(0.5),
            "yz": np.uint8(128),
        },
        oracle="onnx",
        tol=(1, 0),
    )


def pools(s: Suite) -> None:
    x = floats("pool", 1, 3, 7, 8)
    s.add("MaxPool", [node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2])], {"x": x}, opset=7)
    s.add("MaxPool_default_stride", [node("MaxPool", ["x"], kernel_shape=[3, 2])], {"x": x})
    s.add("MaxPool_pads_dilation", [node("MaxPool", ["x"], kernel_shape=[2, 3], pads=[1, 2, 0, 1], dilations=[2, 2])], {"x": x})
    s.add("MaxPool_ceil", [node("MaxPool", ["x"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {"x": x})
    s.add(
        "MaxPool_ceil_pads",
        [node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1, pads=[1, 1, 1, 1])],
        {"x": x},
    )
    s.add("MaxPool_same_upper", [node("MaxPool", ["x"], kernel_shape=[3, 4], strides=[2, 2], auto_pad="SAME_UPPER")], {"x": x})
    s.add("MaxPool_1d", [node("MaxPool", ["x"], kernel_shape=[3], strides=[2], pads=[1, 1])], {"x": floats("p1", 2, 3, 9)})
    s.add("MaxPool_uint8", [node("MaxPool", ["x"], kernel_shape=[2, 2])], {"x": ints("p8", np.uint8, 0, 255, 1, 2, 4, 4)})
    s.add("AveragePool", [node("AveragePool", ["x"], kernel_shape=[2, 3], strides=[2, 1])], {"x": x}, opset=7)
    s.add("AveragePool_pads", [node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {"x": x})
    s.add(
        "AveragePool_count_pads",
        [node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        {"x": x},
    )
    s.add("AveragePool_ceil", [node("AveragePool", ["x"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {"x": x}, opset=19)
    s.add(
        "AveragePool_same_lower",
        [node("AveragePool", ["x"], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER")],
        {"x": x},
    )
    s.add("AveragePool_1d", [node("AveragePool", ["x"], kernel_shape=[2])], {"x": floats("p1", 2, 3, 9)})
    s.add("GlobalAveragePool", [node("GlobalAveragePool", ["x"])], {"x": x})
    s.add("GlobalMaxPool", [node("GlobalMaxPool", ["x"])], {"x": x})
    last = floats("pl", 1, 6, 4, 3)
    s.add(
        "MaxPool_channels_last",
        [node("MaxPool", ["x"], domain=LAST, kernel_shape=[2, 2], strides=[2, 2])],
        {"x": last},
        oracle=lambda x: x.reshape(1, 3, 2, 2, 2, 3).max((2, 4)),
    )
    bn = {"g": floats("g", 3, low=0.25), "b": floats("b", 3), "m": floats("m", 3), "v": floats("v", 3, low=0.25)}
    for opset in (7, 9, 15):
        s.add(f"BatchNormalization_{opset}", [node("BatchNormalization", ["x", *bn], epsilon=0.01)], {"x": x}, bn, opset)
    s.add("BatchNormalization_2d", [node("BatchNormalization", ["x", *bn])], {"x": floats("n2", 4, 3)}, bn)
    s.add(
        "BatchNormalization_channels_last",
        [node("BatchNormalization", ["x", *bn], domain=LAST)],
        {"x": last},
        bn,
        oracle=lambda x: (x - bn["m"]) / np.sqrt(bn["v"] + np.float32(1e-5)) * bn["g"] + bn["b"],
    )


def reductions(s: Suite) -> None:
    x = floats("red", 2, 3, 4)
    for op in ("ReduceMean", "ReduceMax", "ReduceMin"):
        s.add(f"{op}_axes", [node(op, ["x"], axes=[1, -1])], {"x": x})
        s.add(f"{op}_all", [node(op, ["x"], keepdims=0)], {"x": x})
        s.add(f"{op}_input_axes", [node(op, ["x", "a"], keepdims=0)], {"x": x}, {"a": np.array([-2], np.int64)}, opset=18)
        s.add(f"{op}_noop", [node(op, ["x"], noop_with_empty_axes=1)], {"x": x}, opset=18)
    s.add("ReduceSum_attribute", [node("ReduceSum", ["x"], axes=[2])], {"x": x}, opset=11)
    s.add("ReduceSum_input", [node("ReduceSum", ["x", "a"])], {"x": x}, {"a": np.array([1, 2], np.int64)})
    for axis in (0, 1, -1):
        s.add(f"Softmax_old_{axis}", [node("Softmax", ["x"], axis=axis)], {"x": x}, opset=11)
        s.add(f"Softmax_{axis}", [node("Softmax", ["x"], axis=axis)], {"x": x})
        s.add(f"LogSoftmax_{axis}", [node("LogSoftmax", ["x"], axis=axis)], {"x": x})
    s.add("Softmax_old_default", [node("Softmax", ["x"])], {"x": x}, opset=7)
    s.add("Softmax_default", [node("Softmax", ["x"])], {"x": x})
    s.add("LogSoftmax_old", [node("LogSoftmax", ["x"])], {"x": x}, opset=9)
    coarse = ints("arg", np.int64, 0, 3, 2, 5, 3).astype(np.float32)
    for op in ("ArgMax", "ArgMin"):
        s.add(f"{op}_ties", [node(op, ["x"], axis=1)], {"x": coarse})
        s.add(f"{op}_last", [node(op, ["x"], axis=-1, keepdims=0, select_last_index=1)], {"x": coarse})
    s.add("ArgMax_int8", [node("ArgMax", ["x"], axis=1)], {"x": ints("a8", np.int8, -9, 9, 2, 6)})
    s.add(
        "TopK",
        [node("TopK", ["x", "k"], ["y", "i"])],
        {"x": floats("t", 2, 6)},
        {"k": np.array([3], np.int64)},
        outputs=("y", "i"),
    )
    s.add(
        "TopK_smallest_ties",
        [node("TopK", ["x", "k"], ["y", "i"], axis=1, largest=0)],
        {"x": coarse},
        {"k": np.array([4], np.int64)},
        outputs=("y", "i"),
    )
    s.add("TopK_attribute", [node("TopK", ["x"], ["y", "i"], k=2, axis=0)], {"x": floats("t", 3, 4)}, opset=9, outputs=("y", "i"))
    s.add(
        "TopK_indices_only",
        [node("TopK", ["x", "k"], ["", "i"])],
        {"x": floats("t", 2, 6)},
        {"k": np.array([2], np.int64)},
        outputs=("i",),
        oracle=lambda x: np.argsort(-x, axis=1, kind="stable")[:, :2],
    )


def shapes(s: Suite) -> None:
    x = floats("shape", 2, 3, 4)

    def i64(*values):
        return np.array(values, np.int64)

    for name, target, extra in (("infer", (2, -1), {}), ("copy", (0, 0, 2, 2), {}), ("flat", (-1,), {}), ("same", (4, 6), {})):
        s.add(f"Reshape_{name}", [node("Reshape", ["x", "s"], **extra)], {"x": x}, {"s": i64(*target)}, opset=7)
    s.add("Reshape_allowzero", [node("Reshape", ["x", "s"], allowzero=1)], {"x": x}, {"s": i64(6, 4)}, opset=14)
    for axis in (0, 1, 2, 3, -1):
        s.add(f"Flatten_{axis}", [node("Flatten", ["x"], axis=axis)], {"x": x})
    y = floats("sq", 1, 3, 1, 2)
    s.add("Squeeze_attribute", [node("Squeeze", ["x"], axes=[0, 2])], {"x": y}, opset=11)
    s.add("Squeeze_input", [node("Squeeze", ["x", "a"])], {"x": y}, {"a": i64(-2)})
    s.add("Squeeze_all", [node("Squeeze", ["x"])], {"x": y})
    s.add("Unsqueeze_attribute", [node("Unsqueeze", ["x"], axes=[0, 4])], {"x": x}, opset=11)
    s.add("Unsqueeze_input", [node("Unsqueeze", ["x", "a"])], {"x": x}, {"a": i64(1, -1)})
    s.add("Transpose", [node("Transpose", ["x"], perm=[1, 2, 0])], {"x": x})
    s.add("Transpose_default", [node("Transpose", ["x"])], {"x": x})
    s.add("Transpose_int8", [node("Transpose", ["x"], perm=[1, 0])], {"x": ints("t8", np.int8, -9, 9, 3, 5)})
    s.add("Shape", [node("Shape", ["x"])], {"x": x})
    s.add("Shape_range", [node("Shape", ["x"], start=1, end=-1)], {"x": x}, opset=15)
    s.add("Size", [node("Size", ["x"])], {"x": x})
    s.add("Gather_axis0", [node("Gather", ["x", "i"])], {"x": x}, {"i": i64(1, 0, -1)})
    s.add("Gather_axis2", [node("Gather", ["x", "i"], axis=-1)], {"x": x}, {"i": np.array([[3, 0], [1, -2]], np.int32)})
    s.add("Gather_scalar", [node("Gather", ["x", "i"], axis=1)], {"x": x}, {"i": np.array(2, np.int64)})
    s.add("Slice_attributes", [node("Slice", ["x"], starts=[0, 1], ends=[2, 1000], axes=[0, 2])], {"x": x}, opset=9)
    s.add(
        "Slice_inputs",
        [node("Slice", ["x", "b", "e", "a", "s"])],
        {"x": x},
        {"b": i64(-1, 0), "e": i64(-100, 3), "a": i64(1, 2), "s": i64(-1, 2)},
    )
    s.add("Slice_no_axes", [node("Slice", ["x", "b", "e"])], {"x": x}, {"b": i64(1, 1), "e": i64(2, -1)})
    s.add(
        "Slice_reverse",
        [node("Slice", ["x", "b", "e", "a", "s"])],
        {"x": x},
        {"b": i64(2**40), "e": i64(-(2**40)), "a": i64(-1), "s": i64(-3)},
    )
    s.add("Concat", [node("Concat", ["x", "b", "x"], axis=1)], {"x": x}, {"b": floats("cb", 2, 1, 4)})
    s.add("Concat_negative", [node("Concat", ["x", "b"], axis=-1)], {"x": x}, {"b": floats("cb", 2, 3, 2)})
    s.add("Expand", [node("Expand", ["x", "s"])], {"x": floats("e", 3, 1)}, {"s": i64(2, 1, 4)})
    s.add(
        "ConstantOfShape",
        [
            node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.array([3], np.float32))),
            node("Add", ["x", "c"]),
        ],
        {"x": x},
        {"s": i64(3, 4)},
    )
    s.add("ConstantOfShape_zero", [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"])], {"x": x}, {"s": i64(4)})
    for kind, value in (
        ("value", numpy_helper.from_array(np.float32([[1], [2], [3]]))),
        ("value_float", 0.5),
        ("value_floats", [1.0, 2.0, 3.0, 4.0]),
    ):
        s.add(f"Constant_{kind}", [node("Constant", [], ["c"], **{kind: value}), node("Add", ["x", "c"])], {"x": x})
    s.add("Constant_ints", [node("Constant", [], ["c"], value_ints=[4, 6]), node("Reshape", ["x", "c"])], {"x": x})
    s.add("Dropout_7", [node("Dropout", ["x"], ratio=0.3)], {"x": x}, opset=7)
    s.add("Dropout_mask", [node("Dropout", ["x"], ["y", "mask"])], {"x": x}, outputs=("y", "mask"), opset=12)
    s.add("Dropout_13", [node("Dropout", ["x", "r", "t"])], {"x": x}, {"r": np.float32(0.5), "t": np.array(False)})
    chain = [
        node("Shape", ["x"], ["sh"]),
        node("Gather", ["sh", "zero"], ["n"]),
        node("Unsqueeze", ["n"], ["n1"], axes=[0]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"]),
    ]
    s.add("Shape_arithmetic", chain, {"x": x}, {"zero": np.array(0, np.int64), "rest": i64(-1)}, opset=11)
    x4 = floats("r4", 1, 2, 3, 4)
    for mode in ("constant", "reflect", "edge"):
        s.add(f"Pad_{mode}_old", [node("Pad", ["x"], pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=mode, value=0.5)], {"x": x4}, opset=9)
        s.add(
            f"Pad_{mode}",
            [node("Pad", ["x", "p"], mode=mode)],
            {"x": x4},
            {"p": i64(0, 1, 2, 1, 0, 0, 1, 3) if mode != "reflect" else i64(0, 1, 2, 1, 0, 0, 1, 3)},
        )
    s.add("Pad_value", [node("Pad", ["x", "p", "v"])], {"x": x4}, {"p": i64(1, 0, 0, 2, 0, 1, 0, 0), "v": np.float32(-7)})
    s.add("Pad_axes", [node("Pad", ["x", "p", "", "a"])], {"x": x4}, {"p": i64(1, 0, 2, 3), "a": i64(-1, 1)}, opset=18)
    s.add(
        "Pad_int8",
        [node("Pad", ["x", "p", "v"])],
        {"x": ints("pi", np.int8, -9, 9, 2, 3)},
        {"p": i64(0, 1, 1, 0), "v": np.int8(5)},
    )
    d = floats("d2s", 1, 8, 2, 3)
    for mode in ("DCR", "CRD"):
        s.add(f"DepthToSpace_{mode}", [node("DepthToSpace", ["x"], blocksize=2, mode=mode)], {"x": d})
    s.add("SpaceToDepth", [node("SpaceToDepth", ["x"], blocksize=2)], {"x": floats("s2d", 1, 2, 4, 6)})


def resizes(s: Suite) -> None:
    x = floats("resize", 1, 2, 3, 4)
    s.add("Upsample_7", [node("Upsample", ["x"], scales=[1.0, 1.0, 2.0, 3.0])], {"x": x}, opset=7)
    s.add("Upsample_9", [node("Upsample", ["x", "s"])], {"x": x}, {"s": np.float32([1, 1, 2, 2])}, opset=9)
    s.add("Resize_10", [node("Resize", ["x", "s"])], {"x": x}, {"s": np.float32([1, 1, 2, 1.5])}, opset=10)
    for transform in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            s.add(
                f"Resize_{transform}_{nearest}",
                [node("Resize", ["x", "roi", "s"], coordinate_transformation_mode=transform, nearest_mode=nearest)],
                {"x": x},
                {"roi": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 1.75])},
                opset=11,
            )
    s.add(
        "Resize_sizes",
        [node("Resize", ["x", "", "", "z"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"x": x},
        {"z": np.array([1, 2, 5, 3], np.int64)},
    )
    s.add(
        "Resize_down",
        [node("Resize", ["x", "", "s"])],
        {"x": floats("rd", 1, 1, 8, 8)},
        {"s": np.float32([1, 1, 0.5, 0.25])},
        opset=18,
    )


def quantizers(s: Suite) -> None:
    from qonnx.custom_op.general.intquant import int_quant
    from qonnx.custom_op.general.multithreshold import multithreshold
    from qonnx.custom_op.general.trunc import trunc_v1, trunc_v2

    x = floats("quant", 2, 3, 4, low=-3, high=3)

    def quant(name, bits, scale, zero=0.0, domain=QONNX, op="Quant", data=x, **attributes):
        scale, zero = np.asarray(scale, np.float32), np.asarray(zero, np.float32)
        oracle_mode = "DOWN" if attributes.get("rounding_mode") == "ROUND_TO_ZERO" else attributes.get("rounding_mode", "ROUND")
        full = {"signed": 1, "narrow": 0, **attributes}
        s.add(
            name,
            [node(op, ["x", "s", "z", "b"], domain=domain, **attributes)],
            {"x": data},
            {"s": scale, "z": zero, "b": np.float32(bits)},
            oracle=lambda x: int_quant(x, scale, zero, np.float32(bits), full["signed"], full["narrow"], oracle_mode).astype(
                np.float32
            ),
            tol=(0, 0),
        )

    for bits in (1, 2, 3, 4, 8):
        quant(f"Quant_{bits}_signed", bits, 0.125, signed=1, narrow=0, rounding_mode="ROUND")
        quant(f"Quant_{bits}_narrow", bits, 0.25, signed=1, narrow=1, rounding_mode="ROUND")
        quant(f"Quant_{bits}_unsigned", bits, 0.125, signed=0, narrow=0, rounding_mode="ROUND")
    quant("Quant_unsigned_narrow", 4, 0.1, signed=0, narrow=1)
    for mode in ("ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "HALF_EVEN", "round"):
        quant(f"Quant_mode_{mode}" + ("_lower" if mode.islower() else ""), 4, 0.5, rounding_mode=mode)
    quant("Quant_channel_scale", 4, [[0.1], [0.2], [0.4]], narrow=1)
    quant("Quant_channel_zero", 8, [[0.03], [0.02], [0.01]], [[3], [-2], [0]], signed=1)
    quant("Quant_defaults", 8, 0.015625)
    quant("Quant_brevitas_domain", 2, 0.5, domain="onnx.brevitas")
    quant("Quant_finn_domain", 2, 0.5, domain="finn.custom_op.general")
    quant("Quant_channels_last_domain", 2, 0.5, domain=LAST)
    quant("IntQuant", 4, 0.5, op="IntQuant")
    quant("Quant_extremes", 8, 0.5, data=np.array([[-1e30, 1e30, 0.0, -0.0, 63.5, 63.75, -64.25, -1e-30]], np.float32))

    edge = np.array([[-1.5, -0.0, 0.0, 1e-30, -1e-30, 2]], np.float32)
    for domain in ("onnx.brevitas", QONNX):
        s.add(
            f"BipolarQuant_{domain}",
            [node("BipolarQuant", ["x", "s"], domain=domain)],
            {"x": edge},
            {"s": np.float32(0.5)},
            oracle=lambda x: np.where(x >= 0, np.float32(0.5), np.float32(-0.5)),
            tol=(0, 0),
        )
    s.add(
        "BipolarQuant_channel",
        [node("BipolarQuant", ["x", "s"], domain=QONNX)],
        {"x": x},
        {"s": np.float32([[0.5], [1], [2]])},
        oracle=lambda x: np.where(x >= 0, np.float32([[0.5], [1], [2]]), -np.float32([[0.5], [1], [2]])),
        tol=(0, 0),
    )

    for mode in ("FLOOR", "ROUND", "CEIL", "ROUND_TO_ZERO"):
        s.add(
            f"Trunc_{mode}",
            [node("Trunc", ["x", "s", "z", "i", "o"], domain=QONNX, rounding_mode=mode)],
            {"x": x},
            {"s": np.float32(0.015625), "z": np.float32(0), "i": np.float32(8), "o": np.float32(4)},
            oracle=lambda x, m=mode.replace("ROUND_TO_ZERO", "DOWN"): trunc_v1(
                x, np.float32(0.015625), np.float32(0), np.float32(8), np.float32(4), m
            ).astype(np.float32),
            tol=(0, 0),
        )
    s.add(
        "Trunc_zero_point",
        [node("Trunc", ["x", "s", "z", "i", "o"], domain="onnx.brevitas")],
        {"x": x},
        {"s": np.float32(0.0625), "z": np.float32(3), "i": np.float32(8), "o": np.float32(6)},
        oracle=lambda x: trunc_v1(x, np.float32(0.0625), np.float32(3), np.float32(8), np.float32(6), "FLOOR").astype(np.float32),
        tol=(0, 0),
    )
    two = [np.float32(v) for v in (0.0625, 8, 8, 0.25, 4)]
    s.add(
        "Trunc_v2",
        [node("Trunc", ["x", "s", "z", "i", "t", "o"], domain=QONNX, signed=0, narrow=1)],
        {"x": x},
        dict(zip("szito", two)),
        oracle=lambda x: trunc_v2(x, *two[:3], 1, 0, *two[3:], "FLOOR").astype(np.float32),
        tol=(0, 0),
    )

    steps = np.sort(floats("mt", 3, 5), 1)
    for domain in ("onnx.brevitas", "finn.custom_op.general", QONNX):
        s.add(
            f"MultiThreshold_{domain}",
            [node("MultiThreshold", ["x", "t"], domain=domain, out_dtype="INT4", out_scale=2.0, out_bias=-5.0)],
            {"x": floats("mx", 1, 3, 2, 4)},
            {"t": steps},
            oracle=lambda x: multithreshold(x, steps, 2.0, -5.0).astype(np.float32),
            tol=(0, 0),
        )
    s.add(
        "MultiThreshold_2d",
        [node("MultiThreshold", ["x", "t"], domain=QONNX, out_dtype="UINT4")],
        {"x": floats("m2", 4, 3)},
        {"t": steps},
        oracle=lambda x: multithreshold(x, steps).astype(np.float32),
        tol=(0, 0),
    )
    s.add(
        "MultiThreshold_one_row",
        [node("MultiThreshold", ["x", "t"], domain=QONNX)],
        {"x": floats("m1", 1, 3, 2, 2)},
        {"t": steps[:1]},
        oracle=lambda x: (x[..., None] >= steps[0]).sum(-1).astype(np.float32),
        tol=(0, 0),
    )
    for name, attributes in (("NHWC", {"data_layout": "NHWC", "domain": QONNX}), ("domain", {"domain": LAST})):
        s.add(
            f"MultiThreshold_{name}",
            [node("MultiThreshold", ["x", "t"], **attributes)],
            {"x": floats("mn", 1, 2, 4, 3)},
            {"t": steps},
            oracle=lambda x: multithreshold(x.transpose(0, 3, 1, 2), steps).transpose(0, 2, 3, 1).astype(np.float32),
            tol=(0, 0),
        )

    for dtype in (np.uint8, np.int8):
        zero = dtype(100 if dtype == np.uint8 else -3)
        s.add(
            f"QuantizeLinear_{np.dtype(dtype)}",
            [node("QuantizeLinear", ["x", "s", "z"])],
            {"x": x},
            {"s": np.float32(0.03), "z": zero},
            tol=(0, 0),
        )
        axis = {"s": np.float32([0.01, 0.03, 0.5]), "z": np.array([1, 0, 9], dtype)}
        s.add(
            f"QuantizeLinear_axis_{np.dtype(dtype)}",
            [node("QuantizeLinear", ["x", "s", "z"], axis=1)],
            {"x": x},
            axis,
            tol=(0, 0),
        )
        q = ints("dq", dtype, np.iinfo(dtype).min, np.iinfo(dtype).max, 2, 3, 4)
        s.add(
            f"DequantizeLinear_{np.dtype(dtype)}",
            [node("DequantizeLinear", ["x", "s", "z"])],
            {"x": q},
            {"s": np.float32(0.03), "z": zero},
            tol=(0, 0),
        )
        s.add(
            f"DequantizeLinear_axis_{np.dtype(dtype)}",
            [node("DequantizeLinear", ["x", "s", "z"], axis=-2)],
            {"x": q},
            axis,
            tol=(0, 0),
        )
    s.add("QuantizeLinear_no_zero", [node("QuantizeLinear", ["x", "s"])], {"x": x}, {"s": np.float32(0.02)}, opset=10, tol=(0, 0))
    s.add(
        "QuantizeLinear_ties",
        [node("QuantizeLinear", ["x", "s", "z"])],
        {"x": np.float32([[0.5, 1.5, 2.5, -0.5, -1.5, 300, -300]])},
        {"s": np.float32(1), "z": np.int8(1)},
        tol=(0, 0),
    )
    s.add(
        "DequantizeLinear_int32",
        [node("DequantizeLinear", ["x", "s"])],
        {"x": ints("d32", np.int32, -9999, 9999, 2, 3)},
        {"s": np.float32(0.001)},
        tol=(0, 0),
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "data" / "onnx_cases.npz")
    parser.add_argument("--corpus", type=pathlib.Path, help="also write one model an operator into this folder")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("qonnx") is None:
        print("the package qonnx is missing", file=sys.stderr)
        return 2
    suite = Suite()
    for family in (elementwise, convolutions, products, pools, reductions, shapes, resizes, quantizers):
        family(suite)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **suite.arrays)
    if args.corpus:
        args.corpus.mkdir(parents=True, exist_ok=True)
        for name in suite.first_of_each_operator():
            (args.corpus / f"{name.lower()}.onnx").write_bytes(suite.arrays[f"{name}/model"].tobytes())
    print(f"{len(suite.names)} cases, {args.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
