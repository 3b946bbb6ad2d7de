"""Loading, replacing, draining: what operators do while clients go on asking."""
import shutil
import signal
import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from conftest import infer
from server import GOLDEN, SHIPPED, Server, add_model

TFC = SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx"
DIGITS = SHIPPED / "digits_w1a1" / "1" / "model.onnx"
X = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")["x"]


def health(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def test_explicit_mode_loads_and_unloads(tmp_path):
    add_model(tmp_path, "tfc", TFC)
    with Server(tmp_path, ["--model-control-mode", "explicit"]) as server:
        with triton.InferenceServerClient(server.address) as client:
            assert not client.is_model_ready("tfc")
            client.load_model("tfc")
            assert client.is_model_ready("tfc")
            assert health(server.address, "tfc") == health_pb2.HealthCheckResponse.SERVING
            assert infer(client, "tfc", X[:2]).shape == (2, 10)
            client.unload_model("tfc")
            end = time.monotonic() + 10
            while client.is_model_ready("tfc"):
                assert time.monotonic() < end
            with pytest.raises(InferenceServerException):
                infer(client, "tfc", X[:1])


def test_a_new_version_replaces_the_old_one_without_a_failed_request(tmp_path):
    add_model(tmp_path, "m", TFC)
    with Server(tmp_path, ["--model-control-mode", "explicit", "--load-model", "m"]) as server:
        failures, served, stop = [], set(), threading.Event()

        def ask() -> None:
            with triton.InferenceServerClient(server.address) as client:
                tensor = triton.InferInput("pixels", [1, 1, 28, 28], "FP32")
                tensor.set_data_from_numpy(X[:1])
                while not stop.is_set():
                    try:
                        served.add(client.infer("m", [tensor]).get_response().model_version)
                    except InferenceServerException as error:
                        failures.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        with triton.InferenceServerClient(server.address) as client:
            for version in (2, 3, 4):
                add_model(tmp_path, "m", TFC, version)
                client.load_model("m")
            assert list(client.get_model_metadata("m").versions) == ["4"]
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert "4" in served


def test_poll_mode_finds_new_models_and_keeps_the_old_when_the_new_is_broken(tmp_path):
    add_model(tmp_path, "a", TFC)
    with Server(tmp_path, ["--model-control-mode", "poll", "--repository-poll-secs", "1"]) as server:
        with triton.InferenceServerClient(server.address) as client:
            staging = tmp_path.parent / (tmp_path.name + "-staging")
            add_model(staging, "b", DIGITS)
            shutil.move(staging / "b", tmp_path / "b")
            end = time.monotonic() + 20
            while not client.is_model_ready("b"):
                assert time.monotonic() < end, server.text()
                time.sleep(0.1)
            (tmp_path / "a" / "1" / "model.onnx").write_bytes(TFC.read_bytes()[:1000])
            time.sleep(4)
            assert infer(client, "a", X[:1]).shape == (1, 10)


def test_broken_models_are_refused_with_file_and_reason_and_others_serve(tmp_path):
    add_model(tmp_path, "good", TFC)
    broken = add_model(tmp_path, "broken", TFC)
    broken.write_bytes(TFC.read_bytes()[:5000])
    add_model(tmp_path, "badconfig", TFC)
    (tmp_path / "badconfig" / "config.pbtxt").write_text('name: "badconfig"\nmax_batch_size: "many"\n')
    with Server(tmp_path, ["--strict-readiness", "false"]) as server:
        with triton.InferenceServerClient(server.address) as client:
            assert infer(client, "good", X[:3]).shape == (3, 10)
            index = {m.name: m for m in client.get_model_repository_index().models}
            assert index["good"].state == "READY"
            assert "model.onnx" in index["broken"].reason
            assert "config.pbtxt" in index["badconfig"].reason and "2" in index["badconfig"].reason


def test_sigterm_drains_and_exits(tmp_path):
    add_model(tmp_path, "tfc", TFC)
    with Server(tmp_path) as server:
        results = []
        with triton.InferenceServerClient(server.address) as client:
            tensor = triton.InferInput("pixels", [len(X), 1, 28, 28], "FP32")
            tensor.set_data_from_numpy(X)
            for _ in range(50):
                client.async_infer("tfc", [tensor], lambda result, error: results.append(error))
            client.infer("tfc", [tensor])
            started = time.monotonic()
            assert server.stop(signal.SIGTERM) == 0
            assert time.monotonic() - started < 35
            end = time.monotonic() + 10
            while len(results) < 50 and time.monotonic() < end:
                time.sleep(0.02)
        unexpected = [e for e in results if e is not None and "UNAVAILABLE" not in str(e)]
        assert len(results) == 50 and not unexpected


def test_an_open_stream_does_not_keep_the_process_alive(tmp_path):
    add_model(tmp_path, "tfc", TFC)
    with Server(tmp_path, ["--grace-seconds", "3"]) as server:
        client = triton.InferenceServerClient(server.address)
        client.start_stream(lambda result, error: None)
        time.sleep(0.2)
        started = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        client.stop_stream(cancel_requests=True)
        client.close()


def test_health_follows_the_models(shipped):
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "inference.GRPCInferenceService", "liveness", "readiness", "digits_w1a1"):
        assert health(shipped.address, service) == serving, service
    with pytest.raises(grpc.RpcError) as error:
        health(shipped.address, "nobody")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
