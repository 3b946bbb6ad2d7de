"""`parallel` in config.pbtxt: models in parts answer the bits of whole ones."""
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton

from conftest import infer
from server import GOLDEN, SHIPPED, Server, add_model

MODEL = "fmnist_wide_w1a1"  # layers of 64 outputs and less are not divided


def configure(repository, name: str, how: str) -> None:
    """Adds the model under a name, divided as said."""
    add_model(repository, name, SHIPPED / MODEL / "1" / "model.onnx")
    text = f'parameters {{ key: "parallel" value {{ string_value: "{how}" }} }}\n'
    (repository / name / "config.pbtxt").write_text(text)


def report_of(server: Server, models: int) -> dict:
    """The analysis once it has seen all models."""
    end = time.monotonic() + 20
    while True:
        report = server.report()
        if len(report["models"]) == models:
            return report
        assert time.monotonic() < end, "no report of all models"
        time.sleep(0.1)


def test_models_in_parts_answer_the_bits_of_the_whole_one(tmp_path):
    ways = {"whole": "off", "rows": "data:2", "slices": "tensor:2", "stages": "pipeline:2", "chosen": "auto"}
    for name, how in ways.items():
        configure(tmp_path, name, how)
    x = np.load(GOLDEN / f"{MODEL}.npz")["x"].astype(np.float32)
    with Server(tmp_path, []) as server, triton.InferenceServerClient(server.address) as client:
        for name in ways:
            assert re.search(rf"model loaded name={name} ", server.text()), name
        for rows in (1, 3, 16):
            answers = {name: infer(client, name, x[:rows]).tobytes() for name in ways}
            assert len(set(answers.values())) == 1, rows
        with ThreadPoolExecutor(8) as pool:  # batches of several requests at a time
            for name in ways:
                got = list(pool.map(lambda i, name=name: infer(client, name, x[i:i + 1]).tobytes(), range(16)))
                assert got == [infer(client, "whole", x[i:i + 1]).tobytes() for i in range(16)], name
        metrics = server.metrics_text()
        report = report_of(server, len(ways))
        said = server.text()
    divisions = {model["name"]: model["division"] for model in report["models"] if model.get("division")}
    modes = {"rows": "data", "slices": "tensor", "stages": "pipeline"}
    assert "whole" not in divisions
    for name, mode in modes.items():
        parts = divisions[name]["parts"]
        assert divisions[name]["mode"] == mode and len(parts) >= 2, name
        assert all(part["backend"] == "cpu" and part["row_macs"] > 0 for part in parts if "from" not in part["name"])
        handed = [int(part["handed_bytes"]) for part in parts]
        assert (sum(handed) > 0) == (mode != "data") and handed[-1] == 0, (name, handed)
        for part in parts:
            line = f'bitmill_part_handed_bytes{{model="{name}",version="1",mode="{mode}",part="{part["name"]}",backend="cpu"}} {part["handed_bytes"]}'
            assert line in metrics.splitlines(), line
    assert sum(int(part["rows"]) for part in divisions["rows"]["parts"]) == int(divisions["stages"]["parts"][0]["rows"])
    assert re.search(r"chosen/1/model.onnx' is (not divided|divided, \w+:2): asked for are 64 rows at least 1.10 times as fast as whole, and one row "
                     r"at least 0.95 times; measured data:2 \d", said) or "there is one CPU" in said
    assert 'model="stages"' in metrics
    for mode in ("data", "tensor", "pipeline"):
        assert re.search(rf"is divided, {mode} in 2 parts on cpu", said), mode


@pytest.mark.parametrize("how", ["rows:2", "data:0", "pipeline:cpu,"])
def test_an_unknown_way_is_refused_with_its_place(tmp_path, how):
    configure(tmp_path, "model", how)
    with Server(tmp_path, ["--strict-readiness", "false"]) as server:
        assert re.search(r"config.pbtxt:1:\d+: parameter 'parallel' is '" + re.escape(how) + "', expected 'off', 'auto'", server.text())


def test_a_part_on_a_backend_that_is_not_there_is_an_error(tmp_path):
    configure(tmp_path, "model", "pipeline:cpu,abacus")
    with Server(tmp_path, ["--strict-readiness", "false"]) as server:
        assert "backend 'abacus', this program has cpu" in server.text()
