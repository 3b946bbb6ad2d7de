"""Tests of what bench/warning.py makes of a simulation and of a server's reports.

Run:  python3 -m unittest discover -s tests/bench       (standard library only)
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import adaptation  # noqa: E402
import warning  # noqa: E402


def report(second: int, p99_ms: float, warnings: list[dict] | None = None) -> dict:
    return {"unix_millis": str(1000 * second), "warnings": warnings or [],
            "models": [{"name": "m", "latency": {"p99_ms": p99_ms}}]}


def raised(reason: str, second: int, model: str = "m") -> dict:
    return {"reason": reason, "model": model, "raised_unix_ms": str(1000 * second)}


def simulation(**changed: float) -> dict:
    row = {"signal": warning.OURS, "ramps": 12, "missed": 0, "median_lead_seconds": 30.0,
           "p10_lead_seconds": 25.0, "median_steady_lead_seconds": 28.0, "false_alarm_share": 0.002,
           "median_step_seconds": 1.2, "worst_step_seconds": 1.9, **changed}
    follow = {"median_follow_seconds": 1.0, "worst_follow_seconds": 4.0,
              "median_told_seconds": 3.0, "worst_told_seconds": None}
    point = {"instances": 1, "share_a": 0.5, "load": 0.88, "predicted_ms": 10.0,
             "simulated_ms": 9.0, "worst_error": -0.11}
    return {"signals": [row], "slower": follow, "quota": follow, "p99_prediction": [point]}


class Simulation(unittest.TestCase):
    def test_holds_when_every_bar_does(self) -> None:
        self.assertTrue(all(v.holds for v in warning.simulation_verdicts(simulation())))

    def test_names_the_bar_that_does_not_hold(self) -> None:
        for key, value in (("missed", 1), ("median_lead_seconds", 19.0),
                           ("false_alarm_share", 0.02), ("worst_step_seconds", 2.5),
                           ("worst_step_seconds", 1e9)):
            broken = [v for v in warning.simulation_verdicts(simulation(**{key: value}))
                      if not v.holds]
            self.assertEqual(len(broken), 1, key)

    def test_what_never_happened_is_no_pass(self) -> None:
        result = simulation()
        result["quota"] = {**result["quota"], "worst_follow_seconds": None}
        self.assertFalse(all(v.holds for v in warning.simulation_verdicts(result)))

    def test_prints_what_never_happened(self) -> None:
        self.assertIn("| 1.0, 4.0 | 3.0, never |", warning.follow_table(simulation()))
        self.assertIn("| Bitmill | 30.0 | 25.0 | 28.0 | 0/12 | 0.20 % | 1.2, 1.9 |",
                      warning.table(simulation()))
        self.assertIn("-11.0 %", warning.latency_table(simulation()["p99_prediction"]))


class Reports(unittest.TestCase):
    def test_three_steps_on_end_that_miss_are_saturation(self) -> None:
        steps = [{"seconds": 2.0, "latency_us": {"p99": 1e3 * p99}}
                 for p99 in (5, 12, 5, 12, 12, 12, 12)]
        self.assertEqual(warning.saturated_ms(warning.Watch(500, [], steps), 10.0), 6500)
        self.assertIsNone(warning.saturated_ms(warning.Watch(500, [], steps[:5]), 10.0))

    def test_an_alarm_is_false_where_the_objective_is_met(self) -> None:
        alarm = [raised("overloaded", 1)]
        steady = warning.Watch(0, [report(1, 5.0), report(2, 5.0), report(3, 9.0), report(4, 5.0, alarm),
                                   report(5, 20.0, alarm), report(6, 30.0, alarm)])
        self.assertEqual(warning.false_alarm_share(steady, "m", 10.0), 0.25)
        self.assertIsNone(warning.false_alarm_share(steady, "m", 1.0))

    def test_an_alarm_is_early_where_a_miss_follows_within_the_horizon(self) -> None:
        alarm = [raised("overloaded", 1)]
        steady = warning.Watch(0, [report(1, 5.0, alarm), report(9, 5.0, alarm), report(32, 20.0, alarm),
                                   report(33, 5.0, alarm)])
        self.assertEqual(warning.early_alarms(steady, "m", 10.0), (3, 1))

    def test_the_lead_is_from_the_first_alarm_to_saturation(self) -> None:
        steps = [{"seconds": 2.0, "latency_us": {"p99": 1e3 * p99}} for p99 in (5, 5, 12, 12, 12)]
        reports = [report(2, 1.0, [raised("saturation_ahead", 1)])]
        self.assertEqual(warning.lead_seconds(warning.Watch(0, reports, steps), "m", 10.0), 3.0)
        self.assertIsNone(warning.lead_seconds(warning.Watch(0, [], steps), "m", 10.0))

    def test_an_alarm_is_of_this_model_and_about_saturation(self) -> None:
        others = [raised("service_drift", 1), raised("overloaded", 2, model="n")]
        self.assertIsNone(warning.alarm_ms(report(9, 1.0, others), "m"))
        both = [raised("overloaded", 7), raised("saturation_ahead", 4), *others]
        self.assertEqual(warning.alarm_ms(report(9, 1.0, both), "m"), 4000)

    def test_the_first_alarm_of_a_load_counts(self) -> None:
        watch = warning.Watch(0, [report(1, 1.0), report(2, 1.0, [raised("overloaded", 2)])])
        self.assertEqual(warning.first_alarm_ms(watch, "m"), 2000)


class Repository(unittest.TestCase):
    def test_states_the_objective_only_when_there_is_one(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            warning.write_repository(folder, "digits_w1a1", 0)
            self.assertNotIn("slo", (folder / "digits_w1a1" / "config.pbtxt").read_text())
            warning.write_repository(folder, "digits_w1a1", 12.5)
            self.assertIn("slo { p99_ms: 12.500 }",
                          (folder / "digits_w1a1" / "config.pbtxt").read_text())
            self.assertTrue((folder / "digits_w1a1" / "1").exists())


class Live(unittest.TestCase):
    def test_says_what_to_build_first(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            for script in (adaptation, warning):
                told = io.StringIO()
                with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
                    self.assertEqual(script.main(["--live", "--build", name]), 1)
                self.assertIn(f"there is no {Path(name).resolve() / 'bitmill'}", told.getvalue())


if __name__ == "__main__":
    unittest.main()
