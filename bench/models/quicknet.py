"""QuickNet (arXiv:2011.09398): few float layers, binary layers with borders of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from netlib import Net

LAYERS_OF_A_SECTION = 4
# Strided "same" convolutions of even images, as TensorFlow places their zeros.
SAME_STRIDED = (0, 1)


def quicknet(path: Path, seed: int) -> None:
    """Write the middle form: 3 x 224 x 224 to 1,000 classes, 16 binary layers."""
    _write("quicknet", path, seed, (64, 128, 256, 512))


def quicknet_small(path: Path, seed: int) -> None:
    """Write the small form: fewer channels in the first two sections."""
    _write("quicknet_small", path, seed, (32, 64, 256, 512))


def _write(name: str, path: Path, seed: int, widths: tuple[int, ...]) -> None:
    net = Net(name, seed, (3, 224, 224))
    x = _stem(net, widths[0])
    channels = widths[0]
    for section, width in enumerate(widths, 1):
        if section > 1:
            x = _transition(net, f"section{section}/transition", x, channels, width)
            channels = width
        for layer in range(1, LAYERS_OF_A_SECTION + 1):
            x = _layer(net, f"section{section}/layer{layer}", x, channels)
    x = net.op("Relu", "head/relu", [x])
    net.write(path, net.head(x, channels, 1000), (1000,))


def _stem(net: Net, width: int) -> str:
    """Convolution, depthwise and pointwise convolution: 224 to 56."""
    narrow = width // 4
    x = net.conv("stem/conv", net.input, net.float_weights("stem/weights", (narrow, 3, 3, 3), 3), 3,
                 2, SAME_STRIDED)
    x = net.op("Relu", "stem/relu", [net.norm("stem/norm", x, narrow, 1.0, grid=1)])
    weights = net.float_weights("stem/depthwise/weights", (narrow, 1, 3, 3), 2)
    x = net.conv("stem/depthwise/conv", x, weights, 3, 2, SAME_STRIDED, group=narrow)
    x = net.norm("stem/depthwise/norm", x, narrow, 1.0, grid=1)
    x = net.conv("stem/pointwise/conv", x,
                 net.float_weights("stem/pointwise/weights", (width, narrow, 1, 1), 2), 1)
    return net.norm("stem/pointwise/norm", x, width, 1.0, grid=1)


def _layer(net: Net, name: str, x: str, channels: int) -> str:
    """Sign, a border of +1, binary convolution, ReLU, batch normalization, shortcut."""
    signs = net.sign(f"{name}/sign", x)
    border = net.constant("border", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    padded = net.op("Pad", f"{name}/pad", [signs, border, net.scalar(1)], mode="constant")
    y = net.conv(f"{name}/conv", padded, net.bits(f"{name}/weights", (channels, channels, 3, 3)), 3)
    y = net.op("Relu", f"{name}/relu", [y])
    # Of the positive half of a normal distribution: mean 0.4, deviation 0.58.
    deviation = (9 * channels) ** 0.5
    y = net.norm(f"{name}/norm", y, channels, 0.58 * deviation, center=0.4 * deviation)
    return net.op("Add", f"{name}/add", [y, x])


def _transition(net: Net, name: str, x: str, channels: int, width: int) -> str:
    """ReLU, a strided blur that halves the image, a pointwise convolution to more channels."""
    x = net.op("Relu", f"{name}/relu", [x])
    line = np.array([1, 2, 1], np.float32) / 4
    blur = np.broadcast_to(np.outer(line, line), (channels, 1, 3, 3))
    x = net.conv(f"{name}/blur", x, net.constant(f"{name}/blur/weights", blur), 3, 2, SAME_STRIDED,
                 group=channels)
    weights = net.float_weights(f"{name}/weights", (width, channels, 1, 1), 4)
    x = net.conv(f"{name}/conv", x, weights, 1)
    return net.norm(f"{name}/norm", x, width, 1.5, grid=1, shift_grid=4)
