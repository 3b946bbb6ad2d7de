"""Bi-Real Net (arXiv:1808.00278): a residual network with a shortcut around every 1-bit layer."""

from __future__ import annotations

from pathlib import Path

from netlib import Net

STAGES = (64, 128, 256, 512)  # channels; four binary layers each


def birealnet18(path: Path, seed: int) -> None:
    """Write the 18-layer form: 3 x 224 x 224 to 1,000 classes, 1.81 G products, 16 binary layers.

    A float 7 x 7 stem, then layers of sign, 3 x 3 binary convolution, batch normalization and the
    shortcut; where the size halves, the shortcut is average pooling and a float 1 x 1 convolution.
    """
    net = Net("birealnet18", seed, (3, 224, 224))
    weights = net.float_weights("stem/weights", (64, 3, 7, 7), 5)
    x = net.conv("stem/conv", net.input, weights, 7, 2, 3)
    x = net.norm("stem/norm", x, 64, 1.0, grid=2)
    x = net.pool("MaxPool", "stem/pool", x, 3, 2, 1)
    channels = STAGES[0]
    for stage, width in enumerate(STAGES, 1):
        for layer in range(1, 5):
            halves = stage > 1 and layer == 1
            x = _layer(net, f"stage{stage}/layer{layer}", x, channels, width, 2 if halves else 1)
            channels = width
    net.write(path, net.head(x, channels, 1000), (1000,))


def _layer(net: Net, name: str, x: str, channels: int, width: int, stride: int) -> str:
    signs = net.sign(f"{name}/sign", x)
    weights = net.bits(f"{name}/weights", (width, channels, 3, 3), scaled=True)
    y = net.conv(f"{name}/conv", signs, weights, 3, stride, 1)
    # The scales of the weights are 2^-6 to 2^-4.
    y = net.norm(f"{name}/norm", y, width, (9 * channels) ** 0.5 / 32, grid=6)
    if stride == 2:
        x = net.pool("AveragePool", f"{name}/shortcut/pool", x, 2, 2)
        weights = net.float_weights(f"{name}/shortcut/weights", (width, channels, 1, 1), 4)
        x = net.conv(f"{name}/shortcut/conv", x, weights, 1)
        x = net.norm(f"{name}/shortcut/norm", x, width, 1.5, grid=2, shift_grid=3)
    return net.op("Add", f"{name}/add", [y, x])
