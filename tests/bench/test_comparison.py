"""Tests of what bench/compare.py makes of its measurements.

Run:  python3 -m unittest discover -s tests/bench       (standard library only)
"""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import history  # noqa: E402
from checkpoint import Checkpoint  # noqa: E402
from comparison import Item, Measured, Spread, row_microseconds, verdicts  # noqa: E402
from roofline_picture import kernel_points  # noqa: E402


def record(ratio: float, cpu: str = "here", date: str = "2026-01-01") -> dict:
    return {"date": date, "cpu": cpu, "isa": "avx2", "ratios": {"net / peer": ratio}}


def measured(network: str, rows: int, ours: list[float], **theirs: list[float]) -> Measured:
    peers = {(name, "binary"): values for name, values in theirs.items()}
    return Measured(Item(network, rows), ours, peers)


class RowMicroseconds(unittest.TestCase):
    def test_takes_the_copies_side_by_side_of_all_that_a_report_holds(self) -> None:
        results = [{"kind": "model", "threads": 1, "value": 9.0},
                   {"kind": "model", "threads": 2, "value": 5.0},
                   {"kind": "shared batch", "threads": 2, "value": 6.0}]
        self.assertEqual(row_microseconds(results, 2), 5.0)
        self.assertEqual(row_microseconds(results[:1], 1), 9.0)


class History(unittest.TestCase):
    def test_names_a_ratio_more_than_a_tenth_below_the_last(self) -> None:
        self.assertEqual(len(history.slow_downs([record(4.0)], record(3.5))), 1)
        self.assertEqual(history.slow_downs([record(4.0)], record(3.7)), [])

    def test_compares_with_the_last_record_only(self) -> None:
        self.assertEqual(history.slow_downs([record(9.0), record(4.0)], record(3.9)), [])

    def test_leaves_other_processors_alone(self) -> None:
        self.assertEqual(history.slow_downs([record(9.0, cpu="there")], record(1.0)), [])

    def test_a_new_item_is_not_worse(self) -> None:
        old = {**record(4.0), "ratios": {}}
        self.assertEqual(history.slow_downs([old], record(1.0)), [])


class Ratios(unittest.TestCase):
    def test_are_taken_within_a_round(self) -> None:
        result = measured("net", 1, [1.0, 2.0, 4.0], lce=[3.0, 6.0, 12.0])
        self.assertEqual(result.ratio(("lce", "binary")), Spread(3.0, 3.0, 3.0))

    def test_the_least_is_that_of_the_fastest_peer_asked_for(self) -> None:
        result = measured("net", 1, [1.0], lce=[3.0], openvino=[2.0])
        self.assertEqual(result.least(["lce", "openvino"]), 2.0)
        self.assertEqual(result.least(["lce"]), 3.0)
        self.assertIsNone(result.least(["onnxruntime"]))

    def test_quartiles(self) -> None:
        self.assertEqual(Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]), Spread(3.0, 2.0, 4.0))
        self.assertEqual(Spread.of([7.0]), Spread(7.0, 7.0, 7.0))


class Verdicts(unittest.TestCase):
    def test_say_which_bar_is_met(self) -> None:
        self.assertIn("- met: quicknet", verdicts([measured("quicknet", 1, [1.0], lce=[5.5])])[0])
        self.assertIn("NOT MET", verdicts([measured("quicknet", 1, [1.0], lce=[4.5])])[0])

    def test_say_nothing_without_the_peer(self) -> None:
        self.assertEqual(verdicts([measured("quicknet", 1, [1.0], openvino=[9.0])]), [])

    def test_count_images_of_a_batch(self) -> None:
        lines = verdicts([measured("birealnet18", 1, [4.0]), measured("birealnet18", 8, [16.0])])
        self.assertIn("images/s of batch 8 over batch 1: 2.00", lines[0])


class Checkpoints(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path, self.program = Path(folder.name) / "kept.json", Path(folder.name) / "program"
        self.program.write_bytes(b"one")
        self.result = measured("net", 1, [1.0, 2.0], lce=[3.0, 4.0])
        Checkpoint(self.path, self.program, 30, resume=False).add(self.result)

    def test_give_back_what_was_measured(self) -> None:
        kept = Checkpoint(self.path, self.program, 30, resume=True)
        self.assertEqual(kept.find(self.result.item), self.result)
        self.assertIsNone(kept.find(Item("other")))

    def test_forget_the_work_of_another_program_or_length(self) -> None:
        item = self.result.item
        self.assertIsNone(Checkpoint(self.path, self.program, 3, resume=True).find(item))
        self.program.write_bytes(b"two")
        self.assertIsNone(Checkpoint(self.path, self.program, 30, resume=True).find(item))

    def test_are_for_those_who_ask(self) -> None:
        self.assertIsNone(
            Checkpoint(self.path, self.program, 30, resume=False).find(self.result.item))


class Roofline(unittest.TestCase):
    def test_counts_products_for_each_byte_read(self) -> None:
        row = {"name": "k", "kind": "ternary x int8 dense", "shape": "4096x1024", "batch": 1,
               "unit": "GMAC/s", "value": 5.0}
        (point,) = kernel_points({"results": [row]})
        self.assertAlmostEqual(point.intensity, 4096 * 1024 / (4096 + 4096 * 1024 / 4))
        self.assertEqual((point.kind, point.rate), ("x int8", 5.0))

    def test_counts_a_convolution_once_for_each_tap(self) -> None:
        row = {"name": "k", "kind": "1 x 1 bit conv", "shape": "8x8x64 3x3", "batch": 2,
               "unit": "GMAC/s", "value": 5.0}
        (point,) = kernel_points({"results": [row]})
        read = (2 * 8 * 8 * 64 + 9 * 64 * 64) / 8
        self.assertAlmostEqual(point.intensity, 2 * 8 * 8 * 64 * 64 * 9 / read)

    def test_leaves_out_what_has_no_products(self) -> None:
        row = {"name": "k", "kind": "sign pack NHWC", "shape": "56x56x64", "batch": 1,
               "unit": "GB/s", "value": 5.0}
        self.assertEqual(kernel_points({"results": [row]}), [])


if __name__ == "__main__":
    unittest.main()
