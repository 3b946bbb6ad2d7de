"""Models with `backend: auto`, live: batches leave a device that slows down, and what the server says of it.

The device is one made for tests (routed_server.cc), and what is the CPU there takes 2 ms longer, so that batches go to the device
as long as it does well."""
from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import GOLDEN, PROGRAM, SHIPPED, Server, add_model

ROUTED = Path(PROGRAM).parent / "tests/end_to_end/bitmill_routed_server"
MODEL = "fmnist_wide_w1a1"
CPU_MS, SLOW_MS = 2.0, 40.0
CLIENTS = 3

if not ROUTED.exists():
    pytest.skip(f"{ROUTED} is not built", allow_module_level=True)


def batches(server: Server) -> dict[str, int]:
    """Batches that each backend was sent so far."""
    found = re.findall(r'^bitmill_routed_batches_total\{model="m",version="1",backend="(\w+)",reason="\w+"\} (\S+)$', server.metrics_text(), re.M)
    return {backend: int(sum(float(value) for other, value in found if other == backend)) for backend, _ in found}


def sent(before: dict[str, int], after: dict[str, int]) -> tuple[int, int]:
    """(to the CPU, to the device) between two looks."""
    return after["cpu"] - before["cpu"], after["device"] - before["device"]


def routing_of(server: Server) -> dict:
    (model,) = server.report()["models"]
    return model["routing"]


class Load:
    """Clients that ask for one row after the other; what they were answered."""

    def __init__(self, server: Server) -> None:
        golden = np.load(GOLDEN / f"{MODEL}.npz")
        self.address, self.x = server.address, golden["x"][:1].astype(np.float32)
        self.answers: set[bytes] = set()
        self.slowest, self.count, self.errors, self.stop = 0.0, 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]

    def run(self) -> None:
        with triton.InferenceServerClient(self.address) as client:
            while not self.stop.is_set():
                start = time.monotonic()
                try:
                    self.answers.add(infer(client, "m", self.x).tobytes())
                except Exception as error:  # noqa: BLE001: whatever it is, it is a failure
                    self.errors.append(str(error))
                self.count += 1
                self.slowest = max(self.slowest, time.monotonic() - start)

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_batches_leave_a_device_that_slows_down_within_two_seconds(tmp_path):
    slow = tmp_path / "slow"
    add_model(tmp_path / "models", "m", SHIPPED / MODEL / "1" / "model.onnx")
    # Of few rows, so that the 2 ms are most of what a batch takes whatever the build.
    (tmp_path / "models" / "m" / "config.pbtxt").write_text('name: "m"\nmax_batch_size: 2\n')
    command = [str(ROUTED), "--slow-file", str(slow), "--slow-ms", str(SLOW_MS), "--cpu-ms", str(CPU_MS)]
    with Server(tmp_path / "models", ["--plan-cache", "off"], command=command) as server, Load(server) as load:
        time.sleep(2.0)
        start = batches(server)
        time.sleep(2.0)
        fast = batches(server)
        slow.touch()
        time.sleep(2.0)
        learned = batches(server)
        time.sleep(4.5)  # the report's window of 5 s, which is up to a second old
        settled = batches(server)
        routing = routing_of(server)
        slow.unlink()
        time.sleep(8.0)  # a probe is to cost a hundredth of the time at most: 40 ms every 4 s
        back = batches(server)
        time.sleep(1.0)
        recovered = batches(server)
        metrics, said = server.metrics_text(), server.text()
    assert load.errors == [] and len(load.answers) == 1, "nothing fails, and the bits are the same whoever computes"
    on_cpu, on_device = sent(start, fast)
    assert on_device > 3 * on_cpu, "as long as the device does well, batches go there"
    # From here on each batch on the device takes 40 ms more, which the CPU never does: all would finish later there.
    on_cpu, on_device = sent(fast, learned)
    after_cpu, after_device = sent(learned, settled)
    share, after = on_cpu / (on_cpu + on_device), after_cpu / (after_cpu + after_device)
    print(f"of {on_cpu + on_device} batches in the 2 s after the device slowed down {share:.2%} went elsewhere, of {after_cpu + after_device} in the "
          f"4.5 s after that {after:.2%}; {load.count} requests, none failed, the slowest took {1e3 * load.slowest:.0f} ms")
    assert share >= 0.95 and after >= 0.95
    on_cpu, on_device = sent(back, recovered)
    print(f"a second, 8 s after it recovered: {on_device} batches on the device, {on_cpu} on the CPU")
    assert on_device > on_cpu, "it is probed and gets its batches back"

    cpu, device = routing["backends"]
    assert (cpu["backend"], device["backend"]) == ("cpu", "device")
    assert device["drift"] > 2 and cpu["recent_share"] >= 0.95
    assert cpu["recent_share"] + device["recent_share"] == pytest.approx(1)
    one = routing["sizes"][0]
    assert one["rows"] == "1" and one["goes_to"] == "cpu" and one["reason"] == "drift"
    assert one["measured_us"][1] < one["measured_us"][0] and one["predicted_us"][1] > one["predicted_us"][0]
    assert device["break_even_rows"] == "1"
    for metric in (r'route_predicted_seconds\{model="m",version="1",backend="device",rows="1"\}',
                   r'route_choice_info\{model="m",version="1",rows="1",backend="device",reason="\w+"\} 1'):
        assert re.search("^bitmill_" + metric, metrics, re.M), metric
    assert re.search(r"is routed: device is faster from 1 rows on", said)
