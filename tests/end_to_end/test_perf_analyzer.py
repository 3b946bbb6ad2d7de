"""NVIDIA's perf_analyzer, unmodified, drives the server."""
import csv
import os
import subprocess

import pytest

from server import ROOT

FOLDER = ROOT / ".cache" / "perf_analyzer"
PROGRAM = FOLDER / "bin" / "perf_analyzer"


def measure(address: str, model: str, tmp_path, *arguments: str) -> list[dict[str, str]]:
    """Runs it until three windows of half a second agree roughly; returns the rows of its CSV file."""
    out = tmp_path / "result.csv"
    libraries = next(FOLDER.glob("nvidia/*/lib"))
    done = subprocess.run(
        [PROGRAM, "-m", model, "-u", address, "-i", "grpc", "-p", "500", "-r", "10", "-s", "900",
         "-f", out, *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(out) as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(not PROGRAM.exists(), reason="perf_analyzer is not installed")
@pytest.mark.parametrize("mode", ["--sync", "--async", "--streaming"])
def test_perf_analyzer_measures(shipped, tmp_path, mode):
    arguments = ["--async", "--streaming"] if mode == "--streaming" else [mode]
    rows = measure(shipped.address, "fmnist_tfc_w1a1", tmp_path, "--concurrency-range", "4", *arguments)
    assert len(rows) == 1 and rows[0]["Concurrency"] == "4"
    assert float(rows[0]["Inferences/Second"]) > 50


@pytest.mark.skipif(not PROGRAM.exists(), reason="perf_analyzer is not installed")
def test_perf_analyzer_reads_the_server_statistics(shipped, tmp_path):
    rows = measure(shipped.address, "fmnist_wide_w1a1", tmp_path, "--concurrency-range", "2", "-b", "8")
    assert float(rows[0]["Server Compute Infer"]) > 0
