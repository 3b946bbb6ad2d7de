"""Fixtures: one server with the shipped models for all tests that do not change it, one window for the pages of a file."""
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

sys.path.insert(0, str(Path(__file__).parent))
from browser import Browser  # noqa: E402
from server import SHIPPED, Server  # noqa: E402


@pytest.fixture(scope="session")
def shipped():
    with Server(SHIPPED) as server:
        yield server


@pytest.fixture
def client(shipped):
    with triton.InferenceServerClient(shipped.address) as connection:
        yield connection


@pytest.fixture(scope="module")
def window():
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(window):
    """A window as large as a desktop's, with nothing in it that anybody said or asked for."""
    window.open("about:blank")
    window.show(1400, 1000, "light")
    window.console(), window.requests()
    return window


def infer(client, model: str, x: np.ndarray, **options) -> np.ndarray:
    """First output of one request that carries x as the model's only input."""
    meta = client.get_model_metadata(model)
    tensor = triton.InferInput(meta.inputs[0].name, list(x.shape), meta.inputs[0].datatype)
    tensor.set_data_from_numpy(x)
    result = client.infer(model, [tensor], **options)
    return result.as_numpy(meta.outputs[0].name)
