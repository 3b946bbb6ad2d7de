"""Tests of what bench/gpu/report.py makes of the benchmark's output; it needs no GPU."""
from __future__ import annotations

import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/gpu"))

import report  # noqa: E402

RESULTS = {"card": "A Card", "compute_capability": 90, "driver": 13000, "copy_gb_s": 3000.0, "bit_tmac_s": 1000.0,
           "byte_tmac_s": 125.0, "layers": [{"layer": "dense", "rows": 32, "kernel": "bm_tile_bits_32", "us": 12.5,
                                             "tmac_s": 42.0, "product_share": 0.042, "gb_s": 10.0}]}


class Report(unittest.TestCase):
    def test_results_are_found_behind_other_lines(self) -> None:
        text = "[ RUN ] x\n" + json.dumps(RESULTS) + "\n[ OK ] x\n"
        self.assertEqual(report.read_results(text), RESULTS)

    def test_output_that_ended_early_has_none(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.txt"
            output.write_text("no CUDA device\n")
            self.assertEqual(report.main([str(output), "--json", f"{folder}/j", "--markdown", f"{folder}/m"]), 1)

    def test_the_page_names_the_card_and_its_limits(self) -> None:
        page = report.markdown({**RESULTS, "peers": [{"by": "torch", "type": "int8", "rows": 32, "size": 4096, "us": 9.0, "tmac_s": 60.0}]})
        self.assertIn("A Card (compute capability 9.0", page)
        self.assertIn("products of bits 1000.0 TMAC/s", page)
        self.assertIn("| dense | 32 | `bm_tile_bits_32` | 12.5 | 42.00 | 4 % |", page)
        self.assertIn("| int8 product, 4096 | 32 | torch | 9.0 | 60.00 | |", page)

    def test_peers_are_those_that_are_installed(self) -> None:
        """With made-up modules: a product takes 2 ms by the events of the device."""
        torch, bitblas = mock.MagicMock(), mock.MagicMock()
        torch.cuda.Event.return_value.elapsed_time.return_value = 2.0
        with mock.patch.dict(sys.modules, {"torch": torch, "bitblas": bitblas}):
            peers = report.peer_products(size=1000, rows=(32,))
        self.assertEqual([(peer["by"], peer["type"]) for peer in peers],
                         [("torch", "int8"), ("torch", "fp16"), ("bitblas", "int2 x int8")])
        for peer in peers:
            self.assertAlmostEqual(peer["us"], 2000.0)
            self.assertAlmostEqual(peer["tmac_s"], 32 * 1000 * 1000 / 2e-3 * 1e-12)
        bitblas.Matmul.side_effect = RuntimeError("no such card")
        with mock.patch.dict(sys.modules, {"torch": torch, "bitblas": bitblas}):
            self.assertEqual(len(report.peer_products(size=1000, rows=(32,))), 2)
        with mock.patch.dict(sys.modules, {"torch": torch, "bitblas": None}):
            self.assertEqual(len(report.peer_products(size=1000, rows=(32,))), 2)
        with mock.patch.dict(sys.modules, {"torch": None}):
            self.assertEqual(report.peer_products(), [])


if __name__ == "__main__":
    unittest.main()
