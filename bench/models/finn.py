"""The networks of FINN (arXiv:1612.07119), 1-bit throughout, weight quantizers in the graph."""

from __future__ import annotations

from pathlib import Path

from netlib import Net


def cnv_w1a1(path: Path, seed: int) -> None:
    """Write CNV: 3 x 32 x 32 to 10 classes, 6 convolutions without borders, 3 dense layers."""
    net = Net("cnv_w1a1", seed, (3, 32, 32))
    x = net.integers("input", net.input, 8, 2.0**-7)
    channels = 3
    for index, width in enumerate((64, 64, 128, 128, 256, 256), 1):
        name = f"conv{index}"
        weights = net.bit_quantizer(f"{name}/weights", (width, channels, 3, 3))
        x = net.conv(name, x, weights, 3)
        deviation = (9 * channels) ** 0.5 * (0.6 if index == 1 else 1.0)
        # Sums are integers, those of the first layer multiples of 2^-7.
        nudge = 2.0**-15 if index == 1 else 2.0**-8
        x = net.norm(f"{name}/norm", x, width, deviation, grid=7, nudge=nudge)
        x = net.sign(f"{name}/sign", x)
        if index in (2, 4):
            x = net.pool("MaxPool", f"{name}/pool", x, 2, 2)
        channels = width
    x = net.op("Flatten", "flatten", [x], axis=1)
    net.write(path, _dense_layers(net, x, (256, 512, 512, 10)), (10,))


def lfc_w1a1(path: Path, seed: int) -> None:
    """Write LFC: 784 pixels to 10 classes, three hidden layers of 1,024."""
    net = Net("lfc_w1a1", seed, (1, 28, 28))
    x = net.sign("input", net.op("Flatten", "flatten", [net.input], axis=1))
    net.write(path, _dense_layers(net, x, (784, 1024, 1024, 1024, 10)), (10,))


def _dense_layers(net: Net, x: str, widths: tuple[int, ...]) -> str:
    last = len(widths) - 1
    for index in range(1, last + 1):
        name = "logits" if index == last else f"dense{index}"
        inputs, outputs = widths[index - 1], widths[index]
        weights = net.bit_quantizer(f"{name}/weights", (outputs, inputs))
        turned = net.op("Transpose", f"{name}/weights/transposed", [weights], perm=[1, 0])
        x = net.op("MatMul", f"{name}/product", [x, turned])
        x = net.norm(name if index == last else f"{name}/norm", x, outputs, inputs**0.5,
                     nudge=2.0**-11)
        if index < last:
            x = net.sign(f"{name}/sign", x)
    return x
