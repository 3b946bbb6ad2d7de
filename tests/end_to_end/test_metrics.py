"""The exporter: valid for promtool, and its numbers are those of the requests that were sent."""
import re
import shutil
import subprocess

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import GOLDEN, SHIPPED, Server


def page(server) -> str:
    return server.metrics_text()


def value(text: str, name: str, **labels: str) -> float:
    """Sum over the series of `name` that carry these labels."""
    total = 0.0
    for line in text.splitlines():
        match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
        if match and match[1] == name:
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if all(found.get(k) == v for k, v in labels.items()):
                total += float(match[3])
    return total


def test_counts_are_exact():
    x = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")["x"]
    with Server(SHIPPED) as server, triton.InferenceServerClient(server.address) as client:
        before = page(server)
        for rows in (1, 2, 5):
            infer(client, "fmnist_tfc_w1a1", x[:rows])
        with pytest.raises(Exception):
            infer(client, "fmnist_tfc_w1a1", x[:1].reshape(1, 784))
        after = page(server)

        def rise(name, **labels):
            return value(after, name, model="fmnist_tfc_w1a1", **labels) - value(
                before, name, model="fmnist_tfc_w1a1", **labels)

        assert rise("bitmill_requests_total", code="OK") == 3
        assert rise("bitmill_requests_total", code="INVALID_ARGUMENT") == 1
        assert rise("bitmill_rows_total") == 8
        assert rise("bitmill_executions_total") == 3
        assert rise("bitmill_batch_rows_count") == 3
        assert rise("bitmill_batch_rows_sum") == 8
        assert rise("bitmill_request_duration_seconds_count") >= 3
        for stage in ("decode", "queue", "assemble", "schedule", "compute", "split", "encode"):
            assert rise("bitmill_stage_duration_seconds_count", stage=stage) == 3, stage
        assert value(after, "bitmill_in_flight", model="fmnist_tfc_w1a1") == 0
        assert value(after, "bitmill_model_weight_bytes", model="fmnist_tfc_w1a1") > 1000
        assert value(after, "bitmill_process_resident_memory_bytes") > 1e6
        assert 'bitmill_build_info{' in after and 'bitmill_host_info{' in after


def test_the_machine_is_measured_on_request():
    with Server(SHIPPED, ["--measure-machine"]) as server:
        text = page(server)
    assert value(text, "bitmill_machine_macs_per_second", products="fp32") > 1e8
    bits = value(text, "bitmill_machine_macs_per_second", products="bit")
    assert bits > value(text, "bitmill_machine_macs_per_second", products="fp32")
    assert value(text, "bitmill_machine_read_bytes_per_second", level="l1") > 1e8


def test_names_in_requests_never_become_labels(shipped, client):
    def counters() -> int:
        """Series that count requests; others come and go with what the server finds out."""
        return len(re.findall(r"^bitmill_(?:rejected_)?requests_total\{", page(shipped), re.M))

    before = counters()
    for k in range(50):
        with pytest.raises(Exception):
            client.get_model_metadata(f"no_such_model_{k}")
        tensor = triton.InferInput("x", [1], "FP32")
        tensor.set_data_from_numpy(np.zeros(1, np.float32))
        with pytest.raises(Exception):
            client.infer(f"no_such_model_{k}", [tensor])
    assert "no_such_model" not in page(shipped)
    assert counters() <= before + 1


def test_promtool_finds_nothing_to_complain_about(shipped):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], input=page(shipped), text=True,
                          capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
