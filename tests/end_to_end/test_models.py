"""Every model answers its golden samples over gRPC through an unmodified Triton client."""
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import GOLDEN, ROOT, SHARED_MODELS, SHIPPED, Server, add_model

SHIPPED_MODELS = sorted(p.name for p in SHIPPED.iterdir() if p.is_dir())


def check_golden(client, model: str, golden: Path) -> None:
    """Exact where the file says so, else within its tolerance, and always the same arg-max."""
    data = np.load(golden)
    x, y, atol = data["x"], data["y"], float(data["atol"])
    config = client.get_model_config(model).config
    size = max(1, min(len(x), config.max_batch_size))
    answers = np.concatenate([infer(client, model, x[i:i + size]) for i in range(0, len(x), size)])
    assert answers.shape == y.shape
    assert np.abs(answers.astype(np.float64) - y.astype(np.float64)).max() <= atol
    assert (answers.argmax(-1) == y.argmax(-1)).all()


@pytest.mark.parametrize("model", SHIPPED_MODELS)
def test_shipped_model_matches_its_golden_outputs(client, model):
    check_golden(client, model, GOLDEN / f"{model}.npz")


@pytest.mark.parametrize("model", SHIPPED_MODELS)
def test_rows_of_a_batch_equal_single_rows(client, model):
    x = np.load(GOLDEN / f"{model}.npz")["x"][:13]
    alone = np.concatenate([infer(client, model, x[i:i + 1]) for i in range(len(x))])
    assert (infer(client, model, x) == alone).all()


@pytest.mark.parametrize("isa", ["ref", "avx2"])
def test_answers_do_not_depend_on_the_instruction_set(client, isa):
    x = np.load(GOLDEN / "fmnist_wide_w1a1.npz")["x"]
    want = {m: infer(client, m, x) for m in SHIPPED_MODELS if "fp32" not in m and "digits" not in m}
    try:
        server = Server(SHIPPED, ["--isa", isa]).__enter__()
    except RuntimeError as error:
        if "not available" in str(error):
            pytest.skip(f"this machine has no {isa}")
        raise
    try:
        with triton.InferenceServerClient(server.address) as other:
            for model, answers in want.items():
                assert (infer(other, model, x) == answers).all(), model
    finally:
        server.__exit__()


def test_accuracy_on_the_shipped_images(client):
    data = np.load(ROOT / "models/data/fashion_mnist_test_1000.npz")
    x = data["images"][:, None].astype(np.float32)
    for model, least in (("fmnist_wide_w1a1", 0.87), ("fmnist_wide_ternary_w158a8", 0.88),
                         ("fmnist_wide_fp32", 0.91)):
        answers = np.concatenate([infer(client, model, x[i:i + 50]) for i in range(0, 1000, 50)])
        assert (answers.argmax(-1) == data["labels"]).mean() >= least, model


def test_every_model_of_the_larger_collection(tmp_path):
    if not SHARED_MODELS.is_dir():
        pytest.skip("the larger model collection is not beside this checkout")
    models = sorted(SHARED_MODELS.glob("*.onnx"))
    assert models
    for path in models:
        add_model(tmp_path, path.stem, path)
    with Server(tmp_path, start_seconds=180) as server:
        with triton.InferenceServerClient(server.address) as connection:
            for path in models:
                check_golden(connection, path.stem, SHARED_MODELS / "golden" / f"{path.stem}.npz")
