"""BinaryDenseNet (arXiv:1906.08637): layers that add their channels to all that came before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from netlib import Net

GROWTH = 64  # channels a layer adds
LAYERS = (6, 6, 6, 5)  # of the blocks
REDUCTION = (2.7, 2.7, 2.2)  # of the channels after a block


class _Stream:
    """The growing tensor and what its channels are like, for the normalizations to come."""

    def __init__(self, x: str, channels: int, center: float, deviation: float):
        self.x = x
        self.center = np.full(channels, center)
        self.deviation = np.full(channels, deviation)

    @property
    def channels(self) -> int:
        return len(self.center)

    def norm(self, net: Net, name: str) -> str:
        return net.norm(name, self.x, self.channels, self.deviation, grid=8, center=self.center)

    def append(self, net: Net, name: str, y: str, deviation: float) -> None:
        self.x = net.op("Concat", name, [self.x, y], axis=1)
        self.center = np.append(self.center, np.zeros(GROWTH))
        self.deviation = np.append(self.deviation, np.full(GROWTH, deviation))


def binarydensenet28(path: Path, seed: int) -> None:
    """Write the 28-layer form: 3 x 224 x 224 to 1,000 classes, 23 binary layers."""
    net = Net("binarydensenet28", seed, (3, 224, 224))
    weights = net.float_weights("stem/weights", (64, 3, 7, 7), 5)
    x = net.conv("stem/conv", net.input, weights, 7, 2, 3)
    x = net.op("Relu", "stem/relu", [net.norm("stem/norm", x, 64, 1.0, grid=2)])
    stream = _Stream(net.pool("MaxPool", "stem/pool", x, 3, 2, 1), 64, 1.0, 0.8)
    for block, layers in enumerate(LAYERS, 1):
        for layer in range(1, layers + 1):
            name = f"block{block}/layer{layer}"
            signs = net.sign(f"{name}/sign", stream.norm(net, f"{name}/norm"))
            weights = net.bits(f"{name}/weights", (GROWTH, stream.channels, 3, 3))
            deviation = (9 * stream.channels) ** 0.5
            stream.append(net, f"{name}/concat", net.conv(f"{name}/conv", signs, weights, 3, 1, 1),
                          deviation)
        if block < len(LAYERS):
            stream = _transition(net, f"block{block}/transition", stream, REDUCTION[block - 1])
    x = net.op("Relu", "head/relu", [stream.norm(net, "head/norm")])
    net.write(path, net.head(x, stream.channels, 1000), (1000,))


def _transition(net: Net, name: str, stream: _Stream, reduction: float) -> _Stream:
    """Normalize, max pool, ReLU, a pointwise float convolution to fewer channels."""
    x = net.pool("MaxPool", f"{name}/pool", stream.norm(net, f"{name}/norm"), 2, 2)
    x = net.op("Relu", f"{name}/relu", [x])
    width = round(stream.channels // reduction / 32) * 32
    weights = net.float_weights(f"{name}/weights", (width, stream.channels, 1, 1), 5)
    return _Stream(net.conv(f"{name}/conv", x, weights, 1), width, 0.0, 1.2)
