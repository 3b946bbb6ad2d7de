"""A mixer of multilayer perceptrons (arXiv:2105.01601, arXiv:2105.03404) for low-bit integers.

Ternary weights, 8-bit activations; a scale and shift for each channel in place of the layer
normalization, as ResMLP has it, and ReLU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from netlib import Net, on_grid

PATCH = 16
TOKENS = (224 // PATCH) ** 2
CHANNELS = 256
TOKENS_HIDDEN = 256
CHANNELS_HIDDEN = 1024
BLOCKS = 8
ACTIVATION_SCALE = 2.0**-5


def ternary_mixer(path: Path, seed: int) -> None:
    """Write 8 blocks of 196 tokens and 256 channels: 3 x 224 x 224 to 1,000 classes."""
    net = Net("ternary_mixer", seed, (3, 224, 224))
    weights = net.float_weights("stem/weights", (CHANNELS, 3, PATCH, PATCH), 6)
    x = net.conv("stem/conv", net.input, weights, PATCH, PATCH)
    x = net.op("Reshape", "stem/tokens",
               [x, net.constant("tokens", np.array([0, CHANNELS, TOKENS], np.int64))])
    x = net.op("Transpose", "stem/transposed", [x], perm=[0, 2, 1])
    for block in range(1, BLOCKS + 1):
        name = f"block{block}"
        # Channels hold still while tokens mix, and the other way round.
        y = net.op("Transpose", f"{name}/tokens/in", [_affine(net, f"{name}/tokens/affine", x)],
                   perm=[0, 2, 1])
        y = _perceptron(net, f"{name}/tokens", y, TOKENS, TOKENS_HIDDEN)
        y = net.op("Transpose", f"{name}/tokens/out", [y], perm=[0, 2, 1])
        x = net.op("Add", f"{name}/tokens/add", [x, y])
        y = _affine(net, f"{name}/channels/affine", x)
        y = _perceptron(net, f"{name}/channels", y, CHANNELS, CHANNELS_HIDDEN)
        x = net.op("Add", f"{name}/channels/add", [x, y])
    x = net.op("ReduceMean", "head/pool", [x], axes=[1], keepdims=0)
    weights = net.float_weights("head/weights", (1000, CHANNELS), 8)
    bias = net.constant("head/bias", on_grid(net.rng.normal(0, 0.1, 1000), 8))
    net.write(path, net.op("Gemm", "logits", [x, weights, bias], transB=1), (1000,))


def _affine(net: Net, name: str, x: str) -> str:
    scale = net.constant(f"{name}/scale", on_grid(net.rng.uniform(0.5, 1.0, CHANNELS), 3))
    shift = net.constant(f"{name}/shift", on_grid(net.rng.normal(0, 0.25, CHANNELS), 4))
    return net.op("Add", name, [net.op("Mul", f"{name}/scaled", [x, scale]), shift])


def _perceptron(net: Net, name: str, x: str, width: int, hidden: int) -> str:
    """Two dense layers over the last axis, of ternary weights and 8-bit activations."""
    for layer, (inputs, outputs) in enumerate(((width, hidden), (hidden, width)), 1):
        at = f"{name}/dense{layer}"
        x = net.integers(f"{at}/quantizer", x, 8, ACTIVATION_SCALE)
        # Sums of `inputs` products with a third of zeros come back to a deviation of about 1/2.
        scale = 2.0 ** np.round(np.log2(0.6 / (inputs * 2 / 3) ** 0.5))
        weights = net.trits(f"{at}/weights", (inputs, outputs), scale)
        x = net.op("MatMul", f"{at}/product", [x, weights])
        if layer == 1:
            x = net.op("Relu", f"{at}/relu", [x])
    return x
