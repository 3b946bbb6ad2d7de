"""`--backend opencl`: models on an OpenCL device answer the CPU's bits; without a device there is one line that says so.

Tests whose name has `opencl_device` load a driver: script/check leaves them out under sanitizers, which see a driver's threads
and memory but not what it does about them.
"""
import os
import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import DATA, GOLDEN, PROGRAM, ROOT, SHIPPED, Server, add_model

INTEGER_MODELS = ["digits_w1a1", "fmnist_tfc_w1a1", "fmnist_wide_w1a1", "fmnist_wide_ternary_w158a8"]


def devices(*arguments: str, **environment: str) -> str:
    """What `bitmill devices` prints."""
    command = [PROGRAM, "devices", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **environment}).stdout


@pytest.fixture(scope="module")
def device() -> None:
    """Skips without a usable device, unless there has to be one."""
    if not re.search(r"^opencl \d+ .*usable", devices("--verbose"), re.M):
        assert not os.environ.get("BITMILL_REQUIRE_OPENCL"), "no OpenCL device"
        pytest.skip("no OpenCL device here; install the package pocl-opencl-icd")


def intel_environment() -> dict[str, str] | None:
    """What makes Intel's runtime for CPUs the only driver (script/intel-opencl); None where it is not installed."""
    runtime = ROOT / ".cache" / "intel-opencl"
    if not (runtime / "icd" / "intel.icd").exists():
        required = os.environ.get("BITMILL_REQUIRE_OPENCL") and platform.machine() == "x86_64"
        assert not required, "Intel's OpenCL runtime is not installed; script/setup --test does"
        return None
    return {"OCL_ICD_VENDORS": str(runtime / "icd"), "LD_PRELOAD": str(runtime / "lib" / "libtbb.so.12")}


@pytest.fixture(scope="module", params=["installed", "intel"])
def driver(request) -> dict[str, str]:
    """The environment of processes that compute on a device of this machine's drivers, or of Intel's runtime."""
    if request.param == "installed":
        request.getfixturevalue("device")
        return {}
    environment = intel_environment()
    if environment is None:
        pytest.skip("Intel's OpenCL runtime is not here; script/setup --test installs it on x86-64")
    return environment


@pytest.fixture
def on_driver(driver, monkeypatch) -> dict[str, str]:
    """The same, for the processes that this test starts."""
    for name, value in driver.items():
        monkeypatch.setenv(name, value)
    return driver


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Path:
    """A folder for compiled kernels, so that they are compiled once for this module."""
    return tmp_path_factory.mktemp("opencl") / "kernels"


def drivers_in(server: Server) -> list[str]:
    """OpenCL drivers that the server has loaded, of those that this machine has."""
    installed = [file.read_text().strip() for file in Path("/etc/OpenCL/vendors").glob("*.icd")]
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    return [name for name in installed if Path(name).name in loaded]


def without_drivers(folder: Path, icd: str = "") -> dict[str, str]:
    """The environment of a machine whose only driver, if any, is named in an `icd` file."""
    if icd:
        (folder / "driver.icd").write_text(icd + "\n")
    return {"OCL_ICD_VENDORS": str(folder)}


def test_without_a_driver_there_is_a_line_and_the_cpu(tmp_path):
    printed = devices(**without_drivers(tmp_path))
    assert re.search(r"^cpu .*ready", printed, re.M)
    assert re.search(r"^opencl: no OpenCL platform; install", printed, re.M)


@pytest.mark.parametrize("driver", ["/no/such/libdriver.so", "libz.so.1"])
def test_a_broken_driver_is_a_line(tmp_path, driver):
    printed = devices(**without_drivers(tmp_path, driver))
    assert re.search(r"^opencl: no OpenCL platform; install", printed, re.M)


