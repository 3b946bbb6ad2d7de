"""A real Prometheus scrapes a server under load: in OpenMetrics, and with native histograms."""
from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from server import GOLDEN, SHIPPED, Server, add_model

MODEL = "fmnist_tfc_w1a1"
OBJECTIVE_MS = 0.1
SERIES = f'bitmill_request_duration_seconds{{model="{MODEL}"}}'
DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/overview.json"
BUCKETS = f'bitmill_request_duration_seconds_bucket{{model="{MODEL}"}}'
STAGES = ["assemble", "compute", "decode", "encode", "queue", "schedule", "split"]


class Prometheus:
    """Scrapes `target` every second, with these features; `ask` is its HTTP API."""

    def __init__(self, target: str, folder: Path, features: str) -> None:
        config = folder / "prometheus.yml"
        config.write_text("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
                          "scrape_configs:\n"
                          "  - job_name: bitmill\n"
                          f"    static_configs: [{{targets: ['{target}']}}]\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.log_path = folder / "prometheus.log"
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address={self.address}", f"--enable-feature={features}"],
            stdout=self.log, stderr=self.log, env={**os.environ, "GOMAXPROCS": "1"})

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
        print(f"--- Prometheus' log:\n{self.log_path.read_text()[-10000:]}")

    def ask(self, path: str, **parameters: object):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.load(urllib.request.urlopen(url, timeout=5))["data"]

    def value(self, query: str, **when: float) -> float | None:
        """Of the only series that the query has, now or at a `time`; None where there is none."""
        result = self.ask("query", query=query, **when)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def wait(self, seconds: float, condition):
        """The first true value of condition(); fails after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log_path.read_text()
            try:
                if value := condition():
                    return value
            except OSError:
                pass  # does not listen yet
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s; {self.log_path.read_text()[-3000:]}")


def panel_query(title: str, interval: str) -> str:
    """What the dashboard's panel asks, for all models and servers; `interval` is shown as well."""
    board = json.loads(DASHBOARD.read_text())
    (panel,) = (panel for panel in board["panels"] if panel["title"] == title)
    (target,) = panel["targets"]
    text = re.sub(r"\$__(rate_interval|range)", interval, target["expr"])
    return re.sub(r"\$(model|instance)", ".*", text)


def trace_id(k: int) -> str:
    return f"{k + 1:032x}"


def send(client, seconds: float, first: int) -> list[float]:
    """Requests one after the other, each of a trace of its own; returns their times in seconds."""
    x = np.load(GOLDEN / f"{MODEL}.npz")["x"][:1]
    meta = client.get_model_metadata(MODEL)
    tensor = triton.InferInput(meta.inputs[0].name, list(x.shape), meta.inputs[0].datatype)
    tensor.set_data_from_numpy(x)
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        header = f"00-{trace_id(first + len(times))}-00f067aa0ba902b7-01"
        start = time.monotonic()
        client.infer(MODEL, [tensor], headers={"traceparent": header})
        times.append(time.monotonic() - start)
    return times


def check_stages(judge: Prometheus, native: bool, requests: int) -> None:
    """Stages are as fine as the whole, and the dashboard finds them in either kind of histogram."""
    stage = "bitmill_stage_duration_seconds"
    selected = f'{{model="{MODEL}"}}'
    sums = f"histogram_sum({stage}{selected})" if native else f"{stage}_sum{selected}"
    counts = f"histogram_count({stage}{selected})" if native else f"{stage}_count{selected}"
    whole = f"histogram_sum({SERIES})" if native else \
        f'bitmill_request_duration_seconds_sum{{model="{MODEL}"}}'
    assert [float(r["value"][1]) for r in judge.ask("query", query=counts)["result"]] == [requests] * 7
    assert 0.9 < judge.value(f"sum({sums}) / on () sum({whole})") < 1.01
    means, p99s = ({r["metric"]["stage"]: float(r["value"][1])
                    for r in judge.ask("query", query=panel_query(title, "30s"))["result"]}
                   for title in ("Where the time goes", "p99 of each stage"))
    assert sorted(means) == sorted(p99s) == STAGES
    # What is computed where it is received waits for no worker: 0 in some stages, or in all but a few requests of them, and then the
    # p99 is 0 whatever these few waited.
    often = [name for name in STAGES if p99s[name] > 1e-6]
    assert {"decode", "assemble", "compute", "encode"} <= set(often)
    assert all(0 <= means[name] < 5 * p99s[name] + 1e-6 for name in often), (means, p99s)
    assert all(0 <= means[name] < 0.01 for name in STAGES), means
    assert means["compute"] > 0
    if native:  # and only that
        assert judge.ask("query", query=f"{stage}_bucket{selected}")["result"] == []
        fraction = f'histogram_fraction(0, 1, rate({stage}{{model="{MODEL}", stage="compute"}}[30s]))'
        assert judge.value(fraction) == pytest.approx(1)


