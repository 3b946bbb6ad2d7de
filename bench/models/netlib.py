"""Writes QONNX graphs with random parameters that float arithmetic handles without rounding.

All parameters are small dyadic numbers (integers over a power of two), and the variance plus
epsilon of a batch normalization is a power of four. Sums and products of such numbers are exact in
float32 as long as they fit 24 bits, in any order: two right implementations agree to the bit
wherever a sign is taken, however they fuse and reorder. With arbitrary parameters, a sum that is
rounded differently flips a sign now and then, and the flip spreads over the rest of the network.

The parameters keep activations alive: sums of k products of signs have a deviation of about
sqrt(k); batch normalizations bring that to about 1 with channel means that differ.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import TensorProto, ValueInfoProto, checker, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
EPSILON = 2.0**-16
OPSET = 17
IR_VERSION = 8


def on_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to multiples of 2^-bits."""
    return (np.rint(np.asarray(values) * 2.0**bits) / 2.0**bits).astype(np.float32)


def _batch_of(name: str, shape: tuple[int, ...]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


class Net:
    """A graph with one input and one output, built node by node.

    Every method that adds a node takes and returns value names; shapes are NCHW without the batch,
    which is the symbol N. `name` arguments become the node's name and that of its output.
    """

    def __init__(self, name: str, seed: int, input_shape: tuple[int, ...]):
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.input = "image"
        self._input_shape = input_shape
        self._nodes: list = []
        self._constants: dict[str, object] = {}

    # ---- plumbing ----

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add an initializer; the same name again is the same values."""
        self._constants[name] = numpy_helper.from_array(np.array(values, order="C"), name)
        return name

    def scalar(self, value: float) -> str:
        """Return a scalar initializer, shared by all who ask for this value."""
        return self.constant(f"scalar_{value:g}", np.array(value, np.float32))

    def op(self, kind: str, name: str, inputs: list[str], domain: str = "", **attributes) -> str:
        """Add a node with one output."""
        self._nodes.append(
            helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name

    def write(self, path: Path, output: str, output_shape: tuple[int, ...]) -> None:
        """Write the model file; the same seed and version of onnx write the same bytes."""
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [_batch_of(self.input, self._input_shape)],
            [_batch_of(output, output_shape)],
            list(self._constants.values()),
        )
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(QONNX, 1)]
        model = helper.make_model(graph, producer_name="bitmill", opset_imports=imports)
        model.ir_version = IR_VERSION
        checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())

    # ---- quantizers ----

    def sign(self, name: str, x: str) -> str:
        """-1 below zero, +1 from zero up."""
        return self.op("BipolarQuant", name, [x, self.scalar(1)], domain=QONNX)

    def bits(self, name: str, shape: tuple[int, ...], scaled: bool = False) -> str:
        """Random weights of {-1, +1}; with `scaled`, times 2^-6 to 2^-4 for each output channel."""
        values = self.rng.integers(0, 2, shape, dtype=np.int8) * np.int8(2) - np.int8(1)
        scale_shape = (shape[0],) + (1,) * (len(shape) - 1)
        return self._folded(name, values,
                            2.0 ** self.rng.integers(-6, -3, scale_shape) if scaled else None)

    def trits(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        """Random weights of {-1, 0, +1}, a third each, times a scale."""
        return self._folded(name, self.rng.integers(-1, 2, shape, dtype=np.int8), np.array(scale))

    def bit_quantizer(self, name: str, shape: tuple[int, ...]) -> str:
        """Random 1-bit weights as training leaves them: floats and their quantizer."""
        values = on_grid(self.rng.standard_normal(shape), 6)
        return self.sign(f"{name}/sign", self.constant(f"{name}/float", values))

    def integers(self, name: str, x: str, bits: int, scale: float) -> str:
        """Round to signed integers of so many bits, times a scale."""
        inputs = [x, self.scalar(scale), self.scalar(0), self.scalar(bits)]
        return self.op("Quant", name, inputs, domain=QONNX, signed=1, narrow=1,
                       rounding_mode="ROUND")

    def _folded(self, name: str, values: np.ndarray, scale: np.ndarray | None) -> str:
        """The form of a weight quantizer that was folded: int8, Cast, Mul by the scale."""
        cast = self.op("Cast", f"{name}/cast", [self.constant(f"{name}/int8", values)],
                       to=TensorProto.FLOAT)
        if scale is None:
            return cast
        scale_name = self.constant(f"{name}/scale", scale.astype(np.float32))
        return self.op("Mul", f"{name}/scaled", [cast, scale_name])

    # ---- layers ----

    def conv(self, name: str, x: str, weights: str, kernel: int, stride: int = 1,
             pad: int | tuple[int, int] = 0, group: int = 1) -> str:
        """A convolution without bias; `pad` zeros on each side, or (before, after)."""
        before, after = (pad, pad) if isinstance(pad, int) else pad
        return self.op("Conv", name, [x, weights], kernel_shape=[kernel, kernel],
                       strides=[stride, stride], pads=[before] * 2 + [after] * 2, group=group)

    def pool(self, kind: str, name: str, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        """MaxPool or AveragePool."""
        return self.op(kind, name, [x], kernel_shape=[kernel, kernel], strides=[stride, stride],
                       pads=[pad] * 4)

    def channel_shift(self, name: str, x: str, channels: int, deviation: float = 0.25) -> str:
        """Add a constant to each channel."""
        shift = on_grid(self.rng.normal(0, deviation, (channels, 1, 1)), 5)
        return self.op("Add", name, [x, self.constant(f"{name}/shift", shift)])

    def float_weights(self, name: str, shape: tuple[int, ...], bits: int) -> str:
        """Float weights on a grid of 2^-bits that keep the deviation of what they sum."""
        fan_in = math.prod(shape[1:])
        values = on_grid(self.rng.standard_normal(shape) / math.sqrt(fan_in), bits)
        return self.constant(name, values)

    def norm(self, name: str, x: str, channels: int, deviation: float | np.ndarray,
             grid: int = 10, shift_grid: int = 5, center: float | np.ndarray = 0.0,
             nudge: float = 0.0) -> str:
        """Batch normalization of sums with about this center and deviation, to about 0 and 1.

        `center` and `deviation` are for all channels or one for each. The factor is a multiple of
        2^-grid, the mean an integer where the deviation allows it, the shift a multiple of
        2^-shift_grid. One channel in eight is turned around. `nudge` is added to all shifts: less
        than the grid of the scaled sums keeps results off zero, where signs are a convention.
        """
        rng = self.rng
        deviation = np.broadcast_to(np.asarray(deviation, np.float64), (channels,))
        factor = on_grid(rng.uniform(0.6, 1.4, channels) / deviation, grid)
        factor = np.maximum(factor, 2.0**-grid) * np.where(rng.random(channels) < 0.125, -1, 1)
        root = 2.0 ** (np.rint(np.log2(deviation)) + rng.integers(-1, 2, channels))
        mean = center + 0.25 * deviation * rng.standard_normal(channels)
        mean = np.where(deviation > 4, np.rint(mean), on_grid(mean, shift_grid))
        shift = on_grid(rng.normal(0, 0.25, channels), shift_grid) + nudge
        parts = {"scale": factor * root, "shift": shift, "mean": mean,
                 "variance": root * root - EPSILON}
        inputs = [self.constant(f"{name}/{part}", values.astype(np.float32))
                  for part, values in parts.items()]
        return self.op("BatchNormalization", name, [x, *inputs], epsilon=EPSILON)

    def head(self, x: str, channels: int, classes: int) -> str:
        """Global average pooling and a float dense layer; returns the logits."""
        pooled = self.op("GlobalAveragePool", "head/pool", [x])
        flat = self.op("Flatten", "head/flatten", [pooled], axis=1)
        weights = self.float_weights("head/weights", (classes, channels), 8)
        bias = self.constant("head/bias", on_grid(self.rng.normal(0, 0.1, classes), 8))
        return self.op("Gemm", "logits", [flat, weights, bias], transB=1)
