"""`--backend cuda`: models on a CUDA device answer the CPU's bits; without one there is a line that says so.

The driver is the made-up one of tests/backends/cuda, which the program loads by the real one's name and which runs the kernels on
the host. Tests that compute need a program with kernels, built with nvcc; they are skipped without, and fail where
BITMILL_REQUIRE_CUDA is set.
"""
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import DATA, GOLDEN, PROGRAM, SHIPPED, Server, add_model

INTEGER_MODELS = ["digits_w1a1", "fmnist_tfc_w1a1", "fmnist_wide_w1a1", "fmnist_wide_ternary_w158a8"]
DRIVER = Path(PROGRAM).resolve().parent / "tests" / "backends" / "cuda" / "libcuda.so.1"
ON_CUDA = 'parameters { key: "backend" value { string_value: "cuda" } }\n'


def devices(*arguments: str) -> str:
    """What `bitmill devices` prints."""
    command = [PROGRAM, "devices", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def driver(monkeypatch) -> None:
    """The made-up driver, and no other one, for programs that are started."""
    if not DRIVER.exists():
        assert not os.environ.get("BITMILL_REQUIRE_CUDA"), f"no {DRIVER}"
        pytest.skip("the made-up driver was not built")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(DRIVER.parent))


@pytest.fixture
def device(driver) -> None:
    """The same, with kernels in the program."""
    if "this program has no CUDA kernels" in devices():
        assert not os.environ.get("BITMILL_REQUIRE_CUDA"), "the program was built without nvcc"
        pytest.skip("the program was built without nvcc")


@pytest.fixture
def no_driver(monkeypatch, tmp_path_factory) -> None:
    """A library that cannot be loaded stands where the driver is looked for."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "libcuda.so.1").write_text("no library\n")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


@pytest.fixture
def no_opencl(monkeypatch, tmp_path_factory) -> None:
    """OpenCL without a driver."""
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path_factory.mktemp("vendors")))


def test_without_a_driver_there_is_a_line_and_the_cpu(no_driver):
    printed = devices()
    assert re.search(r"^cpu .*ready", printed, re.M)
    assert re.search(r"^cuda: no CUDA driver: \S*libcuda.so.1: ", printed, re.M)


def test_an_absent_driver_is_a_line():
    assert re.search(r"^cuda: no CUDA driver: /no/such/libcuda.so: ", devices("--cuda-library", "/no/such/libcuda.so"), re.M)


def test_a_server_without_a_driver_says_so_and_ends(no_driver):
    command = [PROGRAM, "serve", "--model-repository", str(SHIPPED), "--backend", "cuda", "--grpc-port", "0", "--metrics-port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "backend cuda: no CUDA driver" in ended.stderr


def test_a_server_that_computes_on_the_cpu_loads_no_driver(driver, tmp_path):
    add_model(tmp_path, "model", SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    with Server(tmp_path) as server:
        assert "libcuda" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_devices_are_listed(driver):
    printed = devices("--verbose")
    assert re.search(r"^cuda 0 +Fake GPU A +GPU, capability 9\.0 +4 +4\.\d+ G\S* +(usable, experimental|unusable: this program has no CUDA kernels)", printed, re.M)
    assert re.search(r"^  driver    for CUDA 13\.0", printed, re.M)


def test_a_device_is_measured(device):
    printed = devices("--measure")
    assert len(re.findall(r"^  convolves [0-9.]+ G 1-bit MAC/s", printed.split("cuda 0: ")[1], re.M)) == 4


def answers(repository, pixels: dict[str, np.ndarray], *arguments: str) -> tuple[dict[str, bytes], str]:
    """Of a request a model, and the log."""
    with Server(repository, list(arguments), start_seconds=180) as server, triton.InferenceServerClient(server.address) as client:
        got = {name: infer(client, name, rows).tobytes() for name, rows in pixels.items()}
        return got, server.text()


def test_shipped_models_on_a_cuda_device_answer_the_bits_of_the_cpu(device, tmp_path):
    repository = tmp_path / "models"
    for name in INTEGER_MODELS:
        add_model(repository, name, SHIPPED / name / "1" / "model.onnx")
    pixels = {name: np.load(GOLDEN / f"{name}.npz")["x"].astype(np.float32) for name in INTEGER_MODELS}
    on_cpu, _ = answers(repository, pixels, "--plan-cache", "off")
    on_device, said = answers(repository, pixels, "--backend", "cuda")
    assert on_device == on_cpu
    assert len(re.findall(r"model loaded .*backend=cuda", said)) == len(INTEGER_MODELS)
    assert "goes on without its device" not in said


def two_models(tmp_path, config: str) -> dict[str, np.ndarray]:
    """`here` on the CPU and `there` as `config` says, and rows for each."""
    for name in ("here", "there"):
        add_model(tmp_path, name, SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    (tmp_path / "there" / "config.pbtxt").write_text(config)
    shape = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")["x"].shape[1:]
    rows = np.load(DATA / "fashion_mnist_test_1000.npz")["images"][:16].astype(np.float32).reshape(-1, *shape)
    return {"here": rows, "there": rows}


@pytest.mark.parametrize("config", [ON_CUDA, "instance_group { kind: KIND_GPU count: 2 }\n", "instance_group { kind: KIND_GPU gpus: 0 }\n" + ON_CUDA])
def test_a_model_names_its_cuda_device(device, tmp_path, config):
    got, said = answers(tmp_path, two_models(tmp_path, config))
    assert re.search(r"model loaded name=here .*backend=cpu", said)
    assert re.search(r"model loaded name=there .*backend=cuda", said)
    assert got["here"] == got["there"]


def test_a_gpu_that_is_not_the_servers_is_refused(device, tmp_path):
    two_models(tmp_path, "instance_group { kind: KIND_GPU gpus: 1 }\n")
    with Server(tmp_path, ["--strict-readiness", "false"]) as server:
        assert "GPU 1 is asked for, but the backend cuda has GPU 0 open, Fake GPU A" in server.text()


def test_a_device_that_is_lost_loses_no_request(device, tmp_path, monkeypatch):
    pixels = two_models(tmp_path, ON_CUDA)
    monkeypatch.setenv("BITMILL_FAKE_CUDA", "cuGraphLaunch 40 719")  # some of these are the load's
    with Server(tmp_path) as server, triton.InferenceServerClient(server.address) as client:
        wanted = infer(client, "here", pixels["here"]).tobytes()
        for _ in range(60):
            assert infer(client, "there", pixels["there"]).tobytes() == wanted
        said = server.text()
    assert re.search(r"model loaded name=there .*backend=cuda", said)
    assert len(re.findall(r"goes on without its device: CUDA: cuGraphLaunch gives CUDA_ERROR_LAUNCH_FAILED", said)) == 1


def test_auto_routes_batches_between_the_cpu_and_a_cuda_device(device, no_opencl, tmp_path):
    add_model(tmp_path, "routed", SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    x = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")["x"].astype(np.float32)
    with Server(tmp_path, ["--backend", "auto"]) as server, triton.InferenceServerClient(server.address) as client:
        for rows in (1, 3, 16):
            infer(client, "routed", x[:rows])
        said = server.text()
        metrics = server.metrics_text()
    assert len(re.findall(r"is routed: cuda is (?:faster|slower)", said)) == 1
    seconds = dict(re.findall(r'^bitmill_route_batch_seconds\{model="routed",version="1",backend="(\w+)",rows="64"\} (\S+)$', metrics, re.M))
    assert set(seconds) == {"cpu", "cuda"} and all(float(value) > 0 for value in seconds.values())
