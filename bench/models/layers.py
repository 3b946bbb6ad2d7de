"""Networks of one layer, to time a layer with all that surrounds it in a runtime."""

from __future__ import annotations

from pathlib import Path

from netlib import Net


def binary_conv_56x56x64(path: Path, seed: int) -> None:
    """Write sign and a 3 x 3 binary convolution of 64 channels, floats in and out."""
    net = Net("binary_conv_56x56x64", seed, (64, 56, 56))
    signs = net.sign("sign", net.input)
    output = net.conv("sums", signs, net.bits("weights", (64, 64, 3, 3)), 3, 1, 1)
    net.write(path, output, (64, 56, 56))


def ternary_dense_1024(path: Path, seed: int) -> None:
    """Write a product of 8-bit activations and 1024 x 1024 ternary weights, floats in and out."""
    _ternary_dense(path, seed, 1024)


def ternary_dense_4096(path: Path, seed: int) -> None:
    """Write the same with 4096 x 4096 weights: 4 MiB in 2 bits each."""
    _ternary_dense(path, seed, 4096)


def _ternary_dense(path: Path, seed: int, width: int) -> None:
    net = Net(f"ternary_dense_{width}", seed, (width,))
    codes = net.integers("quantizer", net.input, 8, 2.0**-5)
    output = net.op("MatMul", "sums", [codes, net.trits("weights", (width, width), 2.0**-5)])
    net.write(path, output, (width,))
