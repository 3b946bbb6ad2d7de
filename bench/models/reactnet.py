"""ReActNet (arXiv:2003.03488): learned shifts around every sign and every nonlinearity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from netlib import Net, on_grid

WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # of the blocks


def reactnet(path: Path, seed: int) -> None:
    """Write form A: 3 x 224 x 224 to 1,000 classes, 13 blocks of 3 x 3 and 1 x 1 binary layers."""
    net = Net("reactnet", seed, (3, 224, 224))
    weights = net.float_weights("stem/weights", (32, 3, 3, 3), 3)
    x = net.conv("stem/conv", net.input, weights, 3, 2, 1)
    x = net.norm("stem/norm", x, 32, 1.0, grid=1)
    channels = 32
    for block, width in enumerate(WIDTHS, 1):
        stride = 2 if width != channels and block > 1 else 1
        x = _block(net, f"block{block}", x, channels, width, stride)
        channels = width
    net.write(path, net.head(x, channels, 1000), (1000,))


def _block(net: Net, name: str, x: str, channels: int, width: int, stride: int) -> str:
    """A 3 x 3 layer and a 1 x 1 layer; twice as many channels come from two 1 x 1 layers."""
    y = _binary(net, f"{name}/spatial", x, channels, 3, stride)
    if stride == 2:
        x = net.pool("AveragePool", f"{name}/shortcut/pool", x, 2, 2)
    x = net.op("Add", f"{name}/spatial/add", [y, x])
    x = _activation(net, f"{name}/spatial/activation", x, channels)
    shifted = net.channel_shift(f"{name}/pointwise/shift", x, channels)
    signs = net.sign(f"{name}/pointwise/sign", shifted)
    halves = []
    for half in range(1, width // channels + 1):
        at = f"{name}/pointwise{half}"
        y = net.conv(f"{at}/conv", signs, net.bits(f"{at}/weights", (channels, channels, 1, 1)), 1)
        y = net.norm(f"{at}/norm", y, channels, channels**0.5)
        halves.append(net.op("Add", f"{at}/add", [y, x]))
    x = halves[0] if len(halves) == 1 else net.op("Concat", f"{name}/concat", halves, axis=1)
    return _activation(net, f"{name}/pointwise/activation", x, width)


def _binary(net: Net, name: str, x: str, channels: int, kernel: int, stride: int) -> str:
    signs = net.sign(f"{name}/sign", net.channel_shift(f"{name}/shift", x, channels))
    weights = net.bits(f"{name}/weights", (channels, channels, kernel, kernel))
    y = net.conv(f"{name}/conv", signs, weights, kernel, stride, kernel // 2)
    return net.norm(f"{name}/norm", y, channels, kernel * channels**0.5)


def _activation(net: Net, name: str, x: str, channels: int) -> str:
    """RPReLU: shift, PReLU, shift."""
    x = net.channel_shift(f"{name}/before", x, channels)
    slope = on_grid(net.rng.uniform(0.125, 0.625, (channels, 1, 1)), 2)
    slopes = net.constant(f"{name}/slopes", slope.astype(np.float32))
    x = net.op("PRelu", f"{name}/prelu", [x, slopes])
    return net.channel_shift(f"{name}/after", x, channels)
