"""Tests of how bench/diagnosis.py scores what became of its cases.

Run:  python3 -m unittest discover -s tests/bench       (standard library only)
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import diagnosis  # noqa: E402  (puts bench/diagnosis on the path)
import cases  # noqa: E402
import picture  # noqa: E402
import scoring  # noqa: E402
from scoring import Outcome  # noqa: E402


def says(*causes: str) -> dict:
    """A report whose findings are these, the first one the verdict."""
    return {"diagnosis": {"cause": causes[0].upper(),
                          "findings": [{"cause": c.upper()} for c in causes]}}


def outcome(cause: str, verdict: str, **changed: object) -> Outcome:
    fields = {"control_p99_ms": 1.0, "p99_ms": 10.0, "named_after": 2.0, "baseline": "overload",
              **changed}
    return Outcome(cause, "m", 0, int(changed.pop("seed", 1)), verdict,
                   **{k: v for k, v in fields.items() if k != "seed"})


class Verdicts(unittest.TestCase):
    def test_the_majority_of_the_last_three_counts(self) -> None:
        reports = [says("overload"), says("overload"), says("imbalance"), says("overload"),
                   says("imbalance")]
        self.assertEqual(scoring.verdict_of(reports), "imbalance")

    def test_of_equals_the_newest_counts(self) -> None:
        reports = [says("overload"), says("imbalance"), says("slow_client")]
        self.assertEqual(scoring.verdict_of(reports), "slow_client")

    def test_no_report_is_unknown_and_no_cause_is_healthy(self) -> None:
        self.assertEqual(scoring.verdict_of([]), "unknown")
        self.assertEqual(scoring.verdict_of([{"diagnosis": {}}]), "healthy")

    def test_the_first_report_that_names_it_counts(self) -> None:
        reports = [says("overload"), says("imbalance"), says("imbalance")]
        self.assertEqual(scoring.first_named("imbalance", [1.0, 2.0, 3.0], reports), 2.0)
        self.assertIsNone(scoring.first_named("slow_client", [1.0, 2.0, 3.0], reports))

    def test_the_usual_rule_compares_queue_and_compute(self) -> None:
        def report(queue: float, compute: float) -> dict:
            return {"stages": [{"stage": "queue", "mean_ms": queue},
                               {"stage": "compute", "mean_ms": compute}]}
        self.assertEqual(scoring.baseline_of(report(5, 1), 1.0, 9.0), "overload")
        self.assertEqual(scoring.baseline_of(report(1, 5), 1.0, 9.0), "compute_bound")
        self.assertEqual(scoring.baseline_of(report(5, 1), 1.0, 1.1), "healthy")


class Scores(unittest.TestCase):
    def test_counts_what_was_felt_and_not_skipped(self) -> None:
        outcomes = [outcome("overload", "overload"), outcome("imbalance", "overload"),
                    outcome("healthy", "healthy", p99_ms=1.0),
                    outcome("slow_client", "healthy", p99_ms=1.1),  # not felt
                    outcome("memory_pressure", "", skipped="not permitted")]
        summary = scoring.summarize(outcomes)
        self.assertEqual(summary["cases"], 3)
        self.assertAlmostEqual(summary["top1"], 2 / 3)
        self.assertEqual(summary["healthy_recall"], 1.0)
        self.assertEqual(summary["matrix"]["imbalance"], {"overload": 1})
        self.assertEqual(scoring.skipped_lines(outcomes),
                         ["skipped memory_pressure (1): not permitted"])

    def test_what_the_hypervisor_disturbed_does_not_count(self) -> None:
        outcomes = [outcome("overload", "overload", stolen=0.009),
                    outcome("overload", "noisy_neighbour", stolen=0.02),
                    outcome("overload+imbalance", "noisy_neighbour", stolen=0.02)]
        summary = scoring.summarize(outcomes)
        self.assertEqual((summary["cases"], summary["top1"], summary["pairs"]), (1, 1.0, 0))

    def test_macro_f1_is_the_mean_over_causes(self) -> None:
        # overload: precision 1/2, recall 1; imbalance: never named.
        counts = {"overload": {"overload": 1}, "imbalance": {"overload": 1}}
        self.assertAlmostEqual(scoring.macro_f1(counts), (2 / 3 + 0) / 2)

    def test_a_small_change_is_not_felt(self) -> None:
        self.assertFalse(outcome("overload", "", control_p99_ms=0.1, p99_ms=0.25).felt)
        self.assertFalse(outcome("overload", "", control_p99_ms=10.0, p99_ms=13.9).felt)
        self.assertTrue(outcome("overload", "", control_p99_ms=10.0, p99_ms=14.1).felt)
        self.assertTrue(outcome("healthy", "", control_p99_ms=10.0, p99_ms=9.0).felt)

    def test_pairs_want_both_in_the_top_two_and_are_no_part_of_top1(self) -> None:
        outcomes = [outcome("a+b", "b", findings=["b", "a"]), outcome("a+b", "a", findings=["a", "c"])]
        summary = scoring.summarize(outcomes)
        self.assertEqual(summary["pairs_in_top2"], 0.5)
        self.assertIsNone(summary["top1"])

    def test_the_second_of_two_is_felt_beside_the_first(self) -> None:
        self.assertFalse(outcome("a+b", "a", p99_ms=10.9, first_p99_ms=10.0).felt)
        self.assertFalse(outcome("a+b", "a", p99_ms=1.6, first_p99_ms=1.45).felt)
        self.assertTrue(outcome("a+b", "a", p99_ms=11.1, first_p99_ms=10.0).felt)
        self.assertFalse(outcome("a+b", "b", p99_ms=99.0, first_p99_ms=5.0, second_p99_ms=97.0).felt)
        unfelt = outcome("a+b", "a", p99_ms=10.1, first_p99_ms=10.0, findings=["a"])
        self.assertEqual(scoring.summarize([unfelt])["pairs"], 0)

    def test_apart_from_neighbours_the_next_finding_counts(self) -> None:
        polluted = outcome("overload", "noisy_neighbour", findings=["noisy_neighbour", "overload"])
        self.assertEqual(polluted.apart, "overload")
        self.assertEqual(outcome("healthy", "noisy_neighbour", findings=["noisy_neighbour"]).apart,
                         "healthy")
        self.assertEqual(outcome("overload", "imbalance", findings=["imbalance"]).apart, "imbalance")

    def test_what_was_never_named_is_not_within_five_seconds(self) -> None:
        outcomes = [outcome("overload", "overload", named_after=1.0),
                    outcome("overload", "unknown", named_after=None)]
        named = scoring.summarize(outcomes)["seconds_to_name"]
        self.assertEqual((named["median"], named["within_5_s"]), (1.0, 0.5))

    def test_the_baseline_is_scored_alike(self) -> None:
        outcomes = [outcome("overload", "overload"), outcome("imbalance", "imbalance")]
        self.assertEqual(scoring.summarize(outcomes, "baseline")["top1"], 0.5)

    def test_odd_seeds_are_scored(self) -> None:
        seen, unseen = scoring.halves([outcome("a", "a", seed=s) for s in range(5)])
        self.assertEqual([o.seed for o in seen], [0, 2, 4])
        self.assertEqual([o.seed for o in unseen], [1, 3])

    def test_names_the_bars_that_are_missed(self) -> None:
        good = [outcome("overload", "overload"), outcome("healthy", "healthy", named_after=None)]
        self.assertEqual(scoring.missed_bars(scoring.summarize(good)), [])
        bad = good + [outcome("healthy", "overload")]
        self.assertEqual([line.split()[0] for line in scoring.missed_bars(scoring.summarize(bad))],
                         ["top1", "macro_f1", "healthy_recall"])


class Shown(unittest.TestCase):
    def test_the_matrix_has_a_row_a_cause(self) -> None:
        table = scoring.matrix_table({"healthy": {"healthy": 2}, "overload": {"unknown": 1}})
        self.assertEqual(table.splitlines()[2:], ["| healthy | 2 |  |", "| overload |  | 1 |"])

    def test_the_picture_is_xml_with_the_counts(self) -> None:
        text = picture.svg({"healthy": {"healthy": 2}, "overload": {"unknown": 31}}, "a < b")
        words = [element.text for element in ElementTree.fromstring(text).iter()]
        self.assertIn("31", words)
        self.assertIn("a < b", words)


class Plans(unittest.TestCase):
    def test_every_cause_is_on_each_seed(self) -> None:
        planned = diagnosis.plan(set(), range(2), quick=True)
        for seed in (0, 1):
            self.assertEqual({c.cause for c in planned if c.seed == seed},
                             set(cases.INJECTIONS) | set(cases.PAIRS))
        self.assertEqual({c.intensity for c in planned}, {1})

    def test_only_what_was_asked_for(self) -> None:
        planned = diagnosis.plan({"overload"}, range(1), quick=False)
        self.assertEqual(len(planned), cases.INTENSITIES * len(cases.MODELS))

    def test_the_identity_model_is_the_one_in_the_repository(self) -> None:
        folder = cases.ROOT / "bench" / "models" / "identity_fp32_1024" / "1"
        stored = (folder / "model.onnx").read_bytes()
        made = cases.identity_model(1024)
        for part in (b"INPUT0", b"OUTPUT0", b"Identity", b"\x08\x80\x08"):
            self.assertIn(part, stored)
            self.assertIn(part, made)


if __name__ == "__main__":
    unittest.main()
