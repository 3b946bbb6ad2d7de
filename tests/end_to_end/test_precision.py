"""`precision: fast` in config.pbtxt: float layers in int8, calibrated with a file of samples."""
import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import DATA, SHIPPED, Server, add_model

FP32 = SHIPPED / "fmnist_wide_fp32" / "1" / "model.onnx"
TFC = SHIPPED / "fmnist_tfc_w1a1" / "1" / "model.onnx"
LENIENT = ["--strict-readiness", "false"]


@pytest.fixture(scope="module")
def images():
    """Pixels as the model takes them, and labels."""
    data = np.load(DATA / "fashion_mnist_test_1000.npz")
    return data["images"].astype(np.float32)[:, None], data["labels"]


def configure(folder, **parameters: str) -> None:
    lines = [f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
             for key, value in parameters.items()]
    (folder / "config.pbtxt").write_text("".join(lines))


def test_fast_is_nearly_as_right_and_the_same_in_every_batch(tmp_path, images):
    pixels, labels = images
    calibration, rest = pixels[:200], pixels[200:]
    add_model(tmp_path, "exact", FP32)
    add_model(tmp_path, "fast", FP32)
    configure(tmp_path / "fast", precision="fast", calibration="samples.npz")
    np.savez(tmp_path / "fast" / "samples.npz", pixels=calibration)
    with Server(tmp_path) as server, triton.InferenceServerClient(server.address) as client:
        exact = np.concatenate([infer(client, "exact", rest[i:i + 50]) for i in range(0, 800, 50)])
        fast = np.concatenate([infer(client, "fast", rest[i:i + 50]) for i in range(0, 800, 50)])
        singly = np.concatenate([infer(client, "fast", rest[i:i + 1]) for i in range(20)])
    assert not np.array_equal(exact, fast)
    assert np.array_equal(singly, fast[:20])
    right_exact = np.mean(exact.argmax(1) == labels[200:])
    right_fast = np.mean(fast.argmax(1) == labels[200:])
    assert right_fast > right_exact - 0.003
    assert np.mean(exact.argmax(1) == fast.argmax(1)) > 0.985


def test_bf16_is_nearly_as_right_and_the_same_in_every_batch(tmp_path, images):
    pixels, labels = images
    add_model(tmp_path, "exact", FP32)
    add_model(tmp_path, "bf16", FP32)
    configure(tmp_path / "bf16", precision="bf16")
    with Server(tmp_path) as server, triton.InferenceServerClient(server.address) as client:
        exact = np.concatenate([infer(client, "exact", pixels[i:i + 50])
                                for i in range(0, 800, 50)])
        bf16 = np.concatenate([infer(client, "bf16", pixels[i:i + 50]) for i in range(0, 800, 50)])
        singly = np.concatenate([infer(client, "bf16", pixels[i:i + 1]) for i in range(20)])
    assert np.array_equal(singly, bf16[:20])
    assert np.linalg.norm(bf16 - exact) < 0.01 * np.linalg.norm(exact)
    right_exact = np.mean(exact.argmax(1) == labels[:800])
    assert np.mean(bf16.argmax(1) == labels[:800]) > right_exact - 0.003


@pytest.mark.parametrize("arrays, words", [
    (None, ["samples.npz"]),
    ({"images": np.zeros((3, 1, 28, 28), np.float32)}, ["samples.npz", "'pixels'", "'images'"]),
    ({"pixels": np.zeros((3, 1, 28, 27), np.float32)}, ["samples.npz", "784"]),
    ({"pixels": np.zeros((3, 1, 28, 28), np.uint8)}, ["samples.npz", "UINT8", "FP32"]),
])
def test_bad_samples_are_refused_and_others_serve(tmp_path, images, arrays, words):
    add_model(tmp_path, "fast", FP32)
    add_model(tmp_path, "good", TFC)
    configure(tmp_path / "fast", precision="fast", calibration="samples.npz")
    if arrays is not None:
        np.savez(tmp_path / "fast" / "samples.npz", **arrays)
    with Server(tmp_path, LENIENT) as server, \
            triton.InferenceServerClient(server.address) as client:
        index = {m.name: m for m in client.get_model_repository_index().models}
        assert index["fast"].state == "UNAVAILABLE"
        for word in words:
            assert word in index["fast"].reason, index["fast"].reason
        assert infer(client, "good", images[0][:2]).shape == (2, 10)


@pytest.mark.parametrize("parameters, word", [
    ({"precision": "quick"}, "quick"),
    ({"precision": "fast"}, "calibration"),
    ({"precision": "fast", "calibration": "../samples.npz"}, "../samples.npz"),
])
def test_bad_parameters_are_refused(tmp_path, parameters, word):
    add_model(tmp_path, "fast", FP32)
    configure(tmp_path / "fast", **parameters)
    with Server(tmp_path, LENIENT) as server, \
            triton.InferenceServerClient(server.address) as client:
        index = {m.name: m for m in client.get_model_repository_index().models}
        assert "config.pbtxt" in index["fast"].reason and word in index["fast"].reason
