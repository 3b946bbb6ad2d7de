"""`bench --report` on a shipped model, and `compare` of two reports; the page in a real browser.
BITMILL_SCREENSHOTS=FOLDER keeps pictures to look at."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from browser import CHROMIUM, DRIVER, Browser
from server import PROGRAM, SHIPPED

DIGITS = SHIPPED / "digits_w1a1"
TFC = SHIPPED / "fmnist_tfc_w1a1"


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> list[Path]:
    """Two reports of this machine: the second with all its instruction sets and on two threads, and with one model less."""
    folder = tmp_path_factory.mktemp("reports")
    first, second = folder / "first.json", folder / "second.json"
    done = run("bench", "--report", first, "--quick", "-b", "1,8", DIGITS, TFC)
    assert done.returncode == 0 and "report of 2 models" in done.stderr, done.stderr
    done = run("bench", "--report", second, "--quick", "--sweep", "--tune=0.05", "--threads", "2", "-b", "1", DIGITS)
    assert done.returncode == 0, done.stderr
    return [first, second]


def test_the_report_says_what_ran_where(reports):
    report = json.loads(reports[0].read_text())
    assert report["version"] == 1 and report["quick"] and report["backends"] == ["cpu"]
    machine = report["machine"]
    assert machine["cpu"] and machine["cores"] >= 1 and machine["memory_bytes"] > 0 and "Linux" in machine["kernel"]
    assert report["ceilings"][0]["isa"] == machine["isa_levels"][-1]
    assert all(rate > 0 for rate in report["ceilings"][0]["per_s"].values())
    assert [model["name"] for model in report["models"]] == ["digits_w1a1", "fmnist_tfc_w1a1"]
    for model in report["models"]:
        assert [r["batch"] for r in model["runs"]] == [1, 8]
        for one in model["runs"]:
            assert one["latency"]["p10_us"] <= one["latency"]["median_us"] <= one["latency"]["p90_us"]
            assert one["latency"]["repetitions"] >= 10
            assert one["rows_per_s"] == pytest.approx(one["batch"] * 1e6 / one["latency"]["median_us"], rel=1e-3)
            assert 0 < one["share"] < 1.2 and one["weight_bytes"] > 0
            assert sum(o["share"] for o in one["operations"]) == pytest.approx(1)
            assert {o["bound"] for o in one["operations"]} <= {"compute", "L1", "L2", "L3", "memory"}
            assert one["energy"]["source"] in ("rapl", "model") and one["energy"]["uncertainty"] >= 0


def test_the_sweep_has_every_setting(reports):
    report = json.loads(reports[1].read_text())
    runs = report["models"][0]["runs"]
    plain = [r for r in runs if r["precision"] == "exact" and not r["tune_seconds"] and r["clock"] == "cpu"]
    assert {r["isa"] for r in plain} == set(report["machine"]["isa_levels"])
    assert {r["precision"] for r in runs} == {"exact", "fast", "bf16"}
    assert {(r["mode"], r["threads"]) for r in runs if r["clock"] == "wall"} == {
        ("one thread", 1), ("side by side", 2), ("shared batch", 2)}
    assert any(r["tune_seconds"] for r in runs)
    best = report["machine"]["isa_levels"][-1]
    assert {(c["isa"], c["threads"]) for c in report["ceilings"]} == {
        *((isa, 1) for isa in report["machine"]["isa_levels"]), (best, 2)}


def test_compare_takes_the_intersection_and_says_so(reports):
    done = run("compare", *reports)
    assert done.returncode == 0, done.stderr
    assert "note: left out: fmnist_tfc_w1a1, not in second" in done.stdout
    assert "note: left out: batch 8, one thread, cpu time, exact, not in second (1 model)" in done.stdout
    assert "instruction set" in done.stdout and "measured with --quick" in done.stdout
    comparison = json.loads(run("compare", "--json", "-", "--sort", "speed", *reports).stdout)
    assert {case["model"] for case in comparison["cases"]} == {"digits_w1a1"}
    for case in comparison["cases"]:
        first, second = case["entries"]
        assert first["speed"] == 1
        assert second["speed"] == pytest.approx(second["rows_per_s"] / first["rows_per_s"])
    gains = {(g["label"], g["setting"]) for g in comparison["gains"]}
    assert {("first", "batch"), ("second", "instruction set"), ("second", "tuning"), ("second", "threads")} <= gains


def test_a_report_against_itself_is_1(reports):
    comparison = json.loads(run("compare", "--json", "-", reports[0], reports[0]).stdout)
    assert len(comparison["cases"]) == 4
    assert {entry["speed"] for case in comparison["cases"] for entry in case["entries"]} == {1}


def test_wrong_files_and_options_are_one_line(reports, tmp_path):
    cut = tmp_path / "cut.json"
    cut.write_text(reports[0].read_text()[:3000])
    done = run("compare", reports[0], cut)
    assert done.returncode != 0 and done.stderr.count("\n") == 1 and f"{cut}: line " in done.stderr
    newer = json.loads(reports[0].read_text())
    newer["version"] = 99
    cut.write_text(json.dumps(newer))
    done = run("compare", cut)
    assert done.returncode == 1 and "version 99" in done.stderr
    for wrong in (["--sweep"], ["--report", tmp_path / "x", "--suite", "kernels"], ["--report", tmp_path / "x", "--json", "-"]):
        done = run("bench", *wrong)
        assert done.returncode == 1 and "--report" in done.stderr


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver are not installed")
def test_the_page_draws_without_asking_anybody(reports, tmp_path):
    page = tmp_path / "comparison.html"
    assert run("compare", "--html", page, *reports).returncode == 0
    with Browser() as browser:
        for width, scheme in ((1400, "light"), (400, "dark")):
            browser.show(width, 1000, scheme)
            browser.open(page.as_uri())
            browser.wait("document.querySelectorAll('#cases svg rect').length >= 2")
            assert browser.run("return document.querySelectorAll('#settings svg rect').length") > 5
            assert browser.run("return document.querySelectorAll('#speed svg rect').length") == 2
            assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
            browser.run("const s = document.getElementById('measure'); s.value = '2'; s.dispatchEvent(new Event('change'))")
            assert "%" in browser.run("return document.querySelector('#model-0 svg').textContent")
            if folder := os.environ.get("BITMILL_SCREENSHOTS"):
                browser.screenshot(Path(folder) / f"comparison_{scheme}.png")
            assert browser.console() == []
            assert {a for a in browser.requests() if not a.startswith("data:")} <= {page.as_uri()}