def test_a_server_without_a_driver_says_so_and_ends(tmp_path):
    command = [PROGRAM, "serve", "--model-repository", str(SHIPPED), "--backend", "opencl", "--grpc-port", "0", "--metrics-port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **without_drivers(tmp_path)})
    assert ended.returncode == 1
    assert "backend opencl: no OpenCL platform; install a driver" in ended.stderr


def test_a_server_that_computes_on_the_cpu_loads_no_driver(shipped):
    assert drivers_in(shipped) == []


def answers(repository, pixels: dict[str, np.ndarray], *arguments: str) -> tuple[dict[str, bytes], str]:
    """Of a request a model, and the log."""
    with Server(repository, list(arguments), start_seconds=180) as server, triton.InferenceServerClient(server.address) as client:
        got = {name: infer(client, name, rows).tobytes() for name, rows in pixels.items()}
        return got, server.text()


def test_intels_opencl_device_is_listed():
    environment = intel_environment()
    if environment is None:
        pytest.skip("Intel's OpenCL runtime is not here; script/setup --test installs it on x86-64")
    assert re.search(r"^opencl 0 .*Intel\(R\) OpenCL .*usable", devices(**environment), re.M)


def test_shipped_models_on_an_opencl_device_answer_the_bits_of_the_cpu(on_driver, kernels, tmp_path):
    repository = tmp_path / "models"
    for name in INTEGER_MODELS:
        add_model(repository, name, SHIPPED / name / "1" / "model.onnx")
    pixels = {name: np.load(GOLDEN / f"{name}.npz")["x"].astype(np.float32) for name in INTEGER_MODELS}
    on_cpu, _ = answers(repository, pixels, "--plan-cache", "off")
    on_device, said = answers(repository, pixels, "--backend", "opencl", "--opencl-cache", str(kernels))
    assert on_device == on_cpu
    assert len(re.findall(r"model loaded .*backend=opencl", said)) == len(INTEGER_MODELS)
    assert "goes on without its device" not in said
    assert list(kernels.glob("opencl-*.bin"))


def loaded(server: Server, name: str) -> str:
    """What the log says that the model's plan is: "from cache, 12 ms"."""
    return re.search(rf"model loaded name={name} .*plan='([^']*)'", server.text()).group(1)


def test_a_model_is_loaded_on_an_opencl_device_from_what_was_kept(on_driver, kernels, tmp_path):
    """No model is read, packed or measured twice; that a warm load is short is shown by the best of some."""
    repository = tmp_path / "models"
    add_model(repository, "wide", SHIPPED / "fmnist_wide_w1a1" / "1" / "model.onnx")
    rows = np.load(GOLDEN / "fmnist_wide_w1a1.npz")["x"].astype(np.float32)
    arguments = ["--backend", "opencl", "--opencl-cache", str(kernels), "--plan-cache", str(tmp_path / "plans")]
    on_cpu, _ = answers(repository, {"wide": rows}, "--plan-cache", "off")

    def load(*more: str) -> str:
        with Server(repository, [*arguments, *more], start_seconds=180) as server, triton.InferenceServerClient(server.address) as client:
            assert infer(client, "wide", rows).tobytes() == on_cpu["wide"]
            assert "goes on without its device" not in server.text()
            return loaded(server, "wide")

    assert load("--tune=0.5").startswith("compiled in")
    milliseconds = []
    while len(milliseconds) < 8 and min(milliseconds, default=50) >= 50:
        found = re.fullmatch(r"from cache, (\d+) ms", load())
        assert found
        milliseconds.append(int(found.group(1)))
    print(f"warm loads: {milliseconds} ms")
    assert min(milliseconds) < 50


def test_tiles_are_measured_once_on_an_opencl_device(on_driver, kernels, tmp_path):
    model = SHIPPED / "fmnist_wide_w1a1" / "1" / "model.onnx"
    command = [PROGRAM, "inspect", "--plan", "--backend", "opencl", "--opencl-cache", str(kernels), "--plan-cache", "off", "--max-rows", "4"]

    def inspect(*more: str) -> str:
        return subprocess.run([*command, *more, str(model)], capture_output=True, text=True, timeout=180, check=True).stdout

    plain = inspect()
    assert "times as fast" not in plain and re.search(r"bm_conv_\w+ .*runs of \d+", plain)
    measured = inspect("--tune=30")
    assert re.search(r"^plan: compiled in .*, tiles of \d+ shapes measured, \d\.\d\d times as fast", measured, re.M)
    assert re.search(r"bm_conv_\w+ .*, measured \d\.\d\d times as fast", measured)
    for again in (inspect("--tune=30"), inspect()):
        assert re.search(r"^plan: compiled in .*, tiles of \d+ shapes as measured before", again, re.M)
        assert re.findall(r"measured \d\.\d\d times as fast", again)[0] in measured


def test_a_model_names_its_opencl_device(device, kernels, tmp_path):
    for name in ("here", "there"):
        add_model(tmp_path, name, SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    (tmp_path / "there" / "config.pbtxt").write_text('parameters { key: "backend" value { string_value: "opencl" } }\n')
    shape = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")["x"].shape[1:]
    rows = np.load(DATA / "fashion_mnist_test_1000.npz")["images"][:16].astype(np.float32).reshape(-1, *shape)
    got, said = answers(tmp_path, {"here": rows, "there": rows}, "--opencl-cache", str(kernels))
    assert re.search(r"model loaded name=here .*backend=cpu", said)
    assert re.search(r"model loaded name=there .*backend=opencl", said)
    assert got["here"] == got["there"]


def test_auto_without_a_driver_is_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("OCL_ICD_VENDORS", without_drivers(tmp_path)["OCL_ICD_VENDORS"])
    add_model(tmp_path, "model", SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    with Server(tmp_path, ["--backend", "auto"]) as server:
        assert len(re.findall(r"backend auto: the CPU alone; .*backend opencl: no OpenCL platform", server.text())) == 1
        assert re.search(r"model loaded name=model .*backend=cpu", server.text())
        assert "bitmill_route" not in server.metrics_text()


def test_auto_routes_batches_between_the_cpu_and_an_opencl_device(device, kernels, tmp_path):
    model = SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx"
    for name in ("routed", "pinned"):
        add_model(tmp_path, name, model)
    (tmp_path / "pinned" / "config.pbtxt").write_text("instance_group { kind: KIND_CPU }\n")
    golden = np.load(GOLDEN / "fmnist_tfc_w1a1.npz")
    x = golden["x"].astype(np.float32)
    arguments = ["--backend", "auto", "--opencl-cache", str(kernels)]
    with Server(tmp_path, arguments, start_seconds=180) as server, triton.InferenceServerClient(server.address) as client:
        got = {name: [infer(client, name, x[:rows]).tobytes() for rows in (1, 3, 16)] for name in ("routed", "pinned")}
        said = server.text()
        metrics = server.metrics_text()
    assert got["routed"] == got["pinned"]
    assert len(re.findall(r"is routed: opencl is (?:faster|slower)", said)) == 1
    assert re.search(r"model loaded name=routed .*backend=auto", said)
    assert re.search(r"model loaded name=pinned .*backend=cpu", said)
    seconds = dict(re.findall(r'^bitmill_route_batch_seconds\{model="routed",version="1",backend="(\w+)",rows="64"\} (\S+)$', metrics, re.M))
    assert set(seconds) == {"cpu", "opencl"} and all(float(value) > 0 for value in seconds.values())
    routed = re.findall(r'^bitmill_routed_batches_total\{model="routed",version="1",backend="\w+",reason="\w+"\} (\S+)$', metrics, re.M)
    assert sum(float(value) for value in routed) >= 3
    assert re.search(r'^bitmill_route_break_even_rows\{model="routed",version="1",backend="opencl"\} ', metrics, re.M)
    assert 'model="pinned",version="1",backend' not in metrics


def test_an_unknown_backend_is_refused_with_its_place(tmp_path):
    add_model(tmp_path, "model", SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx")
    (tmp_path / "model" / "config.pbtxt").write_text('parameters { key: "backend" value { string_value: "abacus" } }\n')
    with Server(tmp_path, ["--strict-readiness", "false"]) as server:
        assert "parameter 'backend' is 'abacus', expected 'cpu', 'opencl', 'cuda' or 'auto'" in server.text()