def check_budget(judge: Prometheus, native: bool, requests: int) -> None:
    """Each answer is within the objective or late, and the dashboard says how many are."""
    counted = {r["metric"]["result"]: float(r["value"][1]) for r in judge.ask(
        "query", query=f'bitmill_objective_answers_total{{model="{MODEL}"}}')["result"]}
    assert sorted(counted) == ["late", "within"] and sum(counted.values()) == requests
    if not native:  # the objective is a bound of a classic bucket
        quick = BUCKETS.replace("}", f',le="{OBJECTIVE_MS / 1e3}"}}')
        assert judge.value(quick) == counted["within"]
    now = time.time()
    late = judge.value(panel_query("Late answers", "30s"), time=now)
    assert 0 <= late <= 1 and (late > 0) == (counted["late"] > 0)
    left = judge.value(panel_query("Latency budget left", "30s"), time=now)
    assert left == pytest.approx(1 - 100 * late)


@pytest.mark.parametrize("native", [False, True], ids=["openmetrics", "native"])
def test_prometheus_reads_quantiles_and_traces(tmp_path, native):
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    features = "exemplar-storage" + (",native-histograms" if native else "")
    rate = f"rate({SERIES if native else BUCKETS}[30s])"
    repository = tmp_path / "models"
    add_model(repository, MODEL, SHIPPED / MODEL / "1/model.onnx")
    (repository / MODEL / "config.pbtxt").write_text(f"slo {{ p99_ms: {OBJECTIVE_MS} }}\n")
    with Server(repository, ["--metrics-compat", "triton"]) as server, \
            Prometheus(urllib.parse.urlparse(server.metrics).netloc, tmp_path, features) as judge, \
            triton.InferenceServerClient(server.address) as client:
        judge.wait(30, lambda: judge.value('up{job="bitmill"}'))
        started = time.time()
        times = send(client, 4, 0)

        count = f"histogram_count({SERIES})" if native else \
            f'bitmill_request_duration_seconds_count{{model="{MODEL}"}}'
        judge.wait(15, lambda: judge.value(count) == len(times))
        total = f"histogram_sum({SERIES})" if native else \
            f'bitmill_request_duration_seconds_sum{{model="{MODEL}"}}'
        assert 0 < judge.value(total) < sum(times)

        # What the server measures is a part of what the client does.
        for quantile in (0.5, 0.99):
            measured = judge.value(f"histogram_quantile({quantile}, {rate})")
            assert 10e-6 < measured < 1.5 * np.quantile(times, quantile) + 1e-4, quantile
        if native:  # finer than any classic bucket, and only that
            assert judge.value(f"histogram_quantile(0, {rate})") > 1e-6
            assert judge.ask("query", query=BUCKETS)["result"] == []
        check_stages(judge, native, len(times))
        check_budget(judge, native, len(times))
        # A heatmap is made of cumulative buckets, whichever kind there is.
        cells = judge.ask("query", query=panel_query("Latency distribution", "30s"))["result"]
        counts = {float(cell["metric"]["le"]): float(cell["value"][1]) for cell in cells}
        ordered = [counts[le] for le in sorted(counts)]
        assert len(cells) == len(counts) > 10 and ordered == sorted(ordered)
        assert counts[float("inf")] > 0.99 * counts[5] > 0
        # Whole bounds have a fraction in both formats; requests of one row, one after the other.
        one_row = f'bitmill_batch_rows_bucket{{model="{MODEL}",le="1.0"}}'
        assert judge.value(one_row) == len(times)
        assert judge.value(f'nv_inference_request_success{{model="{MODEL}"}}') == len(times)

        found = judge.wait(15, lambda: judge.ask(
            "query_exemplars", query=SERIES if native else BUCKETS, start=started - 60,
            end=time.time() + 60))
        exemplars = [e for series in found for e in series["exemplars"]]
        sent = {trace_id(k) for k in range(len(times))}
        assert exemplars and all(e["labels"]["trace_id"] in sent for e in exemplars)
        assert all(0 < float(e["value"]) < max(times) for e in exemplars)

        target = judge.ask("targets")["activeTargets"][0]
        assert target["health"] == "up" and target["lastError"] == ""
