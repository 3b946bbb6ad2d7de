"""Tests of the networks that bench/models writes; skipped without numpy and onnx."""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "models"))

try:
    import numpy as np
    import onnx
    from build import NETWORKS
    from netlib import QONNX, Net
    from plain import plain_model
except ImportError as error:
    raise unittest.SkipTest(str(error)) from error


class Networks(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_the_seed_decides_the_bytes(self) -> None:
        paths = [self.folder / name for name in ("a.onnx", "b.onnx", "c.onnx")]
        for path, seed in zip(paths, (1, 1, 2), strict=True):
            NETWORKS["binary_conv_56x56x64"](path, seed)
        first, same, other = (path.read_bytes() for path in paths)
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)

    def test_normalization_divides_by_a_power_of_two(self) -> None:
        net = Net("net", 1, (64, 4, 4))
        output = net.norm("norm", net.input, 64, 24.0)
        net.write(self.folder / "net.onnx", output, (64, 4, 4))
        model = onnx.load(self.folder / "net.onnx")
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        root = np.sqrt(constants["norm/variance"] + np.float32(2.0**-16))
        self.assertEqual(root.dtype, np.float32)
        self.assertTrue(np.all(np.log2(root) == np.rint(np.log2(root))))

    def test_the_plain_form_has_no_quantizers_and_1_bit_weights(self) -> None:
        path = self.folder / "lfc.onnx"
        NETWORKS["lfc_w1a1"](path, 1)
        model = plain_model(path)
        self.assertFalse([node for node in model.graph.node if node.domain == QONNX])
        products = [node for node in model.graph.node if node.op_type == "MatMul"]
        constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        self.assertEqual(len(products), 4)
        for node in products:
            self.assertTrue(np.all(np.abs(constants[node.input[1]]) == 1))


if __name__ == "__main__":
    unittest.main()
