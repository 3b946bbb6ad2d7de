"""A server with less memory than its models: clients that know nothing of it see no difference."""
import shutil
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

GOLDEN_FILES = {name: np.load(GOLDEN / f"{name}.npz") for name in ("fmnist_tfc_w1a1", "fmnist_wide_w1a1", "fmnist_wide_ternary_w158a8")}
BOTH = ["--cpu-budget", "2"]  # two contexts each, whatever the machine


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(server.samples(name, **labels))


def held_bytes(folder, models: list[str]) -> dict[str, int]:
    """What each model holds when there is room for all."""
    with Server(folder, [*BOTH, "--memory-budget", "off"]) as server:
        return {model: int(metric(server, "bitmill_model_memory_bytes", model=model)) for model in models}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in GOLDEN_FILES:
        shutil.copytree(SHIPPED / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sizes(repository):
    return held_bytes(repository, list(GOLDEN_FILES))


def health(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def evicted(client) -> list[str]:
    index = client.get_model_repository_index()
    return [model.name for model in index.models if "evicted" in model.reason]


def test_models_take_turns_under_load_and_nothing_is_lost(repository, sizes):
    """Every client asks every model in its own order, with room for the largest two of three at most."""
    ordered = sorted(sizes.values())
    budget = ordered[-1] + ordered[-2]
    assert budget < sum(ordered)
    with Server(repository, [*BOTH, "--memory-budget", str(budget)]) as server:
        failures, answered, stop = [], {name: 0 for name in GOLDEN_FILES}, threading.Event()

        def ask(seed: int) -> None:
            random = np.random.default_rng(seed)
            with triton.InferenceServerClient(server.address) as client:
                tensors = {}
                for name, golden in GOLDEN_FILES.items():
                    meta = client.get_model_metadata(name)  # of an evicted model as of any other
                    tensors[name] = triton.InferInput(meta.inputs[0].name, [1, *golden["x"].shape[1:]], meta.inputs[0].datatype)
                    tensors[name].set_data_from_numpy(golden["x"][:1])
                outputs = {name: client.get_model_metadata(name).outputs[0].name for name in GOLDEN_FILES}
                first = {}
                while not stop.is_set():
                    name = list(GOLDEN_FILES)[random.integers(len(GOLDEN_FILES))]
                    try:
                        y = client.infer(name, [tensors[name]], client_timeout=20).as_numpy(outputs[name])
                    except InferenceServerException as error:
                        failures.append(f"{name}: {error}")
                        return
                    if not np.array_equal(y, first.setdefault(name, y)):
                        failures.append(f"{name}: another answer after {answered[name]}")
                        return
                    answered[name] += 1

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(5)
        assert metric(server, "bitmill_memory_held_bytes", device="host") <= budget
        assert metric(server, "bitmill_memory_budget_bytes", device="host") == budget
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert all(answered.values())
        assert metric(server, "bitmill_evictions_total") >= 2
        assert metric(server, "bitmill_reloads_total") >= 2
        assert metric(server, "bitmill_failed_reloads_total") == 0
        assert metric(server, "bitmill_reload_seconds_total") > 0
        assert metric(server, "bitmill_reload_waits_total") >= metric(server, "bitmill_reloads_total")
        # Little's law and the stages hold for requests that waited, too: nothing is counted twice or left in.
        assert metric(server, "bitmill_in_flight") == 0
        print({name: count for name, count in answered.items()}, metric(server, "bitmill_reloads_total"),
              metric(server, "bitmill_reload_seconds_total"))


def test_requests_that_come_together_share_one_reload(repository, sizes):
    name = "fmnist_wide_w1a1"
    with Server(repository, [*BOTH, "--memory-budget", str(max(sizes.values())), "--model-control-mode", "explicit",
                             "--load-model", name]) as server:
        with triton.InferenceServerClient(server.address) as client:
            client.load_model("fmnist_wide_ternary_w158a8")
            assert evicted(client) == [name]
            results, done = [], threading.Semaphore(0)

            def on_answer(result, error) -> None:
                results.append(error)
                done.release()

            x = GOLDEN_FILES[name]["x"][:1]
            meta = client.get_model_metadata(name)
            tensor = triton.InferInput(meta.inputs[0].name, list(x.shape), meta.inputs[0].datatype)
            tensor.set_data_from_numpy(x)
            for _ in range(50):
                client.async_infer(name, [tensor], on_answer)
            for _ in range(50):
                assert done.acquire(timeout=30)
            assert results == [None] * 50
            assert metric(server, "bitmill_reloads_total", model=name) == 1


def test_a_stream_waits_in_its_order(repository, sizes):
    names = ["fmnist_wide_w1a1", "fmnist_tfc_w1a1"]
    budget = max(sizes[name] for name in names) + min(sizes[name] for name in names) - 1
    with Server(repository, [*BOTH, "--memory-budget", str(budget), "--model-control-mode", "explicit", "--load-model", names[0],
                             "--load-model", names[1]]) as server:
        with triton.InferenceServerClient(server.address) as client:
            answers, done = [], threading.Semaphore(0)

            def on_answer(result, error) -> None:
                answers.append(error or result.get_response().id)
                done.release()

            client.start_stream(on_answer)
            for i in range(20):
                name = names[i % 2]
                meta = client.get_model_metadata(name)
                x = GOLDEN_FILES[name]["x"][:1]
                tensor = triton.InferInput(meta.inputs[0].name, list(x.shape), meta.inputs[0].datatype)
                tensor.set_data_from_numpy(x)
                client.async_stream_infer(name, [tensor], request_id=str(i))
            for _ in range(20):
                assert done.acquire(timeout=30)
            client.stop_stream()
            assert answers == [str(i) for i in range(20)]


def test_an_evicted_model_is_ready_for_whoever_asks(repository, sizes):
    first, second = "fmnist_tfc_w1a1", "fmnist_wide_ternary_w158a8"
    with Server(repository, [*BOTH, "--memory-budget", str(max(sizes.values())), "--model-control-mode", "explicit",
                             "--load-model", first]) as server:
        with triton.InferenceServerClient(server.address) as client:
            before = client.get_model_metadata(first), client.get_model_config(first)
            client.load_model(second)
            assert evicted(client) == [first]
            states = {model.name: model.state for model in client.get_model_repository_index().models if model.reason != "not loaded"}
            assert states[first] == states[second] == "READY"
            assert client.is_model_ready(first) and client.is_server_ready()
            assert health(server.address, first) == health_pb2.HealthCheckResponse.SERVING
            assert (client.get_model_metadata(first), client.get_model_config(first)) == before
            assert client.get_inference_statistics(first).model_stats[0].name == first
            assert metric(server, "bitmill_model_ready", model=first) == 1
            assert metric(server, "bitmill_model_evicted", model=first) == 1
            assert infer(client, first, GOLDEN_FILES[first]["x"][:2]).shape == (2, 10)
            assert evicted(client) == [second]
            client.unload_model(second)
            assert not client.is_model_ready(second)
        assert "model evicted name=" in server.text() and "model back in memory name=" in server.text()


def test_a_model_that_cannot_fit_says_what_is_missing(tmp_path, sizes):
    small, large = "fmnist_tfc_w1a1", "fmnist_wide_ternary_w158a8"
    shutil.copytree(SHIPPED / small, tmp_path / small)
    shutil.copytree(SHIPPED / large, tmp_path / large)
    (tmp_path / small / "config.pbtxt").write_text('parameters { key: "evict" value { string_value: "off" } }\n')
    budget = sizes[large] + sizes[small] - 1
    with Server(tmp_path, [*BOTH, "--memory-budget", f"{budget}B", "--model-control-mode", "explicit", "--load-model", small]) as server:
        with triton.InferenceServerClient(server.address) as client:
            with pytest.raises(InferenceServerException) as refused:
                client.load_model(large)
            assert "RESOURCE_EXHAUSTED" in str(refused.value.status())
            message = str(refused.value)
            assert f"model '{large}' version 1 needs" in message and f"({sizes[large]} bytes) of memory on host" in message
            assert "--memory-budget" in message
            assert f"'{small}' version 1 holds" in message and "is not evicted" in message
            assert infer(client, small, GOLDEN_FILES[small]["x"][:1]).shape == (1, 10)


def test_a_budget_that_is_none_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="memory budget 'plenty', expected auto, off"):
        with Server(tmp_path, ["--memory-budget", "plenty"]):
            pass
